"""How many of a ledger's negatives are relevant: pure functions, their derivations and sources.

**With a gold sample** (:func:`stratified`). The negatives are known, N of them, and so is the
judge's verdict on each. Of those with the verdict h (N_h of them) m_h were drawn and read by a
person, who calls y_i = 1 relevant. The estimate is that of stratified sampling,

    theta = sum_h N_h/N * mean of y over the m_h that were read,

which is Horvitz and Thompson's (JASA 47, 1952) with inclusion probabilities m_h/N_h. It is also
what prediction-powered inference (Angelopoulos et al., Science 382, 2023) and design-based
supervised learning (Egami et al., NeurIPS 2023) give: with f_i the judge's verdict,

    theta = 1/N sum_i f_i + sum_h N_h/N * mean of (y - f) over the read,

because f is the same number for all of a stratum, and cancels. So the judge's bias is gone whatever
it is, without an assumption about the judge: a bad one costs width, never correctness. The draw is
of rows, not of queries, and the ledger is fixed: no row need be independent of another.

**Without one** (:func:`corrected`). Rogan and Gladen (Am J Epidemiol 107, 1978): of a share theta
that is relevant the judge says yes to ``q = theta * s + (1 - theta) * f``, with s the share of
relevant documents that it says yes to and f that of others, hence ``theta = (q - f) / (s - f)``.
The interval counts that s and f are estimates, too. It holds as far as known positives and random
documents are judged like the hidden positives and the other negatives of the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtri

from negmine.commands.audit.intervals import CONFIDENCE

_TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True)
class Stratum:
    """Negatives with the same verdict of the judge, and what a person said of the read ones.

    Attributes:
        size: how many there are.
        read: how many were drawn and read.
        relevant: of these, those that are relevant.
        unsure: of these, those of which nobody could tell.
    """

    size: int
    read: int
    relevant: int
    unsure: int = 0


@dataclass(frozen=True)
class Bounds:
    """A share: between which values it is estimated, and the interval around both.

    Attributes:
        at_least: the estimate if nothing of what is not known counts.
        at_most: the estimate if all of it does.
        low: lower end of the interval.
        high: upper end of it.
    """

    at_least: float
    at_most: float
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The estimate; None where what is not known makes it two."""
        return self.at_least if self.at_least == self.at_most else None

    def as_json(self) -> dict[str, float | None]:
        """For the report."""
        numbers = {name: round(float(getattr(self, name)), 6) for name in _FIELDS}
        value = None if self.value is None else numbers["at_least"]
        return {"value": value, **numbers}


_FIELDS = ("at_least", "at_most", "low", "high")


@dataclass(frozen=True)
class Rate:
    """A share of yes, and the size of the simple sample that knows it as well.

    Attributes:
        value: the share.
        size: observations divided by the design effect; infinite where it is known.
    """

    value: float
    size: float


# --- with a gold sample -----------------------------------------------------------------------


def stratified(strata: Sequence[Stratum]) -> Bounds:
    """The share that is relevant, from a stratified sample without replacement.

    Each stratum has an exact interval of its own (:func:`finite_interval`), and they are joined by
    the distances of their ends from the estimates (MOVER: Zou and Donner, Stat Med 27, 2008):

        low = theta - sqrt(sum_h (W_h (p_h - low_h))^2),   W_h = N_h / N,

    and likewise above. Where no relevant one was seen the interval is as wide as the exact ones
    are, which a variance of 0 would not say. What nobody could tell is not relevant in the lower
    half and relevant in the upper. A stratum of which nothing was read is anywhere from 0 to 1.

    Args:
        strata: at least one negative among them.
    """
    total = sum(one.size for one in strata)
    at_least = at_most = below = above = 0.0
    for one in strata:
        weight = one.size / total
        if one.read == 0:
            at_most += weight
            continue
        share, most = one.relevant / one.read, (one.relevant + one.unsure) / one.read
        low, _ = finite_interval(one.relevant, one.read, one.size)
        _, high = finite_interval(one.relevant + one.unsure, one.read, one.size)
        at_least += weight * share
        at_most += weight * most
        below += (weight * (share - low)) ** 2
        above += (weight * (high - most)) ** 2
    known = sum(one.relevant for one in strata) / total
    low = max(at_least - below**0.5, known)
    return Bounds(at_least, at_most, min(low, at_least), min(1.0, at_most + above**0.5))


