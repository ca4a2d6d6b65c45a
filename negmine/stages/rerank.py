"""``negmine rerank``: one score column per model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log, memory
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import limits_of
from negmine.engine.parts import groups, over_parts
from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.learning import fit_sample
from negmine.learning.fit_sample import FitSample
from negmine.memory import reset_peak_memory
from negmine.models.checkpoint import Checkpoint
from negmine.models.devices import gpus
from negmine.models.footprint import models_memory
from negmine.params import output_affecting
from negmine.params.per_model import names_in, options_of_models
from negmine.params.rerank import RerankParams
from negmine.params.values import named, per_name
from negmine.scorers import (
    MAY_BE_REFUSED,
    SERVED,
    GoesOn,
    HasPlacement,
    Loading,
    Prompts,
    Scorer,
    ScorerRef,
    Scores,
    check_options,
    load_scorer,
    refer,
)
from negmine.scorers.base import checked, columns_of, spent_by
from negmine.sources import kinds
from negmine.stages import cascade as cascades
from negmine.stages import cores, examination, fit_first, lazily, verdicts
from negmine.stages.awaiting import Awaiting
from negmine.stages.cascade import Cascade
from negmine.stages.fit_first import Known
from negmine.stages.lazily import Flags, Piece, Turns, Until
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, ranking, schemas
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.writing import Writer
from negmine.table.candidates import Candidates, open_candidates
from negmine.table.conservation import conserve
from negmine.table.names import rank_column, score_column, scorer_column
from negmine.table.part import Part

VERSION = 2
#: Counts of a scorer that sees some rows alone, in the manifest a table of them.
_BY_SCORER = "scored_by"


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        source: the candidates.
        references: each scorer, not loaded yet.
        prompts: what each scorer puts before its texts.
        cascade: which rows each scorer sees.
        until: who says that a query has enough; None = every row is scored.
        sample: the queries whose rows are all that is scored; None = all queries.
        known: what is scored already, of such queries.
        place: the folder that holds the result; what scorers are told is kept there.
        spending: what all scorers together may spend, and have spent.
        closing: what loaded scorers hold open, closed when the work is done.
        trial: whether the work is only estimated, so that scorers keep nothing.
    """

    source: Candidates
    references: dict[str, ScorerRef]
    prompts: dict[str, Prompts]
    cascade: Cascade
    until: Until | None = None
    sample: FitSample | None = None
    known: Known | None = None
    place: Path = Path()
    spending: Budget = field(default_factory=Budget)
    closing: ExitStack = field(default_factory=ExitStack)
    trial: bool = False

    def budget(self, size: str | None) -> memory.Budget:
        """What a run with ``--memory SIZE`` may hold; of other packages' scorers it is not known.

        Raises:
            UsageError: the ceiling cannot hold what is needed.
        """
        models = [one.model for one in self.references.values() if one.model is not None]
        return memory.budget(size, **models_memory(models))

    def load(self, name: str, params: RerankParams) -> Scorer:
        """Load a scorer."""
        return load_scorer(self.references[name], self._loading(name, params))

    def model(self, name: str, params: RerankParams) -> dict[str, Any]:
        """What decides what a scorer says, for the fingerprint."""
        reference = self.references[name]
        told = reference.told(self._loading(name, params))
        return {"model": reference.spec, "revision": reference.revision, **told}

    def _loading(self, name: str, params: RerankParams) -> Loading:
        prompts = self.prompts[name]
        return Loading(params, name, prompts, self.place, self.spending, self.closing, self.trial)


#: Makes who says that a query has enough, of (options, candidates, names of the scorers, bytes of
#: texts that are held).
MakeUntil = Callable[[RerankParams, Candidates, Sequence[str], int], Until]


