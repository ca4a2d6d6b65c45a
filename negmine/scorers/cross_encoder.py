"""A cross-encoder as a scorer: one forward pass per (query, document) pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from negmine.models.base import CrossEncoderSettings
from negmine.models.checkpoint import Checkpoint
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.devices import Placement
from negmine.models.resolve import ModelRef
from negmine.scorers.base import Prompts
from negmine.scorers.rows import ModelRows


class CrossEncoderScorer:
    """Reads query and document together."""

    def __init__(
        self, reference: ModelRef, settings: CrossEncoderSettings, prompts: Prompts
    ) -> None:
        self._prompts = prompts
        self._model = load_cross_encoder(reference, settings)

    @property
    def placement(self) -> Placement:
        """Where the model runs."""
        return self._model.placement

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """The model's score of each pair."""
        return self.score_on(queries, documents, pairs, progress, None)

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> np.ndarray:
        """Likewise, without scoring again the pairs that ``checkpoint`` has."""
        queries, documents = self._prompted(queries, documents)
        return self._model.score(queries, documents, pairs, progress, checkpoint)

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """One row per pair."""
        asked, found = self._prompted(queries, documents)
        some = pairs[:: max(1, len(pairs) // most)]
        return ModelRows(
            lengths=self._model.lengths(asked, found, some),
            batch_size=int(str(self._model.describe()["batch_size"])),
            batch_tokens=self._model.batch_tokens,
            per_pair=1.0,
            run=lambda rows: self.score(queries, documents, some[rows]),
        )

    def _prompted(
        self, queries: Sequence[str], documents: Sequence[str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        if self._prompts.query:
            queries = [self._prompts.query + query for query in queries]
        if self._prompts.document:
            documents = [self._prompts.document + document for document in documents]
        return queries, documents

    def describe(self) -> dict[str, Any]:
        """What was loaded and where it runs."""
        return {"kind": "cross-encoder", **self._model.describe()}
