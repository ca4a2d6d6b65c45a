"""The options of ``audit`` and ``report``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from negmine.params.judge import JudgeOptions
from negmine.params.llm import EndpointOptions
from negmine.params.option import opt


@dataclass(frozen=True)
class AuditParams(JudgeOptions, EndpointOptions):
    """``negmine audit``: known positives are hidden, or a judge and people read the chosen.

    Its other options are :class:`FilterParams`'s: the settings under audit.
    """

    headings: ClassVar[Mapping[str, str]] = {
        "keep": "Audit by hiding known positives",
        "judge": "Audit of the chosen by a judge and a sample",
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
    judge: str | None = opt(
        None,
        "Instead of hiding: how many of the chosen are relevant by this score of the table, "
        "corrected for what it gets wrong, by --gold or else by known positives and random "
        "documents (a source random:N). Takes a ledger, too. NAME=MODEL asks a judge, as rerank "
        "--scorer does, of which the table has no score, about the sample alone.",
        metavar="NAME[=MODEL]",
        later=True,
    )
    judge_cut: float | None = opt(
        None,
        "Score from which the judge says yes; default: its own verdicts where it gives some, else "
        "the score that half of the known positives reach.",
        metavar="SCORE",
        later=True,
    )
    sample: int = opt(
        400,
        "Chosen negatives that are drawn, with known probability, for people to read.",
        metavar="N",
        minimum=1,
        later=True,
    )
    sample_seed: int = opt(42, "Seed of that draw.", minimum=0, later=True)
    sheet: str | None = opt(
        None,
        "Write the drawn negatives as a sheet to fill in: *.csv, or *.json for Label Studio.",
        metavar="FILE",
        affects_output=False,
    )
    gold: tuple[str, ...] = opt(
        (),
        "A sheet that people filled in, as far as they came (repeatable).",
        metavar="FILE",
        path=True,
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
