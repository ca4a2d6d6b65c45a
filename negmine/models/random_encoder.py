"""What stands in for an encoder where only the size of its vectors matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from negmine.models.devices import Placement
from negmine.models.tokens import Ints


class RandomEncoder:
    """Stands in for an encoder where only the size of its vectors matters."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.placement = Placement("cpu", "float32", "stands in")
        self.max_length = self.batch_tokens = 0
        self._random = np.random.default_rng(0)

    def describe(self) -> dict[str, object]:
        """Nothing worth telling."""
        return {}

    def lengths(self, texts: Sequence[str], side: str) -> Ints:
        """No tokens."""
        return np.zeros(len(texts), dtype=np.int64)

    def encode(
        self, texts: Sequence[str], side: str, progress: Any = None, checkpoint: Any = None
    ) -> np.ndarray:
        """Random unit vectors."""
        vectors = self._random.standard_normal((len(texts), self.dimension), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        if progress is not None:
            progress(len(texts))
        return vectors
