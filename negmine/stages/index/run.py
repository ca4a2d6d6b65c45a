"""``negmine index``: documents, a Lucene BM25 index and one vector set per encoder.

The index is a folder of artifacts, each with its own fingerprint, so another encoder is added
without touching the rest and an interrupted encoding continues where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from negmine import log
from negmine.dedup import signatures
from negmine.errors import ConflictError, UsageError
from negmine.models.resolve import resolve
from negmine.params.index import IndexParams
from negmine.params.values import named, per_name
from negmine.sources import languages
from negmine.sources.ann import ann_role
from negmine.stages.index.children import (
    Made,
    budget,
    make_ann,
    make_bm25,
    make_signatures,
    make_vectors,
)
from negmine.stages.index.documents import make_documents
from negmine.stages.outcome import Outcome
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import ANN_PREFIX

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
        warnings = [*warnings, *children["bm25"].warnings]
    if params.signatures:
        children[signatures.FOLDER] = make_signatures(made, documents)
    for name, reference in references.items():
        children[name] = make_vectors(params, made, documents, name, reference, prompts.get(name))
        if params.ann is not None:
            children[ann_role(name)] = make_ann(params.ann, made, children[name], name)
    return finish(out, children, made.changed, warnings)


def finish(out: Path, children: dict[str, Artifact], changed: bool, warnings: list[str]) -> Outcome:
    """Write the index's own manifest: its children, and those an earlier run added."""
    documents = children["documents"]
    folders = [out / "bm25", out / signatures.FOLDER, *sorted((out / "vectors").glob("*"))]
    for folder in folders:
        if folder.name in children or not (folder / artifacts.MANIFEST).is_file():
            continue
        found = artifacts.open_artifact(folder)
        if found.inputs["documents"]["fingerprint"] == documents.fingerprint:
            children[folder.name] = found
        else:
            warnings = [*warnings, f"{folder} belongs to another corpus and is left out"]
    for folder in sorted((out / "ann").glob("*")):
        role = ann_role(folder.name)
        if role in children or not (folder / artifacts.MANIFEST).is_file():
            continue
        found = artifacts.open_artifact(folder)
        made_from = found.inputs["vectors"]["fingerprint"]
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
