"""Where a model runs and in which number format."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from negmine.errors import MissingDependencyError, UsageError

DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
#: There where the kernel drives an NVIDIA card.
_DRIVER = Path("/proc/driver/nvidia/version")
# Without one of these the CPU emulates bfloat16 and is slower than in float32.
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class Placement:
    """The chosen device and number format, and why.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``float32``, ``bfloat16``, ``float16``, ``int8``; for an ONNX graph what it was
            exported in.
        reason: one line for the manifest.
        runtime: what computes: ``torch``, ``openvino`` or ``onnx``.
    """

    device: str
    dtype: str
    reason: str
    runtime: str = "torch"


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and not _BF16_FLAGS.isdisjoint(flags.group(1).split())


def openvino_installed() -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def choose(
    device: str = "auto",
    dtype: str = "auto",
    backend: Literal["torch", "onnx"] = "torch",
    *,
    int8: bool = False,
) -> Placement:
    """The placement for what the user asked for.

    For an ONNX graph ``dtype`` stays as asked: the graph decides, and whoever opens it says so.

    Args:
        device: as asked for.
        dtype: as asked for.
        backend: what runs the model.
        int8: whether a model of its kind can be rounded to that when it is loaded.

    Raises:
        UsageError: an unknown name, or a format the device cannot compute in.
        MissingDependencyError: a GPU was asked for that the installed packages cannot drive.
    """
    _check_name(device)
    if dtype not in DTYPES:
        raise UsageError(
            f"unknown dtype '{dtype}'", where="--dtype", hint=f"Known: {', '.join(DTYPES)}."
        )
    gpus = _gpu_count(backend)
    if device == "auto":
        device = "cuda" if gpus else "cpu"
        why = "a GPU was found" if gpus else "no GPU was found"
    else:
        why = "asked for"
    if device != "cpu":
        _require_gpu(device, gpus, backend)
    if backend == "onnx":
        return Placement(device, dtype, f"{device}: {why}", "onnx")
    if device == "cpu" and dtype == "float16":
        raise UsageError(
            "float16 is not supported on a CPU: it is slow there and loses precision",
            where="--dtype",
            hint="Use --dtype float32, or bfloat16 on a CPU that has it.",
        )
    if dtype == "int8" and not (int8 and device == "cpu"):
        raise UsageError(
            "int8 is for encoders of vectors and cross-encoders, on a CPU",
            where="--dtype",
            hint="Use --dtype auto, or name the model it is for: --dtype NAME=int8 --device cpu.",
        )
    if dtype != "auto":
        return Placement(device, dtype, f"{device}: {why}; {dtype}: asked for")
    if device == "cpu":
        fast = cpu_has_bfloat16()
        dtype = "bfloat16" if fast else "float32"
        has = "has" if fast else "has no"
        return Placement(device, dtype, f"cpu: {why}; {dtype}: the CPU {has} bfloat16 unit")
    dtype = "bfloat16" if _gpu_has_bfloat16() else "float16"
    return Placement(device, dtype, f"{device}: {why}; {dtype}: the GPU's fastest half format")


def require(device: str) -> None:
    """See that a device is there, whatever is to run on it.

    PyTorch's GPUs are looked at first; where it has none, those of onnxruntime count as well, and
    the model that cannot use them says so when it is opened.

    Raises:
        UsageError: an unknown name, or a number that no GPU has.
        MissingDependencyError: no GPU that the installed packages can drive.
    """
    _check_name(device)
    if not device.startswith("cuda"):
        return
    found = _gpu_count("torch")
    if not found and importlib.util.find_spec("onnxruntime") is not None and _gpu_count("onnx"):
        return
    _require_gpu(device, found, "torch")


def gpus(asked: str, used: str) -> list[str]:
    """The GPUs that may share the work.

    Args:
        asked: ``--device``.
        used: where the model runs.

    Returns:
        All GPUs where none was named, the first of them first; the named one; or nothing, where
        the model runs on a CPU.
    """
    if not used.startswith("cuda"):
        return []
    if asked not in ("auto", "cuda"):
        return [used]
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def for_products(asked: str) -> list[str]:
    """The GPUs for products of vectors where no model is loaded.

    PyTorch is loaded only where there may be one.

    Args:
        asked: ``--device``.
    """
    _check_name(asked)
    if asked == "cpu" or (asked == "auto" and not _DRIVER.exists()):
        return []
    if asked == "auto" and importlib.util.find_spec("torch") is None:
        return []
    return gpus(asked, choose(asked).device)


def _check_name(device: str) -> None:
    if not _DEVICE.fullmatch(device):
        raise UsageError(
            f"unknown device '{device}'", where="--device", hint="Known: auto, cpu, cuda, cuda:N."
        )


def _gpu_count(backend: Literal["torch", "onnx"]) -> int:
    """GPUs the backend can drive; onnxruntime tells only whether there is a provider."""
    if backend == "onnx":
        import onnxruntime

        return int("CUDAExecutionProvider" in onnxruntime.get_available_providers())
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _require_gpu(device: str, gpus: int, backend: Literal["torch", "onnx"]) -> None:
    if not gpus:
        package = "onnxruntime-gpu" if backend == "onnx" else "torch with CUDA"
        raise MissingDependencyError(
            f"device '{device}' was asked for, but no usable GPU was found",
            where="--device",
            hint=f"Use --device cpu, or install {package} and its driver.",
        )
    number = int(device.partition(":")[2] or 0)
    if backend == "torch" and number >= gpus:
        raise UsageError(
            f"device '{device}' does not exist: this machine has {gpus} GPU(s)",
            where="--device",
            hint=f"Use cuda:0 to cuda:{gpus - 1}.",
        )


def _gpu_has_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
