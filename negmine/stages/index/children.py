"""What is made of the documents: BM25, vectors, approximate indexes, signatures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from negmine import log, memory
from negmine.dedup import signatures
from negmine.memory import reset_peak_memory
from negmine.models.devices import gpus
from negmine.models.footprint import models_memory
from negmine.models.resolve import ModelRef
from negmine.params.index import IndexParams
from negmine.sources import languages
from negmine.sources.ann import ann_plan
from negmine.sources.bm25 import bm25_child_plan
from negmine.sources.dense import encoder_settings, vectors_plan
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.conservation import conserve
from negmine.table.documents import Documents


def budget(params: IndexParams, references: Mapping[str, ModelRef]) -> memory.Budget:
    """What a run with these models may hold."""
    return memory.budget(
        params.memory,
        Java=memory.JAVA + memory.LEAST_HEAP if params.bm25 else 0,
        **models_memory(references.values()),
    )


class Made:
    """Begins child artifacts, and remembers whether anything had to be made."""

    def __init__(self, out: Path, force: bool = False, budget: memory.Budget | None = None) -> None:
        self.out, self.force, self.changed = out, force, False
        self.budget = budget or memory.budget(None)

    def begin(self, folder: str, plan: Plan, force: bool = False) -> artifacts.Writer | None:
        """Begin the child in ``folder``, whatever it holds with ``force``; None = up to date."""
        writer = artifacts.begin(self.out / folder, plan, force=force or self.force)
        if writer is not None and not self.changed:
            self.changed = True
            # The index is unfinished from here until all its parts are there.
            (self.out / artifacts.MANIFEST).unlink(missing_ok=True)
        if writer is not None:
            reset_peak_memory()
        return writer


def make_bm25(made: Made, documents: Artifact, language: str) -> Artifact:
    """Build the Lucene index, unless it is there."""
    reading = languages.of_corpus(Documents(documents), language)
    writer = made.begin("bm25", bm25_child_plan(documents, reading.language))
    if writer is None:
        return artifacts.open_artifact(made.out / "bm25")
    from negmine.sources import bm25

    corpus = Documents(documents)

    def build(folder: Path) -> dict[str, int]:
        with log.progress("indexing for BM25", len(corpus), " docs") as bar:

            def batches() -> Iterator[pa.RecordBatch]:
                for _, part in corpus.parts():
                    yield from part.to_batches()
                    bar.update(part.num_rows)

            return {
                "indexed": bm25.build(
                    batches(),
                    folder,
                    threads=os.cpu_count() or 1,
                    memory_bytes=made.budget.heap,
                    language=reading.language,
                )
            }

    with writer:
        if not writer.has("lucene"):
            writer.add_folder("lucene", build)
        counts = writer.stats("lucene")
        conserve("documents", len(corpus), indexed=counts["indexed"])
        misfit = languages.misfit(reading)
        warnings = [] if misfit is None else [f"{misfit}: see --language"]
        facts = {"asked": language, "letters": reading.shares}
        artifact = writer.commit(
            counts, warnings=warnings, ceiling=made.budget.ceiling, language=facts
        )
    log.warn(warnings)
    log.event(
        f"bm25: {counts['indexed']:,} documents indexed as '{reading.language}' "
        f"(--language {language}; letters: {reading.told() or 'none'})",
        **counts,
        language=reading.language,
    )
    return artifact


def make_signatures(made: Made, documents: Artifact) -> Artifact:
    """Describe the texts for filter's guard, unless that is done."""
    outdated = signatures.outdated(documents)
    if outdated:
        log.event("texts were described by another version of negmine: describing them anew")
    writer = made.begin(signatures.FOLDER, signatures.plan(documents), outdated)
    if writer is None:
        return artifacts.open_artifact(made.out / signatures.FOLDER)
    corpus = Documents(documents)
    with writer:
        with log.progress("describing texts", len(corpus), " docs") as bar:
            signatures.build(corpus, writer, bar.update)
        conserve("documents", len(corpus), described=writer.rows())
        return writer.commit({"signatures": writer.rows()}, ceiling=made.budget.ceiling)


def make_vectors(
    params: IndexParams,
    made: Made,
    documents: Artifact,
    name: str,
    reference: ModelRef,
    prompt: str | None,
) -> Artifact:
    """Encode the documents, unless it is done."""
    plan = vectors_plan(params, documents, name, reference, prompt)
    writer = made.begin(f"vectors/{name}", plan)
    if writer is None:
        return artifacts.open_artifact(made.out / "vectors" / name)
    from negmine.models.encoders import load_encoder
    from negmine.sources import ann, dense

    corpus = Documents(documents)
    with writer:
        settings = encoder_settings(params, prompt)
        encoder = load_encoder(reference, settings)
        if params.ann is not None:
            # Encoding takes hours; an index that cannot follow is refused before.
            ann.refuse_beyond(params.ann, encoder.dimension, len(corpus), made.budget)
        on = gpus(params.device, encoder.placement.device) or [encoder.placement.device]
        beside = [load_encoder(reference, replace(settings, device=device)) for device in on[1:]]
        log.event(
            f"{name}: encoding {len(corpus):,} documents with {reference.spec} "
            f"({', '.join(on)}, {encoder.placement.dtype}, {encoder.placement.runtime})"
        )
        with log.progress(f"encoding with {name}", len(corpus), " docs") as bar:
            stored = dense.build(
                corpus, writer, [encoder, *beside], bar.update, params.vectors, bar.part
            )
        counts = {"vectors": writer.rows(), "dimension": encoder.dimension}
        conserve("documents", len(corpus), encoded=counts["vectors"])
        log.event(f"{name}: vectors are stored as {stored['dtype']} ({stored['reason']})", **stored)
        return writer.commit(
            counts, ceiling=made.budget.ceiling, encoder=encoder.describe(), stored=stored
        )


def make_ann(factory: str, made: Made, vectors: Artifact, name: str) -> Artifact:
    """Build an approximate index over stored vectors, unless it is done."""
    from negmine.sources import ann
    from negmine.sources.vectors import Vectors

    stored = Vectors(vectors)
    folder, plan = made.out / "ann" / name, ann_plan(factory, vectors)
    if artifacts.state_of(folder, plan, force=made.force).kind != "made":
        # Before the writer begins, which takes the index's manifest away.
        dimension = int(vectors.counts["dimension"])
        ann.refuse_beyond(factory, dimension, len(stored), made.budget)
    writer = made.begin(f"ann/{name}", plan)
    if writer is None:
        return artifacts.open_artifact(folder)
    log.event(f"{name}: building the approximate index {factory}")
    with writer:
        if not writer.has(ann.FOLDER):
            writer.add_folder(
                ann.FOLDER,
                lambda folder: {"vectors": ann.build(stored, factory, folder, made.budget)},
            )
        counts = writer.stats(ann.FOLDER)
        conserve("vectors", len(stored), added=counts["vectors"])
        return writer.commit(counts, ceiling=made.budget.ceiling)
