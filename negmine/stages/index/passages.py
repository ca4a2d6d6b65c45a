"""The passages of a training set as documents: those that the corpus does not hold already."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, UsageError
from negmine.inputs import Specs
from negmine.inputs.specs import shown
from negmine.table.documents import full_text, text_contents
from negmine.table.ids import content_ids, pairs_of
from negmine.table.schemas import documents as documents_schema


class Passages:
    """The passages of a training set beside a corpus.

    A passage is a corpus document where its id is one, or else where its text is: both with their
    titles, or one of them without. What is held: an id and digests of each passage.

    Attributes:
        other_text: documents of the corpus whose id a passage has with another text; theirs counts.
    """

    def __init__(self, found: Iterator[pa.RecordBatch]) -> None:
        columns: dict[str, list[pa.Array]] = {name: [] for name in ("docid", "content", "untitled")}
        for batch in found:
            made = documents(batch, ())
            keys = (made.column("docid"), *text_contents(made))
            for parts, key in zip(columns.values(), keys, strict=True):
                parts.append(key)
        table = pa.table({n: pa.chunked_array(parts, pa.string()) for n, parts in columns.items()})
        self._named = table.group_by(list(columns)).aggregate([])
        self._wanted = {name: self._named.column(name).drop_null().unique() for name in columns}
        self._pairs = pairs_of(self._named.column("docid"), self._named.column("content"))
        none = pa.array([], pa.string())
        self._held = dict.fromkeys(columns, none)
        self.other_text = 0

    def seen(self, batch: pa.RecordBatch) -> None:
        """Note which of the passages some documents of the corpus are."""
        full, alone = text_contents(batch)
        docids = batch.column("docid")
        for name, keys in (
            ("docid", docids),
            ("content", pa.concat_arrays([full, alone])),
            ("untitled", full),
        ):
            hits = keys.filter(pc.is_in(keys, value_set=self._wanted[name]))
            self._held[name] = pa.concat_arrays([self._held[name], hits]).unique()
        named = pc.is_in(docids, value_set=self._wanted["docid"])
        if pc.any(named, min_count=0).as_py():
            titled, untitled = (
                pc.is_in(pairs_of(docids, contents), value_set=self._pairs)
                for contents in (full, alone)
            )
            differ = pc.and_(named, pc.invert(pc.or_(titled, untitled)))
            self.other_text += int(pc.sum(differ, min_count=0).as_py())

    def missing(self) -> tuple[int, int, str]:
        """(passages that no document seen is, of how many, the id of one of them or nothing)."""
        known = self._known({name: self._named.column(name) for name in self._held})
        ids = self._named.filter(pc.invert(known)).column("docid").unique().sort()
        return len(ids), len(self._wanted["docid"]), ids[0].as_py() if len(ids) else ""

    def others(self, batch: pa.RecordBatch, kept: Sequence[str]) -> pa.RecordBatch:
        """Those of some rows that the corpus does not hold, as documents, each once."""
        made = documents(batch, kept)
        full, alone = text_contents(made)
        known = {"docid": made.column("docid"), "content": full, "untitled": alone}
        return made.filter(pc.invert(self._known(known)))

    def _known(self, keys: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Array:
        """Whether a document seen has one of the keys."""
        masks = [pc.is_in(column, value_set=self._held[name]) for name, column in keys.items()]
        return functools.reduce(pc.or_, masks)


def documents(batch: pa.RecordBatch, kept: Sequence[str]) -> pa.RecordBatch:
    """The passages of some rows as documents, each once; without an id their content tells one.

    Args:
        batch: rows of ``EXAMPLES_SCHEMA``.
        kept: the columns that the documents have besides id, title and text; all null here.
    """
    if batch.column("text").null_count:
        batch = batch.filter(pc.is_valid(batch.column("text")))
    docids = batch.column("docid")
    texts = full_text(batch)
    if docids.null_count:
        docids = pc.coalesce(docids, content_ids(texts))
    nothing = [pa.nulls(batch.num_rows, pa.string())] * len(kept)
    made = pa.RecordBatch.from_arrays(
        [docids, batch.column("title"), batch.column("text"), *nothing],
        names=documents_schema(kept).names,
    )
    # A passage that several queries have is no repeated id; one id with two texts is.
    key = pairs_of(docids, texts)
    return made.take(pc.index_in(key.unique(), value_set=key))


def refuse_ids(specs: Specs) -> UsageError:
    """What to raise where a set holds ids and there is no corpus to look them up in."""
    return UsageError(
        "the pairs hold ids and no texts",
        where=shown(specs),
        hint="Give --corpus FILE with the documents' ids and texts (and retrieve --queries FILE).",
    )


def nothing_read(specs: Specs) -> InvalidDataError:
    """What to raise where a set has no record."""
    return InvalidDataError(
        "no record to read",
        where=shown(specs),
        hint="The file is empty, has a header line alone, or all its records were skipped.",
    )
