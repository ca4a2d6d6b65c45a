"""Shares and quantiles with intervals, where the observations come in clusters (queries)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Level of every interval.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; NaN where nothing was observed."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """With null for NaN, which JSON does not know."""
        return {
            name: None if np.isnan(number) else round(float(number), 6)
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }


_NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


def share(hits: np.ndarray, total: np.ndarray, repeats: int = 1) -> Estimate:
    """``sum(hits) / sum(total)`` over clusters, with Korn and Graubard's interval.

    It is Clopper and Pearson's at the effective sample size: the number of observations divided
    by the design effect, which the spread between clusters gives (Korn and Graubard, Survey
    Methodology 24, 1998). Unlike a normal interval it stays honest near 0, where a good rule
    lies. Where nothing varies (no hit, or only hits) no design effect can be seen, and each
    cluster counts as one observation, which is the widest choice.

    Args:
        hits: observations that count, per cluster.
        total: observations, per cluster.
        repeats: how often each observation was taken anew (seeds): the effective sample size is
            at most the observations of one repeat.
    """
    value, size = effective(hits, total, repeats)
    return _NOTHING if size == 0 else Estimate(value, *clopper_pearson(value * size, size))


def effective(hits: np.ndarray, total: np.ndarray, repeats: int = 1) -> tuple[float, float]:
    """A share over clusters, and the size of the simple sample that knows it as well.

    Args:
        hits: as :func:`share` takes them.
        total: likewise.
        repeats: likewise.

    Returns:
        (share, effective sample size); (NaN, 0) where nothing was observed.
    """
    used = total > 0
    hits, total = hits[used].astype(np.float64), total[used].astype(np.float64)
    clusters = len(total)
    if clusters == 0:
        return float("nan"), 0.0
    value = float(hits.sum() / total.sum())
    residual = hits - value * total
    variance = float((residual**2).sum()) / total.sum() ** 2
    if clusters > 1:
        variance *= clusters / (clusters - 1)
    size = float(clusters)
    if clusters > 1 and 0 < value < 1 and variance > 0:
        size = min(value * (1 - value) / variance, max(float(total.sum()) / repeats, 1.0))
    return value, size


def clopper_pearson(hits: float, size: float) -> tuple[float, float]:
    """The exact binomial interval, also for fractional counts."""
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if hits <= 0 else float(betaincinv(hits, size - hits + 1, tail))
    high = 1.0 if hits >= size else float(betaincinv(hits + 1, size - hits, 1 - tail))
    return low, high


def mean(total: np.ndarray, times: np.ndarray) -> Estimate:
    """``sum(total) / sum(times)`` over clusters with a normal interval (linearised variance)."""
    used = times > 0
    total, times = total[used].astype(np.float64), times[used].astype(np.float64)
    clusters = len(times)
    if clusters == 0:
        return _NOTHING
    value = float(total.sum() / times.sum())
    if clusters == 1:
        return Estimate(value, float("nan"), float("nan"))
    residual = total - value * times
    variance = clusters / (clusters - 1) * float((residual**2).sum()) / times.sum() ** 2
    half = _z() * variance**0.5
    return Estimate(value, value - half, value + half)


def median(values: np.ndarray, cluster: np.ndarray) -> Estimate:
    """The median of clustered values, with Woodruff's interval.

    The interval of the share of values at or below the median is turned into values (Woodruff,
    JASA 47, 1952). Infinite values count as greater than all others.

    Args:
        values: the observations.
        cluster: number of each observation's cluster.
    """
    if len(values) == 0:
        return _NOTHING
    ordered = np.sort(values)
    value = _at(ordered, 0.5)
    total = np.bincount(cluster)
    # Half of a tie at the median lies on either side.
    below = np.bincount(cluster, weights=(values < value) + 0.5 * (values == value))
    used = total > 0
    total, below = total[used], below[used]
    if len(total) < 2:
        return Estimate(value, float("nan"), float("nan"))
    residual = below - below.sum() / total.sum() * total
    variance = len(total) / (len(total) - 1) * float((residual**2).sum()) / total.sum() ** 2
    half = _z() * variance**0.5
    return Estimate(value, _at(ordered, 0.5 - half), _at(ordered, 0.5 + half))


def quantiles(values: np.ndarray, at: tuple[float, ...]) -> list[float]:
    """Values at the given shares (the lower of two neighbours), NaN where there are none."""
    ordered = np.sort(values)
    return [_at(ordered, share) if len(ordered) else float("nan") for share in at]


def _at(ordered: np.ndarray, share_below: float) -> float:
    index = int(np.ceil(share_below * len(ordered))) - 1
    return float(ordered[min(max(index, 0), len(ordered) - 1)])


def _z() -> float:
    from scipy.special import ndtri

    return float(ndtri(1 - (1 - CONFIDENCE) / 2))
