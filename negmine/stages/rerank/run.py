"""``negmine rerank``: judges are examined, some queries are scored first, then all is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from negmine import log, memory
from negmine.engine.parts import leave_idle
from negmine.engine.shares import COLLECTING, WHOLE, LeftToOthers, Share
from negmine.errors import MissingInputError
from negmine.learning import fit_sample
from negmine.learning.fit_sample import FitSample
from negmine.memory import reset_peak_memory
from negmine.params.rerank import RerankParams
from negmine.scorers import Scorer
from negmine.scorers.base import columns_of, spent_by
from negmine.stages import cascade as cascades
from negmine.stages import examination, fit_first, verdicts
from negmine.stages.fit_first import Known
from negmine.stages.outcome import Outcome
from negmine.stages.rerank import scoring, told
from negmine.stages.rerank.loading import on_every_gpu
from negmine.stages.rerank.rows import limited
from negmine.stages.rerank.scoring import BY_SCORER, score
from negmine.stages.rerank.settling import settled
from negmine.stages.rerank.setup import MakeUntil, Setup, plan, set_up
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.candidates import Candidates


def run(
    params: RerankParams,
    candidates: Path,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
    until: MakeUntil | None = None,
    share: Share = WHOLE,
) -> Outcome:
    """Score the candidates at ``candidates`` (or a scored artifact, to add columns) into ``out``.

    Scores of other settings are moved aside, and taken back when their settings come back.

    Args:
        params: settings.
        candidates: the table.
        out: the scored table.
        replacing: what may be replaced at ``out``.
        until: makes who says that a query has enough; without it every row is scored.
        share: which parts this process scores.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
        LeftToOthers: this process's share of it is made.
    """
    setup = replace(set_up(params, candidates, until), place=out.parent)
    with setup.closing:
        return _run(params, setup, out, replacing, share)


def _run(
    params: RerankParams, setup: Setup, out: Path, replacing: Replace, share: Share
) -> Outcome:
    """Examine the judges, then score."""
    budget = setup.budget(params.memory)
    planned = plan(params, setup, out)
    scorers: list[dict[str, Scorer]] = []
    examined: dict[str, dict[str, Any]] = {}
    if share is WHOLE:
        state = artifacts.state_of(out, planned, replacing=replacing, keep=True)
        if state.kind not in ("made", "refused"):
            # Before what is there goes: a model may not be able to do what is asked of it.
            scorers, examined = _examined(params, setup)
    writer = artifacts.begin(out, planned, replacing=replacing, keep=True, share=share)
    if writer is None:
        found = artifacts.open_artifact(out)
        examination.check_made(found.manifest, params)
        return Outcome(out, dict(found.counts), True, found.warnings)
    reset_peak_memory()
    with writer:
        first = _first(params, setup, out, replacing)
        if share is not WHOLE:
            _leave(params, setup, first, writer)
        if share is COLLECTING:
            scorers, examined = told.collected(writer)
        if not scorers:
            scorers, examined = _examined(params, setup)
        setup, scorers = _with_fit(params, setup, scorers, first, budget)
        scorers = settled(params, setup, scorers, writer)
        if not share.whole:
            told.tell(scorers[0], examined, writer)
        counts = score(params, setup, scorers, writer, budget.texts)
        warnings = [*verdicts.warnings(counts, scorers[0]), *scoring.warnings(counts)]
        if counts["unscored"] and params.enough is None and params.top is not None:
            others = f" or outside of {cascades.OPTION}" if setup.cascade.screens else ""
            warnings.append(
                f"{counts['unscored']} candidates beyond --top {params.top}{others} are left "
                "unscored"
            )
        if params.enough is not None:
            log.event(_spared(counts, params.enough))
        screened = counts.get(BY_SCORER, {})
        for said in (
            *cascades.told(setup.cascade, screened, counts["candidates"]),
            *scoring.told(counts),
        ):
            log.event(said)
        writer.commit(
            counts,
            warnings=warnings,
            ceiling=budget.ceiling,
            of_run=_of_run(scorers[0]),
            scorers=examination.described(scorers[0], examined),
        )
    log.warn(warnings)
    return Outcome(out, counts, warnings=warnings)


def _examined(
    params: RerankParams, setup: Setup
) -> tuple[list[dict[str, Scorer]], dict[str, dict[str, Any]]]:
    """The scorers, loaded, and how the judges among them did."""
    scorers = on_every_gpu(params, setup)
    draw = partial(examination.sample, setup.source, params.examine)
    return scorers, examination.examine(scorers[0], draw, params)


@dataclass(frozen=True)
class _First:
    """Queries that are scored whole, to learn when one has enough: an artifact beside the result.

    Attributes:
        params: as they are scored.
        setup: likewise.
        sample: which they are.
        place: where the artifact is.
        plan: what it is made from.
        replacing: what may go for it.
    """

    params: RerankParams
    setup: Setup
    sample: FitSample
    place: Path
    plan: Plan
    replacing: Replace

    @property
    def is_made(self) -> bool:
        """Whether they are scored."""
        return artifacts.state_of(self.place, self.plan, replacing=self.replacing).kind == "made"


def _first(params: RerankParams, setup: Setup, out: Path, replacing: Replace) -> _First | None:
    """What is scored first, if anything is learned of it."""
    if setup.until is None or setup.until.sample is None:
        return None
    qids = (table for _, table in limited(setup.source, params.limit, ["qid"]))
    sample = fit_sample.drawn(qids, *setup.until.sample)
    alone = replace(params, enough=None, until=(), enough_block=RerankParams().enough_block)
    whole, place = replace(setup, until=None, sample=sample), fit_first.place(out)
    # What other settings have scored is no slip of -o: it steps aside.
    may = max(replacing, Replace.OTHER)
    return _First(alone, whole, sample, place, plan(alone, whole, place), may)


def _with_fit(
    params: RerankParams,
    setup: Setup,
    scorers: list[dict[str, Scorer]],
    first: _First | None,
    budget: memory.Budget,
) -> tuple[Setup, list[dict[str, Scorer]]]:
    """The setup of which it is known when a query has enough: some queries are scored whole for it.

    Their scores are an artifact beside the result, made as any other is, by the scorers that are
    returned: what runs them is decided here by the whole table, of which they become rows.
    """
    if setup.until is None:
        return setup, scorers
    if first is None:
        tables = (table for _, table in limited(setup.source, params.limit))
        return replace(setup, until=setup.until.anchored(tables)), scorers
    sample = first.sample
    log.event(f"{sample.queries:,} of {sample.of:,} queries are scored whole, for what is learned")
    writer = artifacts.begin(first.place, first.plan, replacing=first.replacing, keep=True)
    if writer is not None:
        with writer:
            scorers = settled(params, setup, scorers, writer)
            counts = score(first.params, first.setup, scorers, writer, budget.texts)
            writer.commit(counts, ceiling=budget.ceiling)
    scored = Candidates(artifacts.open_artifact(first.place))
    further = {name: tuple(columns_of(one, name)) for name, one in scorers[0].items()}
    known = Known(scored.artifact, sample, further)
    return replace(setup, until=setup.until.learned(scored), known=known), scorers


def _leave(params: RerankParams, setup: Setup, first: _First | None, writer: Writer) -> None:
    """End, before a model is loaded in vain, where nothing can be scored here.

    Raises:
        LeftToOthers: nothing is left to this process; where some queries are scored first, that
            comes first.
        MissingInputError: something is, and those queries are not scored yet, by whose it is.
    """
    share = writer.share
    waits = first is not None and not share.mine(0) and not first.is_made
    place = "" if first is None else str(first.place)
    try:
        names = (name for name, _ in limited(setup.source, params.limit, ["qid"]))
        leave_idle(names, writer.has, share)
    except LeftToOthers as left:
        if share is COLLECTING and left.others and waits:
            raise LeftToOthers(0, [(0, place)]) from None
        raise
    if waits:
        raise MissingInputError(
            "the queries that are scored whole first, to learn the limit from, are not scored yet",
            where=place,
            hint="The first shard (0/N) scores them before its own parts: run the others after it.",
        )


def _of_run(scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    spent = spent_by(scorers)
    return {"spent": spent} if spent else {}


def _spared(counts: Mapping[str, Any], enough: int) -> str:
    """What stopping early saved, in words."""
    rows = max(1, counts["candidates"])
    return (
        f"scored {counts['scored']:,} of {rows:,} candidates ({counts['scored'] / rows:.0%}), "
        f"until {enough} of each query survived; the others stay unscored"
    )
