"""Queries with fewer negatives than were asked for: what took their candidates, counted by part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

#: Counts of short queries by what left them short, and of their candidates by what dropped them.
BY, LOST, ROWS = "short_by.", "short_lost.", "short_candidates"
#: Stand beside the rules' names: fewer candidates than negatives asked for were retrieved, or
#: survivors enough are left, and too few that a quota may take.
RETRIEVAL, QUOTA = "retrieval", "quota"


def count(
    query: np.ndarray,
    reason: np.ndarray,
    names: Sequence[str],
    known: Iterable[str],
    chosen: np.ndarray,
    asked: int,
) -> dict[str, int]:
    """What left the queries of a part short.

    A query with fewer candidates than negatives asked for is short by retrieval, one with as many
    survivors by quotas, and any other by the rule that dropped most of its candidates.

    Args:
        query: number of each row's query.
        reason: index of the rule that dropped each row, -1 = survived.
        names: the rules' names.
        known: those whose rows are positives, and no candidates.
        chosen: negatives chosen of each query.
        asked: negatives asked for.

    Returns:
        Counts that add up over parts; none where no query is short.
    """
    short = chosen < asked
    if not short.any():
        return {}
    width = len(names) + 1
    # Rows of each query by reason; the first column are the survivors.
    rows = np.bincount(query * width + reason + 1, minlength=len(chosen) * width)
    taken = rows.reshape(len(chosen), width)[short]
    taken[:, [number for number, name in enumerate(names, 1) if name in set(known)]] = 0
    unmet = taken[:, 0] >= asked
    found = {f"{BY}{QUOTA}": int(unmet.sum())}
    taken = taken[~unmet]
    few = taken.sum(axis=1) < asked
    worst = taken[:, 1:].argmax(axis=1)[~few]
    found |= {ROWS: int(taken.sum()), f"{BY}{RETRIEVAL}": int(few.sum())}
    of_rule, lost = np.bincount(worst, minlength=len(names)), taken[:, 1:].sum(axis=0)
    for number, name in enumerate(names):
        found[f"{BY}{name}"] = int(of_rule[number])
        found[f"{LOST}{name}"] = int(lost[number])
    return {name: n for name, n in found.items() if n}
