"""What every source of candidates answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: What a source is asked by: the queries' texts (also where it says nothing), or their ids.
AskedBy = Literal["text", "qid"]


@dataclass(frozen=True)
class Hits:
    """The documents found for a sequence of queries: three columns of one length.

    Rows are sorted by query and within it from the best on: a row's place within its query is its
    rank. A source of negmine's own sorts by falling score, then by docid (in code point order); one
    that answers with what others ranked keeps their order, and may have no score (NaN).
    """

    query: npt.NDArray[np.int32]
    """Index into the queries that were asked."""
    docid: pa.Array
    score: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.query)
