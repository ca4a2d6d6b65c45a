"""Models that score by themselves: cross-encoders, bi-encoders, models of late interaction."""

from __future__ import annotations

from functools import partial

from negmine.endpoints.embedding import OPENAI as ENCODERS
from negmine.endpoints.settings import without_secrets
from negmine.errors import UsageError
from negmine.models import limits
from negmine.models.resolve import ModelRef, resolve
from negmine.params.rerank import RerankParams
from negmine.scorers.base import Prompts, Scorer
from negmine.scorers.kind import Kind, Loading, ScorerRef
from negmine.scorers.settings import (
    cross_encoder_settings,
    encoder_settings,
    late_interaction_settings,
)


def kind_of(model: ModelRef) -> str:
    """What scores as it is; of what a model's files do not tell, a cross-encoder is made."""
    return "cross-encoder" if model.kind == "unknown" else model.kind


def _refer(spec: str) -> ScorerRef:
    if spec.startswith(f"{ENCODERS.scheme}:"):
        raise UsageError(
            f"'{without_secrets(spec)}' is an encoder behind HTTP, which scores no pairs by itself",
            where="--scorer",
            hint="Index with it (negmine index --encoder), or name a reranker: cohere:MODEL@URL.",
        )
    model = resolve(spec)
    return ScorerRef(
        spec,
        model.revision,
        partial(_load, model),
        model,
        is_a=kind_of(model),
        check=partial(_check, model),
    )


def _check(model: ModelRef, params: RerankParams, name: str) -> None:
    """See by the model's files that it can do what the options ask."""
    if kind_of(model) in ("bi-encoder", "sparse-encoder"):
        # One that gives weights of terms is refused there.
        limits.check_encoder(model, encoder_settings(params, name, Prompts()))
    elif kind_of(model) == "late-interaction":
        limits.check_late_interaction(model, late_interaction_settings(params, name, Prompts()))
    else:
        limits.check(model, cross_encoder_settings(params, name))


def _load(model: ModelRef, loading: Loading) -> Scorer:
    params, name, prompts = loading.params, loading.name, loading.prompts
    if kind_of(model) == "bi-encoder":
        from negmine.scorers.bi_encoder import BiEncoderScorer

        return BiEncoderScorer(model, encoder_settings(params, name, prompts))
    if kind_of(model) == "late-interaction":
        from negmine.scorers.late_interaction import LateInteractionScorer

        return LateInteractionScorer(model, late_interaction_settings(params, name, prompts))
    from negmine.scorers.cross_encoder import CrossEncoderScorer

    return CrossEncoderScorer(model, cross_encoder_settings(params, name), prompts)


MODEL = Kind(
    _refer,
    options={
        "pooling": "bi-encoder",
        "truncate_dim": "bi-encoder",
        "activation": "cross-encoder",
    },
)
