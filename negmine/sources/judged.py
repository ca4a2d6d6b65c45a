"""Documents that people judged not relevant, as candidates whether or not a search finds them.

They are the surest negatives there are. What is judged tells nothing about how hard a document is,
so they have no score of their own: the other sources score them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from negmine.params.retrieve import RetrieveParams
from negmine.sources.base import Asked, Capabilities, Hits, Source
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.sources.listed import Listed
from negmine.sources.union import Judgements
from negmine.table.artifacts.reading import Artifact
from negmine.table.ranking import rank_order, string_codes

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
        docid = docid.take(pa.array(order))
        nothing = np.full(len(order), np.nan, dtype=np.float32)
        self._listed = Listed(qids, docid, query[order], np.arange(len(order)), nothing)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._listed)

    def search(self, asked: Asked, k: int) -> Hits:
        """At most k of each query id."""
        return self._listed.search(asked, k)

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
