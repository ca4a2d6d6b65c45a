"""Exact dense search with torch: blocked products and top-k on one GPU, or on several by part.

It finds what :func:`negmine.sources.exact.search` finds; where there is no GPU it is never used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from negmine import log
from negmine.errors import MachineError, exhausted
from negmine.sources.base import Among

#: Bytes for blocks on a device that does not tell how many are free.
_MEMORY = 512 << 20
#: Share of a device's free memory that blocks may take.
_SHARE = 0.5
#: Blocks of so few bytes are not made smaller still.
_LEAST_MEMORY = 1 << 16


def search(
    parts: Iterable[tuple[int, np.ndarray]],
    queries: np.ndarray,
    k: int,
    on: Sequence[str],
    memory: int | None = None,
    among: Among | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Top-k rows by inner product in float32; every device reads its share of the parts once.

    Args:
        parts: (first row, vectors as stored [rows, dim]), at least ``k`` rows in all.
        queries: float32 [n, dim].
        k: rows wanted per query.
        on: torch devices.
        memory: bytes for blocks on a device; by default half of what is free there.
        among: which rows each query may find; without it all.

    Returns:
        (scores float32 [n, k], rows int64 [n, k]), best first; ties in no particular order. A place
        that no row took scores -inf.
    """
    every = list(parts)

    def work(number: int) -> tuple[np.ndarray, np.ndarray]:
        return _in_what_fits(every[number :: len(on)], queries, k, on[number], memory, among)

    with ThreadPoolExecutor(len(on), thread_name_prefix="gpu") as pool:
        found = list(pool.map(work, range(len(on))))
    scores = np.concatenate([score for score, _ in found], axis=1)
    rows = np.concatenate([row for _, row in found], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _in_what_fits(
    parts: Sequence[tuple[int, np.ndarray]],
    queries: np.ndarray,
    k: int,
    device: str,
    memory: int | None,
    among: Among | None,
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`_on_device` with blocks that fit: where they do not, again with half the bytes.

    The blocks do not show in what is found: its callers score it anew.

    Raises:
        MachineError: the smallest blocks do not fit.
    """
    import torch

    free = memory or _free(torch, device)
    told = False
    while True:
        try:
            return _on_device(parts, queries, k, device, free, among)
        except Exception as error:  # a GPU's errors and NumPy's have no common base
            if not exhausted(error):
                raise
            if free < _LEAST_MEMORY:
                raise MachineError(
                    f"out of memory: the search does not fit on {device}",
                    hint="Free memory there, or search on another --device.",
                ) from error
        # Only here does nothing hold what the failed search had there any more.
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        free //= 2
        level = logging.DEBUG if told else logging.WARNING
        log.event(f"the search on {device} is out of memory: smaller blocks are tried", level)
        told = True


def _on_device(
    parts: Sequence[tuple[int, np.ndarray]],
    queries: np.ndarray,
    k: int,
    device: str,
    free: int,
    among: Among | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The best rows of some parts; a place that no row took scores -inf."""
    import torch

    # The error bound that settles ties is float32's, not TensorFloat-32's.
    torch.set_float32_matmul_precision("highest")
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), k), dtype=np.int64)
    # Half for the queries and their best; a quarter for vectors; a quarter for scores.
    at_once = max(1, free // 2 // (4 * queries.shape[1] + 40 * k))
    with torch.inference_mode():
        for start in range(0, len(queries), at_once):
            some = slice(start, start + at_once)
            asked = torch.from_numpy(np.ascontiguousarray(queries[some])).to(device)
            best = torch.full((len(asked), k), -torch.inf, device=device)
            row = torch.zeros((len(asked), k), dtype=torch.int64, device=device)
            for first, part in parts:
                height = max(k, free // 4 // (8 * part.shape[1]))
                for low in range(0, len(part), height):
                    stored = np.array(part[low : low + height])
                    block = torch.from_numpy(stored).to(device).float()
                    may = (
                        None
                        if among is None
                        else partial(_may, among, start, first + low, len(block))
                    )
                    _take(torch, best, row, asked, block, first + low, free // 4, may)
            scores[some], rows[some] = best.cpu().numpy(), row.cpu().numpy()
    return scores, rows


def _may(among: Among, start: int, first: int, rows: int, low: int, high: int) -> np.ndarray:
    """What the queries ``low`` to ``high`` from ``start`` on may find of a block of rows."""
    return among.mask(start + low, start + high, first, first + rows)


def _take(
    torch: Any,
    best: Any,
    row: Any,
    asked: Any,
    block: Any,
    first: int,
    memory: int,
    may: Callable[[int, int], np.ndarray] | None,
) -> None:
    """Let a block of vectors replace what it beats, some queries at a time."""
    k = best.shape[1]
    at_once = max(1, memory // (16 * len(block)))
    for start in range(0, len(asked), at_once):
        some = slice(start, start + at_once)
        products = asked[some] @ block.T
        if may is not None:
            barred = torch.from_numpy(~may(start, start + len(products)))
            products.masked_fill_(barred.to(products.device), -torch.inf)
        score, place = torch.topk(products, min(k, len(block)))
        score = torch.cat([best[some], score], dim=1)
        places = torch.cat([row[some], place + first], dim=1)
        score, keep = torch.topk(score, k)
        best[some], row[some] = score, torch.gather(places, 1, keep)


def _free(torch: Any, device: str) -> int:
    if not device.startswith("cuda"):
        return _MEMORY
    return int(torch.cuda.mem_get_info(device)[0] * _SHARE)
