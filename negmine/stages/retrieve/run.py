"""``negmine retrieve``: from an index and a task to the candidates artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from negmine import log, memory
from negmine.engine.shares import WHOLE, Share
from negmine.models.checkpoint import Checkpoint
from negmine.params.retrieve import RetrieveParams
from negmine.scorers.base import spent_by
from negmine.sources.base import HasRecall, Prepares, Source, Workshop, capabilities_of
from negmine.stages import cores
from negmine.stages.outcome import Outcome
from negmine.stages.retrieve import bands
from negmine.stages.retrieve.mining import found_again, mine
from negmine.stages.retrieve.opening import open_sources
from negmine.stages.retrieve.setup import plan, set_up
from negmine.stages.retrieve.task import read_task
from negmine.table import artifacts
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.documents import Documents

#: The folder beside the candidates where sources keep what they make of a run's queries.
WORKSHOP = "sources"


def run(
    params: RetrieveParams,
    index: Path,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
    share: Share = WHOLE,
) -> Outcome:
    """Make the candidates artifact at ``out`` from the index at ``index``, or a share of its parts.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
        LeftToOthers: this process's share of it is made.
    """
    setup = set_up(params, index)
    writer = artifacts.begin(out, plan(params, setup, out), replacing=replacing, share=share)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, found.warnings)
    cores.take(params.threads)
    memory.reset_peak_memory()
    with writer:
        budget = setup.budget(params.memory)
        corpus = Documents(setup.documents)
        task = read_task(params, corpus)
        retrievers = open_sources(params, setup, task, corpus, budget, scratch=out)
        log.warn(task.warnings)
        try:
            extra = _prepared(retrievers, _workshop(out, replacing, budget, share), writer)
            tallies = mine(task, retrievers, params, writer, budget.hits)
            spent = spent_by(retrievers)
        finally:
            for retriever in retrievers.values():
                retriever.close()
        counts = {**task.counts, **tallies}
        _tell_found_again(retrievers, counts)
        if lost := counts["queries_without_candidates"]:
            task.warnings.append(f"{lost} queries have no candidate: later stages do not see them")
            log.warn(task.warnings[-1:])
        if short := counts["queries_of_positives_only"]:
            task.warnings.append(
                f"{short} queries have no candidate beside their positives: {_why_none(retrievers)}"
            )
            log.warn(task.warnings[-1:])
        told = [
            f"--band {name}={band}: the ranking of {short} queries ends before it does"
            for name, band in bands.parse(params).items()
            if (short := counts[f"short_of_band_{name}"])
        ]
        task.warnings.extend(told)
        log.warn(told)
        extra |= _recalls(retrievers)
        writer.commit(
            counts,
            warnings=task.warnings,
            ceiling=budget.ceiling,
            of_run={"spent": spent} if spent else None,
            columns=task.asked.record(),
            **extra,
        )
    return Outcome(out, counts, warnings=task.warnings)


def _why_none(retrievers: Mapping[str, Source]) -> str:
    """Why a query has no other candidate than its positives."""
    if any(capabilities_of(one).searches for one in retrievers.values()):
        return (
            "no source found another document for them (bm25 finds what shares a word, a run has "
            "no rows but its own)"
        )
    return f"none is given for them, and nothing is searched ({', '.join(retrievers)})"


def _tell_found_again(retrievers: Mapping[str, Source], counts: Mapping[str, Any]) -> None:
    """Say of earlier negatives that they are no rows of their own where they are found again."""
    for name, retriever in retrievers.items():
        if capabilities_of(retriever).counted and (hits := counts[f"hits_{name}"]):
            again = counts[found_again(name)]
            log.event(
                f"{name}: {hits:,} negatives of before; {again:,} of them are found now, too, and "
                f"are one row each, {hits - again:,} stand in the table by it alone",
                hits=hits,
                again=again,
            )


def workshop_of(out: Path, replacing: Replace, budget: memory.Budget) -> Workshop:
    """Where sources make what they need of the queries of the candidates at ``out``.

    What they make is theirs: it stays where the candidates are made anew, and what was made with
    other settings steps aside.
    """
    return Workshop(
        folder=out.parent / WORKSHOP,
        replacing=max(replacing, Replace.OTHER),
        ceiling=budget.ceiling,
    )


def _workshop(out: Path, replacing: Replace, budget: memory.Budget, share: Share) -> Workshop:
    """Where sources find, or make, what they need of the queries, as this process's share is."""
    return replace(workshop_of(out, replacing, budget), makes=share.mine(0))


def _prepared(
    retrievers: Mapping[str, Source], workshop: Workshop, writer: Writer
) -> dict[str, Any]:
    """Have sources make what they need before they are asked; what is told of it."""

    def keep(of: str, made_of: Mapping[str, Any]) -> Checkpoint:
        return writer.checkpoint(WORKSHOP, made_of, of)

    told = {
        name: dict(retriever.prepare(workshop, keep))
        for name, retriever in retrievers.items()
        if isinstance(retriever, Prepares)
    }
    return {WORKSHOP: told} if told else {}


def _recalls(retrievers: Mapping[str, Source]) -> dict[str, Any]:
    """What approximate searches missed, for the manifest; it is told on stderr, too."""
    told = {
        name: retriever.recall
        for name, retriever in retrievers.items()
        if isinstance(retriever, HasRecall) and retriever.recall is not None
    }
    for name, recall in told.items():
        log.event(
            f"{name}: the approximate search finds {recall['recall']:.1%} of the exact best "
            f"{recall['k']} ({recall['queries']} queries, {recall['factory']}, "
            f"{recall['search'] or 'its own settings'})",
            **recall,
        )
    return {"ann": told} if told else {}
