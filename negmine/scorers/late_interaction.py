"""A model of late interaction as a scorer: the sum of each query token's best match (MaxSim)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from negmine.models.base import LateInteractionSettings
from negmine.models.checkpoint import Checkpoint
from negmine.models.late_interaction import LateInteraction, load_late_interaction
from negmine.models.resolve import ModelRef
from negmine.scorers.one_model import ModelScorer
from negmine.scorers.rows import ModelRows


class LateInteractionScorer(ModelScorer[LateInteraction]):
    """Encodes each distinct query and document of the pairs once; token vectors are not kept."""

    kind = "late-interaction"

    def __init__(self, reference: ModelRef, settings: LateInteractionSettings) -> None:
        super().__init__(load_late_interaction(reference, settings))

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> np.ndarray:
        """MaxSim of each pair; documents whose pairs ``checkpoint`` has are not encoded again."""
        return self._model.score(queries, documents, pairs, progress, checkpoint)

    def model_rows(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
    ) -> ModelRows:
        """One row per distinct document, with its pairs; the queries, few, are left out."""
        used = np.unique(pairs[:, 1])
        some = used[:: max(1, len(used) // most)]
        return self._rows(
            self._model.lengths([documents[i] for i in some.tolist()], "document"),
            len(used) / max(1, len(pairs)),
            lambda rows: self.score(queries, documents, pairs[np.isin(pairs[:, 1], some[rows])]),
        )
