"""Reading queries and judgements: what is to be mined, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.errors import InvalidDataError, UsageError
from negmine.inputs import (
    QRELS_SCHEMA,
    Columns,
    Grades,
    Problems,
    Reading,
    Specs,
    grades,
    read_qrels,
    read_queries,
)
from negmine.inputs.asked import Asked, asked
from negmine.inputs.clashes import Clashes
from negmine.inputs.kinds import QUERIES, keeping
from negmine.inputs.specs import shown
from negmine.inputs.trial import NO_POSITIVES
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.sources import judged as judged_source
from negmine.sources.given import Given
from negmine.sources.union import Judgements
from negmine.stages.retrieve.examples import read_set, with_kept
from negmine.stages.set_ids import Corpus
from negmine.table.conservation import conserve
from negmine.table.names import meta_column

_NAMED_LOSSES = 5


@dataclass(frozen=True)
class Task:
    """The queries to mine, in order, and what is judged about them.

    Attributes:
        qids: [n] query ids.
        texts: [n] query texts.
        judgements: all judged pairs, sorted by query.
        counts: what was read and what was left out.
        warnings: the losses in words.
        asked: what the user said about the columns of every input, runs included.
        given: the negatives that a training set brought along.
        kept: columns of the queries that are kept, by name, each [n]; null where there is none.
    """

    qids: pa.Array
    texts: pa.Array
    judgements: Judgements
    counts: dict[str, int]
    warnings: list[str]
    asked: Asked
    given: Given | None = None
    kept: Mapping[str, pa.Array] = field(default_factory=dict)


def read_task(params: RetrieveParams, corpus: Corpus) -> Task:
    """The queries that can be mined, and what is judged about documents of the corpus."""
    problems = Problems(params.on_error)
    inputs = {"queries": params.queries, "qrels": params.qrels, "pairs": params.pairs}
    kinds = [kind for kind, specs in inputs.items() if specs]
    columns = asked(params.column, params.ignore, kinds, named(params.run, "--run"))
    meant = grades.parse(params.grade)
    given: Given | None = None
    told: list[str] = []
    if params.pairs:
        queries, judged, given, counts, told = _read_examples(
            params, columns, problems, corpus, meant
        )
    else:
        queries, counts = _read_queries(params, columns.of("queries"), problems)
        judged, more = _read_qrels(params.qrels, columns.of("qrels"), problems, queries, meant)
        counts |= more
    columns.settle(kinds, last=not params.run)
    for line in meant.lines():
        log.event(line)
    judged = judged.set_column(2, "grade", judged.column("grade").cast(pa.float64()))
    counts["bad_records_skipped"] = problems.count

    judged, positive, lost = _known(judged, corpus, params.min_grade, counts)
    texts = queries.column("text").combine_chunks()
    code = pc.index_in(judged.column("qid"), value_set=queries.column("qid").combine_chunks())
    query = code.to_numpy().astype(np.int64)
    labelled = np.zeros(len(texts), dtype=bool)
    labelled[query[positive]] = True
    has_judgement = np.zeros(len(texts), dtype=bool)
    has_judgement[query] = True
    kept = _mined(texts, labelled, has_judgement, params, counts)

    position = np.full(len(texts), -1, dtype=np.int64)
    position[kept] = np.arange(len(kept))
    mined = np.flatnonzero(position[query] >= 0)
    mined = mined[np.argsort(position[query[mined]], kind="stable")]
    judgements = Judgements(
        query=position[query[mined]].astype(np.int32),
        docid=judged.column("docid").combine_chunks().take(pa.array(mined)),
        grade=judged.column("grade").combine_chunks().take(pa.array(mined)).to_numpy(),
        positive=positive[mined],
    )
    not_relevant = judged_source.not_relevant(judgements, params.negative_grade)
    counts["judged_not_relevant"] = int(not_relevant.sum())
    counts["judged_between_grades"] = int((~judgements.positive & ~not_relevant).sum())
    return Task(
        qids=queries.column("qid").combine_chunks().take(pa.array(kept)),
        texts=texts.take(pa.array(kept)),
        judgements=judgements,
        counts=counts,
        warnings=_losses(counts, lost, params) + told,
        asked=columns,
        given=given,
        kept={
            name: queries.column(meta_column(name)).combine_chunks().take(pa.array(kept))
            for name in params.keep
        },
    )


def _known(
    judged: pa.Table, corpus: Corpus, min_grade: float, counts: dict[str, int]
) -> tuple[pa.Table, np.ndarray, list[dict[str, Any]]]:
    """The judgements of documents that the corpus has, and counts of the others.

    Returns:
        (judgements, True for positives, the first positives that are not in the corpus).
    """
    rows = corpus.rows(judged.column("docid").combine_chunks())
    in_corpus = rows >= 0
    blank = pc.is_in(judged.column("docid"), value_set=corpus.empty()).to_numpy()
    positive = pc.greater_equal(judged.column("grade"), min_grade).to_numpy()
    lost = judged.filter(pa.array(~in_corpus & positive))
    added = rows[positive & (rows >= corpus.added_from)]
    counts["positives_missing_from_corpus"] = lost.num_rows
    counts["positives_added_to_corpus"] = len(np.unique(added))
    counts["positives_empty"] = int((in_corpus & positive & blank).sum())
    # A positive without a text teaches nothing, and would be exported as one.
    in_corpus &= ~(positive & blank)
    examples = lost.slice(0, _NAMED_LOSSES).to_pylist()
    return judged.filter(pa.array(in_corpus)), positive[in_corpus], examples


def _mined(
    texts: pa.Array,
    labelled: np.ndarray,
    judged: np.ndarray,
    params: RetrieveParams,
    counts: dict[str, int],
) -> np.ndarray:
    """Rows of the queries that are mined; the others are counted.

    Raises:
        InvalidDataError: none is.
    """
    empty = np.fromiter((not text.as_py().strip() for text in texts), dtype=bool, count=len(texts))
    keep = ~empty & (labelled | params.keep_unlabelled)
    kept = np.flatnonzero(keep)[: params.limit]
    counts["queries_empty"] = int(empty.sum())
    counts["queries_without_positive"] = int((~empty & ~labelled).sum())
    counts["queries_beyond_limit"] = int(keep.sum()) - len(kept)
    counts["queries"] = len(kept)
    conserve(
        "queries read",
        counts["queries_read"],
        mined=len(kept),
        duplicate=counts["queries_duplicate"],
        empty=counts["queries_empty"],
        dropped_unlabelled=int((~empty & ~keep).sum()),
        beyond_limit=counts["queries_beyond_limit"],
    )
    if len(kept) == 0:
        raise InvalidDataError(
            "no query is left to mine: none has text and a positive in the corpus",
            hint=f"{_found(counts)} {_why_none(counts, int((judged & ~labelled).sum()), params)}",
        )
    return kept


def _found(counts: dict[str, int]) -> str:
    """What was read, in words."""
    told = {
        "empty": counts["queries_empty"],
        "with an id or a text that was there before": counts["queries_duplicate"],
        "without a positive in the corpus": counts["queries_without_positive"],
    }
    lost = ", ".join(f"{count:,} {what}" for what, count in told.items() if count)
    missing = counts["positives_missing_from_corpus"]
    return (
        f"Read were {counts['queries_read']:,} queries ({lost or 'none'}) and "
        f"{counts['judgements_read']:,} judgements"
        + (f"; {missing:,} positives are not in the corpus" if missing else "")
        + (f"; {bad:,} bad records were skipped" if (bad := counts["bad_records_skipped"]) else "")
        + "."
    )


def _why_none(counts: dict[str, int], below: int, params: RetrieveParams) -> str:
    """What to look at where no query is left; ``below``: how many have low grades alone."""
    if params.pairs and counts["positives_missing_from_corpus"]:
        return (
            "Give the same --pairs to negmine index, so that their passages are in the corpus, and "
            "check that their ids are the corpus's."
        )
    if params.pairs and counts.get("given_read") and not counts["judgements_read"]:
        return NO_POSITIVES
    if below:
        return (
            f"{below} queries have judgements of documents of the "
            f"corpus, but none of --min-grade {params.min_grade:g} or above: lower it."
        )
    return "Check that the ids of queries, qrels and corpus agree."


def _read_queries(
    params: RetrieveParams, columns: Columns, problems: Problems
) -> tuple[pa.Table, dict[str, int]]:
    batches = read_queries(params.queries, columns, problems, params.keep)
    table = pa.Table.from_batches(batches, keeping(QUERIES, params.keep).schema)
    clashes = Clashes("queries", params.queries, columns, problems)
    distinct = table.group_by("qid", use_threads=False).aggregate([("text", "count_distinct")])
    if distinct.num_rows < table.num_rows:
        several = pc.greater(distinct.column("text_count_distinct"), 1)
        if pc.any(several).as_py():
            # The first text of an id counts; what differs from it is another query.
            first = table.take(_firsts(table))
            places = pc.index_in(table.column("qid"), value_set=first.column("qid"))
            other = pc.not_equal(table.column("text"), first.column("text").take(places))
            clashes.found(table.column("qid").filter(other).to_pylist())
            clashes.report()
    first = _firsts(table)
    counts = {
        "queries_read": table.num_rows,
        "queries_duplicate": table.num_rows - len(first),
    }
    if not params.keep:
        return table.take(first), counts
    of_rows = table.drop_columns("text")
    queries, differing = with_kept(table.select(["qid", "text"]).take(first), of_rows)
    return queries, counts | {"queries_of_several_kept_values": differing}


def _firsts(table: pa.Table) -> pa.Array:
    """The row in which each query id stands first."""
    qids = table.column("qid").combine_chunks()
    return pc.index_in(qids.unique(), value_set=qids)


def _read_qrels(
    specs: Specs,
    columns: Mapping[str, str],
    problems: Problems,
    queries: pa.Table,
    meant: Grades,
) -> tuple[pa.Table, dict[str, int]]:
    table = pa.Table.from_batches(read_qrels(specs, columns, problems, meant), QRELS_SCHEMA)
    known = pc.is_in(table.column("qid"), value_set=queries.column("qid").combine_chunks())
    counts = {
        "judgements_read": table.num_rows,
        "judgements_of_unknown_queries": table.num_rows - pc.sum(known).as_py()
        if table.num_rows
        else 0,
    }
    merged, more = _distinct_judgements(table.filter(known))
    return merged, counts | more


def _distinct_judgements(table: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Each pair once, with its highest grade."""
    grouped = table.group_by(["qid", "docid"], use_threads=False).aggregate(
        [("grade", "max"), ("grade", "count_distinct")]
    )
    counts = {
        "judgements_duplicate": table.num_rows - grouped.num_rows,
        "judgements_with_two_grades": pc.sum(
            pc.greater(grouped.column("grade_count_distinct"), 1)
        ).as_py()
        or 0,
    }
    columns = ["qid", "docid", "grade_max"]
    return grouped.select(columns).rename_columns(["qid", "docid", "grade"]), counts


