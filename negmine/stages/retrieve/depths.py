"""How deep each query's ranking is asked for, so that k candidates are left beside its positives.

A query's positives may all rank above its first negative, so ``k`` and their number are asked for,
per query: one with hundreds of positives costs the others nothing. Depths are rounded up to a few
sizes, because a source answers one depth at a time and some read their whole index for it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from negmine.sources import Asked, Hits, Source
from negmine.sources.union import Judgements

#: Room for so many positives, and beyond the last of these for powers of two.
_ROOMS = np.array([4, 16, 64])


def depths(judgements: Judgements, queries: int, k: int) -> np.ndarray:
    """The depth of each query's ranking, int64 [queries]; it depends on that query alone."""
    positives = np.bincount(judgements.query[judgements.positive], minlength=queries)
    beyond = 1 << np.ceil(np.log2(np.maximum(positives, 1))).astype(np.int64)
    rooms = np.append(_ROOMS, 0)[np.searchsorted(_ROOMS, positives)]
    return k + np.where(positives > _ROOMS[-1], beyond, rooms)


def search(source: Source, asked: Asked, depth: np.ndarray) -> Hits:
    """A source's best documents for each of the queries, as many as its depth says.

    Args:
        source: who is asked.
        asked: the queries.
        depth: [len(asked)].
    """
    found = [
        _of_depth(source, asked, np.flatnonzero(depth == each), int(each))
        for each in np.unique(depth)
    ]
    if len(found) == 1:
        return found[0]
    query = np.concatenate([hits.query for hits in found])
    order = np.argsort(query, kind="stable")
    docid = pa.chunked_array([hits.docid for hits in found], pa.string()).combine_chunks()
    return Hits(
        query=query[order],
        docid=docid.take(pa.array(order)),
        score=np.concatenate([hits.score for hits in found])[order],
    )


def _of_depth(source: Source, asked: Asked, rows: np.ndarray, depth: int) -> Hits:
    """The hits of the queries ``rows``, with their numbers among all that are asked."""
    if len(rows) == len(asked):
        return source.search(asked, depth)
    hits = source.search(asked.take(rows), depth)
    return Hits(rows[hits.query].astype(np.int32), hits.docid, hits.score)
