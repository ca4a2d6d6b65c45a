"""The options of ``audit`` and ``report``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from negmine.params.option import opt


@dataclass(frozen=True)
class AuditParams:
    """``negmine audit``: known positives are hidden and the filter is run as if unlabelled.

    Its other options are :class:`FilterParams`'s: the settings under audit.
    """

    headings: ClassVar[Mapping[str, str]] = {
        "keep": "Audit",
    }

    keep: int = opt(
        1, "Positives left revealed per query; queries with more are audited.", minimum=1
    )
    seeds: int = opt(5, "Random choices of the hidden positives.", minimum=1)
    bias: tuple[str, ...] = opt(
        (),
        "Hide also, in a row of its own, the positives that SOURCE ranks lowest, or with 'pooled' "
        "those that no source ranks within --pool-depth (repeatable); default: every source, and "
        "pooled where two search.",
        metavar="SOURCE",
    )
    pool_depth: int = opt(
        10,
        "Depth to which pooled labels go: a positive that no source ranks within it is hidden.",
        metavar="RANK",
        minimum=1,
    )
    teacher: str | None = opt(
        None,
        "Score in which hardness (negative minus positive) is told; default: the last scorer's.",
        metavar="NAME",
    )
    sweep: tuple[str, ...] = opt(
        (),
        "Try a rule at several values: RULE=FROM:TO:STEP or RULE=V1,V2,... (repeatable), the "
        "other settings as given; 'auto' tries every rule alone.",
        metavar="RULE=VALUES",
    )


@dataclass(frozen=True)
class ReportParams:
    """``negmine report``: a ledger, or two, as one page."""

    headings: ClassVar[Mapping[str, str]] = {
        "audit": "Report",
    }

    audit: str | None = opt(
        None,
        "Show this audit; default: those beside the ledger that audited the same scores.",
        metavar="PATH",
        path=True,
    )
    examples: int = opt(
        3, "Examples to read of every kind; 0 leaves all texts out.", metavar="N", minimum=0
    )
    queries: int = opt(
        200,
        "Queries that can be looked up in the page, with their candidates; 0 leaves out the "
        "lookup and its script.",
        metavar="N",
        minimum=0,
    )
    seed: int = opt(42, "Seed of the random sample of candidates and of queries.", minimum=0)
