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
from negmine.table.artifacts.reading import Artifact
from negmine.table.ranking import positions_in_group

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
        self._qids = table.column("qid").combine_chunks().unique()
        self._docids = table.column("docid").combine_chunks().unique()
        query = pc.index_in(table.column("qid"), value_set=self._qids).to_numpy()
        order = np.argsort(query, kind="stable")
        self._query = query[order].astype(np.int64)
        doc = pc.index_in(table.column("docid"), value_set=self._docids).to_numpy()
        self._doc = doc[order].astype(np.int64)
        score = table.column("score").cast(pa.float32()).to_numpy()
        self._score = score[order].astype(np.float32)
        negative = table.column("negative").to_numpy()[order]
        self._negatives = np.flatnonzero(negative)
        pair = self._query * (len(self._docids) + 1) + self._doc
        self._by_pair = np.argsort(pair)
        self._pairs = pair[self._by_pair]

    def search(self, asked: Asked, k: int) -> Hits:
        """The given negatives of each query id, in their order; a score may be NaN."""
        codes = self._codes(asked)
        held = self._query[self._negatives]
        starts = np.searchsorted(held, codes)
        lengths = np.searchsorted(held, codes, side="right") - starts
        query = np.repeat(np.arange(len(asked), dtype=np.int32), lengths)
        rows = self._negatives[np.repeat(starts, lengths) + positions_in_group(query) - 1]
        return Hits(
            query=query, docid=self._docids.take(pa.array(self._doc[rows])), score=self._score[rows]
        )

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair; NaN where the set tells none."""
        doc = pc.fill_null(pc.index_in(docids, value_set=self._docids), -1).to_numpy()
        wanted = self._codes(asked)[query] * (len(self._docids) + 1) + doc
        result = np.full(len(query), np.nan, dtype=np.float32)
        if len(self._pairs):
            at = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
            found = (self._pairs[at] == wanted) & (doc >= 0)
            result[found] = self._score[self._by_pair[at[found]]]
        return result

    def _codes(self, asked: Asked) -> np.ndarray:
        """Number of each query id; one without anything given has a number without rows."""
        found = pc.index_in(asked.qids, value_set=self._qids)
        return pc.fill_null(found, len(self._qids)).to_numpy().astype(np.int64)

    def close(self) -> None:
        """Nothing is held open."""


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [SourceRef(NAME, _open)]


def _open(opening: Opening) -> Source | None:
    return opening.given


GIVEN = Kind("given", _choose, reads={"retrieve": ("given",)}, implied=True)