def finite_interval(hits: int, read: int, size: int) -> tuple[float, float]:
    """The exact interval of a share of ``size``, of which ``read`` were drawn without replacement.

    The hypergeometric twin of Clopper and Pearson's: all shares K/N under which neither as few nor
    as many hits as were seen have a probability of half of 5% or less (Wright, Exact Confidence
    Bounds when Sampling from Small Finite Universes, 1991).

    Args:
        hits: how many of the read ones count.
        read: how many were drawn, 0 < read <= size.
        size: how many there are.

    Returns:
        (low, high).
    """
    # Certain: the hits are there, and so are the others.
    least, most = hits, size - (read - hits)

    def as_many(count: int) -> bool:
        return _tail(range(hits, read + 1), read, size, count) > _TAIL

    def as_few(count: int) -> bool:
        return _tail(range(hits + 1), read, size, count) > _TAIL

    low = _first(as_many, least, most)
    high = most - _first(lambda below: as_few(most - below), 0, most - least)
    return low / size, high / size


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first number from ``low`` on for which ``holds`` is true; at ``high`` it is."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _tail(hits: range, read: int, size: int, count: int) -> float:
    """Probability that of ``read`` drawn of ``size``, ``count`` of which count, ``hits`` do."""
    k = np.arange(hits.start, hits.stop, dtype=np.float64)
    k = k[(k <= count) & (read - k <= size - count)]
    parts = _choose(count, k) + _choose(size - count, read - k) - _choose(size, np.float64(read))
    return float(np.exp(parts).sum())


def _choose(of: int, k: np.ndarray | np.float64) -> np.ndarray:
    """Logarithm of the number of ways to take ``k``."""
    return np.asarray(gammaln(of + 1.0) - gammaln(k + 1.0) - gammaln(of - k + 1.0))


# --- without one ------------------------------------------------------------------------------


def corrected(yes: Rate, sensitivity: Rate, false_positive: Rate) -> Bounds:
    """The share that is relevant, of what the judge says yes to.

    The interval holds all theta with ``(q - f - theta (s - f))^2 <= z^2 (var q + theta^2 var s +
    (1 - theta)^2 var f)``, a quadratic inequality (Fieller, J R Stat Soc B 16, 1954). Agresti and
    Coull's pseudo-observations (z^2 of the negatives, two of each error rate; so do Lang and
    Reiczigel, Prev Vet Med 113, 2014) keep it honest near 0 and 1.

    Args:
        yes: the judge's yes among the negatives.
        sensitivity: among relevant documents.
        false_positive: among irrelevant ones.

    Returns:
        The estimate, within [0, 1], and its interval.
    """
    z = float(ndtri(1 - _TAIL))
    q, n = _padded(yes, z**2)
    s, n_s = _padded(sensitivity, 2)
    f, n_f = _padded(false_positive, 2)
    spread_s, spread_f = s * (1 - s) / n_s, f * (1 - f) / n_f
    square = (s - f) ** 2 - z**2 * (spread_s + spread_f)
    if square <= 0:
        # The difference of the rates could be 0: any share fits.
        return Bounds(0.0, 1.0, 0.0, 1.0)
    linear = (q - f) * (s - f) - z**2 * spread_f
    constant = (q - f) ** 2 - z**2 * (q * (1 - q) / n + spread_f)
    half = max(linear**2 - square * constant, 0.0) ** 0.5
    value = _within((yes.value - false_positive.value) / (sensitivity.value - false_positive.value))
    low, high = _within((linear - half) / square), _within((linear + half) / square)
    return Bounds(value, value, min(low, value), max(high, value))


def at_most(yes: Rate, sensitivity: Rate) -> Bounds:
    """Likewise where of irrelevant documents nothing is known: at most all of the yes are right."""
    found = corrected(yes, sensitivity, Rate(0.0, float("inf")))
    return Bounds(0.0, found.at_most, 0.0, found.high)


def with_unknown(found: Bounds, share: float) -> Bounds:
    """Bounds on all, of those on what the judge could tell, with what it could not tell.

    Args:
        found: among what it could tell.
        share: of what it could not: none of it relevant in the lower half, all in the upper.
    """
    told = 1 - share
    return Bounds(
        told * found.at_least,
        told * found.at_most + share,
        told * found.low,
        told * found.high + share,
    )


def tells_apart(sensitivity: Rate, false_positive: Rate) -> bool:
    """Whether the judge surely says yes to relevant documents more often than to others."""
    z = float(ndtri(1 - _TAIL))
    (s, n_s), (f, n_f) = _padded(sensitivity, 2), _padded(false_positive, 2)
    return bool(s - f > z * (s * (1 - s) / n_s + f * (1 - f) / n_f) ** 0.5)


def _padded(rate: Rate, more: float) -> tuple[float, float]:
    """A rate with ``more`` observations, half of which count; one that is known stays."""
    if np.isinf(rate.size):
        return rate.value, rate.size
    size = rate.size + more
    return (rate.value * rate.size + more / 2) / size, size


def _within(share: float) -> float:
    return float(min(max(share, 0.0), 1.0))
