"""``--replace-solved``: negatives of an earlier round keep their places, but for the solved ones.

What a round before has chosen stands in the table as a source (``previous``): its rank is the
place that a negative had, its score the one that it had when it was chosen first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.errors import UsageError, did_you_mean
from negmine.params.filter import FilterParams
from negmine.rules.base import View
from negmine.table import ranking, schemas
from negmine.table.candidates import Candidates
from negmine.table.names import rank_column
from negmine.table.part import UNRANKED, Part


def check(params: FilterParams, by: str, source: Candidates) -> None:
    """See that the source named is an earlier ledger's, and that its scores are comparable.

    Args:
        params: settings.
        by: the score that the rules read.
        source: the table.

    Raises:
        UsageError: they are not.
    """
    name = params.replace_solved
    if name is None:
        return
    told: Mapping[str, Any] = source.retrieved.params.get("specs", {}).get(name, {})
    earlier = told.get("score", by) if isinstance(told, Mapping) else by
    if earlier != by:
        raise UsageError(
            f"--replace-solved: the ledger behind '{name}' was filtered by '{earlier}', and the "
            f"rules read '{by}': their scores cannot be compared",
            hint=f"Say --by {earlier}, or filter the round before by '{by}'.",
        )


def source_of(name: str, schema: pa.Schema) -> str:
    """The source that ``--replace-solved`` names.

    Raises:
        UsageError: the table has none of that name, or it searches.
    """
    name = name.removeprefix(rank_column(""))
    known = schemas.not_searched_names(schema)
    if name not in known:
        raise UsageError(
            f"--replace-solved: '{name}' is no source of an earlier round's negatives",
            hint=did_you_mean(name, known)
            if known
            else f"Retrieve with --source {name}=previous:LEDGER beside the others.",
        )
    return name


def kept_first(place: np.ndarray, view: View, survivors: np.ndarray) -> np.ndarray:
    """The places with earlier negatives before all others, in the order that they had."""
    kept = survivors & (view.earlier < UNRANKED)
    front = 1.0 + view.earlier[kept].max(initial=0)
    preference = np.where(kept, front - view.earlier, -place.astype(np.float64))
    return ranking.positions(view.query, preference, view.docid, survivors)


def in_their_places(view: View, numbers: np.ndarray) -> np.ndarray:
    """The numbers of the chosen with earlier negatives where they were, others in the gaps.

    Where too few are chosen to close all gaps, later ones move up.

    Args:
        view: the part.
        numbers: 1, 2, ... of each query's chosen rows by the order asked for, 0 for the others.
    """
    chosen = numbers > 0
    kept = chosen & (view.earlier < UNRANKED)
    new = np.flatnonzero(chosen & ~kept)
    width = int(view.earlier[kept].max(initial=0)) + int(numbers.max(initial=0))
    free = np.ones((len(view.starts), width), dtype=bool)
    free[view.query[kept], view.earlier[kept] - 1] = False
    row, gap = np.nonzero(free)
    first = np.searchsorted(row, view.query[new])
    order = ranking.positions(view.query, -numbers.astype(np.float64), view.docid, chosen & ~kept)
    target = np.where(kept, view.earlier, 0).astype(np.int64)
    target[new] = gap[first + order[new] - 1] + 1
    found = ranking.positions(view.query, -target.astype(np.float64), view.docid, chosen)
    return found.astype(np.int32)


def first_score(table: pa.Table, by: str, params: FilterParams, selected: np.ndarray) -> np.ndarray:
    """Of the chosen the score when they were chosen first, float64 [rows]; NaN elsewhere."""
    part, name = Part(table), params.replace_solved
    assert name is not None
    now, before = part.score(by), part.score(name)
    known = (part.rank(name) < UNRANKED) & ~np.isnan(before)
    return np.where(selected > 0, np.where(known, before, now), np.nan)


def stats(view: View, selected: np.ndarray) -> dict[str, int]:
    """How many negatives of the earlier round there are, and how many stay."""
    earlier = view.earlier < UNRANKED
    return {
        "earlier": int(earlier.sum()),
        "earlier_kept": int((earlier & (selected > 0)).sum()),
        "earlier_unscored": int((earlier & np.isnan(view.first)).sum()),
    }


def warnings(counts: Mapping[str, Any], params: FilterParams) -> list[str]:
    """What is to be told where no negative can be called solved for want of its first score."""
    unknown = counts.get("earlier_unscored", 0)
    if not unknown:
        return []
    return [
        f"--replace-solved: {unknown} earlier negatives have no score in {params.replace_solved}: "
        "they stay, whatever they score now"
    ]