def _read_examples(
    params: RetrieveParams, columns: Asked, problems: Problems, corpus: Corpus, meant: Grades
) -> tuple[pa.Table, pa.Table, Given | None, dict[str, int], list[str]]:
    """Queries, judgements and given negatives of a training set."""
    known: pa.Table | None = None
    more: dict[str, int] = {}
    if params.queries:
        known, more = _read_queries(params, columns.of("queries"), problems)
    reading = Reading(params.positive_above, params.positive_first, grades=meant)
    columns_of_pairs = columns.of("pairs")
    found = read_set(params.pairs, columns_of_pairs, problems, corpus, reading, known, params.keep)
    _refuse_unused(params, columns_of_pairs)
    judged, doubled = _distinct_judgements(found.judged)
    negatives = found.given
    if len(empty := corpus.empty()):
        blank = pc.is_in(negatives.column("docid"), value_set=empty)
        blank = pc.and_(blank, negatives.column("negative"))
        if left_out := pc.sum(blank, min_count=0).as_py():
            negatives = negatives.filter(pc.invert(blank))
            found.warnings.append(f"{left_out} given negatives are empty documents and left out")
            found.counts["given_empty"] = left_out
    given = Given(negatives) if negatives.num_rows and params.given else None
    return found.queries, judged, given, found.counts | doubled | more, found.warnings


