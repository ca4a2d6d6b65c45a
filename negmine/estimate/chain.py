"""The cost of each stage, from the stages' own code on samples.

Every stage is tried on a little of what it would read: of the artifact before it where that is
there, else of one that the trial of the stage before it has made. Work that grows with the rows is
timed twice, and the second time counts for the rest: the first one also pays for loading models
and for Java's compiler.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import identity, memory, signatures
from negmine.errors import ConflictError, UsageError
from negmine.estimate.cost import Cost, Watch, told
from negmine.estimate.rehearsal import (
    AnyDocument,
    PositivesFirst,
    RandomEncoder,
    RandomScorer,
    restricted,
    some_queries,
    spread,
    written,
)
from negmine.estimate.speed import measure, resident_bytes, stretched
from negmine.models.devices import gpus
from negmine.models.resolve import resolve
from negmine.params import ExportParams, FilterParams, IndexParams, RerankParams, RetrieveParams
from negmine.recipe import named, per_name
from negmine.scorers import Scorer
from negmine.scorers.rows import HasRows, ModelRows
from negmine.stages import export, index, rerank, retrieve
from negmine.stages import filter as filtering
from negmine.stages.guard import Guard, compares_texts
from negmine.stages.inputs import models_memory
from negmine.table import artifact as artifacts
from negmine.table.artifact import Artifact, State
from negmine.table.documents import (
    PART_BYTES,
    PART_DOCUMENTS,
    Documents,
    full_text,
    write_documents,
)
from negmine.table.names import NOT_SEARCHED
from negmine.table.sampling import sample

#: Documents of the index that later stages are tried on, where the real one is not there.
_DOCUMENTS = 6_000
#: Texts whose tokens are counted.
_TEXTS = 2_000
#: Queries that are searched for at least, where there are as many.
_QUERIES = 96
_PAIRS = 3_000
#: Pairs that another package's scorer is tried on at most.
_PLUGGED_PAIRS = 256
#: What a second, a third, ... source adds to the first one's candidates: some are found by both.
_NEW_PER_SOURCE = 0.7
#: Bytes of a candidate while it is searched: scores, row numbers and ids, several times over.
_HIT_BYTES = 160


@dataclass
class Chain:
    """What is known of the run so far.

    Attributes:
        folder: where the trials write.
        force: as it would be given to the stages.
        documents: how many the corpus has.
        text_bytes: of all their texts.
        index: the index, or the trial's.
        table: the last artifact with rows, or the trial's.
        real: whether ``table`` (before retrieval: ``index``) is the user's own.
        queries: how many are mined.
        rows: (query, document) pairs of the table.
        guesses: what the numbers so far rest on.
    """

    folder: Path
    force: bool = False
    documents: int = 0
    text_bytes: int = 0
    index: Path | None = None
    table: Path | None = None
    real: bool = False
    queries: int = 0
    rows: int = 0
    guesses: tuple[str, ...] = ()

    def corpus_of(self, artifact: Artifact) -> Documents:
        """The corpus that a table was made from; counts it where it is the user's own."""
        corpus = Documents(artifact.ancestor("index.documents"))
        if self.documents == 0:
            self.documents = len(corpus)
            self.text_bytes = int(corpus.artifact.counts["text_bytes"])
        return corpus

    def trial(self, name: str) -> Path:
        """A new folder of the trials."""
        return self.folder / name


def open_table(chain: Chain, path: Path, stages: Sequence[str]) -> None:
    """Take the user's own artifact as what the chain has come to."""
    found = artifacts.open_artifact(path, list(stages))
    chain.table, chain.real = path, True
    chain.rows = sum(found.rows(name) for name in found.parts)
    chain.queries = int(found.counts["queries"])
    chain.corpus_of(found)


# --- index ------------------------------------------------------------------------------------


