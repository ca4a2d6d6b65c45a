"""Inverted lists in pieces: FAISS's own file, written and searched without holding all of it.

Vectors are coded block by block. Codes that fill the memory they may take are sorted by list and
spilled; at the end the lists are merged into the bytes that FAISS would have written had it held
the index, so they do not depend on the memory. A search takes queries that probe the same lists
together, and reads those lists.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from negmine.errors import InvariantError
from negmine.memory import MIB
from negmine.table import arrays

#: The index with all lists; the same without vectors; where each list lies in the former.
FILE, TRAINED, LISTS = "index.faiss", "trained.faiss", "lists.npy"
#: Beside its code, a vector in memory has a list's number (4 bytes), and while they are sorted
#: a place (8) and as much for the sorting.
_BESIDE = 20
#: Bytes copied or packed at a time.
_PIECE_BYTES = 4 * MIB
#: What a list takes beside its codes and row numbers: vectors' heads, and malloc's.
_LIST_BYTES = 128
#: Queries whose lists are chosen by one product: always so many, for a product's last digits, and
#: with them a near-tie between lists, can depend on how many are multiplied at once.
_ASSIGNED_AT_ONCE = 256
_SEARCHED_AT_ONCE = 1024


def _faiss() -> Any:
    """FAISS; its type stubs lack much of what is used here."""
    import faiss

    return faiss


def inverted_file(index: Any) -> Any | None:
    """The inverted file in an index, behind linear transforms too; None if FAISS must hold it.

    Only kinds are taken whose codes :func:`write` is known to lay out as FAISS does.
    """
    faiss = _faiss()
    inner = index
    if isinstance(index, faiss.IndexPreTransform):
        inner = faiss.downcast_index(index.index)
    kinds = (
        faiss.IndexIVFFlat,
        faiss.IndexIVFPQ,
        faiss.IndexIVFScalarQuantizer,
        faiss.IndexIVFPQFastScan,
    )
    # Subclasses keep more than codes.
    return inner if type(inner) in kinds else None


def transformed(index: Any, vectors: np.ndarray) -> np.ndarray:
    """Vectors as the inverted file gets them."""
    faiss = _faiss()
    if isinstance(index, faiss.IndexPreTransform):
        for number in range(index.chain.size()):
            vectors = faiss.downcast_VectorTransform(index.chain.at(number)).apply(vectors)
    return vectors


# --- writing ----------------------------------------------------------------------------------


def _words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


@dataclass(frozen=True)
class _Layout:
    """How FAISS lays inverted lists out in a file.

    Attributes:
        lists: how many there are.
        code: bytes of a vector's code.
        packer: interleaves the codes of a block (fast scan); None where they follow each other.
    """

    lists: int
    code: int
    packer: Any | None

    @classmethod
    def of(cls, ivf: Any) -> _Layout:
        faiss = _faiss()
        held = faiss.downcast_InvertedLists(ivf.invlists)
        blocks = isinstance(held, faiss.BlockInvertedLists)
        return cls(ivf.nlist, ivf.code_size, ivf.get_CodePacker() if blocks else None)

    def head(self, sizes: np.ndarray) -> bytes:
        """What stands before the first list."""
        if self.packer is not None:
            unknown = (1 << 64) - 1
            return b"ilbl" + _words(self.lists, unknown, self.packer.nvec, self.packer.block_size)
        head = b"ilar" + _words(self.lists, self.code)
        filled = np.flatnonzero(sizes)
        if len(filled) > self.lists // 2:
            return head + b"full" + _words(self.lists) + sizes.astype("<u8").tobytes()
        pairs = np.stack([filled, sizes[filled]], axis=1).astype("<u8")
        return head + b"sprs" + _words(pairs.size) + pairs.tobytes()

    def empty(self) -> bytes:
        """The lists of an index without vectors."""
        head = self.head(np.zeros(self.lists, dtype=np.int64))
        return head if self.packer is None else head + bytes(16 * self.lists)

    def code_bytes(self, vectors: int) -> int:
        """Bytes of the codes of a list."""
        if self.packer is None:
            return vectors * self.code
        return int(-(-vectors // self.packer.nvec) * self.packer.block_size)

    def packed(self, codes: np.ndarray) -> np.ndarray:
        """Codes [n, code] as they stand in the file; n is whole blocks but at a list's end."""
        if self.packer is None:
            return codes
        faiss = _faiss()
        width = int(self.packer.nvec)
        blocks = np.zeros((-(-len(codes) // width), self.packer.block_size), dtype=np.uint8)
        padded = np.zeros((len(blocks) * width, self.code), dtype=np.uint8)
        padded[: len(codes)] = codes
        for number, block in enumerate(blocks):
            some = padded[number * width : (number + 1) * width]
            self.packer.pack_all(faiss.swig_ptr(some), faiss.swig_ptr(block))
        return blocks


@dataclass(frozen=True)
class _Shard:
    """Coded vectors that follow each other in the corpus, sorted by list.

    Attributes:
        bounds: [lists + 1] where each list begins.
        codes: of some places (from, to).
        rows: row numbers, likewise.
    """

    bounds: np.ndarray
    codes: Callable[[int, int], np.ndarray]
    rows: Callable[[int, int], np.ndarray]


def least_memory(index: Any, count: int) -> int:
    """Bytes that :func:`write` needs for ``count`` vectors: pieces, some codes, shards' bounds."""
    return 4 * _PIECE_BYTES + 2 * _bounds_bytes(_Layout.of(inverted_file(index)), count)


def _bounds_bytes(layout: _Layout, count: int) -> int:
    """Room for where each list begins in each shard: enough if codes have as much or more."""
    return math.isqrt(8 * layout.lists * count * (layout.code + _BESIDE))


def write(index: Any, blocks: Iterable[np.ndarray], count: int, folder: Path, memory: int) -> int:
    """Add vectors to a trained, empty index on disk: fills ``folder`` with three files.

    Args:
        index: of a kind that :func:`inverted_file` takes.
        blocks: all vectors in order; their bounds show in the last digits of some codes.
        count: how many vectors there are.
        folder: where the files go; what is spilled lies there without a name, and goes by itself.
        memory: bytes for all that, at least :func:`least_memory`.

    Returns:
        How many vectors were added.
    """
    ivf: Any = inverted_file(index)
    layout = _Layout.of(ivf)
    room = memory - 2 * _PIECE_BYTES - _bounds_bytes(layout, count)
    most = max(1, min(count, room // (layout.code + _BESIDE)))
    codes = np.empty((most, layout.code), dtype=np.uint8)
    lists = np.empty(most, dtype=np.int32)
    shards: list[_Shard] = []
    first = filled = 0
    with tempfile.TemporaryFile(dir=folder) as spilled:
        for block in blocks:
            numbers, coded = _coded(index, ivf, block)
            while len(coded):
                if filled == most:
                    shards.append(_spill(_sorted(codes, lists, layout, first), spilled))
                    first, filled = first + filled, 0
                some = min(most - filled, len(coded))
                codes[filled : filled + some], coded = coded[:some], coded[some:]
                lists[filled : filled + some], numbers = numbers[:some], numbers[some:]
                filled += some
        shards.append(_sorted(codes[:filled], lists[:filled], layout, first))
        index.ntotal = ivf.ntotal = first + filled
        _merge(index, layout, shards, folder)
    return first + filled


def _coded(index: Any, ivf: Any, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(list, code) of each vector."""
    faiss = _faiss()
    vectors = np.ascontiguousarray(transformed(index, block))
    # A vector that is no number lies nearest to no list; in the first one, too, none finds it.
    numbers = np.maximum(ivf.quantizer.assign(vectors, 1).ravel(), 0)
    codes = np.zeros((len(vectors), ivf.code_size), dtype=np.uint8)
    pointers = map(faiss.swig_ptr, (vectors, numbers, codes))
    ivf.encode_vectors(len(vectors), *pointers)
    return numbers, codes


def _sorted(codes: np.ndarray, lists: np.ndarray, layout: _Layout, first: int) -> _Shard:
    """The shard in memory; within a list vectors keep their order."""
    order = np.argsort(lists, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=layout.lists))])
    return _Shard(bounds, lambda a, b: codes[order[a:b]], lambda a, b: first + order[a:b])


def _spill(shard: _Shard, file: IO[bytes]) -> _Shard:
    """Write a shard to the end of ``file``."""
    count = int(shard.bounds[-1])
    begins = []
    for values in (shard.codes, shard.rows):
        begins.append(file.seek(0, os.SEEK_END))
        for start, stop in _pieces(0, count, _PIECE_BYTES // values(0, 1).nbytes):
            file.write(values(start, stop).tobytes())
    file.flush()
    width = shard.codes(0, 1).shape[1]

    def read(at: int, size: int) -> np.ndarray:
        return np.frombuffer(os.pread(file.fileno(), size, at), dtype=np.uint8)

    return _Shard(
        shard.bounds,
        lambda a, b: read(begins[0] + a * width, (b - a) * width).reshape(-1, width),
        lambda a, b: read(begins[1] + a * 8, (b - a) * 8).view(np.int64),
    )


def _pieces(start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    for low in range(start, stop, max(1, most)):
        yield low, min(low + max(1, most), stop)


def _merge(index: Any, layout: _Layout, shards: Sequence[_Shard], folder: Path) -> None:
    """Write the index file: FAISS's own head, then list after list."""
    faiss = _faiss()
    faiss.write_index(index, str(folder / TRAINED))
    sizes = np.zeros(layout.lists, dtype=np.int64)
    for shard in shards:
        sizes += np.diff(shard.bounds)
    # Of each list: where its codes and its row numbers begin, bytes of codes, vectors.
    places = np.zeros((layout.lists, 4), dtype=np.int64)
    with (folder / FILE).open("wb") as out, (folder / TRAINED).open("rb") as trained:
        _copy_head(trained, layout.empty(), out)
        out.write(layout.head(sizes))
        for number, size in enumerate(sizes.tolist()):
            codes = layout.code_bytes(size)
            if layout.packer is None:
                places[number] = out.tell(), out.tell() + codes, codes, size
                _write_codes(out, layout, shards, number)
                _write_rows(out, shards, number)
            else:
                rows = out.tell() + 8
                places[number] = rows + 8 * size + 8, rows, codes, size
                out.write(_words(size))
                _write_rows(out, shards, number)
                out.write(_words(codes))
                _write_codes(out, layout, shards, number)
    np.save(folder / LISTS, places, allow_pickle=False)


def _copy_head(trained: IO[bytes], empty: bytes, out: IO[bytes]) -> None:
    """Copy the trained index but for its empty lists, which end the file."""
    left = trained.seek(-len(empty), os.SEEK_END)
    if trained.read() != empty:
        raise InvariantError(
            "FAISS lays inverted lists out in another way than this negmine knows",
            hint="Install the faiss-cpu of constraints.txt, or index without --ann.",
        )
    trained.seek(0)
    while left:
        piece = trained.read(min(left, _PIECE_BYTES))
        out.write(piece)
        left -= len(piece)


def _write_rows(out: IO[bytes], shards: Sequence[_Shard], number: int) -> None:
    for shard in shards:
        low, high = shard.bounds[number : number + 2].tolist()
        for start, stop in _pieces(low, high, _PIECE_BYTES // 8):
            out.write(shard.rows(start, stop).astype("<i8").tobytes())


def _write_codes(out: IO[bytes], layout: _Layout, shards: Sequence[_Shard], number: int) -> None:
    width = int(layout.packer.nvec) if layout.packer is not None else 1
    # A block's vectors may come from two shards.
    rest = np.empty((0, layout.code), dtype=np.uint8)
    for shard in shards:
        low, high = shard.bounds[number : number + 2].tolist()
        for start, stop in _pieces(low, high, _PIECE_BYTES // layout.code):
            codes = np.concatenate([rest, shard.codes(start, stop)])
            whole = len(codes) // width * width
            out.write(layout.packed(codes[:whole]).tobytes())
            rest = codes[whole:]
    out.write(layout.packed(rest).tobytes())


# --- searching --------------------------------------------------------------------------------


def list_bytes(places: np.ndarray) -> np.ndarray:
    """Bytes that each list takes in memory, from :data:`LISTS`."""
    taken: np.ndarray = places[:, 2] + 8 * places[:, 3] + _LIST_BYTES
    return taken


def query_bytes(places: np.ndarray, probes: int) -> int:
    """Bytes of the lists that one query reads at most; the last one is there twice for a moment."""
    largest = np.sort(list_bytes(places))[::-1]
    return int(largest[:probes].sum() + largest[0])


class InvertedFile:
    """An index that :func:`write` made; its lists are read as queries want them.

    Args:
        folder: where it was written.
        memory: bytes for lists, at least :func:`query_bytes`.
        together: bytes for queries whose lists are known; the more, the more lists are shared.

    Attributes:
        index: FAISS's object, with no list or some.
    """

    def __init__(self, folder: Path, memory: int, together: int) -> None:
        faiss = _faiss()
        self._folder = folder
        self._together = together
        self._places = arrays.mapped(folder / LISTS)
        self._bytes = list_bytes(self._places)
        self._memory = memory - int(self._bytes.max())
        self.index = faiss.read_index(str(folder / TRAINED))
        self._ivf: Any = inverted_file(self.index)
        self._held = np.zeros(len(self._places), dtype=bool)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Rows [queries, k] as FAISS finds them with all lists in memory, -1 where fewer."""
        # More are asked for as "all" is.
        self._ivf.nprobe = probes = min(self._ivf.nprobe, self._ivf.nlist)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        # A query and its transform, the lists' numbers and scores, and their order.
        at_once = max(1, self._together // (8 * queries.shape[1] + 20 * probes))
        for start in range(0, len(queries), at_once):
            some = found[start : start + at_once]
            self._search(queries[start : start + at_once], probes, some)
        return found

    def _search(self, queries: np.ndarray, probes: int, found: np.ndarray) -> None:
        vectors, scores, lists = self._assigned(queries, probes)
        # Neighbours want the same lists.
        order = np.argsort(lists[:, 0], kind="stable")
        for start, stop in self._groups(lists[order]):
            chosen = order[start:stop]
            self._hold(lists[chosen])
            for low, high in _pieces(0, len(chosen), _SEARCHED_AT_ONCE):
                rows = chosen[low:high]
                _, found[rows] = self._ivf.search_preassigned(
                    vectors[rows], found.shape[1], lists[rows], scores[rows]
                )

    def _assigned(
        self, queries: np.ndarray, probes: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The queries as the lists hold vectors, and the scores and numbers of their lists."""
        vectors = np.empty((len(queries), self._ivf.d), dtype=np.float32)
        scores = np.empty((len(queries), probes), dtype=np.float32)
        lists = np.empty((len(queries), probes), dtype=np.int64)
        padded = np.zeros((_ASSIGNED_AT_ONCE, queries.shape[1]), dtype=np.float32)
        for start, stop in _pieces(0, len(queries), _ASSIGNED_AT_ONCE):
            padded[: stop - start] = queries[start:stop]
            moved = transformed(self.index, padded)
            score, number = self._ivf.quantizer.search(moved, probes)
            for target, values in ((vectors, moved), (scores, score), (lists, number)):
                target[start:stop] = values[: stop - start]
        return vectors, scores, lists

    def _groups(self, lists: np.ndarray) -> Iterator[tuple[int, int]]:
        """Runs of queries (from, to) whose lists fit in the memory together."""
        if self._bytes.sum() <= self._memory:
            yield 0, len(lists)
            return
        start, taken, wanted = 0, 0, np.zeros(len(self._places), dtype=bool)
        for number, mine in enumerate(lists):
            mine = mine[mine >= 0]
            new = mine[~wanted[mine]]
            more = int(self._bytes[new].sum())
            if taken + more > self._memory and number > start:
                yield start, number
                start, taken = number, 0
                wanted[:] = False
                new, more = mine, int(self._bytes[mine].sum())
            wanted[new] = True
            taken += more
        yield start, len(lists)

    def _hold(self, lists: np.ndarray) -> None:
        """Read these lists, and let go of those that were held; all of them where they fit."""
        faiss = _faiss()
        wanted = np.zeros(len(self._places), dtype=bool)
        wanted[lists[lists >= 0]] = True
        if not (wanted & ~self._held).any():
            return
        if self._bytes.sum() <= self._memory:
            wanted[:] = True
        layout = _Layout.of(self._ivf)
        if layout.packer is None:
            held = faiss.ArrayInvertedLists(layout.lists, layout.code)
        else:
            held = faiss.BlockInvertedLists(layout.lists, layout.packer)
            layout.packer.this.disown()
        held.this.disown()
        # Those of before go now.
        self._ivf.replace_invlists(held, True)
        self._held = wanted
        with (self._folder / FILE).open("rb", buffering=0) as file:
            for number in np.flatnonzero(wanted & (self._places[:, 3] > 0)).tolist():
                codes_at, rows_at, size, count = self._places[number].tolist()
                file.seek(codes_at)
                codes = np.fromfile(file, np.uint8, size)
                file.seek(rows_at)
                rows = np.fromfile(file, np.int64, count)
                held.add_entries(number, count, faiss.swig_ptr(rows), faiss.swig_ptr(codes))
