"""How much a row should count as a negative: pure functions for the column ``weight``.

A training loss multiplies a negative's term by its weight; 1 is a plain negative, 0 none. The
debiased contrastive loss (arXiv 2007.00224) corrects a query's whole negative sum by tau+ = 0.1
instead, so there is no weight per row to give: ``--tau-plus`` exports tau+ itself.
"""

from __future__ import annotations

import numpy as np


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