def cost_of_index(chain: Chain, params: IndexParams, out: Path) -> Cost:
    """Documents, BM25 and vectors; the trial's index is for the stages after it."""
    cost = Cost("index", out)
    encoders = named(params.encoder, "--encoder")
    references = {name: resolve(model) for name, model in encoders.items()}
    prompts = per_name(params.doc_prompt, encoders, "--doc-prompt")
    states = {"documents": _documents_state(params, out, chain.force)}
    real = None
    if states["documents"].kind == "made":
        real = artifacts.open_artifact(out / "documents")
    if params.bm25:
        plan = partial(index.bm25_plan, language=params.language)
        states["bm25"] = _child_state(chain, out / "bm25", real, plan)
    for name, reference in references.items():
        plan = partial(
            index.vectors_plan, params, name=name, reference=reference, prompt=prompts.get(name)
        )
        states[name] = _child_state(chain, out / "vectors" / name, real, plan)
    if params.signatures:
        states[signatures.FOLDER] = _signatures_state(chain, out / signatures.FOLDER, real)
    if params.ann is not None:
        for name in references:
            states[index.ann_role(name)] = _ann_state(chain, params.ann, out, name)
    _sum_up(cost, states)
    if cost.skipped and real is not None:
        chain.index, chain.real = out, True
        chain.documents = cost.documents = int(real.counts["documents"])
        chain.text_bytes = int(real.counts["text_bytes"])
        return cost
    corpus = _documents(chain, params, out, cost, states["documents"])
    cost.documents = chain.documents
    small = _small(chain, corpus)
    budget = index.budget(params, references)
    made = index.Made(chain.trial("index"), budget=budget)
    children = {"documents": small.artifact}
    if params.bm25:
        children["bm25"] = _bm25(chain, params.language, small, made, cost, states["bm25"])
    for name in references:
        children[name] = _vectors(
            chain, params, name, prompts.get(name), small, corpus, made, cost, states[name]
        )
        if params.ann is not None and states[index.ann_role(name)].kind != "made":
            _ann(chain, params.ann, children[name], made, cost)
    if params.signatures and states[signatures.FOLDER].kind != "made":
        _signatures(chain, small, made, cost)
    index.finish(made.out, children, True, [])
    chain.index, chain.real = made.out, False
    return cost


def _sum_up(cost: Cost, states: dict[str, State]) -> None:
    """One state of the index from those of its children."""
    refused = [state for state in states.values() if state.kind == "refused"]
    if refused:
        cost.state = told(refused[0])
    elif all(state.kind == "made" for state in states.values()):
        cost.state = "up to date"
    else:
        there = [f"{name} {told(s)}" for name, s in states.items() if s.kind != "start"]
        cost.state = ", ".join(["to do", *there])


def _documents_state(params: IndexParams, out: Path, force: bool) -> State:
    folder = out / "documents"
    if not folder.is_dir():
        if artifacts.is_begun(out):
            return State("refused", reason=f"{out}: exists and is not a negmine index")
        return State("start")
    return artifacts.state_of(folder, index.documents_plan(params, folder), force=force)


def _child_state(
    chain: Chain,
    folder: Path,
    real: Artifact | None,
    plan: Callable[[Artifact], artifacts.Plan],
) -> State:
    """State of a child; where the documents are not there, so that it has no plan yet, a guess."""
    if real is None:
        if artifacts.is_begun(folder) and not chain.force:
            return State("refused", reason=_would_be_remade(folder))
        return State("start")
    return artifacts.state_of(folder, plan(real), force=chain.force)


def _signatures_state(chain: Chain, folder: Path, real: Artifact | None) -> State:
    if real is not None and signatures.outdated(real):
        return artifacts.state_of(folder, signatures.plan(real), force=True)
    return _child_state(chain, folder, real, signatures.plan)


def _documents(chain: Chain, params: IndexParams, out: Path, cost: Cost, state: State) -> Documents:
    """The corpus, or what a sample of the input gave; counts all of it."""
    if state.kind == "made":
        corpus = Documents(artifacts.open_artifact(out / "documents"))
        chain.documents = len(corpus)
        chain.text_bytes = int(corpus.artifact.counts["text_bytes"])
        return corpus
    changes: dict[str, Any] = {"on_error": "skip"}
    share = 1.0
    for role in ("corpus", "pairs"):
        if specs := getattr(params, role):
            found = sample(specs, role, chain.folder)
            changes[role] = found.specs
            share = found.share if role == "corpus" or not params.corpus else share
    watch = Watch()
    artifacts.reset_peak_memory()
    with watch:
        made, _ = index.make_documents(
            replace(params, **changes), index.Made(chain.trial("corpus"))
        )
    corpus = Documents(made)
    count = round(len(corpus) / share)
    if params.limit is not None:
        count = min(count, params.limit)
    grown = count / len(corpus)
    if share < 1:
        chain.guesses += (f"documents: counted in {share:.1%} of the input",)
    chain.documents = count
    chain.text_bytes = int(made.counts["text_bytes"] * grown)
    cost.add("documents", watch.seconds * grown)
    cost.disk_bytes += int(written(made) * grown)
    cost.memory_bytes = max(cost.memory_bytes, artifacts.peak_memory() or 0)
    return corpus


