"""What another package may use of negmine: the one door for plug-ins.

Sources, scorers, rules and formats of other packages import from here and nowhere else
(``docs/plugins.md``). What stands here is kept, or its change is told in the changelog; every other
module may move without a word.
"""

from __future__ import annotations

from negmine.errors import (
    InvalidDataError,
    MissingDependencyError,
    MissingInputError,
    NegmineError,
    UsageError,
)
from negmine.formats.base import Chosen, Column, Examples, Format, Measure, Options
from negmine.formats.rows import left_out, per_query
from negmine.models.checkpoint import Checkpoint
from negmine.params.export import ExportParams
from negmine.params.filter import FilterParams
from negmine.params.rerank import RerankParams
from negmine.params.retrieve import RetrieveParams
from negmine.rules.base import Border, Rule, Scaled, View, always, comparing, constant
from negmine.scorers import GoesOn, HasColumns, HasPlacement, Prompts, Scorer, Scores
from negmine.sources import (
    Asked,
    Capabilities,
    HasCapabilities,
    HasRecall,
    HasTokens,
    Hits,
    ScoresPairs,
    Source,
)
from negmine.table.documents import Documents
from negmine.table.ranking import positions_in_group, rank_order, string_codes

__all__ = [
    "Asked",
    "Border",
    "Capabilities",
    "Checkpoint",
    "Chosen",
    "Column",
    "Documents",
    "Examples",
    "ExportParams",
    "FilterParams",
    "Format",
    "GoesOn",
    "HasCapabilities",
    "HasColumns",
    "HasPlacement",
    "HasRecall",
    "HasTokens",
    "Hits",
    "InvalidDataError",
    "Measure",
    "MissingDependencyError",
    "MissingInputError",
    "NegmineError",
    "Options",
    "Prompts",
    "RerankParams",
    "RetrieveParams",
    "Rule",
    "Scaled",
    "Scorer",
    "Scores",
    "ScoresPairs",
    "Source",
    "UsageError",
    "View",
    "always",
    "comparing",
    "constant",
    "left_out",
    "per_query",
    "positions_in_group",
    "rank_order",
    "string_codes",
]
