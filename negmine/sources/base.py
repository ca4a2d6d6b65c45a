"""What every source of candidates answers with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class Hits:
    """The documents found for a sequence of queries: three columns of one length.

    Rows are sorted by query, then by falling score, then by docid (in code point order), so
    that a row's place within its query is its rank.
    """

    query: npt.NDArray[np.int32]
    """Index into the queries that were asked."""
    docid: pa.Array
    score: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.query)
