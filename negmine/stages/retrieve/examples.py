"""Queries, judgements and given negatives out of a training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError
from negmine.inputs import Problems, Reading, Specs, read_examples
from negmine.inputs.specs import shown
from negmine.stages.set_ids import Corpus, contents_of, document_ids, query_ids
from negmine.table.ids import pairs_of
from negmine.table.names import meta_column


@dataclass(frozen=True)
class ExampleSet:
    """A training set, its passages told by the corpus's ids.

    Attributes:
        queries: ``qid``, ``text`` and a ``meta_`` column for each that is kept; each query once.
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
    keep: Sequence[str] = (),
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
        known: the queries, where the set holds their ids.
        keep: columns of the set that are its queries' where ``known`` is not there.

    Raises:
        UsageError: the set holds ids and ``known`` is not there, or the other way round.
        InvalidDataError: a query id with two texts.
    """
    texts: dict[str, str] = {}
    parts = []
    kept: list[pa.Table] = []
    keep = keep if known is None else ()
    for batch in read_examples(specs, columns, problems, reading, keep):
        told = batch.column("query").null_count == 0
        if told == (known is not None):
            _refuse(shown(specs), ids=not told)
        qid = query_ids(batch, texts, shown(specs))
        parts.append(_keys(batch, qid))
        if keep:
            values = [batch.column(meta_column(name)) for name in keep]
            both = pa.table([qid, *values], ["qid", *map(meta_column, keep)])
            kept.append(both.group_by(both.column_names, use_threads=False).aggregate([]))
    rows = pa.concat_tables(parts) if parts else _keys_schema().empty_table()
    if known is None:
        queries = pa.table(
            {
                "qid": pa.array(list(texts), pa.string()),
                "text": pa.array(list(texts.values()), pa.string()),
            }
        )
        queries, differing = with_kept(queries, pa.concat_tables(kept)) if kept else (queries, 0)
    else:
        queries = known
        rows, unknown = _of_known(rows, known)
    rows = rows.filter(pc.is_valid(pc.coalesce(rows.column("docid"), rows.column("content"))))
    documents, several = document_ids(rows, corpus)
    rows = rows.append_column("document", documents)
    judged = rows.filter(pc.is_valid(rows.column("grade")))
    judged = judged.select(["qid", "document", "grade"]).rename_columns(["qid", "docid", "grade"])
    given, counts = _given(rows, corpus)
    counts = {
        "queries_read": queries.num_rows,
        "queries_duplicate": 0,
        "judgements_read": judged.num_rows + (0 if known is None else unknown),
        "judgements_of_unknown_queries": 0 if known is None else unknown,
        "passages_of_several_documents": several,
        **({"queries_of_several_kept_values": differing} if keep and kept else {}),
        **counts,
    }
    return ExampleSet(queries, judged, given, counts, _words(counts))


def with_kept(queries: pa.Table, rows: pa.Table) -> tuple[pa.Table, int]:
    """The queries with their kept columns, each the first value that one of its records has.

    Args:
        queries: ``qid`` and what else is known, each query once.
        rows: ``qid`` and the ``meta_`` columns of records, in their order.

    Returns:
        (the queries, how many of them have records of several values in one column).
    """
    names = [name for name in rows.column_names if name != "qid"]
    wanted = [(name, how) for name in names for how in ("first", "count_distinct")]
    found = rows.group_by("qid", use_threads=False).aggregate(wanted)
    place = pc.index_in(queries.column("qid"), value_set=found.column("qid").combine_chunks())
    several = np.zeros(found.num_rows, dtype=bool)
    for name in names:
        queries = queries.append_column(name, found.column(f"{name}_first").take(place))
        several |= found.column(f"{name}_count_distinct").to_numpy() > 1
    return queries, int(several.sum())


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
            *(pa.field(name, pa.string()) for name in ("qid", "docid", "content", "untitled")),
            *(pa.field(name, pa.int32()) for name in ("grade", "given")),
            pa.field("score", pa.float32()),
        ]
    )


def _keys(batch: pa.RecordBatch, qid: pa.Array) -> pa.Table:
    """The rows by ids and contents, without texts."""
    columns = [qid, batch.column("docid"), *contents_of(batch)]
    columns += [batch.column(name) for name in ("grade", "given", "score")]
    return pa.table(columns, _keys_schema())


def _of_known(rows: pa.Table, known: pa.Table) -> tuple[pa.Table, int]:
    """The rows of known queries, and how many are of others."""
    mask = pc.is_in(rows.column("qid"), value_set=known.column("qid").combine_chunks())
    kept = rows.filter(mask)
    return kept, rows.num_rows - kept.num_rows


def _given(rows: pa.Table, corpus: Corpus) -> tuple[pa.Table, dict[str, int]]:
    """The given negatives, each pair once and in its order, with the positives' scores."""
    negative = pc.is_valid(rows.column("given"))
    scored = pc.and_(pc.invert(negative), pc.is_valid(rows.column("score")))
    named = rows.select(["qid", "document", "score"]).rename_columns(["qid", "docid", "score"])
    negatives = named.filter(negative)
    if not negatives.num_rows:
        nothing = ("given_read", "given", "given_missing_from_corpus", "given_also_positive")
        empty = negatives.append_column("negative", pa.array([], pa.bool_()))
        return empty, dict.fromkeys(nothing, 0)
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
    pairs = pairs_of(positive.column("qid"), positive.column("document"))
    both = pc.is_in(pairs_of(found.column("qid"), found.column("docid")), value_set=pairs)
    return int(pc.sum(both, min_count=0).as_py())


def _first(table: pa.Table) -> pa.Table:
    """Each pair where it first appears, in the table's order."""
    numbered = table.append_column("row", pa.array(np.arange(table.num_rows)))
    first = numbered.group_by(["qid", "docid"]).aggregate([("row", "min")])
    return table.take(pa.array(np.sort(first.column("row_min").to_numpy())))


def _words(counts: Mapping[str, int]) -> list[str]:
    told = []
    if counts["passages_of_several_documents"]:
        told.append(
            f"{counts['passages_of_several_documents']} passages are the text of several documents "
            "with different titles: the first of them by id is taken"
        )
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