def set_up(params: RerankParams, candidates: Path, until: MakeUntil | None = None) -> Setup:
    """Check the parameters against the candidates (or a scored artifact, to add columns).

    Raises:
        UsageError: an unknown column, or a name that is taken.
        MissingInputError: there are no candidates, or no such model.
    """
    models = named(params.scorer, "--scorer")
    kinds.check_names(models, "--scorer")
    if not models:
        raise UsageError("no --scorer", hint="For example: --scorer ce=MODEL")
    source = open_candidates(candidates, ["retrieve", "rerank"])
    schema = source.schema()
    taken = schemas.score_names(schema)
    for name in models:
        if name in taken:
            raise UsageError(
                f"--scorer: the table has a score '{name}' already", hint="Choose another name."
            )
    if params.top_by is not None:
        known = [*taken, "best"]
        if params.top_by.removeprefix(score_column("")) not in known:
            raise UsageError(
                f"--top-by: no column '{params.top_by}'", hint=did_you_mean(params.top_by, known)
            )
    references = {name: refer(model) for name, model in models.items()}
    check_options(references, params)
    query_prompts = per_name(params.query_prompt, models, "--query-prompt")
    doc_prompts = per_name(params.doc_prompt, models, "--doc-prompt")
    prompts = {name: Prompts(query_prompts.get(name), doc_prompts.get(name)) for name in references}
    screened = cascades.cascade(params, list(models), schema)
    setup = Setup(source, references, prompts, screened, spending=Budget(*limits_of(params)))
    if until is None:
        return setup
    at_once = setup.budget(params.memory).shingles
    return replace(setup, until=until(params, source, list(references), at_once))


def check_models(params: RerankParams) -> None:
    """See, before there are candidates, that the scorers can do what is asked of them.

    Raises:
        NegmineError: see :func:`negmine.scorers.check_options`.
    """
    default = RerankParams()
    # What every model takes says nothing; to look at models takes time.
    told = {name: getattr(params, name) for name in options_of_models(params)}
    asked = [name for name, value in told.items() if names_in(value)]
    asked += [name for name in MAY_BE_REFUSED if getattr(params, name) != getattr(default, name)]
    models = named(params.scorer, "--scorer")
    # What stands for a server can be wrong in itself.
    asked += [name for name, spec in models.items() if spec.startswith(SERVED)]
    if asked:
        check_options({name: refer(model) for name, model in models.items()}, params)


def plan(params: RerankParams, setup: Setup, out: Path) -> Plan:
    """What the scored artifact at ``out`` is made from."""
    until = setup.until
    return Plan(
        "rerank",
        VERSION,
        {
            **output_affecting(params),
            # Where a server is decides nothing.
            "scorer": [f"{name}={one.spec}" for name, one in setup.references.items()],
            **({"only_if": setup.cascade.record()} if setup.cascade.screens else {}),
            **({} if setup.sample is None else {"sample": setup.sample.record()}),
            **({} if until is None else _stopping(params, until)),
        },
        files={} if until is None else until.files(out),
        artifacts={"candidates": setup.source.artifact},
        models={name: setup.model(name, params) for name in setup.references},
    )


def _stopping(params: RerankParams, until: Until) -> dict[str, Any]:
    """What decides when scoring stops; what a file is called does not."""
    entries = [entry for entry in params.until if not entry.startswith("exclude=")]
    return {"until": entries, "enough_by": dict(until.record())}


