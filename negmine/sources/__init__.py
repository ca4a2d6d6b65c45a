"""Where candidates come from. A source finds the k best documents of every query that is asked."""

from negmine.sources.base import (
    Asked,
    Capabilities,
    HasCapabilities,
    HasColumns,
    HasRecall,
    HasTokens,
    Hits,
    ScoresPairs,
    Source,
    capabilities_of,
)

__all__ = [
    "Asked",
    "Capabilities",
    "HasCapabilities",
    "HasColumns",
    "HasRecall",
    "HasTokens",
    "Hits",
    "ScoresPairs",
    "Source",
    "capabilities_of",
]
