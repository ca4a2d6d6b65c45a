"""Where candidates come from. A source finds the k best documents and scores any pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from negmine.sources.base import Hits


class Source(Protocol):
    """One retriever over an index.

    It may have three more attributes: ``asked_by`` (see :data:`negmine.sources.base.AskedBy`);
    ``answers_all``, true where its hits are not to be cut at k; and ``search_rows(queries, rows,
    k)``, a search for some of the queries where it matters which others there are.
    """

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """At most k documents per query, by (-score, docid)."""

    def score(self, queries: Sequence[str], query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair, as :meth:`search` would give it."""

    def close(self) -> None:
        """Release what it holds."""


__all__ = ["Hits", "Source"]
