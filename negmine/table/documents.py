"""The corpus on disk: written once by ``index``, read in parts by everything after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError
from negmine.table import draws
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.ids import content_ids
from negmine.table.names import meta_column
from negmine.table.schemas import DOCUMENTS
from negmine.table.schemas import documents as documents_schema

#: A part is closed at this many documents or bytes of text, whichever comes first. It is the unit
#: of encoding and of resuming, and the most text that a stage holds at a time.
PART_DOCUMENTS = 16_384
PART_BYTES = 64 << 20
#: The count of passages of pairs that no document of the corpus was: they come after all others.
ADDED = "passages_added"


def full_text(documents: pa.Table | pa.RecordBatch) -> pa.Array:
    """What models and Lucene read of each document: title and text with a space between.

    The BEIR convention. Documents without a title are their text.
    """
    title, text = documents.column("title"), documents.column("text")
    if not pc.any(pc.not_equal(title, ""), min_count=0).as_py():
        return text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    joined = pc.utf8_trim_whitespace(pc.binary_join_element_wise(title, text, " "))
    chosen = pc.if_else(pc.equal(title, ""), text, joined)
    return chosen.combine_chunks() if isinstance(chosen, pa.ChunkedArray) else chosen


def joined(title: str, text: str) -> str:
    """What :func:`full_text` makes of one document."""
    return f"{title} {text}".strip() if title else text


def text_contents(documents: pa.Table | pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Content ids of full texts, and of texts without their titles; null where that is no other."""
    title, text = documents.column("title"), documents.column("text")
    both = pc.and_(pc.not_equal(title, ""), pc.not_equal(text, ""))
    both = both.combine_chunks() if isinstance(both, pa.ChunkedArray) else both
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    place = np.cumsum(both.to_numpy(zero_copy_only=False)) - 1
    untitled = ~both.to_numpy(zero_copy_only=False)
    alone = content_ids(text.filter(both)).take(pa.array(place, mask=untitled))
    return content_ids(full_text(documents)), alone


class SeenIds:
    """Finds repeated ids in a stream with 16 bytes per distinct id.

    Only hashes are kept, in sorted runs that are merged as they grow (n log n in all).
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, ids: list[str], contents: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Record ids with their contents.

        Returns:
            Two masks over ``ids``: seen before with the same content; seen before with another.
        """
        keys = _hashes(ids)
        values = _hashes(contents)
        order = np.argsort(keys, kind="stable")
        keys_sorted, values_sorted = keys[order], values[order]
        first = np.searchsorted(keys_sorted, keys_sorted, side="left")
        known = first != np.arange(len(keys_sorted))
        reference = values_sorted[first]
        for run_keys, run_values in self._runs:
            at = np.minimum(np.searchsorted(run_keys, keys_sorted), len(run_keys) - 1)
            hit = run_keys[at] == keys_sorted
            reference = np.where(hit, run_values[at], reference)
            known |= hit
        self._push(keys_sorted[~known], values_sorted[~known])
        same = known & (values_sorted == reference)
        other = known & ~same
        result_same, result_other = np.empty_like(same), np.empty_like(other)
        result_same[order], result_other[order] = same, other
        return result_same, result_other

    def _push(self, keys: np.ndarray, values: np.ndarray) -> None:
        if len(keys) == 0:
            return
        self._runs.append((keys, values))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            last, previous = self._runs.pop(), self._runs.pop()
            merged = np.concatenate([previous[0], last[0]])
            order = np.argsort(merged, kind="stable")
            self._runs.append((merged[order], np.concatenate([previous[1], last[1]])[order]))


def _hashes(strings: list[str]) -> np.ndarray:
    # Python's own string hash: 64 bits, and only compared within this process.
    return np.fromiter(map(hash, strings), dtype=np.int64, count=len(strings))


