"""``negmine rerank``: one score column per model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log, memory
from negmine.engine.threads import in_turn
from negmine.errors import UsageError, did_you_mean
from negmine.memory import reset_peak_memory
from negmine.models.devices import gpus
from negmine.models.footprint import models_memory
from negmine.models.resolve import ModelRef
from negmine.params import output_affecting
from negmine.params.rerank import RerankParams
from negmine.params.values import named, per_name
from negmine.scorers import HasPlacement, Prompts, Scorer, load_scorer, refer
from negmine.stages.outcome import Outcome
from negmine.table import artifacts, ranking
from negmine.table import schema as schemas
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.writing import Writer
from negmine.table.candidates import Candidates, open_candidates
from negmine.table.conservation import conserve
from negmine.table.names import score_column
from negmine.table.part import Part

VERSION = 2


@dataclass(frozen=True)
class Setup:
    """What a run reads, its parameters checked.

    Attributes:
        source: the candidates.
        references: the model of each scorer.
        prompts: what each scorer puts before its texts.
    """

    source: Candidates
    references: dict[str, ModelRef]
    prompts: dict[str, Prompts]

    def load(self, name: str, params: RerankParams) -> Scorer:
        """Load a scorer."""
        return load_scorer(self.references[name], params, self.prompts[name])


def set_up(params: RerankParams, candidates: Path) -> Setup:
    """Check the parameters against the candidates (or a scored artifact, to add columns).

    Raises:
        UsageError: an unknown column, or a name that is taken.
        MissingInputError: there are no candidates, or no such model.
    """
    models = named(params.scorer, "--scorer")
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
    query_prompts = per_name(params.query_prompt, models, "--query-prompt")
    doc_prompts = per_name(params.doc_prompt, models, "--doc-prompt")
    prompts = {name: Prompts(query_prompts.get(name), doc_prompts.get(name)) for name in references}
    return Setup(source, references, prompts)


def plan(params: RerankParams, setup: Setup) -> Plan:
    """What a scored artifact is made from."""
    return Plan(
        "rerank",
        VERSION,
        output_affecting(params),
        artifacts={"candidates": setup.source.artifact},
        models={
            name: {"model": reference.spec, "revision": reference.revision}
            for name, reference in setup.references.items()
        },
    )


def run(params: RerankParams, candidates: Path, out: Path, *, force: bool = False) -> Outcome:
    """Score the candidates at ``candidates`` (or a scored artifact, to add columns) into ``out``.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    setup = set_up(params, candidates)
    budget = memory.budget(params.memory, **models_memory(setup.references.values()))
    writer = artifacts.begin(out, plan(params, setup), force=force)
    if writer is None:
        found = artifacts.open_artifact(out)
        return Outcome(out, dict(found.counts), True, found.warnings)
    reset_peak_memory()
    with writer:
        scorers = _on_every_gpu(params, setup)
        counts = score(params, setup.source, scorers, writer, budget.texts)
        warnings = []
        if counts["unscored"]:
            warnings.append(
                f"{counts['unscored']} candidates beyond --top {params.top} are left unscored"
            )
        writer.commit(
            counts,
            warnings=warnings,
            ceiling=budget.ceiling,
            scorers={name: scorer.describe() for name, scorer in scorers[0].items()},
        )
    log.warn(warnings)
    return Outcome(out, counts, warnings=warnings)


