"""What is learned from the whole table before its parts are judged; thresholds with a guarantee.

Conformal bound, after Conformal Risk Control (Angelopoulos et al., arXiv 2208.02814); its use on
negatives is ours. Let ``L_q(t)`` be the share of query q's positives whose score lies strictly
below t, i.e. that a rule "drop s >= t" would let through as negatives. With n calibration queries
the largest t with

    sum_q L_q(t) + 1 <= alpha * (n + 1)

has ``E[L(t)] <= alpha`` for a further query. With one positive per query that is the k-th smallest
positive score, ``k = floor(alpha * (n + 1))``. Several positives of one query are not exchangeable
with each other across queries, so they share one vote; n counts queries. k = 0 means that only
"drop everything" would be safe: at least ``1 / alpha - 1`` queries are needed.

Which positives: all known ones that some source retrieved. A positive that was put into the table
only because it is labelled could never have been taken for a negative, and says nothing about those
that could. No query is held out, because nothing was fitted to the labels: a score column is the
same whether or not its row is labelled, hence labelled and unlabelled positives of the table are
exchangeable if labels are missing at random. (The column ``p_relevant`` *is* fitted to labels; each
of its values comes from a model that saw no row of that query, see
:mod:`negmine.learning.relevance`.) What breaks the bound: unlabelled positives that score lower
than the labelled ones, as when annotators saw only what an older system ranked high. Whether it
looks so is told by :mod:`negmine.learning.assumption`, what then by
:mod:`negmine.learning.selection`. The bound is marginal: it holds on average over draws of the
calibration queries, not for each query.

Margin form: for queries with two or more positives, the score of each minus that of the others
(``against``: their minimum by default). The rule then compares a candidate with all m positives of
its query where calibration compared with m - 1. With the minimum that reference is lower, so more
is dropped: conservative. With ``max`` it is the other way round, and with one revealed positive
the comparison is exactly like the calibration's with m = 2.

Choosing the form by looking at the calibration positives would void the guarantee, so ``auto``
chooses on a fifth of the queries (by hash) and calibrates on the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from negmine.errors import UsageError

Form = Literal["score", "margin"]


@dataclass(frozen=True)
class Bound:
    """A calibrated threshold per group.

    Attributes:
        form: whether it bounds the score or the margin to the positive.
        thresholds: candidates at or above are dropped, float64 [groups].
        groups: the groups' names.
        facts: level, counts and assumption, for the manifest.
    """

    form: Form
    thresholds: np.ndarray
    groups: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Positives:
    """Known positives of a table, one entry each.

    Attributes:
        query: number of its query.
        score: its score.
        margin: its score minus that of its query's other positives; NaN where it is the only one
            or another has no score.
        usable: whether a source retrieved it.
        group: number of its group.
        choosing: True for queries that choose the form instead of calibrating.
        depth: per source that searched, its place in that ranking.
    """

    query: np.ndarray
    score: np.ndarray
    margin: np.ndarray
    usable: np.ndarray
    group: np.ndarray
    choosing: np.ndarray
    depth: Mapping[str, np.ndarray] = field(default_factory=dict)

    def take(self, mask: np.ndarray) -> Positives:
        """The entries where ``mask`` is True."""
        arrays: dict[str, Any] = {name: getattr(self, name)[mask] for name in _ARRAYS}
        depth = {name: place[mask] for name, place in self.depth.items()}
        return Positives(**arrays, depth=depth)


_ARRAYS = ("query", "score", "margin", "usable", "group", "choosing")


def joined(found: Sequence[Positives]) -> Positives:
    """The positives of several parts; their queries have different numbers."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in found]) for name in _ARRAYS
    }
    depth = {name: np.concatenate([one.depth[name] for one in found]) for name in found[0].depth}
    return Positives(**arrays, depth=depth)


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it rests on.

    Attributes:
        value: candidates at or above are dropped.
        queries: calibration queries, n.
        positives: calibration positives.
        achieved: share of the calibration positives below it (queries weigh the same).
    """

    value: float
    queries: int
    positives: int
    achieved: float


def needed(alpha: float) -> int:
    """Fewest calibration queries for a level: the smallest n with ``alpha * (n + 1) >= 1``."""
    return max(1, math.ceil(1 / alpha - 1e-9) - 1)


def threshold(score: np.ndarray, query: np.ndarray, alpha: float) -> Threshold | None:
    """The largest t whose expected share of passing positives is at most alpha.

    Args:
        score: scores (or margins) of the calibration positives, in any unit.
        query: the query each belongs to.
        alpha: the level, 0 < alpha < 1.

    Returns:
        The threshold, or None where there are too few queries (see :func:`needed`).
    """
    distinct, inverse, count = np.unique(query, return_inverse=True, return_counts=True)
    n = len(distinct)
    # 1e-9: 0.05 * (19 + 1) must be 1.
    budget = alpha * (n + 1) - 1 + 1e-9
    if budget < 0:
        return None
    order = np.argsort(score, kind="stable")
    ordered, vote = score[order], (1 / count[inverse])[order]
    # Loss at t = ordered[i]: the votes of what lies strictly below, ties at t not among them.
    below = np.concatenate(([0.0], np.cumsum(vote)))[:-1]
    loss = below[np.searchsorted(ordered, ordered, side="left")]
    at = int(np.flatnonzero(loss <= budget)[-1])
    return Threshold(float(ordered[at]), n, len(score), float(loss[at] / n))


def leave_one_out(score: np.ndarray, query: np.ndarray, against: str) -> np.ndarray:
    """For each positive the minimum, mean or maximum score of its query's other positives.

    Args:
        score: the positives' scores; NaN makes the whole query NaN.
        query: the query each belongs to.
        against: ``min``, ``mean`` or ``max``.

    Returns:
        float64 [n], NaN for an only positive.
    """
    result = np.full(len(score), np.nan)
    if len(score) == 0:
        return result
    order = np.lexsort((score, query))
    s, q = score[order], query[order]
    starts = np.flatnonzero(np.concatenate(([True], q[1:] != q[:-1])))
    count = np.diff(np.append(starts, len(q)))
    first, size = np.repeat(starts, count), np.repeat(count, count)
    last = first + size - 1
    here = np.arange(len(q))
    several = size > 1
    if against == "min":
        other = np.where(here == first, np.minimum(first + 1, last), first)
        found = s[other]
    elif against == "max":
        other = np.where(here == last, np.maximum(last - 1, first), last)
        found = s[other]
    else:
        total = np.repeat(np.add.reduceat(s, starts), count)
        found = (total - s) / np.maximum(size - 1, 1)
    unknown = np.repeat(np.logical_or.reduceat(np.isnan(s), starts), count)
    result[order] = np.where(several & ~unknown, found, np.nan)
    return result


def values(positives: Positives, form: Form) -> Positives:
    """The positives that can calibrate a form: retrieved, with a score (and a margin)."""
    known = positives.score if form == "score" else positives.margin
    return positives.take(positives.usable & ~np.isnan(known))


def calibrate(
    positives: Positives, form: Form, alpha: float, groups: tuple[str, ...], score: str
) -> Bound:
    """The bound of one form, within each group.

    Raises:
        UsageError: a group has too few positives for the level; says how many it needs.
    """
    usable = values(positives, form)
    score_of = usable.score if form == "score" else usable.margin
    found = []
    for number, name in enumerate(groups):
        mine = usable.group == number
        one = threshold(score_of[mine], usable.query[mine], alpha)
        if one is None:
            raise too_few(alpha, len(np.unique(usable.query[mine])), form, score, name)
        found.append(one)
    per_group = {
        name: {
            "threshold": one.value,
            "queries": one.queries,
            "positives": one.positives,
            "achieved": round(one.achieved, 6),
        }
        for name, one in zip(groups, found, strict=True)
    }
    facts: dict[str, Any] = {
        "alpha": alpha,
        "score": score,
        "form": form,
        **(next(iter(per_group.values())) if len(groups) == 1 else {"groups": per_group}),
        "positives_not_retrieved": int((~positives.usable).sum()),
        "assumption": "unlabelled positives are exchangeable with the labelled, retrieved ones "
        "(missing at random); the level holds on average over draws of calibration queries",
    }
    return Bound(form, np.array([one.value for one in found]), groups, facts)


def too_few(alpha: float, have: int, form: Form, score: str, group: str) -> UsageError:
    """The error that says how many positives are needed."""
    kind = "with two scored positives" if form == "margin" else "with a scored positive"
    where = f" in group {group}" if group else ""
    return UsageError(
        f"--max-fn-rate {alpha:g} needs at least {needed(alpha)} queries {kind} that a source "
        f"retrieved{where}; score '{score}' has {have}",
        hint="Label more positives, or allow a higher rate"
        + (f" (>= {1 / (have + 1):.3g})." if have else "."),
    )
