"""The negatives that a training set brought along, as a source of candidates.

Somebody mined them with whatever it was: what is known is their order, and sometimes a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Asked, Capabilities, Hits, Source
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.sources.listed import Listed
from negmine.table.artifacts.reading import Artifact

#: What the source is called.
NAME = "given"


class Given:
    """The given negatives of every query, found by query *id*, as a run's are.

    All of a query's are answered, whatever k is: they are a finished set's, not a ranking's best.

    Args:
        table: ``qid``, ``docid``, ``score`` (null where there is none) and ``negative`` (false for
            a positive, which has a score but no rank), a pair once, the negatives of a query in
            their order.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(searches=False, answers_all=True)

    def __init__(self, table: pa.Table) -> None:
        table = table.combine_chunks()
        qids = table.column("qid").combine_chunks().unique()
        docids = table.column("docid").combine_chunks().unique()
        query = pc.index_in(table.column("qid"), value_set=qids).to_numpy().astype(np.int64)
        doc = pc.index_in(table.column("docid"), value_set=docids).to_numpy().astype(np.int64)
        score = table.column("score").cast(pa.float32()).to_numpy().astype(np.float32)
        order = np.argsort(query, kind="stable")
        ranked = order[table.column("negative").to_numpy()[order]]
        self._all, self._negatives = (
            Listed(qids, docids, query[rows], doc[rows], score[rows]) for rows in (order, ranked)
        )

    def search(self, asked: Asked, k: int) -> Hits:
        """The given negatives of each query id, in their order; a score may be NaN."""
        return self._negatives.search(asked)

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair; NaN where the set tells none."""
        return self._all.score(asked, query, docids)

    def close(self) -> None:
        """Nothing is held open."""


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [SourceRef(NAME, _open)]


def _open(opening: Opening) -> Source | None:
    return opening.given


GIVEN = Kind("given", _choose, reads={"retrieve": ("given",)}, implied=True)
