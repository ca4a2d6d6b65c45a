"""Queries, judgements and given negatives out of a training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, UsageError
from negmine.table.documents import full_text
from negmine.table.ids import content_ids
from negmine.table.readers import Problems, Reading, Specs, read_examples
from negmine.table.readers.specs import shown


class Corpus(Protocol):
    """What is asked of the documents while judgements are read."""

    @property
    def added_from(self) -> int:
        """Row number from which documents are passages that ``index`` added to the corpus."""

    def rows(self, docids: pa.Array) -> np.ndarray:
        """Row number of each docid, -1 where there is no such document."""

    def find_contents(self, contents: pa.Array) -> pa.Array:
        """Docid of a document with each content id, or null."""


@dataclass(frozen=True)
class ExampleSet:
    """A training set, its passages told by the corpus's ids.

    Attributes:
        queries: ``qid`` and ``text``, each query once.
        judged: ``qid``, ``docid`` and ``grade``, as they were read: a pair may repeat.
        given: ``qid``, ``docid``, ``score`` and ``negative`` (see :class:`~negmine.sources.given.
            Given`); no row where no negative is given.
        counts: what was read and what was left out.
        warnings: the losses in words.
    """

    queries: pa.Table
    judged: pa.Table
    given: pa.Table
    counts: dict[str, int]
    warnings: list[str]


def read_set(
    specs: Specs,
    columns: Mapping[str, str],
    problems: Problems,
    corpus: Corpus,
    reading: Reading,
    known: pa.Table | None = None,
) -> ExampleSet:
    """Read a training set.

    Equal query texts without ids are one query. Ids that the set does not tell are content hashes;
    a passage whose id or text a corpus document has is that document.

    Args:
        specs: the training set.
        columns: target to source column.
        problems: told of every bad record.
        corpus: the documents.
        reading: how what its layout leaves open is read.
        known: ``qid`` and ``text`` of the queries, where the set holds their ids.

    Raises:
        UsageError: the set holds ids and ``known`` is not there, or the other way round.
        InvalidDataError: a query id with two texts.
    """
    texts: dict[str, str] = {}
    parts = []
    for batch in read_examples(specs, columns, problems, reading):
        told = batch.column("query").null_count == 0
        if told == (known is not None):
            _refuse(shown(specs), ids=not told)
        qid = _filled(batch.column("qid"), batch.column("query"))
        if known is None:
            _remember(texts, qid, batch.column("query"), shown(specs))
        parts.append(_keys(batch, qid))
    rows = pa.concat_tables(parts) if parts else _keys_schema().empty_table()
    if known is None:
        queries = pa.table(
            {
                "qid": pa.array(list(texts), pa.string()),
                "text": pa.array(list(texts.values()), pa.string()),
            }
        )
    else:
        queries = known
        rows, unknown = _of_known(rows, known)
    rows = rows.filter(pc.is_valid(pc.coalesce(rows.column("docid"), rows.column("content"))))
    rows = rows.append_column("document", _documents(rows, corpus))
    judged = rows.filter(pc.is_valid(rows.column("grade")))
    judged = judged.select(["qid", "document", "grade"]).rename_columns(["qid", "docid", "grade"])
    given, counts = _given(rows, corpus)
    counts = {
        "queries_read": queries.num_rows,
        "queries_duplicate": 0,
        "judgements_read": judged.num_rows + (0 if known is None else unknown),
        "judgements_of_unknown_queries": 0 if known is None else unknown,
        **counts,
    }
    return ExampleSet(queries, judged, given, counts, _words(counts))


def _refuse(path: str, *, ids: bool) -> None:
    if ids:
        raise UsageError(
            "the pairs hold ids and no texts",
            where=path,
            hint="Give --queries FILE with the queries' ids and texts; index --corpus FILE has the "
            "documents'.",
        )
    raise UsageError(
        "--pairs brings the queries' texts along, so --queries has no use",
        where=path,
        hint="Leave --queries out, or give --queries and --qrels without --pairs.",
    )


def _keys_schema() -> pa.Schema:
    return pa.schema(
        [
            *(pa.field(name, pa.string()) for name in ("qid", "docid", "content")),
            *(pa.field(name, pa.int32()) for name in ("grade", "given")),
            pa.field("score", pa.float32()),
        ]
    )


def _keys(batch: pa.RecordBatch, qid: pa.Array) -> pa.Table:
    """The rows by ids and contents, without texts."""
    columns = [qid, batch.column("docid"), _contents(batch)]
    columns += [batch.column(name) for name in ("grade", "given", "score")]
    return pa.table(columns, _keys_schema())


def _contents(batch: pa.RecordBatch) -> pa.Array:
    """The content id of each passage, null where the set holds its id alone."""
    if batch.column("text").null_count == 0:
        return content_ids(full_text(batch))
    there = pc.is_valid(batch.column("text"))
    made = content_ids(full_text(batch.filter(there)))
    places = np.cumsum(there.to_numpy(zero_copy_only=False)) - 1
    return made.take(pa.array(places, mask=~there.to_numpy(zero_copy_only=False)))


def _filled(ids: pa.Array, texts: pa.Array) -> pa.Array:
    """The ids, and those of the texts where there is none."""
    if ids.null_count == 0:
        return ids
    distinct = texts.drop_null().unique()
    made = content_ids(distinct).take(pc.index_in(texts, value_set=distinct))
    return pc.coalesce(ids, made)


def _remember(texts: dict[str, str], qids: pa.Array, queries: pa.Array, path: str) -> None:
    """Note the text of every query.

    Raises:
        InvalidDataError: one id with two texts.
    """
    table = pa.table({"qid": qids, "text": queries}).group_by(["qid", "text"], use_threads=False)
    distinct = table.aggregate([])
    for qid, text in zip(
        distinct.column("qid").to_pylist(), distinct.column("text").to_pylist(), strict=True
    ):
        if texts.setdefault(qid, text) != text:
            raise InvalidDataError(
                f"query id {qid!r} appears twice with different texts",
                where=path,
                hint="Query ids must be unique.",
            )


def _of_known(rows: pa.Table, known: pa.Table) -> tuple[pa.Table, int]:
    """The rows of known queries, and how many are of others."""
    mask = pc.is_in(rows.column("qid"), value_set=known.column("qid").combine_chunks())
    kept = rows.filter(mask)
    return kept, rows.num_rows - kept.num_rows


def _documents(rows: pa.Table, corpus: Corpus) -> pa.Array:
    """The corpus's id of each passage: its own, else that of its text; else what it would be."""
    own = rows.column("docid").combine_chunks()
    contents = rows.column("content").combine_chunks()
    if own.null_count < len(own):
        distinct = own.drop_null().unique()
        there = distinct.filter(pa.array(corpus.rows(distinct) >= 0))
        held = pc.is_in(own, value_set=there)
        own = pc.if_else(pc.or_(held, pc.is_null(contents)), own, None)
        told = pc.coalesce(rows.column("docid").combine_chunks(), contents)
    else:
        told = contents
    open_ = pc.is_null(own)
    distinct = contents.filter(open_).drop_null().unique()
    found = documents_of(distinct, corpus)
    by_text = found.take(pc.index_in(contents, value_set=distinct)) if len(distinct) else contents
    return pc.coalesce(own, by_text, told)


