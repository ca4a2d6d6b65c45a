"""Documents that people judged not relevant, as candidates whether or not a search finds them.

They are the surest negatives there are. What is judged tells nothing about how hard a document is,
so they have no score of their own: the other sources score them.
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
from negmine.sources.union import Judgements
from negmine.table.artifacts.reading import Artifact
from negmine.table.ranking import positions_in_group, rank_order, string_codes

NAME = "judged"


class Judged:
    """The documents judged not relevant, by query id; the higher grade first, then docid."""

    capabilities: ClassVar[Capabilities] = Capabilities(searches=False)

    def __init__(self, qids: pa.Array, judgements: Judgements, negative_grade: float) -> None:
        """Take them from the judgements.

        Args:
            qids: the query ids that the judgements' numbers mean.
            judgements: all judged pairs.
            negative_grade: the highest grade that is not relevant.
        """
        rows = np.flatnonzero(not_relevant(judgements, negative_grade))
        docid = judgements.docid.take(pa.array(rows))
        query = judgements.query[rows].astype(np.int64)
        order = rank_order(query, judgements.grade[rows], string_codes(docid)[0])
        self._qids = qids
        self._query = query[order]
        self._docid = docid.take(pa.array(order))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._query)

    def search(self, asked: Asked, k: int) -> Hits:
        """At most k of each query id."""
        found = pc.index_in(asked.qids, value_set=self._qids)
        codes = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        starts = np.searchsorted(self._query, codes)
        lengths = np.minimum(np.searchsorted(self._query, codes, side="right") - starts, k)
        query = np.repeat(np.arange(len(asked), dtype=np.int32), lengths)
        rows = np.repeat(starts, lengths) + positions_in_group(query) - 1
        return Hits(
            query=query,
            docid=self._docid.take(pa.array(rows)),
            score=np.full(len(rows), np.nan, dtype=np.float32),
        )

    def close(self) -> None:
        """Nothing is held open."""


def not_relevant(judgements: Judgements, negative_grade: float) -> np.ndarray:
    """The judgements that say so: no positives, and of this grade or below."""
    mask: np.ndarray = ~judgements.positive & (judgements.grade <= negative_grade)
    return mask


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    return [SourceRef(NAME, _open)]


def _open(opening: Opening) -> Source | None:
    found = Judged(opening.qids, opening.judgements, opening.params.negative_grade)
    return found if len(found) else None


JUDGED = Kind("judged", _choose, reads={"retrieve": ("negative_grade",)}, implied=True)
