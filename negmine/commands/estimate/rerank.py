"""What ``rerank`` would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.estimate import calls
from negmine.commands.estimate.chain import Chain, known_to_be_made
from negmine.commands.estimate.cost import Cost, Watch
from negmine.commands.estimate.rehearsal import RandomScorer, restricted, written
from negmine.commands.estimate.speed import measure, resident_bytes, stretched
from negmine.memory import reset_peak_memory
from negmine.params.rerank import RerankParams
from negmine.scorers import Scorer
from negmine.scorers.base import columns_of
from negmine.scorers.rows import HasRows, ModelRows
from negmine.stages import cores, rerank
from negmine.stages.cascade import of_all
from negmine.stages.lazily import Until
from negmine.stages.stage import until_of
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.part import Part

_PAIRS = 3_000
#: Pairs that another package's scorer is tried on at most.
_PLUGGED_PAIRS = 256


def cost_of_rerank(chain: Chain, params: RerankParams, out: Path) -> Cost:
    """Time some batches of each scorer on likely pairs; all else is tried with random scores."""
    assert chain.table is not None
    setup = rerank.set_up(params, chain.table, until_of(params))
    setup = replace(setup, place=out.parent, trial=True)
    with setup.closing:
        return _cost(chain, params, setup, out)


def _cost(chain: Chain, params: RerankParams, setup: rerank.Setup, out: Path) -> Cost:
    cost, real = Cost("rerank", out, guesses=list(chain.guesses)), chain.real
    reset_peak_memory()
    cores.take(params.threads)
    plan = (lambda: rerank.plan(params, setup, out)) if chain.real else None
    if known_to_be_made(chain, cost, out, plan, ["rerank"], keep=True):
        return cost
    budget = setup.budget(params.memory)
    documents = chain.corpus_of(setup.source)
    queries, rows = chain.queries, chain.rows
    if params.limit is not None and params.limit < queries:
        queries, rows = params.limit, round(rows * params.limit / queries)
    source = restricted(setup.source, setup.source.parts[:2])
    sample = _sample(params, source, documents, setup.until)
    pairs = round(rows * sample.share)
    if params.enough is not None:
        cost.guesses.append(_fewest(params.enough, setup, sample, pairs, queries))
    cost.units = max(1, round(rows / max(1, sample.rows) * len(source.parts)))
    seen = _seen(cost, params, setup, source, real)
    loaded = _loaded(cost, params, setup)
    _count_calls(cost, params, setup, loaded, sample, pairs, seen, real)
    peak = _time_scorers(cost, params, loaded, sample, pairs, cost.units, seen)
    some = replace(setup, source=source)
    made, watch = _scored(chain, params, some, loaded, budget.texts)
    passes = -(-pairs // documents.fitting(budget.texts))
    grown = rows / max(1, sample.rows)
    cost.add("tables", max(0.0, watch.seconds - sample.seconds) * grown)
    cost.add("texts", max(sample.seconds, 0.0) * passes * chain.documents / len(documents))
    cost.documents, cost.queries, cost.rows = chain.documents, queries, pairs
    cost.disk_bytes = int(written(made) * grown)
    mean = chain.text_bytes / max(1, chain.documents)
    texts_held = int(min(pairs, documents.fitting(budget.texts)) * mean)
    cost.memory_bytes = peak + min(texts_held, chain.text_bytes)
    chain.table, chain.real = made.path, False
    chain.queries, chain.rows = queries, rows
    return cost


@dataclass(frozen=True)
class _Sample:
    """Some pairs of the table.

    Attributes:
        queries: texts.
        documents: texts.
        pairs: (query index, document index) of those that would be scored, int [n, 2].
        rows: of the parts that they are from.
        share: of these rows that would be scored.
        fewest: share of those that ``--enough`` scores at the least; 1 without it.
        seconds: what fetching the texts took.
    """

    queries: list[str]
    documents: list[str]
    pairs: np.ndarray
    rows: int
    share: float
    fewest: float
    seconds: float


def _fewest(enough: int, setup: rerank.Setup, sample: _Sample, pairs: int, queries: int) -> str:
    """What ``--enough`` scores at the least, in words: every query's first candidates will do."""
    share = 0.0
    whole = setup.until.sample if setup.until is not None else None
    if whole is not None:
        # What is learned first is learned of whole queries.
        share = min(1.0, whole[0] / max(1, queries))
    least = round(pairs * (share + (1 - share) * sample.fewest))
    told = "what is scored first, and so many of each query's candidates"
    if whole is not None:
        told += f", all of {round(share * queries):,} queries"
    return (
        f"pairs: every candidate, though --enough will stop before: for {enough} behind about "
        f"{least:,} of {pairs:,} at the earliest ({told}; where no rule drops them unscored)"
    )


