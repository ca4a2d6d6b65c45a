"""Weights by hand."""

from __future__ import annotations

import numpy as np
import pytest

from negmine.sampling import weights


def test_dclr() -> None:
    found = weights.dclr(np.array([0.95, 0.9, 0.1, np.nan]), 0.9)
    assert found[:3].tolist() == [0.0, 1.0, 1.0]
    assert np.isnan(found[3])


def test_gcse() -> None:
    """a = 20 * student, g = 20 * guide; 1 - exp(-(a - g)^2 / (2 * 0.17^2)) where a <= g."""
    student = np.array([0.5, 0.5, 0.5, 0.5])
    guide = np.array([0.5, 0.51, 0.49, 0.9])
    found = weights.gcse(student, guide, temperature=0.05, sigma=0.17)
    assert found == pytest.approx([0.0, 1 - np.exp(-0.04 / 0.0578), 1.0, 1.0], abs=1e-9)


def test_relevance_weights() -> None:
    assert weights.irrelevance(np.array([0.25])).tolist() == [0.75]
    found = weights.exposure_corrected(np.array([0.1, 0.1, 0.1]), np.array([0.5, 0.05, 0.0]))
    # 0.1 / 0.5 = 0.2; more than certain is certain; never judged cannot be corrected.
    assert found == pytest.approx([0.8, 0.0, 0.9])


def test_difficulty_is_a_quantile_of_the_margin() -> None:
    known = np.array([-4.0, -3.0, -2.0, -1.0])
    found = weights.difficulty(np.array([-5.0, -3.0, 0.0, np.nan]), known)
    assert found[:3].tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(found[3])
