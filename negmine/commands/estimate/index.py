"""What ``index`` would cost."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from negmine.commands.estimate.chain import Chain, would_be_remade
from negmine.commands.estimate.cost import Cost, Watch, told
from negmine.commands.estimate.rehearsal import RandomEncoder, spread, written
from negmine.commands.estimate.speed import measure, resident_bytes, stretched
from negmine.dedup import signatures
from negmine.errors import UsageError
from negmine.inputs.sampling import sample
from negmine.memory import peak_memory, reset_peak_memory
from negmine.models.devices import gpus
from negmine.models.resolve import resolve
from negmine.params.index import IndexParams
from negmine.params.values import named, per_name
from negmine.sources import ann as sources_ann
from negmine.sources import bm25 as sources_bm25
from negmine.sources import dense as sources_dense
from negmine.stages import index
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.state import State
from negmine.table.documents import (
    PART_BYTES,
    PART_DOCUMENTS,
    Documents,
    full_text,
    write_documents,
)

#: Documents of the index that later stages are tried on, where the real one is not there.
_DOCUMENTS = 6_000
#: Texts whose tokens are counted.
TEXTS = 2_000


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
        plan = partial(sources_bm25.bm25_plan, language=params.language)
        states["bm25"] = _child_state(chain, out / "bm25", real, plan)
    for name, reference in references.items():
        plan = partial(
            sources_dense.vectors_plan,
            params,
            name=name,
            reference=reference,
            prompt=prompts.get(name),
        )
        states[name] = _child_state(chain, out / "vectors" / name, real, plan)
    if params.signatures:
        states[signatures.FOLDER] = _signatures_state(chain, out / signatures.FOLDER, real)
    if params.ann is not None:
        for name in references:
            states[sources_ann.ann_role(name)] = _ann_state(chain, params.ann, out, name)
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
        if params.ann is not None and states[sources_ann.ann_role(name)].kind != "made":
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
            return State("refused", reason=would_be_remade(folder))
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
    reset_peak_memory()
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
    cost.memory_bytes = max(cost.memory_bytes, peak_memory() or 0)
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
    reset_peak_memory()
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
        cost.memory_bytes = max(cost.memory_bytes, peak_memory() or 0)
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
    return _child_state(chain, folder, real, partial(sources_ann.ann_plan, factory))


def _ann(chain: Chain, factory: str, vectors: Artifact, made: index.Made, cost: Cost) -> None:
    """Build the approximate index of the small corpus, or where it is too small, ask for its size.

    Raises:
        UsageError: FAISS knows no such index, or it cannot be built within the ceiling.
    """
    from negmine.sources import ann
    from negmine.sources import ivf as inverted
    from negmine.sources.vectors import Vectors

    stored = Vectors(vectors)
    dimension = int(vectors.counts["dimension"])
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
        encoder = load_encoder(reference, sources_dense.encoder_settings(params, prompt))
    if state.kind != "made":
        share = _left(state, corpus)
        texts = [text for b in spread(corpus, TEXTS) for text in full_text(b).to_pylist()]
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
    plan = sources_dense.vectors_plan(params, small.artifact, name, reference, prompt)
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
