"""What ``retrieve`` would cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.commands.estimate.chain import Chain, known_to_be_made
from negmine.commands.estimate.cost import Cost, Watch
from negmine.commands.estimate.index import TEXTS
from negmine.commands.estimate.rehearsal import (
    AnyDocument,
    PositivesFirst,
    RandomEncoder,
    some_queries,
    spread,
    written,
)
from negmine.memory import peak_memory, reset_peak_memory
from negmine.params.retrieve import RetrieveParams
from negmine.sources import HasTokens, capabilities_of, exact
from negmine.sources import vectors as sources_vectors
from negmine.stages import retrieve
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents

#: Queries that are searched for at least, where there are as many.
_QUERIES = 96
#: What a second, a third, ... source adds to the first one's candidates: some are found by both.
_NEW_PER_SOURCE = 0.7
#: Bytes of a candidate while it is searched: scores, row numbers and ids, several times over.
_HIT_BYTES = 160


# --- retrieve ---------------------------------------------------------------------------------


def cost_of_retrieve(chain: Chain, params: RetrieveParams, out: Path) -> Cost:
    """Search for some queries, twice."""
    assert chain.index is not None
    cost = Cost("retrieve", out, guesses=list(chain.guesses))
    reset_peak_memory()
    if params.ann is not None and not chain.real:
        # There is no approximate index yet; the trial's vectors are random.
        params = replace(params, ann=None)
        cost.guesses.append("search: exact, though --ann will be approximate")
    setup = retrieve.set_up(params, chain.index)
    if not chain.documents:
        corpus_counts = setup.documents.counts
        chain.documents = int(corpus_counts["documents"])
        chain.text_bytes = int(corpus_counts["text_bytes"])
    plan = (lambda: retrieve.plan(params, setup, out)) if chain.real else None
    if known_to_be_made(chain, cost, out, plan, ["retrieve"]):
        return cost
    corpus = Documents(setup.documents)
    whole = len(corpus) == chain.documents
    with cost.timed("read"):
        task = retrieve.read_task(params, corpus if whole else AnyDocument())
        budget = setup.budget(params.memory, params.ann)
        sources = retrieve.open_sources(params, setup, task, corpus, budget)
    if not chain.real:
        for name, source in sources.items():
            if capabilities_of(source).vectors:
                sources[name] = PositivesFirst(source)
    inside = None
    if not whole:
        # What is known is of documents that the sample does not hold.
        sources = {n: source for n, source in sources.items() if capabilities_of(source).searches}
        inside = pa.concat_arrays([spread_.column("docid") for spread_ in spread(corpus, 1000)])
    count = len(task.texts)
    unit = max(_QUERIES // 2, retrieve.queries_per_part(params.k, len(sources)))
    trial = Watch(), Watch()
    sizes = (min(unit, count), min(2 * unit, max(0, count - unit)))
    made: Artifact | None = None
    try:
        for number, (watch, size) in enumerate(zip(trial, sizes, strict=True)):
            if not size:
                continue
            some = some_queries(task, sum(sizes[:number]), size, inside)
            writer = artifacts.begin(
                chain.trial(f"candidates-{number}"), retrieve.plan(params, setup, out)
            )
            assert writer is not None
            with writer:
                with watch:
                    counts = retrieve.mine(
                        some, sources, params.k, writer, budget.hits, params.score_union
                    )
                made = writer.commit({**counts, "queries": size})
        cost.tokens = _query_tokens(sources, task.texts)
    finally:
        for source in sources.values():
            source.close()
    assert made is not None
    size = sizes[1] or sizes[0]
    mined = sum(made.rows(name) for name in made.parts)
    rows = round(mined / size * count)
    encoders = [name for name in setup.children if name != "bm25"]
    if not chain.real and encoders and len(setup.sources) > 1:
        each = min(params.k, chain.documents)
        per_query = each * (1 + _NEW_PER_SOURCE * (len(setup.sources) - 1))
        rows = round(min(per_query, chain.documents) * count)
        cost.guesses.append(
            f"rows: every further source finds {_NEW_PER_SOURCE:.0%} new documents per query"
        )
    if count > sum(sizes):
        cost.add("search", trial[0].seconds + (count - sizes[0]) * trial[1].seconds / sizes[1])
    else:
        cost.add("search", trial[0].seconds + trial[1].seconds)
    if not whole:
        cost.add("search", _larger_corpus(chain, setup, params.k, count))
        cost.guesses.append("search: timed on a smaller corpus")
    cost.queries, cost.rows, cost.documents = count, rows, chain.documents
    cost.disk_bytes = int(written(made) * rows / max(1, mined))
    together = retrieve.queries_at_once(params.k, len(sources), budget.hits)
    more = max(0, min(count, together) - size) / count * rows
    cost.memory_bytes = (peak_memory() or 0) + int(more * _HIT_BYTES)
    chain.table, chain.real = made.path, False
    chain.queries, chain.rows = count, rows
    chain.guesses = tuple(cost.guesses)
    return cost


def _query_tokens(sources: Any, texts: pa.Array) -> int:
    """Tokens of all queries for all encoders, from a sample."""
    some = texts.take(pa.array(np.arange(0, len(texts), max(1, len(texts) // TEXTS)))).to_pylist()
    tokens = sum(
        source.tokens(some) for source in sources.values() if isinstance(source, HasTokens)
    )
    return round(tokens * len(texts) / max(1, len(some)))


def _larger_corpus(chain: Chain, setup: retrieve.Setup, k: int, queries: int) -> float:
    """Seconds that the products with the vectors that are not there yet take."""

    seconds = 0.0
    for name, child in setup.children.items():
        if name == "bm25":
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
