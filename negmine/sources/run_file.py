"""Candidates that another engine found: a TREC run, or a table of qid, docid, score and rank."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.inputs import RUN_SCHEMA, Columns, Problems, read_run
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import named
from negmine.sources import run_order
from negmine.sources.base import Asked, Hits, Source
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.sources.listed import Listed
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents
from negmine.table.ranking import group_starts, string_codes


class RunFile:
    """A run as a source; it knows queries by their *ids*.

    Its order is what :mod:`negmine.sources.run_order` says; ranks are counted anew among the rows
    that are kept. A pair that the run does not hold has no score, nor has any where the run tells
    none.

    Attributes:
        counts: what was read and what was left out.
        warnings: the losses in words.
    """

    def __init__(self, listed: Listed, counts: dict[str, int], warnings: list[str]) -> None:
        self._listed = listed
        self.counts = counts
        self.warnings = warnings

    def search(self, asked: Asked, k: int) -> Hits:
        """The k best documents of each query id, in the run's order; a score may be NaN."""
        return self._listed.search(asked, k)

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair; NaN where the run does not hold it."""
        return self._listed.score(asked, query, docids)

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class Reading:
    """How a run is to be read.

    Attributes:
        columns: what the user said about its columns.
        on_error: what becomes of a bad record.
        distance: whether lower scores are better.
    """

    columns: Columns = field(default_factory=Columns)
    on_error: Literal["fail", "skip"] = "fail"
    distance: bool = False


#: What is told of each count.
_TOLD = (
    ("rows_of_other_queries", "rows are of queries that are not mined: left out"),
    ("documents_unknown", "rows name a document that is not in the corpus: left out"),
    ("rows_duplicate", "rows repeat a pair: the best place counts"),
    ("queries_missing", "of the mined queries are not in the run"),
    ("bad_records_skipped", "bad records were skipped"),
)
_DISTANCE = re.compile(r"(^|[^a-z])dist(ance)?s?($|[^a-z])", re.IGNORECASE)


def open_run(
    path: str, qids: pa.Array, corpus: Documents, reading: Reading | None = None
) -> RunFile:
    """Read a run's rows of the queries ``qids`` and the documents of the corpus.

    Raises:
        InvalidDataError: a bad record, no row of it concerns these queries and documents, or
            nothing orders the documents of a query.
        UsageError: a column of distances is named as one of scores.
    """
    reading = reading or Reading()
    named = reading.columns.get("score", "")
    if _DISTANCE.search(named) and not reading.distance:
        raise UsageError(
            f"--column score={named}: of distances the lowest is the best",
            hint="Add --distance NAME, with the run's name.",
        )
    problems = Problems(reading.on_error)
    table, unknown, counts = _rows(path, qids, corpus, reading.columns, problems)
    query = pc.index_in(table.column("qid"), value_set=qids).to_numpy().astype(np.int64)
    doc, distinct = string_codes(table.column("docid"))
    score = _whole(table.column("score"))
    if score is not None and reading.distance:
        score = -score
    try:
        found = run_order.order(query, _whole(table.column("rank")), score, doc)
    except ValueError as error:
        raise InvalidDataError(
            f"nothing orders the documents of a query: {error}",
            where=path,
            hint="Name the column that does: --column run.rank=COLUMN or run.score=COLUMN.",
        ) from error
    order = found.rows
    pair = query[order] * len(distinct) + doc[order]
    best = np.zeros(len(order), dtype=bool)
    best[np.unique(pair, return_index=True)[1]] = True
    rows = len(order)
    order = order[best]
    query = query[order]
    counts |= {
        "documents_unknown": unknown,
        "rows_duplicate": rows - len(order),
        "queries_missing": len(qids) - len(group_starts(query)),
        "bad_records_skipped": problems.count,
    }
    warnings = [f"{counts[name]} {told}" for name, told in _TOLD if counts[name]]
    if found.told is not None:
        warnings.insert(0, _told_of_order(found.told, reading.distance))
    scored = score[order] if found.scored and score is not None else np.full(len(order), np.nan)
    listed = Listed(qids, distinct, query, doc[order], scored.astype(np.float32))
    return RunFile(listed, counts, warnings)


def _told_of_order(told: str, distance: bool) -> str:
    """What is told of a run's order, with what mends it."""
    if "as distances do" not in told:
        return told
    if distance:
        return (
            "its scores fall from rank to rank, so they are no distances: its ranks are believed, "
            "the scores are left out (without --distance they are read)"
        )
    return f"{told} (--distance NAME reads them as distances)"


def _rows(
    path: str, qids: pa.Array, corpus: Documents, columns: Columns, problems: Problems
) -> tuple[pa.Table, int, dict[str, int]]:
    """The rows of these queries and of the corpus, how many are of no document of it, counts."""
    kept: list[pa.Table] = []
    read = 0
    for batch in read_run(path, columns, problems):
        read += batch.num_rows
        wanted = pc.is_in(batch.column("qid"), value_set=qids)
        kept.append(pa.Table.from_batches([batch]).filter(wanted))
    table = pa.concat_tables([pa.table(RUN_SCHEMA.empty_table().columns, RUN_SCHEMA), *kept])
    other = read - table.num_rows
    known = corpus.rows(table.column("docid").combine_chunks()) >= 0
    table = table.filter(pa.array(known, pa.bool_()))
    if table.num_rows == 0:
        raise InvalidDataError(
            f"none of its {read} rows has a mined query and a document of the corpus",
            where=path,
            hint="Check that the ids of the run, the queries and the corpus agree.",
        )
    unknown = int(len(known) - known.sum())
    return table, unknown, {"rows_read": read, "rows_of_other_queries": other}


def _whole(column: pa.ChunkedArray) -> np.ndarray | None:
    """A column without nulls, float64; None where there is a null."""
    return None if column.null_count else column.to_numpy().astype(np.float64)


# --- the kind of source -------------------------------------------------------------------------


def _declares(params: RetrieveParams) -> Mapping[str, str]:
    return named(params.run, "--run")


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    for name in params.distance:
        if name not in wanted:
            raise UsageError(f"--distance: no run '{name}'", hint=did_you_mean(name, list(wanted)))
    return [
        SourceRef(name, partial(_open, name, path), files={f"run {name}": ("run", path)})
        for name, path in wanted.items()
    ]


def _open(name: str, path: str, opening: Opening) -> Source:
    params = opening.params
    reading = Reading(opening.columns.of_run(name), params.on_error, name in params.distance)
    run = open_run(path, opening.qids, opening.corpus, reading)
    opening.counts.update({f"{name}_{what}": count for what, count in run.counts.items()})
    opening.warnings.extend(f"--run {name}: {told}" for told in run.warnings)
    return run


RUN = Kind(
    "run",
    _choose,
    reads={"retrieve": ("run", "distance")},
    declares=_declares,
    option="--run",
)
