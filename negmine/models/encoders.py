"""Bi-encoders: texts to vectors.

The hot loop of a mining run. Texts are tokenised once, sorted by their true token length over
the whole input, and cut into batches of similar length; rows come back in input order.
"""

from __future__ import annotations

from negmine import log
from negmine.models.base import Encoder, EncoderSettings
from negmine.models.limits import refuse_cross_encoder
from negmine.models.onnx_encoder import load_onnx_encoder
from negmine.models.resolve import ModelRef
from negmine.models.shared import loaded
from negmine.models.torch_encoder import load_torch_encoder


def load_encoder(ref: ModelRef, settings: EncoderSettings) -> Encoder:
    """Load a bi-encoder, or take the one that an earlier stage of this run loaded.

    Raises:
        UsageError: the model is a cross-encoder, or a setting that it cannot honour.
    """
    refuse_cross_encoder(ref)
    with log.waiting(f"loading {ref.spec}"):
        if ref.backend == "onnx":
            return load_onnx_encoder(ref, settings)
        return loaded(load_torch_encoder, ref, settings)