def _sample(
    params: RerankParams, source: Candidates, documents: Documents, until: Until | None
) -> _Sample:
    """The pairs of the first part; the share that would be scored is all parts'."""
    tables = [source.read(name) for name in source.parts]
    wanted = [rerank.wanted(table, params) for table in tables]
    rows = sum(table.num_rows for table in tables)
    picked = tables[0].filter(pa.array(wanted[0]))
    asked = source.queries(source.parts[0])
    docids = picked.column("docid").combine_chunks().unique()
    with Watch() as reading:
        found = documents.texts(docids).to_pylist()
    pairs = np.stack(
        [
            pc.index_in(picked.column("qid"), value_set=asked.column("qid").combine_chunks()),
            pc.index_in(picked.column("docid"), value_set=docids),
        ],
        axis=1,
    )
    scored = sum(int(mask.sum()) for mask in wanted)
    share = scored / max(1, rows)
    fewest = 1.0
    if until is not None and params.enough is not None:
        least = (
            _first_ones(table, mask, until, params.enough)
            for table, mask in zip(tables, wanted, strict=True)
        )
        fewest = sum(least) / max(1, scored)
    texts = asked.column("text").to_pylist()
    return _Sample(texts, found, pairs, rows, share, fewest, reading.seconds)


def _first_ones(table: pa.Table, wanted: np.ndarray, until: Until, enough: int) -> int:
    """Of the rows that would be scored those that are before all others, and enough of a query."""
    part = Part(table)
    first = wanted & until.first(table)
    there = np.bincount(part.query[first & ~part.positive], minlength=part.queries)
    more = np.bincount(part.query[wanted & ~first], minlength=part.queries)
    return int(first.sum() + np.minimum(more, np.maximum(enough - there, 0)).sum())


def _seen(
    cost: Cost, params: RerankParams, setup: rerank.Setup, source: Candidates, real: bool
) -> dict[str, float]:
    """By scorer, the share of the pairs that it is asked about; told where not all are.

    Args:
        cost: gains what is told.
        params: which rows are scored at all.
        setup: the scorers.
        source: some parts.
        real: whether these hold what a run will read.
    """
    found = dict.fromkeys(setup.references, 1.0)
    tables = [source.read(name) for name in source.parts]
    for name, screen in setup.cascade.screens.items():
        if not real or setup.cascade.reads[name]:
            cost.guesses.append(
                f"{name}: up to every pair; of how many {screen} holds is not known"
            )
            continue
        wanted = [rerank.wanted(table, params) for table in tables]
        passed = [screen.passes(table) & one for table, one in zip(tables, wanted, strict=True)]
        found[name] = sum(map(np.sum, passed)) / max(1, sum(map(np.sum, wanted)))
        cost.guesses.append(
            f"{name}: {found[name]:.0%} of the pairs, those of which {screen} holds"
        )
    return found


def _loaded(cost: Cost, params: RerankParams, setup: rerank.Setup) -> dict[str, Scorer]:
    """All scorers; what loading them takes is counted."""
    loaded = {}
    for name in setup.references:
        with cost.timed(f"load {name}"):
            loaded[name] = setup.load(name, params)
    return loaded


