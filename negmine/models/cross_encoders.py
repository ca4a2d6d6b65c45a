"""Cross-encoders: (query, document) pairs to scores.

Queries and documents are tokenised once each; pairs are assembled from their ids per batch,
and batches are cut by length across queries.
"""

from __future__ import annotations

from negmine import log
from negmine.errors import UsageError
from negmine.models.base import CrossEncoder, CrossEncoderSettings
from negmine.models.onnx_cross_encoder import load_onnx_cross_encoder
from negmine.models.resolve import ModelRef
from negmine.models.shared import loaded
from negmine.models.torch_cross_encoder import load_torch_cross_encoder


def load_cross_encoder(ref: ModelRef, settings: CrossEncoderSettings) -> CrossEncoder:
    """Load a cross-encoder, or take the one that an earlier stage of this run loaded.

    Raises:
        UsageError: the model is a bi-encoder or gives several values per pair, or a setting that
            it cannot honour.
    """
    if ref.kind == "bi-encoder":
        # Without this check the library would put an untrained head on it and score at random.
        raise UsageError(
            "this is a bi-encoder; it has no head that scores pairs",
            where=ref.spec,
            hint="Name a cross-encoder (a reranker) here.",
        )
    with log.waiting(f"loading {ref.spec}"):
        if ref.backend == "onnx":
            return load_onnx_cross_encoder(ref, settings)
        return loaded(load_torch_cross_encoder, ref, settings)
