"""Clusters as a kind of source: k-means over an encoder's vectors, beside these in the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from negmine import log
from negmine.errors import UsageError, did_you_mean
from negmine.memory import MIB, Budget, shown
from negmine.params.index import IndexParams
from negmine.params.per_model import check_names, names_in, of_model
from negmine.params.retrieve import RetrieveParams
from negmine.sources import another, clusters
from negmine.sources.another import OF_QUERIES
from negmine.sources.base import Source
from negmine.sources.child import Child, Made, Place, Trained
from negmine.sources.clusters import Choice, Clusters
from negmine.sources.encoders import DENSE_ONES, encoders_of
from negmine.sources.kind import Another, Kind, Opening, SourceRef
from negmine.sources.vectors import Vectors
from negmine.table import arrays, artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import normalised
from negmine.table.conservation import conserve
from negmine.table.names import VECTORS

VERSION = 1
#: The space keeps the role from being any encoder's name.
PLACE = Place("index.clusters", "clusters/*", prefix="clusters ", of="vectors")
SCHEME = "clusters"
#: What may follow the encoder's name.
_QUERY, _SAME = "query", "same"
_USAGE = f"{SCHEME}:ENCODER[/{_QUERY}][/{_SAME}]"


# --- index --clusters ---------------------------------------------------------------------------


def _children(params: IndexParams) -> Sequence[Child]:
    encoders = encoders_of(params, DENSE_ONES)
    check_names(params, ["clusters"], encoders, "encoder")
    wanted = {name: of_model(params.clusters, name) for name in encoders}
    if params.clusters is not None and not encoders and not names_in(params.clusters):
        raise UsageError(
            "--clusters: there are no vectors to cluster", hint="Give --encoder NAME=MODEL."
        )
    if 1 in wanted.values():
        raise UsageError("--clusters 1: nothing lies beside a single cluster", hint="Ask for more.")
    return [_child(name, count) for name, count in wanted.items() if count is not None]


def _child(name: str, asked: int) -> Child:
    return Child(
        name,
        PLACE,
        plan=partial(_plan, asked),
        make=partial(_make, name, asked),
        trained=Trained(
            "clusters",
            f"--clusters {asked}",
            refuse=lambda vectors, count, budget: _refuse(vectors, count, asked, budget),
            bytes_each=lambda vectors: 8.0,
            held=lambda vectors, count, work: _held(vectors, count, asked),
            grown=lambda built: 8 * int(built.counts["documents"]),
            tried_on=lambda count: _child(name, min(asked, count)),
            work=lambda count: count * _count(asked, count),
        ),
    )


def _plan(asked: int, vectors: Artifact) -> Plan:
    """What clusters are made from."""
    return Plan(PLACE.stage, VERSION, {"clusters": asked}, artifacts={"vectors": vectors})


def _count(asked: int, documents: int) -> int:
    """How many clusters so many documents get."""
    return asked or clusters.count_for(documents)


def _held(vectors: Artifact, documents: int, asked: int) -> int:
    dimension = int(vectors.counts["dimension"])
    return clusters.held_to_build(_count(asked, documents), dimension, documents)


def _refuse(vectors: Artifact, documents: int, asked: int, budget: Budget) -> None:
    """See that so many documents can have clusters, within the ceiling.

    Raises:
        UsageError: there are fewer documents than clusters, or too little memory.
    """
    count, needed = _count(asked, documents), _held(vectors, documents, asked)
    if count > documents:
        raise UsageError(
            f"--clusters {asked}: {count:,} clusters of {documents:,} documents",
            hint="Ask for fewer; 0 takes the square root of the number of documents.",
        )
    if needed > budget.work:
        least = -(-(sum(budget.fixed.values()) + needed) // MIB)
        raise UsageError(
            f"--clusters {asked}: learning {count:,} clusters takes {shown(needed)}, and the "
            f"ceiling of {shown(budget.ceiling)} leaves {shown(budget.work)}",
            hint=f"Give at least --memory {least}MB, or ask for fewer clusters.",
        )


def _make(name: str, asked: int, made: Made, vectors: Artifact) -> Artifact:
    """Cluster stored vectors, unless it is done."""
    stored = Vectors(vectors)
    folder, plan = PLACE.path(name), _plan(asked, vectors)
    if artifacts.state_of(made.out / folder, plan, replacing=made.replacing).kind != "made":
        # Before the writer begins, which takes the index's manifest away.
        _refuse(vectors, len(stored), asked, made.budget)
    writer = made.begin(folder, plan)
    if writer is None:
        return artifacts.open_artifact(made.out / folder)
    count, spherical = _count(asked, len(stored)), normalised(vectors)
    with writer:
        if not writer.has(clusters.CENTROIDS):
            log.event(f"{name}: learning {count:,} clusters")
            with log.waiting(f"learning the clusters of {name}"):
                learned = clusters.train(stored, count, spherical)
            writer.add_array(clusters.CENTROIDS, learned)
            writer.settle()
        written = np.asarray(arrays.mapped(writer.file(clusters.CENTROIDS)))
        centroids = clusters.Centroids(written, spherical, made.budget.search)
        with log.progress(f"clustering {name}", len(stored), " docs") as bar:
            clusters.assign(stored, centroids, writer, bar.update)
        assigned = writer.rows()
        conserve("documents", len(stored), clustered=assigned)
        counts = {"documents": assigned, "clusters": count, "spherical": spherical}
        return writer.commit(counts, ceiling=made.budget.ceiling)


# --- retrieve -----------------------------------------------------------------------------------


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [_ref(params, name, rest, index) for name, rest in wanted.items()]


def _parted(name: str, rest: str, encoders: Sequence[str]) -> tuple[str, Choice]:
    """(encoder, which of its clusters) of what is written of a source.

    Raises:
        UsageError: it is written otherwise, or there are no such vectors.
    """
    encoder, *words = rest.split("/")
    option = f"--source {name}={SCHEME}:{rest}"
    unknown = [word for word in words if word not in (_QUERY, _SAME)]
    if unknown or len(set(words)) != len(words):
        raise UsageError(
            f"{option} is not written {_USAGE}",
            hint=f"/{_QUERY}: by the query's own vector, not its positives'; /{_SAME}: the very "
            "cluster, not the one next to it.",
        )
    if encoder not in encoders:
        known = did_you_mean(encoder, list(encoders)) if encoders else ""
        raise UsageError(
            f"{option}: the index has no vectors '{encoder}'",
            hint=known or "Index with --encoder NAME=MODEL.",
        )
    return encoder, Choice(query=_QUERY in words, same=_SAME in words)


def _check(params: RetrieveParams, encoders: Sequence[str]) -> None:
    for name, rest in CLUSTERS.declared(params).items():
        _parted(name, rest, encoders)


def _ref(params: RetrieveParams, name: str, rest: str, index: Artifact) -> SourceRef:
    encoder, choice = _parted(name, rest, index.roles(VECTORS))
    if PLACE.role(encoder) not in index.roles(PLACE.stage):
        raise UsageError(
            f"--source {name}={SCHEME}:{rest}: the index has no clusters of '{encoder}'",
            where=str(index.path),
            hint=f"Make them with: negmine index ... --clusters {encoder}=0 (0: as many as the "
            "square root of the number of documents)",
        )
    found, vectors = index.input(PLACE.role(encoder)), index.input(encoder)
    dense = another.asked(params, name, encoder, index)
    return SourceRef(
        name,
        partial(_open, _Wanted(name, choice, dense, found, vectors)),
        found,
        beside={encoder: vectors},
        spec=f"{SCHEME}:{rest}",
        asks=dense,
    )


@dataclass(frozen=True)
class _Wanted:
    """One source as it is asked.

    Attributes:
        name: its name.
        choice: which clusters.
        dense: the encoder's source.
        clusters: the encoder's.
        vectors: the encoder's.
    """

    name: str
    choice: Choice
    dense: Another
    clusters: Artifact
    vectors: Artifact


def _open(wanted: _Wanted, opening: Opening) -> Source:
    from negmine.sources.cluster_source import ClusterSource
    from negmine.sources.dense import DenseSource

    judged, name = opening.judgements, wanted.name
    without = len(opening.qids) - len(np.unique(judged.query[judged.positive]))
    if without and not wanted.choice.query:
        opening.counts[f"{name}_queries_without_positives"] = without
        opening.warnings.append(
            f"--source {name}: {without} queries have no known positive, and so no cluster"
        )
    encoder, own = wanted.dense.open(opening)
    assert isinstance(encoder, DenseSource), "its kind makes no other"
    memory_bytes = opening.budget.search
    return ClusterSource(
        opening.corpus,
        Vectors(wanted.vectors).of(len(opening.corpus)),
        Clusters(wanted.clusters, memory_bytes),
        encoder,
        wanted.choice,
        memory=memory_bytes,
        own=own,
    )


CLUSTERS = Kind(
    SCHEME,
    _choose,
    reads={"index": ("encoder", "encoder_kind", "clusters"), "retrieve": OF_QUERIES},
    by_name=OF_QUERIES,
    places=(PLACE,),
    children=_children,
    scheme=SCHEME,
    usage=_USAGE,
    check=_check,
    counts=lambda roles: (
        {"clusters": [role.removeprefix(PLACE.prefix) for role in roles]} if roles else {}
    ),
)