def _small(chain: Chain, corpus: Documents) -> Documents:
    """A corpus of some of the documents: the same one where it is that small."""
    if len(corpus) <= _DOCUMENTS:
        return corpus
    made = index.Made(chain.trial("index"))
    plan = artifacts.Plan("index.documents", index.DOCUMENTS_VERSION, {"sample": _DOCUMENTS})
    writer = made.begin("documents", plan)
    assert writer is not None
    with writer:
        counts = write_documents(spread(corpus, _DOCUMENTS), writer)
        return Documents(writer.commit(counts))


def _bm25(
    chain: Chain, language: str, small: Documents, made: index.Made, cost: Cost, state: State
) -> Artifact:
    """Index a quarter of the small corpus, then all of it: the second is the pace."""
    from negmine.sources import bm25

    first, second = Watch(), Watch()
    artifacts.reset_peak_memory()
    quarter = max(1, len(small) // 4)
    with first:
        indexed = bm25.build(
            spread(small, quarter),
            chain.trial("warm-up"),
            threads=os.cpu_count() or 1,
            memory_bytes=made.budget.heap,
        )
    with second:
        built = index.make_bm25(made, small.artifact, language)
    if state.kind != "made":
        pace = second.seconds / len(small)
        cost.add("bm25", first.seconds + max(0, chain.documents - indexed) * pace)
        cost.disk_bytes += int(written(built) * chain.documents / len(small))
        cost.memory_bytes = max(cost.memory_bytes, artifacts.peak_memory() or 0)
    return built


def _signatures(chain: Chain, small: Documents, made: index.Made, cost: Cost) -> None:
    """Describe the small corpus."""
    watch = Watch()
    with watch:
        built = index.make_signatures(made, small.artifact)
    grown = chain.documents / len(small)
    cost.add("signatures", watch.seconds * grown)
    cost.disk_bytes += int(written(built) * grown)


def _ann_state(chain: Chain, factory: str, out: Path, name: str) -> State:
    folder, vectors = out / "ann" / name, out / "vectors" / name
    real = artifacts.open_artifact(vectors) if (vectors / artifacts.MANIFEST).is_file() else None
    return _child_state(chain, folder, real, partial(index.ann_plan, factory))


def _ann(chain: Chain, factory: str, vectors: Artifact, made: index.Made, cost: Cost) -> None:
    """Build the approximate index of the small corpus, or where it is too small, ask for its size.

    Raises:
        UsageError: FAISS knows no such index, or it cannot be built within the ceiling.
    """
    from negmine.sources import ann, inverted
    from negmine.sources.dense import Vectors

    stored = Vectors(vectors)
    dimension = int(vectors.manifest["counts"]["dimension"])
    ann.refuse_beyond(factory, dimension, chain.documents, made.budget)
    folder = chain.trial(f"{vectors.path.name}.faiss")
    folder.mkdir()
    watch = Watch()
    try:
        with watch:
            ann.build(stored, factory, folder, made.budget)
        per_vector = (folder / inverted.FILE).stat().st_size / len(stored)
        cost.add("approximate index", watch.seconds * chain.documents / len(stored))
    except UsageError:
        per_vector = ann.bytes_per_vector(factory, dimension)
        cost.guesses.append(
            f"the approximate index: its time is not counted, {len(stored):,} vectors do not "
            f"train {factory}"
        )
    cost.disk_bytes += int(per_vector * chain.documents)
    held = ann.held_to_build(factory, dimension, chain.documents, made.budget.work)
    cost.memory_bytes = max(cost.memory_bytes, resident_bytes() + held)


def _vectors(
    chain: Chain,
    params: IndexParams,
    name: str,
    prompt: str | None,
    small: Documents,
    corpus: Documents,
    made: index.Made,
    cost: Cost,
    state: State,
) -> Artifact:
    """Time some batches of the encoder; the small corpus gets random vectors of its dimension."""
    from negmine.models.encoders import load_encoder
    from negmine.sources import dense

    reference = resolve(named(params.encoder, "--encoder")[name])
    watch = Watch()
    with watch:
        encoder = load_encoder(reference, index.encoder_settings(params, prompt))
    if state.kind != "made":
        share = _left(state, corpus)
        texts = [text for b in spread(corpus, _TEXTS) for text in full_text(b).to_pylist()]
        lengths = encoder.lengths(texts, "document")
        size = _batch_size(encoder.describe(), params.batch_size)
        speed = measure(
            lengths,
            size,
            encoder.batch_tokens,
            lambda rows: encoder.encode([texts[i] for i in rows], "document"),
        )
        held = resident_bytes()
        count = round(chain.documents * share)
        mean = chain.text_bytes / max(1, chain.documents)
        part = stretched(
            lengths, min(count, PART_DOCUMENTS, max(1, int(PART_BYTES / max(1, mean))))
        )
        cost.add(f"load {name}", watch.seconds)
        parts = count / max(1, len(part))
        together = max(1.0, min(parts, len(gpus(params.device, encoder.placement.device))))
        cost.add(f"encode {name}", speed.of_call(part) * parts / together)
        cost.tokens += int(lengths.mean() * count)
        # A part is held as text, as Python's strings, as tokens and as vectors.
        around = len(part) * (3 * mean + 4 * encoder.dimension) + 12 * int(part.sum())
        needed = held + speed.memory_of_call(part) + int(around)
        cost.memory_bytes = max(cost.memory_bytes, needed)
    plan = index.vectors_plan(params, small.artifact, name, reference, prompt)
    writer = made.begin(f"vectors/{name}", plan)
    assert writer is not None
    with writer:
        dense.build(small, writer, [RandomEncoder(encoder.dimension)], lambda _: None)
        built = writer.commit({"vectors": writer.rows(), "dimension": encoder.dimension})
    if state.kind != "made":
        cost.disk_bytes += int(written(built) * _left(state, corpus) * chain.documents / len(small))
    return built


def _left(state: State, corpus: Documents) -> float:
    """The share of the documents that an interrupted run has not encoded."""
    done = {name.replace(".npy", ".parquet") for name in state.done}
    rows = sum(corpus.artifact.rows(name) for name in corpus.names if name in done)
    return 1 - rows / max(1, len(corpus))


def _batch_size(described: Any, asked: int) -> int:
    """Rows of a batch; a model that runs row by row says so."""
    return int(described.get("batch_size", asked))


# --- retrieve ---------------------------------------------------------------------------------


def cost_of_retrieve(chain: Chain, params: RetrieveParams, out: Path) -> Cost:
    """Search for some queries, twice."""
    assert chain.index is not None
    cost = Cost("retrieve", out, guesses=list(chain.guesses))
    artifacts.reset_peak_memory()
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
    if _known_to_be_made(chain, cost, out, plan, ["retrieve"]):
        return cost
    corpus = Documents(setup.documents)
    whole = len(corpus) == chain.documents
    with cost.timed("read"):
        task = retrieve.read_task(params, corpus if whole else AnyDocument())
        budget = setup.budget(params.memory, params.ann)
        sources = retrieve.open_sources(params, setup, task, corpus, budget)
    if not chain.real:
        for name in set(sources) & set(setup.children) - {"bm25"}:
            sources[name] = PositivesFirst(sources[name])
    inside = None
    if not whole:
        for name in NOT_SEARCHED:
            # What is known is of documents that the sample does not hold.
            sources.pop(name, None)
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
                for source in sources.values():
                    if isinstance(source, PositivesFirst):
                        source.about(some)
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
    cost.memory_bytes = (artifacts.peak_memory() or 0) + int(more * _HIT_BYTES)
    chain.table, chain.real = made.path, False
    chain.queries, chain.rows = count, rows
    chain.guesses = tuple(cost.guesses)
    return cost


def _query_tokens(sources: Any, texts: pa.Array) -> int:
    """Tokens of all queries for all encoders, from a sample."""
    some = texts.take(pa.array(np.arange(0, len(texts), max(1, len(texts) // _TEXTS)))).to_pylist()
    tokens = sum(source.tokens(some) for source in sources.values() if hasattr(source, "tokens"))
    return round(tokens * len(texts) / max(1, len(some)))


def _larger_corpus(chain: Chain, setup: retrieve.Setup, k: int, queries: int) -> float:
    """Seconds that the products with the vectors that are not there yet take."""
    from negmine.sources import dense

    seconds = 0.0
    for name, child in setup.children.items():
        if name == "bm25":
            continue
        vectors = dense.Vectors(child)
        some = RandomEncoder(int(child.counts["dimension"])).encode(
            [""] * min(queries, 512), "query"
        )
        watch = Watch()
        with watch:
            dense.search(vectors, some, k)
        missing = chain.documents - len(vectors)
        seconds += watch.seconds * queries / len(some) * missing / len(vectors)
    return seconds


# --- rerank -----------------------------------------------------------------------------------


def cost_of_rerank(chain: Chain, params: RerankParams, out: Path) -> Cost:
    """Time some batches of each scorer on likely pairs; all else is tried with random scores."""
    assert chain.table is not None
    cost = Cost("rerank", out, guesses=list(chain.guesses))
    artifacts.reset_peak_memory()
    setup = rerank.set_up(params, chain.table)
    plan = (lambda: rerank.plan(params, setup)) if chain.real else None
    if _known_to_be_made(chain, cost, out, plan, ["rerank"]):
        return cost
    budget = memory.budget(params.memory, **models_memory(setup.references.values()))
    documents = chain.corpus_of(setup.source)
    queries, rows = chain.queries, chain.rows
    if params.limit is not None and params.limit < queries:
        queries, rows = params.limit, round(rows * params.limit / queries)
    source = restricted(setup.source, setup.source.parts[:2])
    tables = [source.read(name) for name in source.parts]
    wanted = [rerank.wanted(table, params) for table in tables]
    tried = sum(table.num_rows for table in tables)
    share = sum(int(mask.sum()) for mask in wanted) / max(1, tried)
    pairs = round(rows * share)
    parts = max(1, round(rows / max(1, tried) * len(tables)))

    picked = tables[0].filter(pa.array(wanted[0]))
    asked = setup.source.ancestor("retrieve").read(f"_queries/{source.parts[0]}")
    docids = picked.column("docid").combine_chunks().unique()
    with Watch() as reading:
        found = documents.texts(docids).to_pylist()
    texts = asked.column("text").to_pylist()
    numbers = np.stack(
        [
            pc.index_in(picked.column("qid"), value_set=asked.column("qid").combine_chunks()),
            pc.index_in(picked.column("docid"), value_set=docids),
        ],
        axis=1,
    )
    per_part = max(1, round(pairs / parts))
    peak = 0
    loaded: dict[str, Scorer] = {}
    seconds: dict[str, float] = {}
    for name in setup.references:
        with cost.timed(f"load {name}"):
            scorer = loaded[name] = setup.load(name, params)
        counted = isinstance(scorer, HasRows)
        if isinstance(scorer, HasRows):
            model = scorer.model_rows(texts, found, numbers, _PAIRS)
        else:
            cost.guesses.append(f"{name}: every pair takes the same time")
            model = _alike(scorer, texts, found, numbers)
        speed = measure(model.lengths, model.batch_size, model.batch_tokens, model.run)
        held = resident_bytes()
        a_part = stretched(model.lengths, max(1, round(per_part * model.per_pair)))
        seconds[name] = speed.of_call(a_part) * pairs / per_part
        if counted:
            cost.tokens += round(float(model.lengths.mean()) * model.per_pair * pairs)
        peak = max(peak, held + speed.memory_of_call(a_part))
    together = max(1, min(parts, len(rerank.shared_gpus(params, loaded.values()))))
    for name, alone in seconds.items():
        cost.add(f"score {name}", alone / together)
    made, watch = _scored(chain, params, setup, source, budget.texts)
    passes = -(-pairs // documents.fitting(budget.texts))
    grown = rows / max(1, tried)
    cost.add("tables", max(0.0, watch.seconds - reading.seconds) * grown)
    cost.add("texts", max(reading.seconds, 0.0) * passes * chain.documents / len(documents))
    cost.documents, cost.queries, cost.rows = chain.documents, queries, pairs
    cost.disk_bytes = int(written(made) * grown)
    mean = chain.text_bytes / max(1, chain.documents)
    texts_held = int(min(pairs, documents.fitting(budget.texts)) * mean)
    cost.memory_bytes = peak + min(texts_held, chain.text_bytes)
    chain.table, chain.real = made.path, False
    chain.queries, chain.rows = queries, rows
    return cost


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
    chain: Chain, params: RerankParams, setup: rerank.Setup, source: Artifact, size: int
) -> tuple[Artifact, Watch]:
    """The scored artifact of a few parts, with random scores."""
    watch = Watch()
    some = replace(setup, source=source)
    writer = artifacts.begin(chain.trial("scored"), rerank.plan(params, some))
    assert writer is not None
    with writer:
        with watch:
            scorers = dict.fromkeys(setup.references, RandomScorer())
            counts = rerank.score(replace(params, limit=None), source, [scorers], writer, size)
        return writer.commit(counts), watch


# --- filter -----------------------------------------------------------------------------------


def cost_of_filter(chain: Chain, params: FilterParams, out: Path) -> Cost:
    """Filter one part, then two."""
    assert chain.table is not None
    cost = Cost("filter", out, guesses=list(chain.guesses))
    artifacts.reset_peak_memory()
    setup = filtering.set_up(params, chain.table)
    plan = (lambda: filtering.plan(setup, out)) if chain.real else None
    if _known_to_be_made(chain, cost, out, plan, ["filter"]):
        return cost
    documents = chain.corpus_of(setup.source)
    budget = memory.budget(params.memory)

    def judged(number: int, names: list[str]) -> Artifact:
        some = replace(setup, source=restricted(setup.source, names))
        writer = artifacts.begin(chain.trial(f"ledger-{number}"), filtering.plan(some, out))
        assert writer is not None
        with writer:
            counts, _ = filtering.judge_all(
                some, Guard(some.params, some.source, budget.shingles), writer
            )
            return writer.commit(counts)

    made, seconds = _twice(setup.source, judged)
    mined = sum(made.rows(name) for name in made.parts)
    cost.add("rules", seconds(chain.rows))
    corpus_bytes = int(documents.artifact.counts["text_bytes"])
    if compares_texts(setup.params) and signatures.stored(documents.artifact) is None:
        # The first part's time holds the description of the whole corpus, where that is small.
        more = chain.documents - len(documents)
        if signatures.describes_whole(chain.text_bytes, chain.documents):
            cost.add("texts", _described(documents) * more)
        elif signatures.describes_whole(corpus_bytes, len(documents)):
            each = _described(documents)
            at_most = min(chain.rows, chain.documents)
            cost.add("texts", each * (at_most - len(documents)))
            cost.guesses.append("texts: every candidate's is described once")
    cost.documents, cost.queries, cost.rows = chain.documents, chain.queries, chain.rows
    cost.disk_bytes = int(written(made) * chain.rows / max(1, mined))
    cost.memory_bytes = artifacts.peak_memory() or 0
    if not chain.real:
        cost.guesses.append("what is dropped: the scores of the trial are random")
    chain.table, chain.real = made.path, False
    return cost


def _described(documents: Documents) -> float:
    """Seconds to describe one document's text."""
    batches = list(spread(documents, 400))
    texts = pa.concat_arrays([full_text(batch).cast(pa.large_string()) for batch in batches])
    with Watch() as watch:
        identity.describe(texts)
    return watch.seconds / max(1, len(texts))


# --- export -----------------------------------------------------------------------------------


def cost_of_export(chain: Chain, params: ExportParams, out: Path) -> Cost:
    """Export one part of the ledger, then two."""
    assert chain.table is not None
    cost = Cost("export", out, guesses=list(chain.guesses))
    artifacts.reset_peak_memory()
    setup = export.set_up(params, chain.table, out)
    if chain.real and str(out) != "-":
        cost.state = told(_export_state(params, setup, out, chain.force))
    elif str(out) != "-" and artifacts.is_begun(out) and not chain.force:
        cost.state = told(State("refused", reason=_would_be_remade(out)))
    cost.documents, cost.queries = chain.documents, chain.queries
    if cost.skipped:
        return cost
    documents = chain.corpus_of(setup.source)
    if params.limit is not None and params.limit < chain.queries:
        chain.rows = round(chain.rows * params.limit / chain.queries)
        chain.queries = params.limit
    ending = setup.suffix or ""
    at_once = memory.budget(params.memory).texts

    outcomes = []

    def exported(number: int, names: list[str]) -> Artifact:
        some = replace(setup, source=restricted(setup.source, names))
        target = chain.trial(f"export-{number}{ending}")
        outcomes.append(export.make(replace(params, limit=None, allow_empty=True), some, target))
        return some.source

    some, seconds = _twice(setup.source, exported)
    mined = sum(some.rows(name) for name in some.parts)
    grown = chain.rows / max(1, mined)
    docids = some.read(some.parts[0], ["docid"]).column("docid").combine_chunks().unique()
    with Watch() as reading:
        documents.texts(docids[:64])
    examples = outcomes[-1].counts["examples"]
    mean = chain.text_bytes / max(1, chain.documents)
    chosen = outcomes[-1].counts.get("positives", 0) + outcomes[-1].counts.get("selected", 0)
    passes = max(1, -(-int(chosen * grown * mean) // at_once)) if params.texts else 0
    # What was timed reads the corpus once for a part or two, the run once for many of them.
    cost.add("examples", seconds(chain.rows) - reading.seconds * max(0.0, grown - 1))
    more = passes * chain.documents / len(documents) - 1
    cost.add("texts", reading.seconds * max(0.0, more))
    cost.documents, cost.queries = chain.documents, chain.queries
    cost.rows = round(examples * grown)
    cost.disk_bytes = int(_size(chain, f"export-*{ending}", ending) * grown)
    held = min(int(chosen * grown * mean), at_once)
    cost.memory_bytes = (artifacts.peak_memory() or 0) + held
    return cost


def _export_state(params: ExportParams, setup: export.Setup, out: Path, force: bool) -> State:
    plan = export.plan(
        params, setup, "all" if params.split is None or not setup.suffix else "train"
    )
    if setup.suffix is None:
        return artifacts.state_of(out, plan, force=force)
    return artifacts.state_of_file(out, plan, force=force)


def _size(chain: Chain, pattern: str, ending: str) -> int:
    """Bytes of the last trial's export, its held-out part included."""
    last = sorted(path for path in chain.folder.glob(pattern))[-1]
    if last.is_file():
        beside = export.held_out_file(last, ending)
        return last.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
    return sum(path.stat().st_size for path in last.rglob("*") if path.is_file())


# --- what the stages after the search share ---------------------------------------------------


def _known_to_be_made(
    chain: Chain,
    cost: Cost,
    out: Path,
    plan: Callable[[], artifacts.Plan] | None,
    stages: Sequence[str],
) -> bool:
    """Find out the state of ``out``; where it is up to date, the chain goes on from there.

    Args:
        chain: what is known.
        cost: gets the state.
        out: where the result would go.
        plan: None where the input is no artifact of the user's, so that there is no plan yet.
        stages: what ``out`` may be.
    """
    if plan is not None:
        cost.state = told(artifacts.state_of(out, plan(), force=chain.force))
    elif artifacts.is_begun(out) and not chain.force:
        cost.state = told(State("refused", reason=_would_be_remade(out)))
    if not cost.skipped:
        return False
    open_table(chain, out, stages)
    cost.documents, cost.queries, cost.rows = chain.documents, chain.queries, chain.rows
    return True


def _would_be_remade(out: Path) -> str:
    error = ConflictError(
        "is there, and what it is made from is not up to date",
        where=str(out),
        hint="Unless that comes out the same, add --force.",
    )
    return str(error)


def _twice(
    source: Artifact, work: Callable[[int, list[str]], Artifact]
) -> tuple[Artifact, Callable[[int], float]]:
    """Do ``work`` on the first part, then on up to two others.

    Returns:
        (the last result, seconds for a number of rows).
    """
    names = source.parts
    first = source.rows(names[0])
    started = time.perf_counter()
    made = work(0, names[:1])
    cold = time.perf_counter() - started
    others = names[1:3]
    if not others:
        return made, (lambda rows: cold * max(1.0, rows / max(1, first)))
    started = time.perf_counter()
    made = work(1, others)
    pace = (time.perf_counter() - started) / max(1, sum(source.rows(name) for name in others))
    return made, lambda rows: cold + max(0, rows - first) * pace
