"""Models that score (query, document) pairs into a column ``score_NAME``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from negmine import plugins
from negmine.models.checkpoint import Checkpoint
from negmine.models.devices import Placement
from negmine.models.resolve import ModelRef, resolve
from negmine.params.rerank import RerankParams


class Scorer(Protocol):
    """One scoring model."""

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Score of each (query index, document index) pair: float32 [n] for int [n, 2]."""

    def describe(self) -> dict[str, Any]:
        """What was loaded and where it runs, for the manifest."""


@runtime_checkable
class HasPlacement(Protocol):
    """A scorer that tells where it runs; other packages' need not."""

    @property
    def placement(self) -> Placement:
        """Its device and number format."""


@runtime_checkable
class GoesOn(Protocol):
    """A scorer that goes on where an interrupted run stopped; other packages' need not."""

    def score_on(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None,
        checkpoint: Checkpoint,
    ) -> np.ndarray:
        """As :meth:`Scorer.score`, without making again what ``checkpoint`` has."""


@dataclass(frozen=True)
class Prompts:
    """Texts put before queries and documents; None leaves the choice to the model."""

    query: str | None = None
    document: str | None = None


def refer(spec: str) -> ModelRef:
    """The model that ``spec`` names, or another package's scorer (``plugin:NAME[/ARGUMENT]``).

    Raises:
        UsageError: no installed package brings that scorer.
        NegmineError: there is no such model; see :func:`negmine.models.resolve.resolve`.
    """
    if not spec.startswith(plugins.PREFIX):
        return resolve(spec)
    plugin, argument = plugins.parse("scorer", spec, "--scorer")
    return ModelRef(spec, argument or "", "plugin", "unknown", plugin.identity)


def load_scorer(reference: ModelRef, params: RerankParams, prompts: Prompts) -> Scorer:
    """Load a scorer; a bi-encoder scores by inner product, anything else as a cross-encoder.

    A plug-in is called with its argument (or None), the parameters and the prompts.
    """
    if reference.backend == "plugin":
        plugin, argument = plugins.parse("scorer", reference.spec, "--scorer")
        made: Scorer = plugin.load()(argument, params, prompts)
        return made
    if reference.kind == "bi-encoder":
        from negmine.scorers.bi_encoder import BiEncoderScorer

        return BiEncoderScorer(reference, params, prompts)
    from negmine.scorers.cross_encoder import CrossEncoderScorer

    return CrossEncoderScorer(reference, params, prompts)
