"""What the options of a stage say of one of its models."""

from __future__ import annotations

from dataclasses import dataclass

from negmine.params.index import IndexParams
from negmine.params.per_model import of_model
from negmine.params.rerank import RerankParams


@dataclass(frozen=True)
class ModelOptions:
    """How one model is run: what every stage that runs models says of it.

    Attributes:
        max_length: tokens of a text or pair; None is the model's own limit.
        batch_size: most texts or pairs in one call.
        device: where it runs.
        dtype: its number format.
        runtime: what runs it.
        trust_remote_code: whether its own code may run.
    """

    max_length: int | None
    batch_size: int
    device: str
    dtype: str
    runtime: str
    trust_remote_code: bool


def model_options(params: IndexParams | RerankParams, name: str) -> ModelOptions:
    """How the model ``name`` is run."""
    trusted = of_model(params.trust_remote_code, name)
    return ModelOptions(
        max_length=of_model(params.max_length, name),
        batch_size=of_model(params.batch_size, name),
        device=params.device,
        dtype=of_model(params.dtype, name),
        runtime=of_model(params.runtime, name),
        trust_remote_code=trusted,
    )
