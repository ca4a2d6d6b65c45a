"""What the options of ``rerank`` say of one of its models."""

from __future__ import annotations

from negmine.models.base import CrossEncoderSettings, EncoderSettings, LateInteractionSettings
from negmine.params.model_options import model_options
from negmine.params.per_model import of_model
from negmine.params.rerank import RerankParams
from negmine.scorers.base import Prompts


def encoder_settings(params: RerankParams, name: str, prompts: Prompts) -> EncoderSettings:
    """How the bi-encoder ``name`` is run."""
    return EncoderSettings(
        **model_options(params, name),
        query_prompt=prompts.query,
        doc_prompt=prompts.document,
        pooling=of_model(params.pooling, name),
        truncate_dim=of_model(params.truncate_dim, name),
    )


def late_interaction_settings(
    params: RerankParams, name: str, prompts: Prompts
) -> LateInteractionSettings:
    """How the model of late interaction ``name`` is run."""
    return LateInteractionSettings(
        **model_options(params, name), query_prompt=prompts.query, doc_prompt=prompts.document
    )


def cross_encoder_settings(params: RerankParams, name: str) -> CrossEncoderSettings:
    """How the cross-encoder ``name`` is run."""
    return CrossEncoderSettings(
        **model_options(params, name), activation=of_model(params.activation, name)
    )
