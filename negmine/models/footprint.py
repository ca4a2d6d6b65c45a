"""What models hold in memory before they run."""

from __future__ import annotations

from collections.abc import Iterable

from negmine import memory
from negmine.models.devices import openvino_installed
from negmine.models.resolve import ModelRef, weight_bytes


def models_memory(references: Iterable[ModelRef]) -> dict[str, int]:
    """What models take whatever the blocks, for :func:`negmine.memory.budget`."""
    references = list(references)
    backends = {reference.backend for reference in references}
    return {
        "torch": memory.TORCH if "torch" in backends else 0,
        "OpenVINO": memory.OPENVINO if "torch" in backends and openvino_installed() else 0,
        "onnxruntime": memory.ONNX if "onnx" in backends else 0,
        "tokens": memory.TOKENS if backends & {"torch", "onnx"} else 0,
        "the_models": sum(map(weight_bytes, references)),
    }
