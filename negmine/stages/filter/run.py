"""``negmine filter``: every row dropped by a rule, chosen, or left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import log, memory
from negmine.engine.parts import leave_idle, over_parts
from negmine.engine.shares import WHOLE, Share
from negmine.learning import assumption, prior
from negmine.learning.fit import Fit
from negmine.learning.summaries import Summaries
from negmine.memory import reset_peak_memory
from negmine.params.filter import FilterParams
from negmine.rules.base import GIVEN
from negmine.sampling import samplers
from negmine.stages import rank_only
from negmine.stages.filter import (
    contents,
    differing,
    earlier,
    enough,
    fitting,
    idle_options,
    learned_warnings,
    quotas,
    relabelling,
)
from negmine.stages.filter.accounts import check_ledger
from negmine.stages.filter.deciding import claims, decide, judge, with_learned
from negmine.stages.filter.guard import Guard
from negmine.stages.filter.options import Columns, optional_columns, wants_prior, wants_relevance
from negmine.stages.filter.relabelling import Flags, Relabelled, relabel
from negmine.stages.filter.setup import Setup, plan, set_up
from negmine.stages.filter.short_advice import Sample, advice
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, draws, joins, schemas
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.candidates import Candidates
from negmine.table.conservation import conserve
from negmine.table.names import P_PRIOR, P_RELEVANT


def run(
    params: FilterParams,
    scored: Path,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
    advise: bool = True,
    share: Share = WHOLE,
) -> Outcome:
    """Filter and sample the scored (or just retrieved) table at ``scored`` into ``out``.

    Args:
        params: settings.
        scored: the table.
        out: the ledger.
        replacing: what may be replaced at ``out``.
        advise: try options on queries that are left short, to tell which one mends it.
        share: which parts this process judges.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
        LeftToOthers: this process's share of it is made.
    """
    setup, given = set_up(params, scored), params
    idle = idle_options.warnings(params, bool(setup.columns.unscored))
    params = setup.params
    if params.quota:
        places = ", ".join(f"{one.name} {one.places}" for one in quotas.parse(params.quota))
        log.event(f"{params.num_negatives} negatives per query: {places} (--quota)")
    budget = memory.budget(params.memory)
    guard = Guard(params, setup.source, budget.shingles)
    writer = artifacts.begin(out, plan(setup, out), replacing=replacing, share=share)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, found.warnings)
    reset_peak_memory()
    with writer:
        # Before anything is learned of the whole table.
        leave_idle(setup.source.parts, writer.has, share)
        sample = Sample(params.num_negatives) if advise else None
        counts, fit = judge_all(setup, guard, writer, sample)
        warnings = advice(counts, params, setup.columns, fit, sample, setup.source)
        warnings += [*_warnings(counts, setup.columns), *_unusual(setup), *idle]
        warnings += relabelling.warnings(counts, params)
        warnings += earlier.warnings(counts, params)
        warnings += learned_warnings.told(params, setup.columns, fit)
        warnings += quotas.told(counts, params)
        warnings += enough.unlike(given, setup.source.artifact)
        extra = {}
        if fit.bound is not None:
            extra["calibration"] = dict(fit.bound.facts)
            doubt = assumption.doubt(fit.bound.facts)
            warnings += [doubt] if doubt is not None else []
            log.event(assumption.told(fit.bound.facts), **fit.bound.facts.get("selection", {}))
        if (same_ids := guard.same_ids) is not None and same_ids.candidates:
            extra["same_ids"] = same_ids.facts()
            if same_ids.doubtful:
                warnings.append(same_ids.told())
            else:
                log.event(same_ids.told(), **same_ids.facts())
        if fit.relevance is not None:
            extra[P_RELEVANT] = dict(fit.relevance.facts)
        if fit.prior is not None:
            extra[P_PRIOR] = {**fit.prior.facts, **prior.reads(setup.source.schema())}
            if fit.prior.facts["positives"]:
                log.event(prior.told(extra[P_PRIOR]), **extra[P_PRIOR])
        writer.commit(counts, warnings=warnings, ceiling=budget.ceiling, **extra)
    for warning in warnings:
        log.event(warning, level=30)
    return Outcome(out, counts, warnings=warnings)


@dataclass(frozen=True)
class _Judged:
    """A part as it was read, what was said of its rows, and what became of them."""

    part: pa.Table
    flags: Flags
    table: pa.Table
    stats: dict[str, int]


def judge_all(
    setup: Setup,
    guard: Guard,
    writer: Writer,
    sample: Sample | None = None,
    summaries: Summaries | None = None,
) -> tuple[dict[str, Any], Fit]:
    """Write every part of the table with the ledger's columns.

    Args:
        setup: what is read.
        guard: answers for the parts.
        writer: where they go.
        sample: takes some of the queries that are left short.
        summaries: goes over the table before; by default with those who share the writer.

    Returns:
        (counts, what was learned from the whole table).
    """
    params, columns, source = setup.params, setup.columns, setup.source
    rows = sum(source.rows(name) for name in source.parts)
    summaries = summaries or Summaries(source.parts, writer)
    guard.survey(summaries)
    fit = summaries.agreed("learned", lambda: _fit(params, source, guard, columns, summaries))
    ledger_schema = _ledger_schema(source.schema(), params)
    number = {name: place for place, name in enumerate(source.parts, 1)}
    asked = {one.name: one.places for one in quotas.parse(params.quota)}

    def made(_: None, name: str, read: tuple[pa.Table, Flags]) -> _Judged:
        part, flags = read
        table, stats = judge(part, params, columns, fit=fit, flags=flags)
        check_ledger(part, table, params.num_negatives, stats, asked)
        return _Judged(part, flags, table, stats)

    with log.progress("filtering", rows, " rows") as bar:

        def write(name: str, judged: _Judged) -> None:
            if sample is not None and judged.stats["queries_short"]:
                sample.add(judged.part, judged.table, judged.flags)
            table = judged.table.select(ledger_schema.names)
            writer.add_table(name, table, ledger_schema, judged.stats)
            bar.update(table.num_rows)

        over_parts(
            ((name, None) for name in source.parts),
            finished=writer.has,
            make=made,
            write=write,
            prepare=lambda parts: _flagged(
                params, source, guard, columns, fit, (name for name, _ in parts)
            ),
            skipped=lambda name, _: bar.update(source.rows(name)),
            started=lambda name: bar.part(number[name], len(number)),
            overlap=True,
            share=writer.share,
        )
    if sample is not None and writer.resumed:
        short = (name for name in source.parts if writer.stats(name)["queries_short"])
        again = _flagged(params, source, guard, columns, fit, short)
        _draw_again(sample, (made(None, name, read) for name, read in again))
    return _conserved([writer.stats(name) for name in source.parts], rows), fit


def _draw_again(sample: Sample, judged: Iterable[_Judged]) -> None:
    """Have the first short queries of all parts in a sample, whoever judged them."""
    sample.clear()
    for one in judged:
        sample.add(one.part, one.table, one.flags)
        if sample.full:
            break


# --- passes over the table --------------------------------------------------------------------


def _fit(
    params: FilterParams,
    source: Candidates,
    guard: Guard,
    columns: Columns,
    summaries: Summaries,
) -> Fit:
    """Everything that must be known of the whole table before a part can be judged."""

    def learned() -> Fit:
        return fitting.learn(params, source, columns, guard.at_once, summaries)

    if params.max_reuse is None:
        return learned()
    # Who survives in a part is asked with the same limits by all.
    fit = summaries.agreed("limits", learned)

    def read(names: Sequence[str]) -> Iterator[tuple[str, tuple[pa.Table, Flags]]]:
        return _flagged(params, source, guard, columns, fit, names)

    def survivors(part: tuple[pa.Table, Flags]) -> tuple[int, tuple[np.ndarray, ...]]:
        """How many queries a part has, and who wants which document."""
        table, flags = part
        decided = decide(table, params, columns, fit, flags)
        rows = np.flatnonzero(decided.place)
        docs = draws.digests(table.column("docid").combine_chunks().take(pa.array(rows)))
        claim = claims(table, params)[rows]
        wants = (decided.view.query[rows], docs, decided.place[rows], claim, decided.kinds[rows])
        return len(decided.view.starts), wants

    sizes, wants = zip(*summaries.over("survivors", read, survivors), strict=True)
    query, doc, place, draw, kinds = (np.concatenate(of) for of in zip(*wants, strict=True))
    # Queries are numbered through.
    query = query + np.repeat(np.cumsum([0, *sizes[:-1]]), [len(one[0]) for one in wants])
    wanted = quotas.wanted(params)
    cut = samplers.reuse_cut(
        query, doc, place, draw, kinds=kinds, wanted=wanted, limit=params.max_reuse
    )
    return replace(fit, reuse=cut)


def _flagged(
    params: FilterParams,
    source: Candidates,
    guard: Guard,
    columns: Columns,
    fit: Fit,
    names: Iterable[str],
) -> Iterator[tuple[str, tuple[pa.Table, Flags]]]:
    """Name and (part, what the guard says of its rows)."""

    def learned() -> Iterator[joins.NamedTable]:
        for name, part in fitting.read_parts(params, source, names, guard.at_once):
            yield name, with_learned(part, fit)

    parts = differing.join(learned(), source, params, guard.at_once)

    def label(table: pa.Table, flags: Flags) -> Relabelled:
        return relabel(table, params, columns, flags)

    for name, table, flags in guard.flags(parts, label):
        yield name, (table, flags)


# --- what the ledger holds --------------------------------------------------------------------


def _ledger_schema(schema: pa.Schema, params: FilterParams) -> pa.Schema:
    wanted = {P_RELEVANT: wants_relevance, P_PRIOR: wants_prior}
    learned = [name for name, wants in wanted.items() if wants(params)]
    schema = schemas.with_scores(schema, learned)
    return schemas.with_ledger(schema, optional_columns(params))


def _conserved(stats: Iterable[Mapping[str, int]], rows: int) -> dict[str, Any]:
    """The counts of all parts, of which every row is one.

    Args:
        stats: those of each part.
        rows: how many there are.
    """
    total: Counter[str] = Counter()
    for one in stats:
        total.update(one)
    counts = _counts(total)
    dropped: dict[str, int] = counts["dropped"]
    conserve("candidate rows", rows, read=counts["candidates"])
    conserve(
        "candidates",
        counts["candidates"],
        survivors=counts["survivors"],
        **{f"dropped_by_{name}": count for name, count in dropped.items()},
    )
    return counts


def _counts(total: Counter[str]) -> dict[str, Any]:
    """The sums, those of one prefix (``dropped.``, ...) as a table of their own."""
    plain: dict[str, Any] = {}
    tables: dict[str, dict[str, int]] = {"dropped": {}}
    for name, count in total.items():
        table, _, rule = name.partition(".")
        if rule:
            tables.setdefault(table, {})[rule] = count
        else:
            plain[name] = count
    return plain | tables


def _unusual(setup: Setup) -> list[str]:
    """Settings that run, and do not mean what their names promise."""
    by, known = setup.columns.sample_by, schemas.source_names(setup.source.schema())
    told = []
    told += contents.unknown(setup.params, setup.source)
    if setup.params.prefer_given and GIVEN not in setup.source.schema().names:
        told.append("--prefer-given has no effect: --pairs brought no negatives along")
    if samplers.sampler(setup.params.sampler).retriever and by not in known:
        told.append(
            f"--sampler {setup.params.sampler} is made for the scores of a retriever, and "
            f"score_{by} is none: say --sample-by with one of {', '.join(known)}"
        )
    return told


def _warnings(counts: dict[str, Any], columns: Columns) -> list[str]:
    by, missing = columns.by, columns.unscored
    told = rank_only.told(by, columns.sample_by, columns.rank_by, missing)
    unknown = counts["queries_without_positive_score"]
    if unknown and by not in missing:
        told.append(f"{unknown} queries have no positive with a score_{by}")
    return told
