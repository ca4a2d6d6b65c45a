"""Models that score (query, document) pairs into a column ``score_NAME``."""

from __future__ import annotations

from negmine.scorers.base import GoesOn, HasColumns, HasPlacement, Prompts, Scorer, Scores
from negmine.scorers.kind import Loading, ScorerRef
from negmine.scorers.kinds import MAY_BE_REFUSED, check_options, is_served, load_scorer, refer

__all__ = [
    "MAY_BE_REFUSED",
    "GoesOn",
    "HasColumns",
    "HasPlacement",
    "Loading",
    "Prompts",
    "Scorer",
    "ScorerRef",
    "Scores",
    "check_options",
    "is_served",
    "load_scorer",
    "refer",
]
