"""The options of ``filter``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from negmine.params.filter_choice import ChoiceOptions
from negmine.params.filter_comparisons import RankOptions, ReadOptions, ScoreOptions
from negmine.params.filter_identity import IdentityOptions
from negmine.params.filter_labels import LabelOptions
from negmine.params.option import MEMORY_HELP, opt


# A group of fields: FilterParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class PluginOptions:
    """Rules of other packages."""

    headings: ClassVar[Mapping[str, str]] = {
        "rule": "Rules of other packages",
    }

    rule: tuple[str, ...] = opt(
        (),
        "Ask also a rule of another package (entry point negmine.rules), after all others "
        "(repeatable).",
        metavar="NAME[=VALUE]",
    )


# A dataclass has the fields of its last base first: read from the right, the bases are in the order
# of the help and of the manifest.
@dataclass(frozen=True)
class FilterParams(
    ChoiceOptions,
    LabelOptions,
    PluginOptions,
    IdentityOptions,
    ScoreOptions,
    RankOptions,
    ReadOptions,
):
    """``negmine filter``: rules drop false negatives, a sampler picks among the survivors."""

    headings: ClassVar[Mapping[str, str]] = {"memory": "Running"}
    most_used: ClassVar[tuple[str, ...]] = (
        *("by", "max_score", "max_fn_rate", "relative_margin"),
        *("sampler", "rank_by", "num_negatives"),
    )

    memory: str | None = opt(None, MEMORY_HELP, metavar="SIZE", affects_output=False)
