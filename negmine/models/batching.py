"""Cutting work into model batches.

A batch's padding changes the last bits of a model's output, so batches are a function of the
token lengths and the two bounds alone: never of workers, memory or the clock.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from negmine.errors import UsageError

TOKENS_PER_ROW = 256
"""The longest padded length at which a batch still holds all its rows."""
CPU_TOKENS = 1024
"""Most padded tokens of a batch on a CPU: what a layer makes of them stays in the cache.

Larger batches are slower there: a matrix product of so many rows is at full speed already, while
each result beyond the cache is written to and read from memory, in pages fetched anew every time.
"""
OPENVINO_TOKENS = 4096
"""Likewise where OpenVINO runs the model in bfloat16: it writes fewer results, of half the size,
and pays more for a call. In float32 it is faster with :data:`CPU_TOKENS`."""


def token_budget(
    batch_size: int, device: str, runtime: str = "torch", dtype: str = "float32"
) -> int:
    """Padded tokens in one batch: ``batch_size`` rows of 256 tokens, fewer rows when longer.

    On a CPU at most :data:`CPU_TOKENS`, by OpenVINO in bfloat16 :data:`OPENVINO_TOKENS`.
    """
    budget = batch_size * TOKENS_PER_ROW
    if device != "cpu":
        return budget
    many = (runtime, dtype) == ("openvino", "bfloat16")
    return min(budget, OPENVINO_TOKENS if many else CPU_TOKENS)


def length_batches(
    lengths: npt.NDArray[np.integer], batch_size: int, budget: int | None = None
) -> list[npt.NDArray[np.int64]]:
    """Positions of ``lengths`` in batches of similar length, the longest first.

    Longest first, so that a batch that does not fit in memory fails at once and the progress
    bar errs on the safe side. Ties keep their order.

    Args:
        lengths: tokens per row.
        batch_size: most rows in a batch.
        budget: most padded tokens (rows times the longest row) in a batch; one row longer than
            that is a batch of its own. ``None`` is :func:`token_budget` of a CPU.
    """
    if batch_size < 1:
        raise UsageError(f"batch size must be at least 1, got {batch_size}", where="--batch-size")
    limit = token_budget(batch_size, "cpu") if budget is None else budget
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    batches = []
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        rows = max(1, min(batch_size, limit // longest))
        batches.append(order[start : start + rows])
        start += rows
    return batches
