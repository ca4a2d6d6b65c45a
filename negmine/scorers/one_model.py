"""What scorers share that one model stands behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np

from negmine.models.checkpoint import Checkpoint
from negmine.models.devices import Placement
from negmine.models.tokens import Ints
from negmine.scorers.rows import ModelRows


class Runs(Protocol):
    """A loaded model."""

    @property
    def placement(self) -> Placement:
        """Where it runs, in which format."""

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""


M = TypeVar("M", bound=Runs)


class ModelScorer(ABC, Generic[M]):
    """A scorer that goes on where it was interrupted.

    Args:
        model: what scores.
    """

    #: What the manifest calls it.
    kind: ClassVar[str]

    def __init__(self, model: M) -> None:
        self._model = model

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
        """The model's score of each pair, float32 [pairs]."""
        return self.score_on(queries, documents, pairs, progress, None)

    @abstractmethod
    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint | None,
    ) -> np.ndarray:
        """Likewise, without making again what ``checkpoint`` has."""

    def describe(self) -> dict[str, Any]:
        """What was loaded and where it runs."""
        return {"kind": self.kind, **self._model.describe()}

    def _by(self, model: M) -> Self:
        """The same scorer with its model as it runs for an artifact."""
        other = copy(self)
        other._model = model
        return other

    def _rows(self, lengths: Ints, per_pair: float, run: Callable[[Ints], object]) -> ModelRows:
        """Rows of these lengths in the batches of the model."""
        return ModelRows(
            lengths=lengths,
            batch_size=int(str(self._model.describe()["batch_size"])),
            batch_tokens=self._model.batch_tokens,
            per_pair=per_pair,
            run=run,
        )
