"""Documents that are listed for query ids: a run's, a training set's, the judged ones."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from negmine.sources.base import Asked, Hits
from negmine.table.ranking import positions_in_group


class Listed:
    """Pairs of a query *id* and a document, in the order of each query's list.

    Args:
        qids: query ids, string [q].
        docids: documents, string [d].
        query: of each pair the place of its query id in ``qids``, ascending, int64 [n].
        doc: the place of its document in ``docids``, int64 [n].
        score: its score, NaN where it has none, float32 [n].
    """

    def __init__(
        self,
        qids: pa.Array,
        docids: pa.Array,
        query: npt.NDArray[np.int64],
        doc: npt.NDArray[np.int64],
        score: npt.NDArray[np.float32],
    ) -> None:
        self._qids, self._docids = qids, docids
        self._query, self._doc, self._score = query, doc, score

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self._query)

    def search(self, asked: Asked, k: int | None = None) -> Hits:
        """The first k documents of each query id, or all of them."""
        codes = self._codes(asked)
        starts = np.searchsorted(self._query, codes)
        lengths = np.searchsorted(self._query, codes, side="right") - starts
        if k is not None:
            lengths = np.minimum(lengths, k)
        query = np.repeat(np.arange(len(asked), dtype=np.int32), lengths)
        rows = np.repeat(starts, lengths) + positions_in_group(query) - 1
        return Hits(
            query=query,
            docid=self._docids.take(pa.array(self._doc[rows])),
            score=self._score[rows],
        )

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> npt.NDArray[np.float32]:
        """Score of each (query index, docid) pair; NaN where the pair is not listed."""
        result = np.full(len(query), np.nan, dtype=np.float32)
        if len(self):
            doc = pc.fill_null(pc.index_in(docids, value_set=self._docids), -1).to_numpy()
            wanted = self._codes(asked)[query] * self._width + doc
            order, pairs = self._by_pair
            at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
            found = (pairs[at] == wanted) & (doc >= 0)
            result[found] = self._score[order[at[found]]]
        return result

    @property
    def _width(self) -> int:
        return len(self._docids) + 1

    @cached_property
    def _by_pair(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows, numbers) of the pairs in the order of their numbers: every part asks for it."""
        pairs = self._query * self._width + self._doc
        order = np.argsort(pairs)
        return order, pairs[order]

    def _codes(self, asked: Asked) -> np.ndarray:
        """Number of each query id; one that is not here gets a number without rows."""
        found = pc.index_in(asked.qids, value_set=self._qids)
        return pc.fill_null(found, len(self._qids)).to_numpy().astype(np.int64)
