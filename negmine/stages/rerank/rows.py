"""Which rows of the candidates ``rerank`` scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.learning.fit_sample import FitSample
from negmine.params.rerank import RerankParams
from negmine.table import ranking, schemas
from negmine.table.candidates import Candidates
from negmine.table.names import rank_column, score_column
from negmine.table.part import Part


def to_score(params: RerankParams, source: Candidates, sample: FitSample | None = None) -> int:
    """How many rows each scorer scores; reads the columns that decide it."""
    schema = source.schema()
    columns = ["qid"]
    if params.top is not None:
        by = (params.top_by or "best").removeprefix(score_column(""))
        ranks = [rank_column(name) for name in schemas.source_names(schema)]
        columns += ["docid", "label", *(ranks if by == "best" else [score_column(by)])]
    with log.waiting("counting the pairs to score"):
        parts = limited(source, params.limit, columns, sample)
        return sum(int(wanted(table, params).sum()) for _, table in parts)


def limited(
    source: Candidates,
    limit: int | None,
    columns: list[str] | None = None,
    sample: FitSample | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """The parts up to the first ``limit`` queries, of these a sample; ``columns`` projects."""
    left = limit
    for name in source.parts:
        if left is not None and left <= 0:
            return
        table = source.read(name, columns)
        if left is not None:
            qids = table.column("qid").combine_chunks().unique()
            table = table.filter(pc.is_in(table.column("qid"), value_set=qids.slice(0, left)))
            left -= len(qids)
        if sample is not None:
            table = sample.of_table(table)
        if sample is None or table.num_rows:
            yield name, table


def wanted(table: pa.Table, params: RerankParams) -> np.ndarray:
    """Rows to score: all, or positives and the ``--top`` best of each query."""
    if params.top is None:
        return np.ones(table.num_rows, dtype=bool)
    part = Part(table)
    by = (params.top_by or "best").removeprefix(score_column(""))
    key = -part.best_rank.astype(np.float64) if by == "best" else part.score(by)
    order = ranking.rank_order(part.query, key, part.docid)
    keep = np.zeros(len(part), dtype=bool)
    keep[order[ranking.positions_in_group(part.query[order]) <= params.top]] = True
    return keep | part.positive
