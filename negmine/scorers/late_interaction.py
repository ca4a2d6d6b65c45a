"""A model of late interaction as a scorer: the sum of each query token's best match (MaxSim)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from negmine.models.base import LateInteractionSettings
from negmine.models.checkpoint import Checkpoint
from negmine.models.devices import Placement
from negmine.models.late_interaction import load_late_interaction
from negmine.models.resolve import ModelRef
from negmine.scorers.rows import ModelRows


class LateInteractionScorer:
    """Encodes each distinct query and document of the pairs once; token vectors are not kept."""

    def __init__(self, reference: ModelRef, settings: LateInteractionSettings) -> None:
        self._model = load_late_interaction(reference, settings)

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
        """MaxSim of each pair."""
        return self.score_on(queries, documents, pairs, progress, None)

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> np.ndarray:
        """Likewise, without encoding again the documents whose pairs ``checkpoint`` has."""
        return self._model.score(queries, documents, pairs, progress, checkpoint)

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """One row per distinct document, with its pairs; the queries, few, are left out."""
        used = np.unique(pairs[:, 1])
        some = used[:: max(1, len(used) // most)]
        return ModelRows(
            lengths=self._model.lengths([documents[i] for i in some.tolist()], "document"),
            batch_size=int(str(self._model.describe()["batch_size"])),
            batch_tokens=self._model.batch_tokens,
            per_pair=len(used) / max(1, len(pairs)),
            run=lambda rows: self.score(
                queries, documents, pairs[np.isin(pairs[:, 1], some[rows])]
            ),
        )

    def describe(self) -> dict[str, Any]:
        """What was loaded and where it runs."""
        return {"kind": "late-interaction", **self._model.describe()}
