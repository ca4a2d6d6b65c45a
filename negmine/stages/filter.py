"""``negmine filter``: the ledger. Every candidate is kept, with the rule that dropped it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import fitting, log, memory, rules, samplers
from negmine.calibration import Fit
from negmine.params import FilterParams, output_affecting
from negmine.relevance import NAME as P_RELEVANT
from negmine.rules.base import GIVEN
from negmine.stages import idle_options, kept, likeness, rank_only, scales
from negmine.stages.accounts import check_ledger
from negmine.stages.behind import ahead, behind
from negmine.stages.deciding import Flags, claims, decide, judge, label_pseudo, with_relevance
from negmine.stages.filter_options import Columns, optional_columns, resolve, wants_relevance
from negmine.stages.guard import Guard, excluded_file
from negmine.stages.outcome import Outcome, conserve
from negmine.stages.short_advice import Sample, advice
from negmine.table import artifact as artifacts
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact, Plan, Writer
from negmine.table.documents import Documents
from negmine.table.names import meta_column

VERSION = 4


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        params: the parameters, scores' names in full.
        columns: the columns that they read.
        source: the scored candidates.
    """

    params: FilterParams
    columns: Columns
    source: Artifact


def set_up(params: FilterParams, scored: Path) -> Setup:
    """Check the parameters against the scored (or just retrieved) table at ``scored``.

    Raises:
        UsageError: an unknown column, or options that contradict each other.
        MissingInputError: there is no such artifact.
    """
    source = artifacts.open_artifact(
        scored, ["retrieve", "rerank"], purpose="the scored candidates"
    )
    kept_columns = _documents(source).kept if params.calibrate_by is not None else []
    empty = rank_only.empty_in(source)
    params, columns = resolve(params, source.schema(), kept_columns, empty)
    scales.check(params, columns.by, source)
    rules.plugged(params)
    return Setup(params, columns, source)


def plan(setup: Setup, out: Path) -> Plan:
    """What the ledger at ``out`` is made from."""
    params = setup.params
    files = {}
    if params.exclude is not None:
        known = artifacts.recorded_file(out, "exclude")
        files["exclude"] = artifacts.external_input(excluded_file(params.exclude), known)
    return Plan(
        "filter",
        VERSION,
        {
            **output_affecting(params),
            **rank_only.fingerprint(asdict(setup.columns)),
            "rules": rules.VERSION,
            **({"plugins": rules.identities(params)} if params.rule else {}),
        },
        artifacts={"scored": setup.source},
        files=files,
    )