def _refuse_unused(params: RetrieveParams, columns: Columns) -> None:
    """Refuse options for labelled sets where no set is one."""
    taken = {name for layout in columns.account.layouts for name in layout.taken}
    if params.positive_above is not None and taken.isdisjoint(("label", "score", "candidates")):
        raise UsageError(
            "--positive-above: the pairs have no labels and no scores that tell positives",
            where=shown(params.pairs),
        )
    if params.positive_first and (
        taken.isdisjoint(("document", "docid", "candidates")) or "label" in taken
    ):
        raise UsageError(
            "--positive-first: the pairs have no lists of documents without labels",
            where=shown(params.pairs),
        )


def _losses(
    counts: Mapping[str, int], missing: list[dict[str, Any]], params: RetrieveParams
) -> list[str]:
    """What was left out, in words."""
    told = []
    if counts["queries_empty"]:
        told.append(f"{counts['queries_empty']} queries are empty and left out")
    if counts["queries_without_positive"]:
        action = "kept without positives" if params.keep_unlabelled else "left out"
        told.append(
            f"{counts['queries_without_positive']} queries have no positive in the corpus: {action}"
        )
    if counts["positives_missing_from_corpus"]:
        named = ", ".join(f"{row['docid']!r} (query {row['qid']!r})" for row in missing)
        told.append(
            f"{counts['positives_missing_from_corpus']} positives are not in the corpus, "
            f"e.g. {named}"
        )
    if counts["positives_added_to_corpus"]:
        told.append(
            f"{counts['positives_added_to_corpus']} positives are passages that index added to the "
            "corpus: no document of it has their text, with or without its title"
        )
    if counts["positives_empty"]:
        told.append(f"{counts['positives_empty']} positives are empty documents and left out")
    if counts["judgements_of_unknown_queries"]:
        told.append(
            f"{counts['judgements_of_unknown_queries']} judgements are of queries that are not "
            "among the queries"
        )
    if counts["judgements_with_two_grades"]:
        told.append(
            f"{counts['judgements_with_two_grades']} pairs are judged twice with different "
            "grades: the higher one counts"
        )
    if several := counts.get("queries_of_several_kept_values"):
        told.append(
            f"{several} queries have records of different values in a kept column: the first counts"
        )
    if counts["bad_records_skipped"]:
        told.append(f"{counts['bad_records_skipped']} bad records were skipped")
    return told
