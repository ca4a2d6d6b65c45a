"""What a scorer's model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class ModelRows:
    """Rows that a scorer's model reads, so that they can be counted and timed.

    Attributes:
        lengths: tokens of each row: int [n].
        batch_size: most rows in a batch.
        batch_tokens: most padded tokens in a batch.
        per_pair: rows for each pair to be scored; below 1 where pairs share a row.
        run: runs the model on the rows of these numbers.
    """

    lengths: np.ndarray
    batch_size: int
    batch_tokens: int
    per_pair: float
    run: Callable[[np.ndarray], object]


@runtime_checkable
class HasRows(Protocol):
    """A scorer that can tell what its model would read; other packages' need not."""

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """What the model would read for these pairs: at most ``most`` of its rows, spread."""