def write_documents(
    batches: Iterable[pa.RecordBatch],
    writer: Writer,
    limit: int | None = None,
    kept: Sequence[str] = (),
    clash: Callable[[list[str]], None] | None = None,
) -> dict[str, int]:
    """Store a stream of documents in parts, repeated ids once.

    Args:
        batches: record batches of :func:`negmine.table.schemas.documents`, each at most a few
            thousand rows.
        writer: where the parts go; parts that an interrupted run finished are kept.
        limit: stop after this many documents.
        kept: the columns that the documents have besides id, title and text.
        clash: told the ids of documents that an earlier one has with another text; these are left
            out unless it raises. Without it they are an error.

    Returns:
        Counts: documents, duplicate_ids (same id, same text: kept once), clashing_ids (same id,
        another text: left out; only where there are some), empty_documents, text_bytes (UTF-8 bytes
        of all full texts).

    Raises:
        InvalidDataError: one id with two texts, or no document at all.
    """
    seen = SeenIds()
    counts = {"documents": 0, "duplicate_ids": 0, "empty_documents": 0, "text_bytes": 0}
    pending: list[pa.RecordBatch] = []
    rows = size = parts = 0

    def flush() -> None:
        nonlocal rows, size, parts
        if rows:
            name = f"part-{parts:05d}.parquet"
            if not writer.has(name):
                writer.add_table(name, pa.Table.from_batches(pending), documents_schema(kept))
            parts += 1
        pending.clear()
        rows = size = 0

    for batch in batches:
        texts = full_text(batch)
        same, other = seen.add(batch.column("docid").to_pylist(), texts.to_pylist())
        if other.any():
            (clash or _refuse)(batch.column("docid").filter(pa.array(other)).to_pylist())
            counts["clashing_ids"] = counts.get("clashing_ids", 0) + int(other.sum())
        counts["duplicate_ids"] += int(same.sum())
        repeated = same | other
        if repeated.any():
            batch = batch.filter(pa.array(~repeated))
        if limit is not None:
            batch = batch.slice(0, limit - counts["documents"])
        if batch.num_rows == 0:
            continue
        counts["documents"] += batch.num_rows
        texts = full_text(batch)
        counts["text_bytes"] += pc.sum(pc.binary_length(texts)).as_py()
        counts["empty_documents"] += pc.sum(pc.equal(pc.utf8_trim_whitespace(texts), "")).as_py()
        pending.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= PART_DOCUMENTS or size >= PART_BYTES:
            flush()
        if limit is not None and counts["documents"] >= limit:
            break
    flush()
    if counts["documents"] == 0:
        raise InvalidDataError("the corpus is empty", hint="Give a corpus with documents in it.")
    return counts


def _refuse(docids: list[str]) -> None:
    raise InvalidDataError(
        f"document id {docids[0]!r} appears twice with different texts",
        where="corpus",
        hint="Ids must be unique: rename one, or drop one of the two documents.",
    )


@dataclass(frozen=True)
class ByContent:
    """Documents found by their texts.

    Attributes:
        docids: of each content, null where no document has it.
        several: contents that are the text of several documents, of different titles.
    """

    docids: pa.Array
    several: int = 0


