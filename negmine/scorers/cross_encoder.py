"""A cross-encoder as a scorer: one forward pass per (query, document) pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np

from negmine.models.base import CrossEncoder, CrossEncoderSettings, PairTexts, Settles
from negmine.models.checkpoint import Checkpoint
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.resolve import ModelRef
from negmine.scorers.base import Prompts
from negmine.scorers.one_model import ModelScorer
from negmine.scorers.rows import ModelRows


class CrossEncoderScorer(ModelScorer[CrossEncoder]):
    """Reads query and document together."""

    kind = "cross-encoder"

    def __init__(
        self, reference: ModelRef, settings: CrossEncoderSettings, prompts: Prompts
    ) -> None:
        self._prompts = prompts
        super().__init__(load_cross_encoder(reference, settings))

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> np.ndarray:
        """The model's score of each pair; those that ``checkpoint`` has are not scored again."""
        queries, documents = self._prompted(queries, documents)
        return self._model.score(queries, documents, pairs, progress, checkpoint)

    def settled(
        self,
        texts: Callable[[], PairTexts],
        rows: Callable[[], int],
        before: Mapping[str, Any] | None,
    ) -> tuple[Self, dict[str, Any]]:
        """The scorer as it runs for an artifact; see :class:`negmine.models.base.Settles`."""

        def prompted() -> PairTexts:
            queries, documents, pairs = texts()
            return *self._prompted(queries, documents), pairs

        if not isinstance(self._model, Settles):
            return self, {}
        model, chosen = self._model.settled(prompted, rows, before)
        return self._by(cast(CrossEncoder, model)), chosen

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """One row per pair."""
        asked, found = self._prompted(queries, documents)
        some = pairs[:: max(1, len(pairs) // most)]
        return self._rows(
            self._model.lengths(asked, found, some),
            1.0,
            lambda rows: self.score(queries, documents, some[rows]),
        )

    def _prompted(
        self, queries: Sequence[str], documents: Sequence[str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        if self._prompts.query:
            queries = [self._prompts.query + query for query in queries]
        if self._prompts.document:
            documents = [self._prompts.document + document for document in documents]
        return queries, documents
