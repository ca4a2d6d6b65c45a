"""Building candidates tables: the union of what the sources found and what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from negmine.sources.base import Hits
from negmine.table import schema as schemas
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


def union(
    qids: pa.Array,
    hits: Mapping[str, Hits],
    judgements: Judgements,
    positive_scores: Mapping[str, np.ndarray],
) -> pa.Table:
    """One row per (query, document) found by any source or known to be positive.

    Args:
        qids: the group's query ids [q].
        hits: per source, its hits in rank order.
        judgements: judged pairs; positives become rows, other judgements only lend their grade.
        positive_scores: per source, a score for each positive (NaN = the source cannot say).

    Returns:
        A table of :func:`negmine.table.schema.candidates`, grouped by query in the group's
        order; within a query by best rank over the sources, then docid.
    """
    sources = list(hits)
    positives = np.flatnonzero(judgements.positive)
    pieces = [hits[source].docid for source in sources] + [judgements.docid]
    codes, docids = schemas.string_codes(pa.chunked_array(pieces, pa.string()))
    bounds = np.cumsum([0, *(len(piece) for piece in pieces)])
    # One integer per pair: query-major, docid order within a query.
    width = max(1, len(docids))
    keys = {
        source: hits[source].query.astype(np.int64) * width + codes[bounds[i] : bounds[i + 1]]
        for i, source in enumerate(sources)
    }
    judged = judgements.query.astype(np.int64) * width + codes[bounds[-2] :]
    pairs = np.unique(np.concatenate([*keys.values(), judged[positives]]))

    columns: dict[str, pa.Array] = {}
    best = np.full(len(pairs), np.iinfo(np.int32).max, dtype=np.int32)
    for source in sources:
        rank = np.zeros(len(pairs), dtype=np.int32)
        score = np.full(len(pairs), np.nan, dtype=np.float32)
        at = np.searchsorted(pairs, judged[positives])
        score[at] = positive_scores[source]
        at = np.searchsorted(pairs, keys[source])
        rank[at] = schemas.positions_in_group(hits[source].query)
        score[at] = hits[source].score
        columns[rank_column(source)] = pa.array(rank, mask=rank == 0)
        columns[score_column(source)] = pa.array(score, mask=np.isnan(score))
        best = np.where(rank > 0, np.minimum(best, rank), best)

    grade = np.zeros(len(pairs), dtype=np.float64)
    known = np.zeros(len(pairs), dtype=bool)
    label = np.zeros(len(pairs), dtype=np.int8)
    if len(pairs):
        at = np.minimum(np.searchsorted(pairs, judged), len(pairs) - 1)
        present = pairs[at] == judged
        grade[at[present]] = judgements.grade[present]
        known[at[present]] = True
        label[at[present]] = judgements.positive[present]

    query, doc = pairs // width, pairs % width
    order = np.lexsort((doc, best, query))
    table = pa.table(
        {
            "qid": qids.take(pa.array(query)),
            "docid": docids.take(pa.array(doc)),
            "label": pa.array(label),
            "grade": pa.array(grade, mask=~known),
            **columns,
        }
    )
    return table.take(pa.array(order)).cast(schemas.candidates(sources))
