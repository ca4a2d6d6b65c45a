"""The options of ``filter`` that change labels: actions in the place of a drop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from negmine.params.option import opt


# A group of fields: FilterParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class LabelOptions:
    """Candidates that become positives, positives that are none, and queries that go."""

    headings: ClassVar[Mapping[str, str]] = {
        "promote": "Labels that change (relabelling)",
    }

    promote: tuple[str, ...] = opt(
        (),
        "Make positives of the candidates for which this holds, such as 'judge > 0.9', 'ce >= "
        "positive + 1' or 'verdict_judge = yes and p_relevant > 0.5' (repeatable: any of them).",
        metavar="CONDITION",
        later=True,
    )
    promote_judged: bool = opt(
        False,
        "--promote takes also candidates that were judged, and not found relevant.",
        flags=("--promote-judged/--no-promote-judged",),
        later=True,
    )
    demote: tuple[str, ...] = opt(
        (),
        "Known positives for which this holds, such as 'ce < -8' or 'rank_bm25 > 100', are none "
        "any more, and no negatives either (repeatable: any of them).",
        metavar="CONDITION",
        later=True,
    )
    drop_query: tuple[str, ...] = opt(
        (),
        "Give up the queries for which this holds: of the counts promoted, demoted and positives "
        "(those left), and of their positives' scores: 'promoted > 8', 'positive judge < 0.1' "
        "(repeatable: any of them).",
        metavar="CONDITION",
        later=True,
    )