def _count_calls(
    cost: Cost,
    params: RerankParams,
    setup: rerank.Setup,
    loaded: Mapping[str, Scorer],
    sample: _Sample,
    pairs: int,
    seen: Mapping[str, float],
    real: bool,
) -> None:
    """Count what scorers would ask servers: of all rows where these are known, else of a sample's.

    Args:
        cost: gains calls, tokens and their price.
        params: the options.
        setup: the table.
        loaded: the scorers.
        sample: likely pairs.
        pairs: how many there are for a scorer that sees all.
        seen: by scorer, the share that it sees.
        real: whether the table holds what a run will read.
    """
    for name, scorer in loaded.items():
        if not isinstance(scorer, calls.Asks):
            continue
        if real:
            calls.count(cost, name, params, calls.of_table(scorer, params, setup, name))
        else:
            found = scorer.calls(sample.queries, sample.documents, sample.pairs)
            times = pairs * seen[name] / max(1, len(sample.pairs))
            calls.count(cost, name, params, found, times)
            cost.guesses.append(f"{name}: nothing of it is stored, and an examination comes first")


def _time_scorers(
    cost: Cost,
    params: RerankParams,
    loaded: Mapping[str, Scorer],
    sample: _Sample,
    pairs: int,
    parts: int,
    seen: Mapping[str, float],
) -> int:
    """Count the time of each scorer for its pairs in so many parts; returns bytes held.

    Args:
        cost: gains the seconds.
        params: the options.
        loaded: the scorers; those that ask a server are not timed.
        sample: likely pairs.
        pairs: how many there are for a scorer that sees all.
        parts: in how many parts.
        seen: by scorer, the share that it sees.
    """
    peak = 0
    seconds: dict[str, float] = {}
    for name, scorer in loaded.items():
        if isinstance(scorer, calls.Asks):
            cost.guesses.append(f"{name}: the time that the server takes is not known")
            continue
        mine = pairs * seen[name]
        per_part = max(1, round(mine / parts))
        counted = isinstance(scorer, HasRows)
        model = rows_of(cost, name, scorer, sample.queries, sample.documents, sample.pairs)
        speed = measure(model.lengths, model.batch_size, model.batch_tokens, model.run)
        held = resident_bytes()
        a_part = stretched(model.lengths, max(1, round(per_part * model.per_pair)))
        seconds[name] = speed.of_call(a_part) * mine / per_part
        if counted:
            cost.tokens += round(float(model.lengths.mean()) * model.per_pair * mine)
        peak = max(peak, held + speed.memory_of_call(a_part))
    together = max(1, min(parts, len(rerank.shared_gpus(params, loaded.values()))))
    for name, alone in seconds.items():
        cost.add(f"score {name}", alone / together)
    return peak


def rows_of(
    cost: Cost,
    name: str,
    scorer: Scorer,
    queries: list[str],
    documents: list[str],
    pairs: np.ndarray,
) -> ModelRows:
    """What a scorer's model reads of some pairs, as far as it tells."""
    if isinstance(scorer, HasRows):
        return scorer.model_rows(queries, documents, pairs, _PAIRS)
    cost.guesses.append(f"{name}: every pair takes the same time")
    return _alike(scorer, queries, documents, pairs)


def _alike(
    scorer: Scorer, queries: list[str], documents: list[str], pairs: np.ndarray
) -> ModelRows:
    """The pairs as rows of one length: of another package's scorer nothing else is known."""
    return ModelRows(
        lengths=np.ones(len(pairs), dtype=np.int64),
        batch_size=_PLUGGED_PAIRS,
        batch_tokens=_PLUGGED_PAIRS,
        per_pair=1.0,
        run=lambda rows: scorer.score(queries, documents, pairs[rows]),
    )


def _scored(
    chain: Chain,
    params: RerankParams,
    setup: rerank.Setup,
    loaded: Mapping[str, Scorer],
    size: int,
) -> tuple[Artifact, Watch]:
    """The scored artifact of a few parts, with random scores."""
    watch = Watch()
    # Random scores tell nothing of conditions; that rows are null makes no table larger.
    # Nor do they tell when there are enough.
    some = replace(setup, cascade=of_all(setup.references), until=None)
    trial = chain.trial("scored")
    writer = artifacts.begin(trial, rerank.plan(params, some, trial))
    assert writer is not None
    with writer:
        with watch:
            scorers = {
                name: RandomScorer(columns_of(scorer, name)) for name, scorer in loaded.items()
            }
            counts = rerank.score(replace(params, limit=None), some, [scorers], writer, size)
        return writer.commit(counts), watch
