"""What is made of the documents: signatures of the texts, and what each kind of source needs."""

from __future__ import annotations

from collections.abc import Iterable

from negmine import log, memory
from negmine.dedup import signatures
from negmine.params.index import IndexParams
from negmine.params.llm import idle
from negmine.sources import child, kinds
from negmine.sources.child import DOCUMENTS, Child, Made, Place
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.conservation import conserve
from negmine.table.documents import Documents

SIGNATURES = Place(signatures.STAGE, signatures.FOLDER)


def children_of(params: IndexParams) -> list[Child]:
    """What these options ask for, in the order in which it is made: a parent before its children.

    Raises:
        NegmineError: options of a kind of source that cannot be met.
    """
    found = [child for kind in kinds.every() for child in kind.children(params)]
    if not any(model.backend == "http" for one in found for model in one.needs.models):
        log.warn(idle(params, "trust_anyway"))
    # After Java, whose start wants address space: the MinHash library ends the process without it.
    return [*found, *([_SIGNATURES] if params.signatures else [])]


def budget(params: IndexParams, children: Iterable[Child]) -> memory.Budget:
    """What a run that makes these may hold."""
    return child.budget(params.memory, (one.needs for one in children))


def places() -> list[Place]:
    """Every place of an index, those first of which there is one."""
    every = [SIGNATURES, *(place for kind in kinds.every() for place in kind.places)]
    return sorted(every, key=lambda place: (place.only is None, place is SIGNATURES))


def _make_signatures(made: Made, documents: Artifact) -> Artifact:
    """Describe the texts for filter's guard, unless that is done."""
    # Those beside a base index's documents are not this index's to replace.
    own = (made.out / DOCUMENTS).resolve() == documents.path.resolve()
    outdated = own and signatures.outdated(documents)
    if outdated:
        log.event("texts were described by another version of negmine: describing them anew")
    writer = made.begin(signatures.FOLDER, signatures.plan(documents), outdated, shared=True)
    if writer is None:
        return artifacts.open_artifact(made.out / signatures.FOLDER)
    corpus = Documents(documents)
    with writer:
        with log.progress("describing texts", len(corpus), " docs") as bar:
            signatures.build(corpus, writer, bar.update)
        conserve("documents", len(corpus), described=writer.rows())
        return writer.commit({"signatures": writer.rows()}, ceiling=made.budget.ceiling)


_SIGNATURES = Child(
    signatures.FOLDER,
    SIGNATURES,
    plan=signatures.plan,
    make=_make_signatures,
    outdated=signatures.outdated,
)
