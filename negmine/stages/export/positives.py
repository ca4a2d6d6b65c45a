"""At most so many positives of a query: the others stay what they are, and do not go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa

from negmine.formats.base import Chosen
from negmine.table import draws, ranking

#: Counts of what is left out, and of those without the score that was to decide.
LEFT_OUT, UNSCORED = "positives_left_out", "positives_unscored"
#: Added to the seed, so that what is left out is no batch's draw.
_DRAW = 5_000_011


def capped(
    chosen: Chosen, most: int, by: Literal["random", "score"], seed: int
) -> tuple[Chosen, dict[str, int]]:
    """The choices with at most ``most`` positives of a query, and what is counted of it.

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
        return chosen, {LEFT_OUT: 0}
    crowded = np.bincount(query)[query] > most
    counts = {LEFT_OUT: len(query) - len(kept), UNSCORED: int((crowded & np.isnan(score)).sum())}
    some = replace(
        chosen,
        positive_query=query[kept],
        positive_doc=chosen.positive_doc[kept],
        positive_score=chosen.positive_score[kept],
        positive_promoted=chosen.positive_promoted[kept],
        extras=tuple(replace(one, positive=one.positive[kept]) for one in chosen.extras),
    )
    return some, counts


def warnings(counts: Mapping[str, int], most: int | None) -> list[str]:
    """What is to be known of the positives that do not go out.

    Args:
        counts: of the export, 0 for what it did not count.
        most: positives of a query.
    """
    told = []
    if counts[LEFT_OUT]:
        told.append(
            f"{counts[LEFT_OUT]} positives beyond --max-positives {most} of a query do not go out"
        )
    if counts[UNSCORED]:
        told.append(
            f"--max-positives-by score: {counts[UNSCORED]} positives of such queries have no score "
            "and come last, drawn among themselves (--score-by names another)"
        )
    return told
