"""How much a row should count as a negative: pure functions for the column ``weight``.

A training loss multiplies a negative's term by its weight; 1 is a plain negative, 0 none. The
debiased contrastive loss (arXiv 2007.00224) corrects a query's whole negative sum by tau+ = 0.1
instead, so there is no weight per row to give: ``--tau-plus`` exports tau+ itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from negmine.sampling import method
from negmine.sampling.method import Method


def dclr(score: np.ndarray, above: float) -> np.ndarray:
    """0 where a frozen second model's cosine exceeds phi, else 1.

    DCLR (arXiv 2205.00656), phi = 0.90 or 0.85. NaN where the second model did not see the row.
    """
    return np.where(np.isnan(score), np.nan, np.where(score > above, 0.0, 1.0))


def gcse(student: np.ndarray, guide: np.ndarray, *, temperature: float, sigma: float) -> np.ndarray:
    """Gaussian decay: a negative on which student and guide agree is probably a false one.

    GCSE (arXiv 2409.12887, the authors' code): with ``a = cos_student / temperature`` and
    ``g = cos_guide / temperature``, a negative's logit is multiplied by
    ``1 - exp(-(a - g)^2 / (2 sigma^2))`` where a <= g and left as it is where a > g; temperature
    0.05, sigma 0.17 (BERT). The paper recomputes a during training; here it is the model that
    mined.
    """
    a, g = student / temperature, guide / temperature
    decayed = 1 - np.exp(-((a - g) ** 2) / (2 * sigma**2))
    return np.where(np.isnan(a) | np.isnan(g), np.nan, np.where(a <= g, decayed, 1.0))


def irrelevance(p_relevant: np.ndarray) -> np.ndarray:
    """``1 - p_relevant`` (ours)."""
    return 1 - p_relevant


def exposure_corrected(p_relevant: np.ndarray, p_judged: np.ndarray) -> np.ndarray:
    """``1 - min(1, P(labelled) / P(judged | rank, source))``, CET-style.

    After "Correcting Pooling Bias" (its formula was not at hand; only the idea of a selection
    model beside the relevance model is the paper's). A label needs a relevant document *and* a
    judge who saw it: P(labelled) = P(relevant) * P(judged), so dividing by the chance of having
    been judged gives the relevance that judges would have found.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        relevant = np.minimum(1.0, p_relevant / p_judged)
    return 1 - np.where(p_judged > 0, relevant, p_relevant)


def difficulty(margin: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Quantile of a teacher margin ``s - p`` among all candidates', 1 = hardest.

    PEG (arXiv 2311.11691) grows the difficulty of negatives over training; measuring it as a
    quantile, which no scale can upset, is ours. NaN where the margin is.

    Args:
        margin: s - p per row.
        known: margins of the whole table, sorted.
    """
    quantile = np.searchsorted(known, margin, side="right") / max(1, len(known))
    return np.where(np.isnan(margin), np.nan, quantile)


# --- by name ----------------------------------------------------------------------------------


class WeightOptions(Protocol):
    """The parameters that weights read."""

    @property
    def weight_by(self) -> str | None:
        """Score of the second model."""

    @property
    def weight_student(self) -> str | None:
        """Score of the model that is trained."""

    @property
    def weight_above(self) -> float:
        """See :func:`dclr`."""

    @property
    def weight_sigma(self) -> float:
        """See :func:`gcse`."""

    @property
    def weight_temperature(self) -> float:
        """See :func:`gcse`."""


@dataclass(frozen=True)
class Numbers:
    """What a weight may read of a part, each computed when it is asked for.

    Attributes:
        score: a score by name, NaN where there is none, float64 [rows].
        relevant: how probable it is that a row is a positive.
        judged: how probable it is that a judge saw it.
    """

    score: Callable[[str], np.ndarray]
    relevant: Callable[[], np.ndarray]
    judged: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Weight(Method):
    """How much rows count.

    Attributes:
        weigh: 1 for a plain negative, 0 for none, NaN where it is not known.
        second: whether it reads a second model's score: ``--weight-by``.
        relevance: whether it reads the learned probability.
    """

    weigh: Callable[[Numbers, WeightOptions], np.ndarray]
    second: bool = field(default=False, kw_only=True)
    relevance: bool = field(default=False, kw_only=True)


def _dclr(numbers: Numbers, options: WeightOptions) -> np.ndarray:
    assert options.weight_by is not None
    return dclr(numbers.score(options.weight_by), options.weight_above)


def _gcse(numbers: Numbers, options: WeightOptions) -> np.ndarray:
    assert options.weight_by is not None
    assert options.weight_student is not None
    return gcse(
        numbers.score(options.weight_student),
        numbers.score(options.weight_by),
        temperature=options.weight_temperature,
        sigma=options.weight_sigma,
    )


WEIGHTS = method.table(
    Weight(
        "dclr",
        "0 where a second model's cosine is high, else 1",
        _dclr,
        options=("weight_by", "weight_above"),
        second=True,
    ),
    Weight(
        "gcse",
        "less where student and second model agree",
        _gcse,
        options=("weight_by", "weight_student", "weight_sigma", "weight_temperature"),
        second=True,
    ),
    Weight(
        "p-relevant",
        "1 - p_relevant",
        lambda numbers, options: irrelevance(numbers.relevant()),
        relevance=True,
    ),
    Weight(
        "cet",
        "1 - p_relevant, corrected for what no judge saw",
        lambda numbers, options: exposure_corrected(numbers.relevant(), numbers.judged()),
        relevance=True,
    ),
)
#: What asks for no weights.
NONE = "none"


def weight(name: str) -> Weight | None:
    """The weight of a name; None for :data:`NONE`.

    Raises:
        UsageError: there is none.
    """
    return None if name == NONE else method.find(WEIGHTS, name, "--weight")