def documents_of(contents: pa.Array, corpus: Corpus) -> pa.Array:
    """Id of the corpus document with each of the distinct contents, null where there is none."""
    unknown = pa.array(corpus.rows(contents) < 0)
    if not pc.any(unknown, min_count=0).as_py():
        return contents
    missing = contents.filter(unknown)
    elsewhere = corpus.find_contents(missing)
    places = pc.index_in(contents, value_set=missing)
    return pc.if_else(unknown, elsewhere.take(places), contents)


def _given(rows: pa.Table, corpus: Corpus) -> tuple[pa.Table, dict[str, int]]:
    """The given negatives, each pair once and in its order, with the positives' scores."""
    negative = pc.is_valid(rows.column("given"))
    scored = pc.and_(pc.invert(negative), pc.is_valid(rows.column("score")))
    named = rows.select(["qid", "document", "score"]).rename_columns(["qid", "docid", "score"])
    negatives = named.filter(negative)
    there = pa.array(corpus.rows(negatives.column("docid").combine_chunks()) >= 0)
    missing = negatives.num_rows - int(pc.sum(there).as_py() or 0)
    found = _first(negatives.filter(there))
    found = found.append_column("negative", pa.array(np.ones(found.num_rows, dtype=bool)))
    positives = _first(named.filter(scored))
    positives = positives.append_column(
        "negative", pa.array(np.zeros(positives.num_rows, dtype=bool))
    )
    both = pa.concat_tables([found, positives])
    unique = _first(both)
    counts = {
        "given_read": negatives.num_rows,
        "given": found.num_rows,
        "given_missing_from_corpus": missing,
        "given_also_positive": _shared(found, rows),
    }
    return (unique if found.num_rows else unique.slice(0, 0)), counts


def _shared(found: pa.Table, rows: pa.Table) -> int:
    """How many of the pairs are positives, too."""
    positive = rows.filter(pc.greater(pc.fill_null(rows.column("grade"), 0), 0))
    pairs = positive.select(["qid", "document"]).rename_columns(["qid", "docid"])
    distinct = pairs.group_by(["qid", "docid"]).aggregate([])
    return found.join(distinct, ["qid", "docid"], join_type="left semi").num_rows


def _first(table: pa.Table) -> pa.Table:
    """Each pair where it first appears, in the table's order."""
    numbered = table.append_column("row", pa.array(np.arange(table.num_rows)))
    first = numbered.group_by(["qid", "docid"]).aggregate([("row", "min")])
    return table.take(pa.array(np.sort(first.column("row_min").to_numpy())))


def _words(counts: Mapping[str, int]) -> list[str]:
    told = []
    if counts["given_missing_from_corpus"]:
        told.append(
            f"{counts['given_missing_from_corpus']} given negatives are not in the corpus: left "
            "out (index with the same --pairs puts them in)"
        )
    if counts["given_also_positive"]:
        told.append(
            f"{counts['given_also_positive']} given negatives are positives of the same query: "
            "they count as positives"
        )
    return told