def run(
    params: FilterParams, scored: Path, out: Path, *, force: bool = False, advise: bool = True
) -> Outcome:
    """Filter and sample the scored (or just retrieved) table at ``scored`` into ``out``.

    Args:
        params: settings.
        scored: the table.
        out: the ledger.
        force: replace a ledger of other settings.
        advise: try options on queries that are left short, to tell which one mends it.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    idle = idle_options.warnings(params)
    setup = set_up(params, scored)
    params = setup.params
    budget = memory.budget(params.memory)
    guard = Guard(params, setup.source, budget.shingles)
    writer = artifacts.begin(out, plan(setup, out), force=force)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, list(found.manifest["warnings"]))
    artifacts.reset_peak_memory()
    with writer:
        sample = Sample(params.num_negatives) if advise else None
        counts, fit = judge_all(setup, guard, writer, sample)
        warnings = advice(counts, params, setup.columns, fit, sample, setup.source)
        warnings += [*_warnings(counts, setup.columns), *_unusual(setup), *idle]
        extra = {"calibration": dict(fit.bound.facts)} if fit.bound is not None else {}
        if (same_ids := guard.same_ids) is not None and same_ids.candidates:
            extra["same_ids"] = same_ids.facts()
            if same_ids.doubtful:
                warnings.append(same_ids.told())
            else:
                log.event(same_ids.told(), **same_ids.facts())
        if fit.relevance is not None:
            extra["p_relevant"] = dict(fit.relevance.facts)
        writer.commit(counts, warnings=warnings, ceiling=budget.ceiling, **extra)
    for warning in warnings:
        log.event(warning, level=30)
    return Outcome(out, counts, warnings=warnings)


def judge_all(
    setup: Setup, guard: Guard, writer: Writer, sample: Sample | None = None
) -> tuple[dict[str, Any], Fit]:
    """Write every part of the table with the ledger's columns.

    Args:
        setup: what is read.
        guard: answers for the parts.
        writer: where they go.
        sample: takes some of the queries that are left short.

    Returns:
        (counts, what was learned from the whole table).
    """
    params, columns, source = setup.params, setup.columns, setup.source
    total: Counter[str] = Counter()
    rows = sum(source.rows(name) for name in source.parts)
    fit = _fit(params, source, guard, columns)
    ledger_schema = _ledger_schema(source.schema(), params, columns)
    pending = [name for name in source.parts if not writer.has(name)]
    with (
        log.progress("filtering", rows, " rows") as bar,
        behind(writer.add_table) as add_table,
        ahead(_flagged(params, source, guard, columns, fit, pending)) as flagged,
    ):
        bar.update(rows - sum(map(source.rows, pending)))
        number = {name: place for place, name in enumerate(source.parts, 1)}
        for name, part, flags in flagged:
            bar.part(number[name], len(number))
            table, stats = judge(part, params, columns, fit=fit, flags=flags)
            check_ledger(part, table, params.num_negatives, stats)
            if sample is not None and stats["queries_short"]:
                sample.add(part, table, flags)
            add_table(name, table.select(ledger_schema.names), ledger_schema, stats)
            bar.update(table.num_rows)
    for name in source.parts:
        total.update(writer.stats(name))
    counts = _counts(total)
    dropped: dict[str, int] = counts["dropped"]
    conserve("candidate rows", rows, read=counts["candidates"])
    conserve(
        "candidates",
        counts["candidates"],
        survivors=counts["survivors"],
        **{f"dropped_by_{name}": count for name, count in dropped.items()},
    )
    return counts, fit


# --- passes over the table --------------------------------------------------------------------


def _fit(params: FilterParams, source: Artifact, guard: Guard, columns: Columns) -> Fit:
    """Everything that must be known of the whole table before a part can be judged."""

    total = sum(map(source.rows, source.parts))

    def plain() -> Iterator[pa.Table]:
        with log.progress("learning from the table", total, " rows") as bar:
            read = _read(params, source, source.parts, guard.at_once)
            for number, (_, table) in enumerate(read, 1):
                bar.part(number, len(source.parts))
                yield table
                bar.update(table.num_rows)

    relevance = None
    if wants_relevance(params, columns):
        from negmine.relevance import learn

        relevance = learn(plain(), total, params.seed)

    def tables() -> Iterator[pa.Table]:
        for table in plain():
            yield with_relevance(table, Fit(relevance=relevance))

    fit = replace(fitting.fit(tables, params, columns.by), relevance=relevance)
    if params.max_reuse is None:
        return fit
    parts = []
    queries = 0
    for _, table, flags in _flagged(params, source, guard, columns, fit, source.parts):
        decided = decide(table, params, columns, fit, flags)
        rows = np.flatnonzero(decided.place)
        docs = table.column("docid").combine_chunks()
        parts.append(
            (
                decided.view.query[rows] + queries,
                samplers.digests(docs.take(pa.array(rows))),
                decided.place[rows],
                claims(table, params)[rows],
            )
        )
        queries += len(decided.view.starts)
    query, doc, place, draw = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    cut = samplers.reuse_cut(
        query, doc, place, draw, wanted=params.num_negatives, limit=params.max_reuse
    )
    return replace(fit, reuse=cut)


def _flagged(
    params: FilterParams,
    source: Artifact,
    guard: Guard,
    columns: Columns,
    fit: Fit,
    names: list[str],
) -> Iterator[tuple[str, pa.Table, Flags]]:
    """(name, part, what the guard says of its rows)."""

    def learned() -> Iterator[kept.Part]:
        for name, part in _read(params, source, names, guard.at_once):
            yield name, with_relevance(part, fit)

    def label(table: pa.Table, barred: np.ndarray) -> pa.Table:
        return label_pseudo(table, params, columns, barred)[0]

    yield from guard.flags(learned(), label)


def _read(
    params: FilterParams, source: Artifact, names: list[str], at_once: int
) -> Iterator[kept.Part]:
    """Named parts, with what the settings read that no artifact holds."""
    parts: Iterator[kept.Part] = ((name, source.read(name)) for name in names)
    if params.similar_to_positives:
        parts = likeness.join(parts, source, params.seed, at_once)
    prefix = meta_column("")
    if params.calibrate_by is not None and params.calibrate_by.startswith(prefix):
        column = params.calibrate_by.removeprefix(prefix)
        parts = kept.join(parts, _documents(source), column, at_once)
    return parts


def _documents(source: Artifact) -> Documents:
    return Documents(source.ancestor("index.documents"))


# --- what the ledger holds --------------------------------------------------------------------


def _ledger_schema(schema: pa.Schema, params: FilterParams, columns: Columns) -> pa.Schema:
    if wants_relevance(params, columns):
        schema = schemas.with_scores(schema, [P_RELEVANT])
    return schemas.with_ledger(schema, optional_columns(params))


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
    if setup.params.prefer_given and GIVEN not in setup.source.schema().names:
        told.append("--prefer-given has no effect: --pairs brought no negatives along")
    if setup.params.sampler.startswith("simans") and by not in known:
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
