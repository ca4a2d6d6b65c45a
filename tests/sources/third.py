"""Kinds of source that are nothing but themselves: every third document, whatever is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa

from negmine.params.index import IndexParams
from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Asked, Capabilities, Hits, Source
from negmine.sources.child import Child, Made, Place
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.table import artifacts
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents

PLACE = Place("index.third", "third")


def plan(documents: Artifact) -> Plan:
    return Plan(PLACE.stage, 1, {}, artifacts={"documents": documents})


def make(made: Made, documents: Artifact) -> Artifact:
    writer = made.begin(PLACE.folder, plan(documents))
    if writer is None:
        return artifacts.open_artifact(made.out / PLACE.folder)
    with writer:
        writer.add_array("rows.npy", np.arange(0, len(Documents(documents)), 3))
        return writer.commit({"rows": writer.rows()})


class Third:
    """The first k of these documents, the earlier the better."""

    def __init__(self, artifact: Artifact, corpus: Documents) -> None:
        rows = np.load(artifact.file("rows.npy"))
        # Not that of the order: docids break no ties, as there are none.
        self._docids = corpus.ids(rows)

    def search(self, asked: Asked, k: int) -> Hits:
        found = self._docids.slice(0, k)
        query = np.repeat(np.arange(len(asked), dtype=np.int32), len(found))
        docid = pa.chunked_array([found] * len(asked), pa.string()).combine_chunks()
        score = np.tile(-np.arange(len(found), dtype=np.float32), len(asked))
        return Hits(query, docid, score)

    def close(self) -> None:
        pass


def children(params: IndexParams) -> Sequence[Child]:
    return (Child("third", PLACE, plan, make),)


def choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [
        SourceRef(name, partial(opened, index.input(name)), index.input(name)) for name in wanted
    ]


def opened(artifact: Artifact, opening: Opening) -> Source:
    return Third(artifact, opening.corpus)


THIRD = Kind("third", choose, places=(PLACE,), children=children)


class Aside:
    """So many documents of the corpus, from the last on; no search, and nothing of an index."""

    capabilities: ClassVar[Capabilities] = Capabilities(searches=False)

    def __init__(self, count: int, corpus: Documents) -> None:
        self._docids = corpus.ids(np.arange(len(corpus))[::-1][:count])

    def search(self, asked: Asked, k: int) -> Hits:
        query = np.repeat(np.arange(len(asked), dtype=np.int32), len(self._docids))
        docid = pa.chunked_array([self._docids] * len(asked), pa.string()).combine_chunks()
        return Hits(query, docid, np.full(len(query), 1000 + asked.seed, dtype=np.float32))

    def close(self) -> None:
        pass


def choose_aside(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [
        SourceRef(name, partial(opened_aside, int(rest)), spec=rest)
        for name, rest in wanted.items()
    ]


def opened_aside(count: int, opening: Opening) -> Source:
    return Aside(count, opening.corpus)


ASIDE = Kind("aside", choose_aside, scheme="aside", usage="aside:COUNT")