def run(
    params: RerankParams,
    candidates: Path,
    out: Path,
    *,
    replacing: Replace = Replace.NOTHING,
    until: MakeUntil | None = None,
) -> Outcome:
    """Score the candidates at ``candidates`` (or a scored artifact, to add columns) into ``out``.

    Scores of other settings are moved aside, and taken back when their settings come back.

    Args:
        params: settings.
        candidates: the table.
        out: the scored table.
        replacing: what may be replaced at ``out``.
        until: makes who says that a query has enough; without it every row is scored.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    setup = replace(set_up(params, candidates, until), place=out.parent)
    with setup.closing:
        return _run(params, setup, out, replacing)


def _run(params: RerankParams, setup: Setup, out: Path, replacing: Replace) -> Outcome:
    """Examine the judges, then score."""
    budget = setup.budget(params.memory)
    planned = plan(params, setup, out)
    state = artifacts.state_of(out, planned, replacing=replacing, keep=True)
    # Before anything is written: a model may not be able to do what is asked of it.
    there = state.kind in ("made", "refused")
    scorers = [] if there else _on_every_gpu(params, setup)
    draw = partial(examination.sample, setup.source, params.examine)
    examined = examination.examine(scorers[0] if scorers else {}, draw, params)
    writer = artifacts.begin(out, planned, replacing=replacing, keep=True)
    if writer is None:
        found = artifacts.open_artifact(out)
        examination.check_made(found.manifest, params)
        return Outcome(out, dict(found.counts), True, found.warnings)
    reset_peak_memory()
    with writer:
        scorers = scorers or _on_every_gpu(params, setup)
        setup = _with_fit(params, setup, scorers, out, replacing, budget)
        counts = score(params, setup, scorers, writer, budget.texts)
        warnings = verdicts.warnings(counts, scorers[0])
        if counts["unscored"] and params.enough is None and params.top is not None:
            others = f" or outside of {cascades.OPTION}" if setup.cascade.screens else ""
            warnings.append(
                f"{counts['unscored']} candidates beyond --top {params.top}{others} are left "
                "unscored"
            )
        if params.enough is not None:
            log.event(_spared(counts, params.enough))
        for said in cascades.told(setup.cascade, counts.get(_BY_SCORER, {}), counts["candidates"]):
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


def _with_fit(
    params: RerankParams,
    setup: Setup,
    scorers: Sequence[Mapping[str, Scorer]],
    out: Path,
    replacing: Replace,
    budget: memory.Budget,
) -> Setup:
    """The setup of which it is known when a query has enough: some queries are scored whole for it.

    Their scores are an artifact beside the result, made as any other is.
    """
    if setup.until is None:
        return setup
    if setup.until.sample is None:
        tables = (table for _, table in limited(setup.source, params.limit))
        return replace(setup, until=setup.until.anchored(tables))
    count, seed = setup.until.sample
    qids = (table for _, table in limited(setup.source, params.limit, ["qid"]))
    sample = fit_sample.drawn(qids, count, seed)
    alone = replace(params, enough=None, until=(), enough_block=RerankParams().enough_block)
    whole = replace(setup, until=None, sample=sample)
    place = fit_first.place(out)
    planned = plan(alone, whole, place)
    # What other settings have scored is no slip of -o: it steps aside.
    may = max(replacing, Replace.OTHER)
    log.event(f"{sample.queries:,} of {sample.of:,} queries are scored whole, for what is learned")
    writer = artifacts.begin(place, planned, replacing=may, keep=True)
    if writer is not None:
        with writer:
            counts = score(alone, whole, scorers, writer, budget.texts)
            writer.commit(counts, ceiling=budget.ceiling)
    scored = Candidates(artifacts.open_artifact(place))
    further = {name: tuple(columns_of(one, name)) for name, one in scorers[0].items()}
    known = Known(scored.artifact, sample, further)
    return replace(setup, until=setup.until.learned(scored), known=known)


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


def _on_every_gpu(params: RerankParams, setup: Setup) -> list[dict[str, Scorer]]:
    """All scorers, which take the threads asked for, once for each GPU that they share."""
    cores.take(params.threads)
    first = {name: setup.load(name, params) for name in setup.references}
    on = shared_gpus(params, first.values())
    others = [replace(params, device=device) for device in on[1:]]
    return [first, *({name: setup.load(name, one) for name in first} for one in others)]


def shared_gpus(params: RerankParams, scorers: Iterable[Scorer]) -> list[str]:
    """The GPUs among which the parts are shared; none where a scorer runs elsewhere.

    Of another package's scorer it is not known where it runs: there is one of it.
    """
    used = {
        scorer.placement.device if isinstance(scorer, HasPlacement) else "" for scorer in scorers
    }
    return gpus(params.device, used.pop()) if len(used) == 1 else []


def score(
    params: RerankParams,
    setup: Setup,
    scorers: Sequence[Mapping[str, Scorer]],
    writer: Writer,
    size: int,
) -> dict[str, Any]:
    """Write every part of the candidates with its scores.

    Args:
        params: which rows are scored.
        setup: the candidates, and who says that a query has enough.
        scorers: of each device the scorers by name; each scores the next part that no other has
            begun.
        writer: where the parts go.
        size: bytes of document text that are fetched at a time, about.

    Returns:
        Counts.
    """
    source = setup.source
    documents = source.documents
    schema = _schema(source.schema(), scorers[0])
    setup.cascade.check(schema)
    rows = sum(source.rows(name) for name in source.parts)
    number = {name: place for place, name in enumerate(source.parts, 1)}
    # Of a run that stops early the rows that nobody scores count, too: as done.
    counted = params if setup.until is None else replace(params, top=None)
    every = counted.top is None and params.limit is None and setup.sample is None
    asked = rows if every else to_score(counted, source, setup.sample)
    # Several devices work on parts of two groups where one ends.
    at_once = documents.fitting(size // min(2, len(scorers)))
    total: Counter[str] = Counter()
    awaiting = Awaiting()
    with log.progress("scoring", asked * len(scorers[0]), " pairs") as bar:

        def skipped(name: str, _: pa.Table) -> None:
            bar.there(writer.stats(name)["scored"] * len(scorers[0]))
            total.update(writer.stats(name))

        def write(name: str, made: tuple[pa.Table, dict[str, int]] | None) -> None:
            if made is None:
                return
            table, stats = made
            writer.add_table(name, table, schema, stats)
            total.update(stats)
            if setup.until is not None:
                bar.there(stats["unscored"] * len(scorers[0]))

        over_parts(
            limited(source, params.limit, sample=setup.sample),
            finished=writer.has,
            make=awaiting.making(partial(_scored, bar=bar, writer=writer, setup=setup)),
            write=write,
            models=scorers,
            prepare=lambda parts: _with_texts(parts, params, setup, at_once),
            skipped=skipped,
            started=lambda name: bar.part(number[name], len(number)),
        )
    awaiting.check()
    if params.limit is None and setup.sample is None:
        conserve("candidate rows", rows, written=total["candidates"])
    conserve("candidates", total["candidates"], scored=total["scored"], unscored=total["unscored"])
    counts: dict[str, Any] = {key: count for key, count in total.items() if "." not in key}
    if setup.cascade.screens:
        counts[_BY_SCORER] = {name: total[_by(name)] for name in setup.cascade.screens}
    return {**counts, **verdicts.tables(total)}


def _by(name: str) -> str:
    """The count of the rows that a scorer saw, in what is recorded of a part."""
    return f"{_BY_SCORER}.{name}"


def _schema(schema: pa.Schema, scorers: Mapping[str, Scorer]) -> pa.Schema:
    """The table's columns with those of the scorers.

    Raises:
        InvalidDataError: a scorer declares a column that no table can hold, or that is there.
    """
    for name, scorer in scorers.items():
        schema = schemas.with_scores(schema, [name])
        for column, kind in columns_of(scorer, name).items():
            full = scorer_column(column, name)
            if full in schema.names:
                raise InvalidDataError(
                    f"the scorer '{name}' declares '{column}', and the table has '{full}' already",
                    hint="Give the scorer another name: --scorer NAME=...",
                )
            schema = schema.append(pa.field(full, kind))
    return schema


@dataclass(frozen=True)
class _Part:
    """A part to score.

    Attributes:
        table: its rows.
        turns: when each is scored.
        flags: what was said of them beforehand.
        queries: ids and texts of its queries.
        docids: documents of which there are texts.
        texts: these.
        known: by scorer, what is known of rows that are in no turn.
    """

    table: pa.Table
    turns: Turns
    flags: Flags
    queries: pa.Table
    docids: pa.Array
    texts: pa.Array
    known: Mapping[str, Piece]


def _with_texts(
    parts: Iterable[tuple[str, pa.Table]],
    params: RerankParams,
    setup: Setup,
    at_once: int,
) -> Iterator[tuple[str, _Part]]:
    """Parts with their texts; the corpus is read once for as many documents as fit in memory."""
    source = setup.source
    chosen = _in_turns(parts, params, setup)
    for group in groups(chosen, lambda part: int((part[2].asked >= 0).sum()), at_once):
        docids = pa.chunked_array(
            [table.column("docid").filter(pa.array(one.asked >= 0)) for _, table, one, _ in group]
        ).unique()
        texts = source.documents.texts(docids)
        for name, table, turns, flags in group:
            known = {} if setup.known is None else setup.known.pieces(name, table)
            yield name, _Part(table, turns, flags, source.queries(name), docids, texts, known)


def _in_turns(
    parts: Iterable[tuple[str, pa.Table]], params: RerankParams, setup: Setup
) -> Iterator[tuple[str, pa.Table, Turns, Flags]]:
    """Parts with the turn in which each row is scored, and what is said of the rows."""
    until = setup.until
    if until is None:
        for name, table in parts:
            yield name, table, lazily.at_once(wanted(table, params)), {}
        return
    for name, table, flags in until.flagged(parts):
        turns = lazily.turns(until.places(table, flags), until.first(table), params.enough_block)
        asked = wanted(table, params)
        if setup.known is not None:
            asked &= ~setup.known.rows(table)
        yield name, table, turns.only(asked), flags


def _scored(
    scorers: Mapping[str, Scorer],
    name: str,
    part: _Part,
    *,
    bar: log.Progress,
    writer: Writer,
    setup: Setup,
) -> tuple[pa.Table, dict[str, int]]:
    """One part with its new columns, and its counts; scorers see only this part's texts."""

    def ask(scorer: str, rows: np.ndarray, turn: int) -> Scores:
        # What a model has in its batch is a turn's: so much of it is kept where a run is cut short.
        of = scorer if setup.until is None else f"{scorer}-{turn}"
        return _asked(
            scorers[scorer], scorer, part, rows, bar, partial(writer.checkpoint, name, of=of)
        )

    table, by = lazily.score(
        part.table, part.turns, setup.cascade, ask, setup.until, part.flags, part.known
    )
    scored = np.logical_or.reduce(list(by.values()))
    before = {} if setup.known is None else setup.known.stats(name)
    # What nobody asks about is done.
    bar.there(sum(int((scored & ~mine).sum()) for mine in by.values()))
    bar.there(before.get("scored", 0) * len(by))
    stats = {"scored": int(scored.sum())}
    stats |= {_by(one): int(by[one].sum()) for one in setup.cascade.screens}
    stats = {key: count + before.get(key, 0) for key, count in stats.items()}
    return table, {
        "candidates": table.num_rows,
        "scored": stats.pop("scored"),
        "unscored": table.num_rows - int(scored.sum()) - before.get("scored", 0),
        "queries": len(pc.unique(table.column("qid"))),
        **stats,
        **verdicts.counts(scorers, table),
    }


