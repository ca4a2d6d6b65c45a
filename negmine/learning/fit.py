"""What is learned from the whole table before parts are judged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from negmine.learning.calibration import Bound
from negmine.learning.prior import Prior
from negmine.learning.relevance import Relevance
from negmine.sampling.samplers import ReuseCut

_NOTHING = np.empty(0)


@dataclass(frozen=True)
class Fit:
    """What was learned from the whole table.

    Attributes:
        positive_scores: all positives' scores, sorted.
        margins: a sample of candidates' margins ``s - p``, sorted.
        bound: the conformal threshold.
        reuse: the limits on documents.
        relevance: the model behind ``p_relevant``.
        prior: the model behind ``p_prior``.
    """

    positive_scores: np.ndarray = field(default_factory=lambda: _NOTHING)
    margins: np.ndarray = field(default_factory=lambda: _NOTHING)
    bound: Bound | None = None
    reuse: ReuseCut | None = None
    relevance: Relevance | None = None
    prior: Prior | None = None