class Documents:
    """The documents of an index, read part by part; rows are numbered through the parts.

    Args:
        artifact: the corpus.
        written: documents that no corpus holds, beside it: their rows come after all of its own.
    """

    def __init__(self, artifact: Artifact, *written: Artifact) -> None:
        self.artifact = artifact
        self._artifacts = (artifact, *written)
        parts = [(one, name) for one in self._artifacts for name in one.parts]
        self._parts = parts
        self.names = artifact.parts
        sizes = [one.rows(name) for one, name in parts]
        self.offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What tells them from other documents."""
        return tuple(one.fingerprint for one in self._artifacts)

    @property
    def written_from(self) -> int:
        """Row number from which documents are no corpus's: nothing beside an index has them."""
        return int(self.offsets[len(self.names)])

    @property
    def added_from(self) -> int:
        """Row number from which documents are passages of pairs that the corpus did not hold."""
        return self.written_from - int(self.artifact.counts.get(ADDED, 0))

    def fitting(self, size: int) -> int:
        """How many documents' texts are about ``size`` bytes; at least one."""
        mean = self.artifact.counts.get("text_bytes", 0) / max(1, len(self))
        return max(1, int(size / max(1.0, mean)))

    def hashed(self, seed: int) -> np.ndarray:
        """A hash of each document's id, uint64 [documents]."""
        found = np.empty(len(self), dtype=np.uint64)
        for first, part in self.parts(["docid"]):
            ids = part.column("docid").combine_chunks()
            found[first : first + len(ids)] = draws.digests(ids, seed)
        return found

    def parts(self, columns: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """(first row, part) in order."""
        for number, first in enumerate(self.offsets[:-1]):
            yield int(first), self._read(number, columns)

    def _read(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """A part; a column that was kept of other documents alone is null."""
        holder, name = self._parts[number]
        if columns is None or len(self._artifacts) == 1:
            return holder.read(name, columns)
        there = holder.schema().names
        part = holder.read(name, [column for column in columns if column in there])
        nothing = pa.nulls(holder.rows(name), pa.string())
        found = [part.column(one) if one in there else nothing for one in columns]
        return pa.table(found, names=columns)

    def empty(self) -> pa.Array:
        """Ids of the documents that have no text; nothing is read where there are none."""
        if not any(one.counts.get("empty_documents") for one in self._artifacts):
            return pa.array([], pa.string())
        found = []
        for _, part in self.parts(["docid", "title", "text"]):
            nothing = pc.equal(pc.utf8_trim_whitespace(full_text(part)), "")
            found.append(part.column("docid").filter(nothing).combine_chunks())
        return pa.concat_arrays(found)

    @property
    def kept(self) -> list[str]:
        """Columns of the user's corpus that were kept, and those of what stands beside it."""
        prefix = meta_column("")
        names = dict.fromkeys(name for one in self._artifacts for name in one.schema().names)
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def ids(self, rows: np.ndarray) -> pa.Array:
        """Docids of row numbers, in the order asked for."""
        return self._column("docid", rows)

    def values(self, kept: str, docids: pa.Array) -> pa.Array:
        """A kept column's values for docids, in that order; null where there is none.

        Raises:
            InvalidDataError: a docid is not in the corpus.
        """
        return self._column(meta_column(kept), self.known_rows(docids))

    def values_at(self, kept: str, rows: np.ndarray) -> pa.Array:
        """A kept column's values for row numbers, in that order; null where there is none."""
        return self._column(meta_column(kept), rows)

    def _column(self, name: str, rows: np.ndarray) -> pa.Array:
        distinct, inverse = np.unique(rows, return_inverse=True)
        found = []
        for first, part in self.parts([name]):
            low, high = np.searchsorted(distinct, [first, first + part.num_rows])
            if high > low:
                found.append(part.column(name).take(pa.array(distinct[low:high] - first)))
        if not found:
            return pa.array([], pa.string())
        return (
            pa.chunked_array([c for f in found for c in f.chunks])
            .combine_chunks()
            .take(pa.array(inverse))
        )

    def rows(self, docids: pa.Array) -> np.ndarray:
        """Row number of each docid, -1 where the corpus has no such document."""
        distinct = docids.unique()
        found = np.full(len(distinct), -1, dtype=np.int64)
        for number, at in self._places(distinct):
            local = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
            found[at.drop_null().to_numpy()] = self.offsets[number] + local
        if len(distinct) == 0:
            return np.empty(0, dtype=np.int64)
        return found[pc.index_in(docids, value_set=distinct).to_numpy()]

    def _places(self, docids: pa.Array) -> Iterator[tuple[int, pa.Array]]:
        """(number of a part, place of each of its ids among ``docids``, null = not among them)."""
        # Arrow hashes ``docids`` anew for every call: so many ids are looked up in one that this
        # weighs no more than the looking up.
        at_once = max(PART_DOCUMENTS, len(docids))
        ids: list[pa.ChunkedArray] = []
        for number in range(len(self._parts)):
            ids.append(self._read(number, ["docid"]).column("docid"))
            if sum(map(len, ids)) < at_once and number + 1 < len(self._parts):
                continue
            at = pc.index_in(pa.concat_arrays([c.combine_chunks() for c in ids]), value_set=docids)
            start = 0
            for place, column in enumerate(ids, number + 1 - len(ids)):
                yield place, at.slice(start, len(column))
                start += len(column)
            ids = []

    def some(self, rows: np.ndarray | None, columns: list[str]) -> Iterator[pa.Table]:
        """Documents in the order of the corpus, those of a part at a time.

        Parts without any of them are not read.

        Args:
            rows: their row numbers, each once, in any order; None stands for all.
            columns: which columns.
        """
        wanted = np.arange(0) if rows is None else np.sort(rows)
        for number in range(len(self._parts)):
            first, end = self.offsets[number], self.offsets[number + 1]
            if rows is None:
                yield self._read(number, columns)
                continue
            low, high = np.searchsorted(wanted, [first, end])
            if high > low:
                yield self._read(number, columns).take(pa.array(wanted[low:high] - first))

    def known_rows(self, docids: pa.Array) -> np.ndarray:
        """Row number of each docid.

        Raises:
            InvalidDataError: a docid is not in the corpus.
        """
        rows = self.rows(docids)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            raise InvalidDataError(
                f"document {docids[int(missing[0])].as_py()!r} is not in the corpus",
                where=str(self.artifact.path),
            )
        return rows

    def texts(self, docids: pa.Array) -> pa.Array:
        """Full text of each of the distinct ``docids``, in that order.

        One pass over the corpus; parts without a wanted document are read for their ids only.

        Raises:
            InvalidDataError: a docid is not in the corpus.
        """
        return self._gathered(docids, lambda part: (full_text(part),))[0]

    def texts_by_id(self, docids: Iterable[str], most: int | None = None) -> dict[str, str]:
        """Full text by docid, likewise, or its first ``most`` letters; for people to read."""
        wanted = pa.array(sorted(set(docids)), pa.string())
        if not len(wanted):
            return {}

        def text(part: pa.Table) -> tuple[pa.Array | pa.ChunkedArray]:
            full = full_text(part)
            return (full if most is None else pc.utf8_slice_codeunits(full, 0, most),)

        found = self._gathered(wanted, text)[0]
        return dict(zip(wanted.to_pylist(), found.to_pylist(), strict=True))

    def titled(self, docids: pa.Array) -> tuple[pa.Array, pa.Array]:
        """(full text, title) of each of the distinct ``docids``, likewise."""
        text, title = self._gathered(docids, lambda part: (full_text(part), part.column("title")))
        return text, title

    def passages(self, docids: pa.Array) -> tuple[pa.Array, pa.Array]:
        """(title, text) of each of the distinct ``docids``, likewise."""
        columns = ("title", "text")
        title, text = self._gathered(docids, lambda part: [part.column(one) for one in columns])
        return title, text

    def _gathered(
        self, docids: pa.Array, columns: Callable[[pa.Table], Sequence[pa.Array | pa.ChunkedArray]]
    ) -> list[pa.Array]:
        positions: list[np.ndarray] = []
        chunks: list[pa.Table] = []
        for number, at in self._places(docids):
            mask = at.is_valid()
            if not pc.any(mask).as_py():
                continue
            part = self._read(number).filter(mask)
            # 64-bit offsets: the wanted texts of a large part can exceed 2 GiB.
            wide = [column.cast(pa.large_string()) for column in columns(part)]
            chunks.append(pa.table(wide, [str(place) for place in range(len(wide))]))
            positions.append(at.drop_null().to_numpy())
        where = np.concatenate(positions) if positions else np.empty(0, dtype=np.int64)
        order = np.full(len(docids), -1, dtype=np.int64)
        order[where] = np.arange(len(where))
        if (order < 0).any():
            docid = docids[int(np.flatnonzero(order < 0)[0])].as_py()
            raise InvalidDataError(
                f"document {docid!r} is not in the corpus", where=str(self.artifact.path)
            )
        if not chunks:
            empty = pa.table({"docid": [], "title": [], "text": []}, schema=DOCUMENTS)
            return [pa.array([], pa.large_string()) for _ in columns(empty)]
        taken = pa.concat_tables(chunks).combine_chunks().take(pa.array(order))
        return [column.combine_chunks() for column in taken.columns]

    def find_contents(self, contents: pa.Array, *, untitled: bool = True) -> ByContent:
        """The document that each of some distinct content ids is of, if there is one.

        Of its full text, or else of its text without the title: whoever made pairs of a corpus may
        have left the titles out. Where several documents share it the smallest docid is given.

        Args:
            contents: content ids.
            untitled: whether texts without their titles count.
        """
        best: dict[str, tuple[int, str, str]] = {}
        several: set[str] = set()
        for _, part in self.parts():
            keys = text_contents(part)
            for alone, ids in enumerate(keys[: 1 + untitled]):
                mask = pc.is_in(ids, value_set=contents)
                columns = (ids, part.column("docid"), keys[0])
                for content, docid, full in zip(
                    *(column.filter(mask).to_pylist() for column in columns), strict=True
                ):
                    before = best.get(content, (2, "", ""))
                    if alone and before[0] == alone and before[2] != full:
                        several.add(content)
                    best[content] = min(before, (alone, docid, full))
        found = [best.get(content, (2, None))[1] for content in contents.to_pylist()]
        doubtful = sum(best[content][0] == 1 for content in several)
        return ByContent(pa.array(found, pa.string()), doubtful)