def _asked(
    scorer: Scorer,
    name: str,
    part: _Part,
    rows: np.ndarray,
    bar: log.Progress,
    checkpoint: Callable[[dict[str, Any]], Checkpoint],
) -> Scores:
    """What a scorer says of some rows of a part; of no rows nobody is asked."""
    columns = columns_of(scorer, name)
    if not len(rows):
        nothing = {column: pa.array([], kind) for column, kind in columns.items()}
        return Scores(np.empty(0, dtype=np.float32), nothing)
    picked = part.table.take(pa.array(rows))
    mine = picked.column("docid").combine_chunks().unique()
    documents = part.texts.take(pc.index_in(mine, value_set=part.docids)).to_pylist()
    asked = part.queries
    pairs = np.stack(
        [
            pc.index_in(picked.column("qid"), value_set=asked.column("qid").combine_chunks()),
            pc.index_in(picked.column("docid"), value_set=mine),
        ],
        axis=1,
    )
    given = (asked.column("text").to_pylist(), documents, pairs, bar)
    if isinstance(scorer, GoesOn):
        said = scorer.score_on(*given, checkpoint(scorer.describe()))
    else:
        said = scorer.score(*given)
    return checked(said, name, columns)


def to_score(params: RerankParams, source: Candidates, sample: FitSample | None = None) -> int:
    """How many rows each scorer scores; reads the columns that decide it."""
    schema = source.schema()
    columns = ["qid"]
    if params.top is not None:
        by = (params.top_by or "best").removeprefix(score_column(""))
        ranks = [rank_column(name) for name in schemas.source_names(schema)]
        columns += ["docid", "label", *(ranks if by == "best" else [score_column(by)])]
    with log.waiting("counting the pairs to score"):
        parts = limited(source, params.limit, columns, sample)
        return sum(int(wanted(table, params).sum()) for _, table in parts)


def limited(
    source: Candidates,
    limit: int | None,
    columns: list[str] | None = None,
    sample: FitSample | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """The parts up to the first ``limit`` queries, of these a sample; ``columns`` projects."""
    left = limit
    for name in source.parts:
        if left is not None and left <= 0:
            return
        table = source.read(name, columns)
        if left is not None:
            qids = table.column("qid").combine_chunks().unique()
            table = table.filter(pc.is_in(table.column("qid"), value_set=qids.slice(0, left)))
            left -= len(qids)
        if sample is not None:
            table = sample.of_table(table)
        if sample is None or table.num_rows:
            yield name, table


def wanted(table: pa.Table, params: RerankParams) -> np.ndarray:
    """Rows to score: all, or positives and the ``--top`` best of each query."""
    if params.top is None:
        return np.ones(table.num_rows, dtype=bool)
    part = Part(table)
    by = (params.top_by or "best").removeprefix(score_column(""))
    key = -part.best_rank.astype(np.float64) if by == "best" else part.score(by)
    order = ranking.rank_order(part.query, key, part.docid)
    keep = np.zeros(len(part), dtype=bool)
    keep[order[ranking.positions_in_group(part.query[order]) <= params.top]] = True
    return keep | part.positive
