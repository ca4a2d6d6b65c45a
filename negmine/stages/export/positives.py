"""At most so many positives of a query: the others stay what they are, and do not go out."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa

from negmine.formats.base import Chosen
from negmine.table import draws, ranking

#: Added to the seed, so that what is left out is no batch's draw.
_DRAW = 5_000_011


def capped(
    chosen: Chosen, most: int, by: Literal["random", "score"], seed: int
) -> tuple[Chosen, int]:
    """The choices with at most ``most`` positives of a query, and how many were left out.

    Which ones depends on the ids and the seed, or on the scores, and not on how the ledger is cut
    into parts. Equal scores go by the same draw, unknown ones come last.

    Args:
        chosen: what was chosen, with all known positives.
        most: positives of a query.
        by: drawn, or the best-scoring.
        seed: of the draw.
    """
    query = chosen.positive_query
    draw = draws.draws(
        pa.chunked_array([chosen.qids.take(pa.array(query))]),
        pa.chunked_array([chosen.docids.take(pa.array(chosen.positive_doc))]),
        seed + _DRAW,
    )
    score = chosen.positive_score if by == "score" else np.zeros(len(query))
    order = np.lexsort((draw, np.where(np.isnan(score), np.inf, -score), query))
    kept = np.sort(order[ranking.positions_in_group(query[order]) <= most])
    if len(kept) == len(query):
        return chosen, 0
    some = replace(
        chosen,
        positive_query=query[kept],
        positive_doc=chosen.positive_doc[kept],
        positive_score=chosen.positive_score[kept],
        extras=tuple(replace(one, positive=one.positive[kept]) for one in chosen.extras),
    )
    return some, len(query) - len(kept)
