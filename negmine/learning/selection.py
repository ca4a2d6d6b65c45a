"""The conformal bound where a source's ranking selected the labels (``--bias-from``).

The bound of :mod:`negmine.learning.calibration` needs unlabelled positives that score like the
labelled ones. Where labels were given down a ranking, the unlabelled positives stand lower in it
and score lower: covariate shift. Weighted conformal prediction (Tibshirani et al., arXiv
1904.06019; for risks Angelopoulos et al., arXiv 2208.02814, section 4.1) weighs the calibration
points by how much likelier they are under the distribution that is asked about. The labelled
positives cannot be those points: below the last label of a query there is none, so no weight makes
them stand for what lies there. The calibration points are the *unlabelled candidates below it*,
each weighed by how probably it is a positive.

What that probability is learned from: if the ranking selected the labels, all that it ranks above
a query's lowest label was seen, so an unlabelled candidate up there is irrelevant. These zones are
fully labelled; a logistic model of the label, over the score and its z-score within the query, is
fitted there and applied below. Few low scores lie up there, so the few candidates that the ranking
puts last are taken for irrelevant, too: without them a low score is made more probable than it is,
and the threshold needlessly low. It assumes that a candidate of a given score is as probably
relevant below as above. It is less so, the ranking being informed: then too much weight lies on
low scores, the threshold is too low, and the bound is kept with room to spare.

A query's weights sum to ``v = m / (m + 1/2)``, m being the positives that are expected among its
unlabelled: a query that has probably none has little to say. With one further query of weight 1,
the bound is the largest t with ``sum_q v_q L_q(t) + 1 <= alpha * (sum_q v_q + 1)``.

Several sources are a pool: a candidate's depth is the best of its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import expit, logit

from negmine.errors import UsageError
from negmine.learning import in_query
from negmine.learning.calibration import Bound, Threshold, needed, threshold
from negmine.table import ranking
from negmine.table.part import UNRANKED, Part

#: Fewest labelled, and fewest unlabelled rows above a label, that the model is fitted to. Of the
#: latter few suffice: the fewer there are, the more of what lies below is taken for positive.
_FEWEST, _FEWEST_OTHERS = 20, 3
#: So many of a query's candidates are taken for irrelevant because they are ranked last, but no
#: more than this share.
_LAST, _LAST_SHARE = 3, 0.03
#: Added to what is expected in a query before it is divided by it.
_PRIOR = 0.5
#: Ridge penalty: enough that separable labels have finite weights.
_RIDGE = 0.01
#: Probabilities nearer to 0 or 1 than this are as good as this.
_NEAREST = 1e-6


@dataclass(frozen=True)
class Pool:
    """Retrieved and scored rows of queries with a labelled positive, an entry each.

    Attributes:
        query: number of its query.
        score: its score.
        depth: its place in the ranking that is believed to have selected the labels, from 1.
        positive: whether it is labelled positive.
        judged: whether it is known to be no positive.
        group: number of its group in the calibration.
    """

    query: np.ndarray
    score: np.ndarray
    depth: np.ndarray
    positive: np.ndarray
    judged: np.ndarray
    group: np.ndarray

    def take(self, mask: np.ndarray) -> Pool:
        """The entries where ``mask`` is True."""
        return Pool(*(getattr(self, field.name)[mask] for field in fields(self)))


def joined(pools: Sequence[Pool]) -> Pool:
    """Several pools as one; their queries have different numbers."""
    names = [field.name for field in fields(Pool)]
    return Pool(*(np.concatenate([getattr(pool, name) for pool in pools]) for name in names))


def depths(part: Part, sources: Sequence[str]) -> np.ndarray:
    """Each row's place in its query by a source's ranking, int64 [rows]; of several the best.

    Rows that a source did not retrieve follow by its score, those without one at the end.
    """
    best = np.full(len(part), np.iinfo(np.int64).max)
    for name in sources:
        rank = part.rank(name)
        score = np.where(rank < UNRANKED, 0.0, np.nan_to_num(part.score(name), nan=-np.inf))
        order = np.lexsort((-score, rank, part.query))
        place = np.empty(len(part), dtype=np.int64)
        place[order] = ranking.positions_in_group(part.query[order])
        best = np.minimum(best, place)
    return best


def unlabelled_positives(pool: Pool, named: str) -> np.ndarray:
    """How probably each row is a positive that the ranking left without a label.

    Args:
        pool: the rows.
        named: what selected the labels, for messages.

    Returns:
        float64 [rows]; 0 for rows above their query's lowest label, and for judged ones.

    Raises:
        UsageError: too little lies above the lowest labels to learn from.
    """
    lowest = np.zeros(int(pool.query.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(lowest, pool.query[pool.positive], pool.depth[pool.positive])
    seen = (pool.depth <= lowest[pool.query]) | pool.judged
    learned = seen | _last(pool) & ~pool.positive
    positives = int(pool.positive.sum())
    others = int(learned.sum()) - positives
    if positives < _FEWEST or others < _FEWEST_OTHERS:
        raise UsageError(
            f"--bias-from {named} learns from what {named} ranks above each query's lowest label, "
            "and last: "
            f"at least {_FEWEST} labelled and {_FEWEST_OTHERS} unlabelled candidates, not "
            f"{positives} and {others}",
            hint="Ask for a lower --max-fn-rate instead, or for a fixed limit (--max-score).",
        )
    features = _features(pool)
    mean, spread = features[learned].mean(axis=0), features[learned].std(axis=0)
    features = (features - mean) / np.where(spread > 0, spread, 1.0)
    weights = _logistic(features[learned], pool.positive[learned])
    return np.where(seen, 0.0, expit(features @ weights[1:] + weights[0]))


def _last(pool: Pool) -> np.ndarray:
    """True for the few rows of each query that are ranked last."""
    order = np.lexsort((-pool.depth, pool.query))
    place = np.empty(len(pool.query), dtype=np.int64)
    place[order] = ranking.positions_in_group(pool.query[order])
    size = np.bincount(pool.query)[pool.query]
    return place <= np.minimum(_LAST, np.floor(_LAST_SHARE * size))


def corrected(
    score: np.ndarray, probability: np.ndarray, query: np.ndarray, alpha: float
) -> tuple[Threshold | None, float]:
    """The largest t below which at most a share alpha of the unlabelled positives is expected.

    Args:
        score: the rows' scores.
        probability: how probably each is a positive without a label.
        query: the query each belongs to.
        alpha: the level, 0 < alpha < 1.

    Returns:
        (the threshold, or None where the queries weigh too little; what they weigh together).
    """
    distinct, number = np.unique(query, return_inverse=True)
    expected = np.bincount(number, probability, minlength=len(distinct))
    weight = probability / (expected + _PRIOR)[number]
    total = float(weight.sum())
    # 1e-9: 0.05 * (19 + 1) must be 1.
    budget = alpha * (total + 1) - 1 + 1e-9
    if budget < 0:
        return None, total
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    below = np.concatenate(([0.0], np.cumsum(weight[order])))[:-1]
    loss = below[np.searchsorted(ordered, ordered, side="left")]
    at = int(np.flatnonzero(loss <= budget)[-1])
    positives = round(float(expected.sum()))
    return Threshold(float(ordered[at]), len(distinct), positives, float(loss[at] / total)), total


def calibrate(
    pool: Pool, sources: Sequence[str], alpha: float, groups: tuple[str, ...], score: str
) -> Bound:
    """The corrected bound, within each group.

    Args:
        pool: rows of the table, by the sources' ranking.
        sources: what is believed to have selected the labels.
        alpha: the level.
        groups: the groups' names.
        score: the score's name.

    Raises:
        UsageError: there is too little to learn from, in all or in a group.
    """
    named = " and ".join(sources)
    probability = unlabelled_positives(pool, named)
    per_group: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(groups):
        mine = pool.group == number
        found, weight = corrected(pool.score[mine], probability[mine], pool.query[mine], alpha)
        if found is None:
            raise _too_light(alpha, weight, named, name)
        known = mine & pool.positive
        before = threshold(pool.score[known], pool.query[known], alpha)
        per_group[name] = {
            "threshold": found.value,
            "queries": found.queries,
            "weight": round(weight, 2),
            "unlabelled_positives_expected": found.positives,
            "achieved": round(found.achieved, 6),
            "threshold_uncorrected": None if before is None else before.value,
        }
    facts: dict[str, Any] = {
        "alpha": alpha,
        "score": score,
        "form": "score",
        "bias_from": list(sources),
        **(next(iter(per_group.values())) if len(groups) == 1 else {"groups": per_group}),
        "assumption": f"labels were given down the ranking of {named}; a candidate that it ranks "
        "below them is at most as probably positive as one of the same score above",
    }
    limits = np.array([one["threshold"] for one in per_group.values()])
    return Bound("score", limits, groups, facts)


def _too_light(alpha: float, weight: float, named: str, group: str) -> UsageError:
    """The error that says how much the queries would have to weigh."""
    where = f" in group {group}" if group else ""
    return UsageError(
        f"--max-fn-rate {alpha:g} with --bias-from {named} needs {needed(alpha)} queries with "
        f"likely positives among what {named} ranks below the labels{where}; there are "
        f"{weight:.1f}",
        hint=f"Allow a higher rate (>= {1 / (weight + 1):.3g}), or leave out --bias-from.",
    )


def _features(pool: Pool) -> np.ndarray:
    """The score and its z-score within the query, float64 [rows, 2]."""
    score = pool.score
    if score.min() >= 0 and score.max() <= 1:
        # The logit of a probability is what adds up.
        score = logit(np.clip(score, _NEAREST, 1 - _NEAREST))
    queries, whole = int(pool.query.max()) + 1, np.ones(len(score), dtype=bool)
    _, mean, spread = in_query.moments(pool.query, score, whole, queries)
    return np.column_stack([score, (score - mean) / np.where(spread > 0, spread, 1.0)])


def _logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Intercept and weights of a ridge-penalised logistic regression, float64 [1 + columns]."""
    # A third of a second to import, and only --bias-from asks for it.
    from scipy.optimize import minimize

    rows = np.column_stack([np.ones(len(x)), x])
    penalty = np.concatenate(([0.0], np.full(x.shape[1], _RIDGE)))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        linear = rows @ weights
        value = np.logaddexp(0.0, linear).sum() - linear[y].sum()
        slope = rows.T @ (expit(linear) - y) + penalty * weights
        return float(value + 0.5 * penalty @ weights**2), slope

    found = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float64)