def _on_every_gpu(params: RerankParams, setup: Setup) -> list[dict[str, Scorer]]:
    """All scorers once for each GPU that they share; else once."""
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
    source: Candidates,
    scorers: Sequence[Mapping[str, Scorer]],
    writer: Writer,
    size: int,
) -> dict[str, Any]:
    """Write every part of the candidates with its scores.

    Args:
        params: which rows are scored.
        source: the candidates.
        scorers: of each device the scorers by name; each scores the next part that no other has
            begun.
        writer: where the parts go.
        size: bytes of document text that are fetched at a time, about.

    Returns:
        Counts.
    """
    documents = source.documents
    schema = schemas.with_scores(source.schema(), list(scorers[0]))
    total: Counter[str] = Counter()
    rows = sum(source.rows(name) for name in source.parts)
    number = {name: place for place, name in enumerate(source.parts, 1)}
    asked = rows
    if params.limit is not None:
        # Which rows those are is known only when they are read.
        asked = round(rows * min(1.0, params.limit / max(1, int(source.counts["queries"]))))
    with log.progress("scoring", asked * len(scorers[0]), " pairs") as bar:

        def unfinished() -> Iterator[tuple[str, pa.Table]]:
            for name, table in limited(source, params.limit):
                if writer.has(name):
                    bar.update(table.num_rows * len(scorers[0]))
                    total.update(writer.stats(name))
                else:
                    yield name, table

        for group in _groups(unfinished(), params, documents.fitting(size)):
            docids = pa.chunked_array(
                [part.table.column("docid").filter(pa.array(part.wanted)) for part in group]
            ).unique()
            texts = documents.texts(docids)
            work = partial(_scored, source=source, docids=docids, texts=texts, bar=bar)
            with in_turn(scorers, group, work) as tables:
                for part in group:
                    bar.part(number[part.name], len(number))
                    table = next(tables)
                    stats = {
                        "candidates": table.num_rows,
                        "scored": int(part.wanted.sum()),
                        "unscored": int((~part.wanted).sum()),
                        "queries": len(pc.unique(table.column("qid"))),
                    }
                    writer.add_table(part.name, table, schema, stats)
                    total.update(stats)
    if params.limit is None:
        conserve("candidate rows", rows, written=total["candidates"])
    conserve("candidates", total["candidates"], scored=total["scored"], unscored=total["unscored"])
    return dict(total)


@dataclass(frozen=True)
class _Part:
    """A part to score, and which of its rows."""

    name: str
    table: pa.Table
    wanted: np.ndarray


def _groups(
    parts: Iterator[tuple[str, pa.Table]], params: RerankParams, documents_at_once: int
) -> Iterator[list[_Part]]:
    """Parts whose documents fit in memory together: the corpus is read once for each group."""
    group: list[_Part] = []
    size = 0
    for name, table in parts:
        part = _Part(name, table, wanted(table, params))
        count = int(part.wanted.sum())
        if group and size + count > documents_at_once:
            yield group
            group, size = [], 0
        group.append(part)
        size += count
    if group:
        yield group


def _scored(
    scorers: Mapping[str, Scorer],
    part: _Part,
    *,
    source: Candidates,
    docids: pa.Array,
    texts: pa.Array,
    bar: log.Progress,
) -> pa.Table:
    """One part with its new columns; scorers see only this part's texts."""
    asked = source.queries(part.name)
    picked = part.table.filter(pa.array(part.wanted))
    mine = picked.column("docid").combine_chunks().unique()
    documents = texts.take(pc.index_in(mine, value_set=docids)).to_pylist()
    pairs = np.stack(
        [
            pc.index_in(picked.column("qid"), value_set=asked.column("qid").combine_chunks()),
            pc.index_in(picked.column("docid"), value_set=mine),
        ],
        axis=1,
    )
    table = part.table
    for name, scorer in scorers.items():
        column = np.zeros(table.num_rows, dtype=np.float32)
        column[part.wanted] = scorer.score(
            asked.column("text").to_pylist(), documents, pairs, bar.update
        )
        bar.update(int((~part.wanted).sum()))
        table = table.append_column(score_column(name), pa.array(column, mask=~part.wanted))
    return table


def limited(source: Candidates, limit: int | None) -> Iterator[tuple[str, pa.Table]]:
    """The parts up to the first ``limit`` queries."""
    left = limit
    for name in source.parts:
        if left is not None and left <= 0:
            return
        table = source.read(name)
        if left is not None:
            qids = table.column("qid").combine_chunks().unique()
            table = table.filter(pc.is_in(table.column("qid"), value_set=qids.slice(0, left)))
            left -= len(qids)
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
