"""What ``retrieve`` would cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import memory
from negmine.addresses import located
from negmine.commands.estimate import calls
from negmine.commands.estimate.chain import Chain, known_to_be_made
from negmine.commands.estimate.cost import Cost, Watch
from negmine.commands.estimate.index import TEXTS
from negmine.commands.estimate.rehearsal import (
    AnyDocument,
    AnyHits,
    PositivesFirst,
    some_queries,
    spread,
    written,
)
from negmine.commands.estimate.rerank import rows_of
from negmine.commands.estimate.speed import measure, resident_bytes, stretched
from negmine.memory import peak_memory, reset_peak_memory
from negmine.models.random_encoder import RandomEncoder
from negmine.params.retrieve import RetrieveParams
from negmine.sources import HasTokens, Source, capabilities_of, exact
from negmine.sources import vectors as sources_vectors
from negmine.sources.base import ReadsPairs, Workshop
from negmine.stages import cores, retrieve
from negmine.stages.retrieve import bands
from negmine.stages.retrieve.bands import Band
from negmine.stages.retrieve.depths import depths
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents, full_text

#: How a source of written texts is spelt, before its folder.
SCHEME = "written:"
#: Queries that are searched for at least, where there are as many.
_QUERIES = 96
#: What a second, a third, ... source adds to the first one's candidates: some are found by both.
_NEW_PER_SOURCE = 0.7
#: Queries with which documents are paired, and pairs of a call, where a source reads pairs.
_PAIR_QUERIES, _PAIRS_OF_CALL = 50, 8_192
#: Bytes of a candidate while it is searched: scores, row numbers and ids, several times over.
_HIT_BYTES = 160


def cost_of_retrieve(chain: Chain, params: RetrieveParams, out: Path) -> Cost:
    """Search for some queries, twice."""
    cost = Cost("retrieve", out, guesses=list(chain.guesses))
    reset_peak_memory()
    params, setup = _set_up(chain, cost, params)
    plan = retrieve.plan(params, setup, out)
    if known_to_be_made(chain, cost, out, (lambda: plan) if chain.real else None, ["retrieve"]):
        return cost
    corpus = Documents(setup.documents)
    whole = len(corpus) == chain.documents
    asked = params
    if not whole:
        params = bands.within(params, len(corpus))
    with cost.timed("read"):
        task = retrieve.read_task(params, corpus if whole else AnyDocument())
        budget = setup.budget(params.memory)
        opened = retrieve.open_sources(
            params, setup, task, corpus, budget, scratch=chain.folder, trial=True
        )
    each = {name: capabilities_of(source).each for name, source in opened.items()}
    extent = bands.extent(asked, each)
    vectors = [name for name, source in opened.items() if capabilities_of(source).vectors]
    readers = {name: one for name, one in opened.items() if isinstance(one, ReadsPairs)}
    try:
        tried = _tried(chain, opened, corpus, whole)
        trial = _Trial(chain, params, plan, budget, tried, extent)
        mined = trial.mine(task, None if whole else _inside(corpus))
        cost.tokens = _query_tokens(opened, task.texts)
        _count_calls(cost, params, setup, task.texts)
        timed = {
            name: _time_of_pairs(cost, name, one, task, corpus) for name, one in readers.items()
        }
    finally:
        for source in opened.values():
            source.close()
    count = len(task.texts)
    rows = round(mined.rows / mined.queries * count)
    if not chain.real and vectors and len(setup.sources) > 1:
        rows = _guessed_rows(cost, extent.kept, len(setup.sources), chain.documents, count)
    cost.add("search", mined.seconds)
    if not whole:
        stored = [source.vectors for source in setup.sources.values()]
        cost.add("search", _larger_corpus(chain, stored, extent.hits, count))
        cost.guesses.append("search: timed on a smaller corpus")
    cost.queries, cost.rows, cost.documents = count, rows, chain.documents
    cost.units = -(-count // retrieve.queries_together(extent))
    cost.disk_bytes = int(written(mined.table) * rows / max(1, mined.rows))
    workshop = retrieve.workshop_of(out, chain.replacing, budget)
    for name, pace in timed.items():
        reads = _pairs_asked(readers[name], task, bands.slices(asked, [name])[name], cost)
        _count_pairs(cost, name, readers[name], pace, reads, workshop)
    together = retrieve.queries_at_once(extent.hits, len(trial.sources), budget.hits)
    more = max(0, min(count, together) - mined.queries) / count * rows
    cost.memory_bytes = max(cost.memory_bytes, (peak_memory() or 0) + int(more * _HIT_BYTES))
    chain.table, chain.real = mined.table.path, False
    chain.queries, chain.rows = count, rows
    chain.guesses = tuple(cost.guesses)
    return cost


def _set_up(
    chain: Chain, cost: Cost, params: RetrieveParams
) -> tuple[RetrieveParams, retrieve.Setup]:
    """The options of the trial, and what it reads; the chain is told of the corpus."""
    assert chain.index is not None
    params = _with_written(chain, cost, params)
    if params.ann is not None and not chain.real:
        # There is no approximate index yet; the trial's vectors are random.
        params = replace(params, ann=None)
        cost.guesses.append("search: exact, though --ann will be approximate")
    cores.take(params.threads)
    setup = retrieve.set_up(params, chain.index, chain.documents or None)
    if not chain.documents:
        counts = setup.documents.counts
        chain.documents = int(counts["documents"])
        chain.text_bytes = int(counts["text_bytes"])
    return params, setup


def _with_written(chain: Chain, cost: Cost, params: RetrieveParams) -> RetrieveParams:
    """The options with what a trial has written in the place of what is not there yet."""
    source = []
    for entry in params.source:
        name, _, spec = entry.partition("=")
        folder = spec.removeprefix(SCHEME)
        if spec.startswith(SCHEME) and folder in chain.written:
            source.append(f"{name}={SCHEME}{chain.written[folder]}")
        elif not spec.startswith(SCHEME) or artifacts.is_finished(located(folder)):
            source.append(entry)
        else:
            # A source of the same columns that finds nothing.
            source.append(f"{name}=previous:")
            cost.guesses.append(f"{name}: nothing is written yet, so its rows are not counted")
    return replace(params, source=tuple(source))


def _guessed_rows(cost: Cost, kept: int, sources: int, documents: int, queries: int) -> int:
    """Rows of several sources where vectors are not there yet to tell how many they share."""
    per_query = min(kept, documents) * (1 + _NEW_PER_SOURCE * (sources - 1))
    cost.guesses.append(
        f"rows: every further source finds {_NEW_PER_SOURCE:.0%} new documents per query"
    )
    return round(min(per_query, documents) * queries)


@dataclass(frozen=True)
class _Mined:
    """What came of a trial.

    Attributes:
        table: the candidates of its last queries.
        queries: how many these are.
        rows: of the table.
        seconds: what all queries would take.
    """

    table: Artifact
    queries: int
    rows: int
    seconds: float


@dataclass(frozen=True)
class _Trial:
    """A search for some of the queries."""

    chain: Chain
    params: RetrieveParams
    plan: Plan
    budget: memory.Budget
    sources: dict[str, Source]
    extent: bands.Extent

    def mine(self, task: retrieve.Task, inside: pa.Array | None) -> _Mined:
        """Search twice: the first time also pays for what is loaded on the way."""
        count = len(task.texts)
        unit = max(_QUERIES // 2, retrieve.queries_per_part(self.extent))
        first, more = min(unit, count), min(2 * unit, max(0, count - unit))
        table, cold = self._search(0, some_queries(task, 0, first, inside))
        seconds, size = cold, first
        if more:
            table, warm = self._search(1, some_queries(task, first, more, inside))
            seconds, size = cold + (count - first) * warm / more, more
        return _Mined(table, size, sum(table.rows(name) for name in table.parts), seconds)

    def _search(self, number: int, some: retrieve.Task) -> tuple[Artifact, float]:
        """The candidates of these queries, and the seconds that they took."""
        params, watch = self.params, Watch()
        writer = artifacts.begin(self.chain.trial(f"candidates-{number}"), self.plan)
        assert writer is not None
        with writer:
            with watch:
                counts = retrieve.mine(some, self.sources, params, writer, self.budget.hits)
            table = writer.commit({**counts, "queries": len(some.texts)})
        return table, watch.seconds


@dataclass(frozen=True)
class _Pace:
    """What a pair costs: tokens, and seconds in a call with many."""

    tokens: float
    seconds: float


def _time_of_pairs(
    cost: Cost, name: str, source: ReadsPairs, task: retrieve.Task, corpus: Documents
) -> _Pace:
    """Time some pairs of queries and documents as a source's model reads them."""
    with cost.timed(f"load {name}"):
        scorer = source.scorer()
    step = max(1, len(task.texts) // _PAIR_QUERIES)
    queries = task.texts.take(pa.array(np.arange(0, len(task.texts), step))).to_pylist()
    documents = [text for batch in spread(corpus, TEXTS) for text in full_text(batch).to_pylist()]
    row = np.arange(len(documents))
    pairs = np.stack([row % len(queries), row], axis=1)
    found = rows_of(cost, name, scorer, queries, documents, pairs)
    speed = measure(found.lengths, found.batch_size, found.batch_tokens, found.run)
    many = stretched(found.lengths, _PAIRS_OF_CALL)
    cost.memory_bytes = max(cost.memory_bytes, resident_bytes() + speed.memory_of_call(many))
    return _Pace(float(found.lengths.mean()), speed.of_call(many) / len(many))


def _pairs_asked(source: ReadsPairs, task: retrieve.Task, taken: Band, cost: Cost) -> int:
    """Pairs that a source reads of all queries, once the rows of the table are known.

    Args:
        source: who reads.
        task: the queries.
        taken: the slice of its rankings that is taken.
        cost: what is known of the table.
    """
    depth = np.minimum(depths(task.judgements, cost.queries, taken.end), cost.documents)
    sizes, queries = np.unique(depth, return_counts=True)
    own = int(np.dot(queries, [source.pairs_of_query(size) for size in sizes.tolist()]))
    # What it finds it has scored, and what others found it scores, too.
    return own + max(0, cost.rows - cost.queries * min(len(taken), cost.documents))


def _count_pairs(
    cost: Cost, name: str, source: ReadsPairs, pace: _Pace, asked: int, workshop: Workshop
) -> None:
    """Count the pairs that a source's model reads, ``asked`` beside those beforehand."""
    beforehand = source.pairs_beforehand(cost.documents, workshop)
    if beforehand:
        cost.add(f"score anchors of {name}", beforehand * pace.seconds)
        cost.disk_bytes += 4 * beforehand
    cost.add(f"score with {name}", asked * pace.seconds)
    cost.tokens += round((beforehand + asked) * pace.tokens)


def _tried(
    chain: Chain, opened: Mapping[str, Source], corpus: Documents, whole: bool
) -> dict[str, Source]:
    """The sources as the trial asks them."""
    sources = dict(opened)
    for name, source in opened.items():
        if isinstance(source, ReadsPairs):
            sources[name] = AnyHits(corpus)
    if not chain.real:
        for name, source in opened.items():
            if capabilities_of(source).vectors:
                sources[name] = PositivesFirst(source)
    if not whole:
        # What is known is of documents that the sample does not hold.
        sources = {
            name: source
            for name, source in sources.items()
            if (can := capabilities_of(source)).searches or can.reads_corpus
        }
    return sources


def _inside(corpus: Documents) -> pa.Array:
    """Documents that stand for those that are judged, where the corpus is a sample."""
    return pa.concat_arrays([batch.column("docid") for batch in spread(corpus, 1000)])


def _query_tokens(sources: Mapping[str, Source], texts: pa.Array) -> int:
    """Tokens of all queries for all encoders, from a sample."""
    some = texts.take(pa.array(np.arange(0, len(texts), max(1, len(texts) // TEXTS)))).to_pylist()
    tokens = sum(
        source.tokens(some) for source in sources.values() if isinstance(source, HasTokens)
    )
    return round(tokens * len(texts) / max(1, len(some)))


def _count_calls(
    cost: Cost, params: RetrieveParams, setup: retrieve.Setup, texts: pa.Array
) -> None:
    """Count what servers would be asked about the queries; nobody is asked."""
    for source in setup.opened:
        if source.calls is not None:
            size = pc.sum(pc.binary_length(texts)).as_py() or 0
            calls.count_server(cost, params, source.calls(len(texts)), size // 4)
            cost.guesses.append(f"{source.name}: the time that the server takes is not known")


def _larger_corpus(
    chain: Chain, children: Iterable[Artifact | None], k: int, queries: int
) -> float:
    """Seconds that the products with the vectors that are not there yet take."""
    seconds = 0.0
    for child in children:
        if child is None:
            continue
        vectors = sources_vectors.Vectors(child)
        some = RandomEncoder(int(child.counts["dimension"])).encode(
            [""] * min(queries, 512), "query"
        )
        watch = Watch()
        with watch:
            exact.search(vectors, some, k)
        missing = chain.documents - len(vectors)
        seconds += watch.seconds * queries / len(some) * missing / len(vectors)
    return seconds
