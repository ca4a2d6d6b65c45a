"""Building candidates tables: the union of what the sources found and what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from negmine.sources.base import Hits
from negmine.table import ranking
from negmine.table.names import rank_column, score_column


@dataclass(frozen=True)
class Judgements:
    """Judged (query, document) pairs of a group of queries.

    Attributes:
        query: index into the group's queries, int32 [n].
        docid: the documents, string [n]; a pair appears once.
        grade: judged relevance, float64 [n].
        positive: True where the grade makes it a positive, bool [n].
    """

    query: np.ndarray
    docid: pa.Array
    grade: np.ndarray
    positive: np.ndarray


@dataclass(frozen=True)
class Candidates:
    """The (query, document) pairs found by any source or known to be positive, each once.

    Attributes:
        query: index into the group's queries, ascending, int64 [n].
        docid: the documents, ascending within a query, string [n].
        rank: per source, the pair's rank, 0 where the source did not find it, int32 [n].
        score: per source, the pair's score, NaN where it is not known, float32 [n].
        judged: True where the pair is judged, bool [n].
        grade: its grade, 0 where it is not, of the judgements' type [n].
        positive: True for known positives, bool [n].
        columns: what else sources say of the pairs, by the column's name in the table [n].
    """

    query: np.ndarray
    docid: pa.Array
    rank: dict[str, np.ndarray]
    score: dict[str, np.ndarray]
    judged: np.ndarray
    grade: np.ndarray
    positive: np.ndarray
    columns: dict[str, pa.Array] = field(default_factory=dict)

    def not_found_by(self, source: str, positives_only: bool = False) -> np.ndarray:
        """The pairs that a source did not find, int64 [m]."""
        missing = self.rank[source] == 0
        return np.flatnonzero(missing & self.positive if positives_only else missing)


def gather(
    hits: Mapping[str, Hits],
    judgements: Judgements,
    taken: Mapping[str, tuple[int, int]] | None = None,
) -> Candidates:
    """Join what the sources found with the known positives.

    Args:
        hits: per source, its hits in rank order.
        judgements: judged pairs; positives become rows, other judgements only lend their grade.
        taken: by source the slice of each query's ranking that counts, as (first, end) among the
            documents that are no known positives; of sources that are not there all of it. Known
            positives above its end keep their rank.
    """
    sources = list(hits)
    pieces = [hits[source].docid for source in sources] + [judgements.docid]
    codes, docids = ranking.string_codes(pa.chunked_array(pieces, pa.string()))
    bounds = np.cumsum([0, *(len(piece) for piece in pieces)])
    # One integer per pair: query-major, docid order within a query.
    width = max(1, len(docids))
    judged = judgements.query.astype(np.int64) * width + codes[bounds[-2] :]
    positives = np.sort(judged[judgements.positive])
    keys: dict[str, np.ndarray] = {}
    ranks: dict[str, np.ndarray] = {}
    scores: dict[str, np.ndarray] = {}
    for i, source in enumerate(sources):
        found = hits[source]
        key = found.query.astype(np.int64) * width + codes[bounds[i] : bounds[i + 1]]
        counts = np.ones(len(key), dtype=bool)
        if taken is not None and source in taken:
            counts = _slice(found.query, ranking.find(positives, key)[1], *taken[source])
        keys[source], scores[source] = key[counts], found.score[counts]
        ranks[source] = ranking.positions_in_group(found.query)[counts]
    pairs = np.unique(np.concatenate([*keys.values(), positives]))
    rank, score = {}, {}
    for source in sources:
        at = np.searchsorted(pairs, keys[source])
        rank[source] = np.zeros(len(pairs), dtype=np.int32)
        rank[source][at] = ranks[source]
        score[source] = np.full(len(pairs), np.nan, dtype=np.float32)
        score[source][at] = scores[source]
    at, present = ranking.find(pairs, judged)
    at = at[present]
    grade = np.zeros(len(pairs), dtype=judgements.grade.dtype)
    grade[at] = judgements.grade[present]
    known = np.zeros(len(pairs), dtype=bool)
    known[at] = True
    positive = np.zeros(len(pairs), dtype=bool)
    positive[at] = judgements.positive[present]
    query, doc = np.divmod(pairs, width)
    return Candidates(query, docids.take(pa.array(doc)), rank, score, known, grade, positive)


def _slice(query: np.ndarray, positive: np.ndarray, first: int, end: int) -> np.ndarray:
    """The rows of a ranking from each query's place ``first`` among those that are no positives
    to below ``end``, and the positives above that, bool [n].
    """
    starts = ranking.group_starts(query)
    others = np.cumsum(~positive)
    before = (others - ~positive)[starts]
    others = others - np.repeat(before, np.diff(np.append(starts, len(query))))
    return np.where(positive, others < end, (others > first) & (others <= end))


def union(qids: pa.Array, candidates: Candidates, schema: pa.Schema) -> pa.Table:
    """The candidates as a table.

    Args:
        qids: the group's query ids [q].
        candidates: its pairs.
        schema: :func:`negmine.table.schemas.candidates` of their sources.

    Returns:
        A table of that schema, grouped by query in the group's
        order; within a query by best rank over the sources, then docid.
    """
    worst = np.iinfo(np.int32).max
    best = np.full(len(candidates.query), worst, dtype=np.int32)
    columns: dict[str, pa.Array] = {}
    for source, rank in candidates.rank.items():
        score = candidates.score[source]
        columns[rank_column(source)] = pa.array(rank, mask=rank == 0)
        columns[score_column(source)] = pa.array(score, mask=np.isnan(score))
        best = np.minimum(best, np.where(rank > 0, rank, worst))
    # Pairs are in the order of (query, docid) already, and the sort is stable.
    order = np.lexsort((best, candidates.query))
    table = pa.table(
        {
            "qid": qids.take(pa.array(candidates.query)),
            "docid": candidates.docid,
            "label": pa.array(candidates.positive.astype(np.int8)),
            "grade": pa.array(candidates.grade, mask=~candidates.judged),
            **columns,
            **candidates.columns,
        }
    )
    return table.take(pa.array(order)).cast(schema)
