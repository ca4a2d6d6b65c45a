"""A bi-encoder as a scorer: the inner product of the two vectors (GISTEmbed's guide model)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np

from negmine.models.base import Encoder, EncoderSettings, PairTexts, Settles
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Scaled
from negmine.models.encoders import load_encoder
from negmine.models.resolve import ModelRef
from negmine.scorers.one_model import ModelScorer
from negmine.scorers.rows import ModelRows

_PAIRS_AT_ONCE = 16_384


class BiEncoderScorer(ModelScorer[Encoder]):
    """Encodes each distinct query and document once, then multiplies."""

    kind = "bi-encoder"

    def __init__(self, reference: ModelRef, settings: EncoderSettings) -> None:
        super().__init__(load_encoder(reference, settings))

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> np.ndarray:
        """Inner product of each pair, summed in float64 and rounded once.

        Documents that ``checkpoint`` has are not encoded again.
        """
        left = self._model.encode(queries, "query")
        # The products take no time beside the encoding.
        encoded = Scaled(progress, len(documents), len(pairs))
        right = self._model.encode(documents, "document", encoded, checkpoint)
        result = np.empty(len(pairs), dtype=np.float32)
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            chunk = pairs[start : start + _PAIRS_AT_ONCE]
            result[start : start + len(chunk)] = np.einsum(
                "ij,ij->i",
                left[chunk[:, 0]].astype(np.float64),
                right[chunk[:, 1]].astype(np.float64),
            )
        return result

    def settled(
        self,
        texts: Callable[[], PairTexts],
        rows: Callable[[], int],
        before: Mapping[str, Any] | None,
    ) -> tuple[Self, dict[str, Any]]:
        """The scorer as it runs for an artifact; see :class:`negmine.models.base.Settles`."""
        if not isinstance(self._model, Settles):
            return self, {}
        model, chosen = self._model.settled(lambda: texts()[1], rows, before)
        return self._by(cast(Encoder, model)), chosen

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """One row per distinct document; the queries, few and short, are left out."""
        used = np.unique(pairs[:, 1])
        some = [documents[i] for i in used[:: max(1, len(used) // most)].tolist()]
        return self._rows(
            self._model.lengths(some, "document"),
            len(used) / max(1, len(pairs)),
            lambda rows: self._model.encode([some[i] for i in rows.tolist()], "document"),
        )
