"""BM25 as a kind of source: one Lucene index beside the documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from negmine import log, memory, processors
from negmine.params.index import IndexParams
from negmine.params.retrieve import RetrieveParams
from negmine.sources import languages
from negmine.sources.base import Source
from negmine.sources.child import Child, Made, Needs, Place
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.conservation import conserve
from negmine.table.documents import Documents

VERSION = 1
PLACE = Place("index.bm25", "bm25")
_LUCENE = "lucene"
_NEEDS = Needs(fixed={"Java": memory.JAVA + memory.LEAST_HEAP})


def plan(documents: Artifact, language: str) -> Plan:
    """What a BM25 index is made from; ``language`` is what ``--language`` says."""
    return _plan_of(documents, languages.of_corpus(Documents(documents), language).language)


def _plan_of(documents: Artifact, language: str) -> Plan:
    # English is not named, as in indexes made before there was another language.
    settings = {} if language == languages.ENGLISH else {"language": language}
    return Plan(PLACE.stage, VERSION, settings, artifacts={"documents": documents})


def _language(artifact: Artifact) -> str:
    """The language that a BM25 index was made with."""
    language: str = artifact.params.get("language", languages.ENGLISH)
    return language


def _children(params: IndexParams) -> Sequence[Child]:
    languages.check(params.language)
    if not params.bm25:
        return ()
    return (
        Child(
            "bm25",
            PLACE,
            plan=partial(plan, language=params.language),
            make=partial(make, language=params.language),
            needs=_NEEDS,
        ),
    )


def make(made: Made, documents: Artifact, language: str) -> Artifact:
    """Build the Lucene index, unless it is there."""
    reading = languages.of_corpus(Documents(documents), language)
    writer = made.begin(PLACE.folder, _plan_of(documents, reading.language))
    if writer is None:
        return artifacts.open_artifact(made.out / PLACE.folder)
    corpus = Documents(documents)
    with writer:
        if not writer.has(_LUCENE):
            writer.add_folder(_LUCENE, partial(_built, made, corpus, reading.language))
        counts = writer.stats(_LUCENE)
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


def _built(made: Made, corpus: Documents, language: str, folder: Path) -> dict[str, int]:
    from negmine.sources import bm25

    with log.progress("indexing for BM25", len(corpus), " docs") as bar:

        def batches() -> Iterator[pa.RecordBatch]:
            for _, part in corpus.parts():
                yield from part.to_batches()
                bar.update(part.num_rows)

        return {
            "indexed": bm25.build(
                batches(),
                folder,
                threads=processors.threads() or processors.allowed(),
                memory_bytes=made.budget.heap,
                language=language,
            )
        }


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    found = {name: index.input(name) for name in wanted}
    return [
        SourceRef(name, partial(open_bm25, artifact), artifact, needs=lambda: _NEEDS)
        for name, artifact in found.items()
    ]


def open_bm25(artifact: Artifact, opening: Opening) -> Source:
    """Open the Lucene index; queries in other letters than it reads are warned of."""
    from negmine.sources.bm25 import Bm25Source

    language = _language(artifact)
    reading = languages.Reading(language, languages.shares(opening.texts))
    if misfit := languages.misfit(reading):
        told = f"queries: {misfit}, as the index does: few words will be found"
        opening.warnings.append(told)
    return Bm25Source(
        artifact.file(_LUCENE),
        k1=opening.params.k1,
        b=opening.params.b,
        threads=processors.threads() or processors.allowed(),
        memory_bytes=opening.budget.heap,
        language=language,
    )


def _counts(names: Sequence[str]) -> dict[str, Any]:
    return {"bm25": bool(names)}


BM25 = Kind(
    "bm25",
    _choose,
    reads={"index": ("bm25", "language"), "retrieve": ("k1", "b")},
    places=(PLACE,),
    searches_among=True,
    children=_children,
    counts=_counts,
)
