"""A bi-encoder as a scorer: the inner product of the two vectors (GISTEmbed's guide model)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from negmine.models.base import EncoderSettings
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Scaled
from negmine.models.devices import Placement
from negmine.models.encoders import load_encoder
from negmine.models.resolve import ModelRef
from negmine.scorers.rows import ModelRows

_PAIRS_AT_ONCE = 16_384


class BiEncoderScorer:
    """Encodes each distinct query and document once, then multiplies."""

    def __init__(self, reference: ModelRef, settings: EncoderSettings) -> None:
        self._encoder = load_encoder(reference, settings)

    @property
    def placement(self) -> Placement:
        """Where the model runs."""
        return self._encoder.placement

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Inner product of each pair, summed in float64 and rounded once."""
        return self.score_on(queries, documents, pairs, progress, None)

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> np.ndarray:
        """Likewise, without encoding again the documents that ``checkpoint`` has."""
        left = self._encoder.encode(queries, "query")
        # The products take no time beside the encoding.
        encoded = Scaled(progress, len(documents), len(pairs))
        right = self._encoder.encode(documents, "document", encoded, checkpoint)
        result = np.empty(len(pairs), dtype=np.float32)
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            chunk = pairs[start : start + _PAIRS_AT_ONCE]
            result[start : start + len(chunk)] = np.einsum(
                "ij,ij->i",
                left[chunk[:, 0]].astype(np.float64),
                right[chunk[:, 1]].astype(np.float64),
            )
        return result

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """One row per distinct document; the queries, few and short, are left out."""
        used = np.unique(pairs[:, 1])
        some = [documents[i] for i in used[:: max(1, len(used) // most)].tolist()]
        return ModelRows(
            lengths=self._encoder.lengths(some, "document"),
            batch_size=int(str(self._encoder.describe()["batch_size"])),
            batch_tokens=self._encoder.batch_tokens,
            per_pair=len(used) / max(1, len(pairs)),
            run=lambda rows: self._encoder.encode([some[i] for i in rows.tolist()], "document"),
        )

    def describe(self) -> dict[str, Any]:
        """What was loaded and where it runs."""
        return {"kind": "bi-encoder", **self._encoder.describe()}
