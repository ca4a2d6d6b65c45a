"""``negmine index``: documents, a Lucene BM25 index and one vector set per encoder.

The index is a folder of artifacts, each with its own fingerprint, so another encoder is added
without touching the rest and an interrupted encoding continues where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from negmine import log, memory, signatures
from negmine.errors import ConflictError, UsageError
from negmine.models.devices import gpus
from negmine.models.resolve import ModelRef, resolve
from negmine.params import IndexParams
from negmine.recipe import named, per_name
from negmine.sources import languages
from negmine.stages.clashes import Clashes
from negmine.stages.columns import Asked, asked
from negmine.stages.inputs import Inputs, models_memory
from negmine.stages.outcome import Outcome, conserve
from negmine.stages.passages import Passages, documents, refuse_ids
from negmine.table import artifact as artifacts
from negmine.table.artifact import Artifact, Plan
from negmine.table.documents import ADDED, Documents, write_documents
from negmine.table.names import ANN_PREFIX
from negmine.table.readers import Problems, Reading, read_corpus, read_examples

if TYPE_CHECKING:
    from negmine.models.encoders import EncoderSettings

DOCUMENTS_VERSION = 2
BM25_VERSION = 1
VECTORS_VERSION = 3
ANN_VERSION = 2

#: Children that are no encoder's vectors, in the order of the manifest.
_OWN = ("documents", "bm25", signatures.FOLDER)


def run(params: IndexParams, out: Path, *, force: bool = False) -> Outcome:
    """Make or extend the index at ``out``.

    Raises:
        NegmineError: see the exit codes in :mod:`negmine.errors`.
    """
    if not params.corpus and not params.pairs:
        raise UsageError(
            "nothing to index",
            hint="Give --corpus FILE, or --pairs FILE to make the corpus from its passages.",
        )
    if params.keep and not params.corpus:
        raise UsageError("--keep names columns of the corpus", hint="Give --corpus FILE.")
    if len(set(params.keep)) != len(params.keep):
        raise UsageError("--keep names one column twice")
    encoders = named(params.encoder, "--encoder")
    prompts = per_name(params.doc_prompt, encoders, "--doc-prompt")
    languages.check(params.language)
    if not encoders and not params.bm25:
        log.event("the index has documents only: retrieve needs a --run, or a plug-in's --source")
    references = {name: resolve(model) for name, model in encoders.items()}
    if out.is_dir() and any(out.iterdir()) and not (out / "documents").is_dir():
        raise ConflictError(
            "exists and is not a negmine index",
            where=str(out),
            hint="Choose another -o; negmine deletes only what it wrote.",
        )

    made = Made(out, force, budget(params, references))
    documents, warnings = make_documents(params, made)
    children = {"documents": documents}
    if params.bm25:
        children["bm25"] = make_bm25(made, documents, params.language)
        warnings = [*warnings, *children["bm25"].manifest["warnings"]]
    if params.signatures:
        children[signatures.FOLDER] = make_signatures(made, documents)
    for name, reference in references.items():
        children[name] = _vectors(params, made, documents, name, reference, prompts.get(name))
        if params.ann is not None:
            children[ann_role(name)] = _ann(params.ann, made, children[name], name)
    return finish(out, children, made.changed, warnings)


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
            artifacts.reset_peak_memory()
        return writer


def documents_plan(params: IndexParams, folder: Path) -> Plan:
    """What the documents in ``folder`` are made from; reads the input files to digest them."""
    inputs = Inputs(folder)
    for role, specs in (("corpus", params.corpus), ("pairs", params.pairs)):
        if specs:
            inputs.add(specs, role)
    settings = {
        "column": list(params.column),
        "limit": params.limit,
        "on_error": params.on_error,
        # Not there when nothing is kept, as in indexes made before there was such an option.
        **({"keep": list(params.keep)} if params.keep else {}),
    }
    return Plan(
        "index.documents", DOCUMENTS_VERSION, settings, files=inputs.files, again=inputs.again
    )


def make_documents(params: IndexParams, made: Made) -> tuple[Artifact, list[str]]:
    """Store the corpus; returns it and what the user should know."""
    folder = made.out / "documents"
    writer = made.begin("documents", documents_plan(params, folder))
    if writer is None:
        found = artifacts.open_artifact(folder)
        return found, list(found.manifest["warnings"])
    problems = Problems(params.on_error)
    columns = _asked(params)
    warnings: list[str] = []
    added: dict[str, int] = {}
    with writer:
        with log.progress("reading the corpus", params.limit, " docs") as bar:
            batches = _counted(_batches(params, columns, problems, warnings, added), bar)
            role = "corpus" if params.corpus else "pairs"
            clashes = Clashes(role, getattr(params, role), columns.of(role), problems)
            counts: dict[str, Any] = write_documents(
                batches, writer, params.limit, params.keep, clashes.found
            )
        counts |= added
        clashes.report()
        columns.tell()
        if params.limit is None:
            columns.check()
            conserve(
                "documents read",
                bar.done,
                kept=counts["documents"],
                repeated=counts["duplicate_ids"],
                of_other_texts=clashes.count,
            )
        conserve("documents", counts["documents"], written=writer.rows())
        counts["bad_records_skipped"] = problems.count
        if counts["empty_documents"]:
            warnings.append(f"{counts['empty_documents']} documents are empty")
        if counts["duplicate_ids"] and not params.pairs:
            warnings.append(
                f"{counts['duplicate_ids']} documents repeat an id with the same text: kept once"
            )
        if problems.count:
            warnings.append(
                f"{problems.count} bad records were skipped, e.g. {problems.examples[0]}"
            )
        artifact = writer.commit(
            counts,
            warnings=warnings,
            ceiling=made.budget.ceiling,
            skipped=list(problems.examples),
            columns=columns.record(),
        )
    log.warn(warnings)
    log.event(f"documents: {counts['documents']:,}", **counts)
    return artifact, warnings


def _asked(params: IndexParams) -> Asked:
    given = {"corpus": params.corpus, "pairs": params.pairs}
    kinds = [kind for kind, specs in given.items() if specs]
    return asked(params.column, params.ignore, kinds)


def _counted(batches: Iterator[pa.RecordBatch], bar: log.Progress) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        bar.update(batch.num_rows)


def _batches(
    params: IndexParams,
    columns: Asked,
    problems: Problems,
    warnings: list[str],
    added: dict[str, int],
) -> Iterator[pa.RecordBatch]:
    """The corpus, then those passages of the pairs that the corpus does not hold.

    ``warnings`` and ``added`` are told what came of the passages beside a corpus.
    """
    if not params.pairs:
        yield from _corpus(params, columns, problems)
        return
    if not params.corpus:
        empty = True
        for batch in _pairs(params, columns, problems):
            made = documents(batch, params.keep)
            empty = empty and not made.num_rows
            yield made
        if empty:
            raise refuse_ids(params.pairs)
        return
    passages = Passages(_pairs(params, columns, problems))
    for batch in _corpus(params, columns, problems):
        passages.seen(batch)
        yield batch
    # The first pass has reported the bad records already.
    for batch in _pairs(params, columns, Problems("skip")):
        yield passages.others(batch, params.keep)
    missing, every, one = passages.missing()
    added[ADDED] = missing
    if missing:
        warnings.append(
            f"{missing} of {every} passages of the pairs are no document of the corpus, neither by "
            f"title and text nor by text alone, and were added to it, e.g. {one!r}"
        )
    if passages.other_text:
        warnings.append(
            f"{passages.other_text} passages of the pairs have an id of the corpus and another "
            "text: the corpus's text counts"
        )


def _corpus(params: IndexParams, columns: Asked, problems: Problems) -> Iterator[pa.RecordBatch]:
    return iter(read_corpus(params.corpus, columns.of("corpus"), problems, params.keep))


def _pairs(params: IndexParams, columns: Asked, problems: Problems) -> Iterator[pa.RecordBatch]:
    # All passages join, positives or not.
    reading = Reading(passages_only=True)
    return iter(read_examples(params.pairs, columns.of("pairs"), problems, reading))


def bm25_plan(documents: Artifact, language: str) -> Plan:
    """What a BM25 index is made from; ``language`` is what ``--language`` says."""
    return _bm25_plan(documents, languages.of_corpus(Documents(documents), language).language)


def _bm25_plan(documents: Artifact, language: str) -> Plan:
    # English is not named, as in indexes made before there was another language.
    settings = {} if language == languages.ENGLISH else {"language": language}
    return Plan("index.bm25", BM25_VERSION, settings, artifacts={"documents": documents})


def make_bm25(made: Made, documents: Artifact, language: str) -> Artifact:
    """Build the Lucene index, unless it is there."""
    reading = languages.of_corpus(Documents(documents), language)
    writer = made.begin("bm25", _bm25_plan(documents, reading.language))
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


def vectors_plan(
    params: IndexParams, documents: Artifact, name: str, reference: ModelRef, prompt: str | None
) -> Plan:
    """What the vectors ``name`` are made from."""
    settings = {
        "doc_prompt": prompt,
        "pooling": params.pooling,
        "normalize": params.normalize,
        "max_length": params.max_length,
        "batch_size": params.batch_size,
        "dtype": params.dtype,
        "runtime": params.runtime,
        "vectors": params.vectors,
        # Not there when no code is trusted, as in indexes made before it could be.
        **({"trust_remote_code": True} if params.trust_remote_code else {}),
    }
    return Plan(
        "index.vectors",
        VECTORS_VERSION,
        settings,
        artifacts={"documents": documents},
        models={name: {"model": reference.spec, "revision": reference.revision}},
    )


def encoder_settings(params: IndexParams, prompt: str | None) -> EncoderSettings:
    """How the documents are encoded."""
    from negmine.models.encoders import EncoderSettings

    return EncoderSettings(
        doc_prompt=prompt,
        pooling=params.pooling,
        normalize=params.normalize,
        max_length=params.max_length,
        batch_size=params.batch_size,
        device=params.device,
        dtype=params.dtype,
        runtime=params.runtime,
        trust_remote_code=params.trust_remote_code,
    )


def _vectors(
    params: IndexParams,
    made: Made,
    documents: Artifact,
    name: str,
    reference: ModelRef,
    prompt: str | None,
) -> Artifact:
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


def ann_role(name: str) -> str:
    """What the approximate index of an encoder's vectors is called among an index's children."""
    return f"{ANN_PREFIX}{name}"


def ann_plan(factory: str, vectors: Artifact) -> Plan:
    """What an approximate index is made from."""
    return Plan("index.ann", ANN_VERSION, {"factory": factory}, artifacts={"vectors": vectors})


def _ann(factory: str, made: Made, vectors: Artifact, name: str) -> Artifact:
    from negmine.sources import ann
    from negmine.sources.dense import Vectors

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


def finish(out: Path, children: dict[str, Artifact], changed: bool, warnings: list[str]) -> Outcome:
    """Write the index's own manifest: its children, and those an earlier run added."""
    documents = children["documents"]
    folders = [out / "bm25", out / signatures.FOLDER, *sorted((out / "vectors").glob("*"))]
    for folder in folders:
        if folder.name in children or not (folder / artifacts.MANIFEST).is_file():
            continue
        found = artifacts.open_artifact(folder)
        if found.manifest["inputs"]["documents"]["fingerprint"] == documents.fingerprint:
            children[folder.name] = found
        else:
            warnings = [*warnings, f"{folder} belongs to another corpus and is left out"]
    for folder in sorted((out / "ann").glob("*")):
        role = ann_role(folder.name)
        if role in children or not (folder / artifacts.MANIFEST).is_file():
            continue
        found = artifacts.open_artifact(folder)
        made_from = found.manifest["inputs"]["vectors"]["fingerprint"]
        if folder.name in children and made_from == children[folder.name].fingerprint:
            children[role] = found
        else:
            warnings = [*warnings, f"{folder} belongs to other vectors and is left out"]
    ordered = {name: children[name] for name in sorted(children, key=_documents_first)}
    plan = Plan("index", 1, {}, artifacts=ordered)
    counts: dict[str, Any] = {
        "documents": documents.counts["documents"],
        "bm25": "bm25" in children,
        "signatures": signatures.FOLDER in children,
        "encoders": [
            name for name in ordered if name not in _OWN and not name.startswith(ANN_PREFIX)
        ],
    }
    path = out / artifacts.MANIFEST
    current = path.is_file() and artifacts.open_artifact(out).fingerprint == plan.fingerprint
    if not current:
        artifacts.write_manifest(
            path,
            {**plan.identity(out), "counts": counts, "warnings": warnings, "files": {}, "run": {}},
        )
    return Outcome(out, counts, up_to_date=current and not changed, warnings=warnings)


def _documents_first(name: str) -> tuple[int, str]:
    return (_OWN.index(name) if name in _OWN else len(_OWN), name)
