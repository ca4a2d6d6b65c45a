"""Models that score (query, document) pairs into a column ``score_NAME``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from negmine import plugins
from negmine.models.resolve import ModelRef, resolve
from negmine.params.rerank import RerankParams
from negmine.plugins import Plugin
from negmine.scorers.base import GoesOn, HasColumns, HasPlacement, Prompts, Scorer, Scores


@dataclass(frozen=True)
class ScorerRef:
    """A scorer that is asked for, not loaded yet.

    Attributes:
        spec: what the user wrote.
        revision: what stands for the model, or for another package's code, in the fingerprint.
        load: loads it.
        model: the model; None of another package's scorer, of which nothing is known.
    """

    spec: str
    revision: str
    load: Callable[[RerankParams, Prompts], Scorer]
    model: ModelRef | None = None


def refer(spec: str) -> ScorerRef:
    """The scorer that ``spec`` names: a model, or another package's (``plugin:NAME[/ARGUMENT]``).

    Raises:
        UsageError: no installed package brings that scorer.
        NegmineError: there is no such model; see :func:`negmine.models.resolve.resolve`.
    """
    if spec.startswith(plugins.PREFIX):
        plugin, argument = plugins.parse("scorer", spec, "--scorer")
        return ScorerRef(spec, plugin.identity, partial(_load_plugin, plugin, argument))
    model = resolve(spec)
    return ScorerRef(spec, model.revision, partial(_load_model, model), model)


def load_scorer(reference: ScorerRef, params: RerankParams, prompts: Prompts) -> Scorer:
    """Load a scorer."""
    return reference.load(params, prompts)


def _load_plugin(
    plugin: Plugin, argument: str | None, params: RerankParams, prompts: Prompts
) -> Scorer:
    """Another package's scorer is called with its argument, the parameters and the prompts."""
    made: Scorer = plugin.load()(argument, params, prompts)
    return made


def _load_model(model: ModelRef, params: RerankParams, prompts: Prompts) -> Scorer:
    """A bi-encoder scores by inner product, anything else as a cross-encoder."""
    if model.kind == "bi-encoder":
        from negmine.scorers.bi_encoder import BiEncoderScorer

        return BiEncoderScorer(model, params, prompts)
    from negmine.scorers.cross_encoder import CrossEncoderScorer

    return CrossEncoderScorer(model, params, prompts)


__all__ = [
    "GoesOn",
    "HasColumns",
    "HasPlacement",
    "Prompts",
    "Scorer",
    "ScorerRef",
    "Scores",
    "load_scorer",
    "refer",
]
