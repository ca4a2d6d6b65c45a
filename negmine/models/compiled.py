"""A torch model compiled by OpenVINO, for CPUs: the same weights, fewer passes over memory.

OpenVINO fuses what PyTorch runs as single operations (casts, additions, GELU, normalisation,
attention) and keeps bfloat16 between them, which on a CPU with bfloat16 units saves a quarter to a
third of the time (``docs/benchmarks.md``). Only the transformer is replaced: tokenising, pooling
and whatever else a model's folder brings stay sentence-transformers'.

A compiled model is tried against the original on texts of several lengths before it takes its
place; a model that cannot be traced, or comes out different, stays with PyTorch.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

import torch

from negmine import log, processors
from negmine.errors import MissingDependencyError, UsageError
from negmine.models.devices import Placement, openvino_installed
from negmine.models.reading import NotAsKnown, Read, distance

#: Largest distance from PyTorch's output, as a share of its norm. bfloat16 gives about 0.01;
#: a mask or a length that became a constant in tracing gives far more.
_APART = {"float32": 1e-3, "bfloat16": 0.1}
_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


def compile_model(
    model: Any, placement: Placement, runtime: str, threads: int | None, spec: str
) -> Placement:
    """Replace the transformer of a sentence-transformers model by a compiled one, if it gains.

    Args:
        model: a SentenceTransformer or CrossEncoder on its device; changed in place.
        placement: where it runs.
        runtime: ``openvino`` insists, ``auto`` compiles in bfloat16 on a CPU where OpenVINO is
            installed (in float32 a trial decides: :mod:`negmine.models.trial`), ``torch`` leaves
            the model alone.
        threads: CPU threads; ``None`` is one per core this process may use.
        spec: the model's name for messages.

    Returns:
        The placement, with the runtime that the model has now.

    Raises:
        UsageError: ``openvino`` was asked for and cannot run this model.
        MissingDependencyError: ``openvino`` was asked for and is not installed.
    """
    asked = runtime == "openvino"
    fits = placement.device == "cpu" and placement.dtype == "bfloat16" and openvino_installed()
    if not asked and (runtime == "torch" or not fits):
        return placement
    if placement.device != "cpu":
        raise UsageError(
            f"OpenVINO runs models on the CPU, not on {placement.device}",
            where="--runtime",
            hint="Use --runtime torch there, or --device cpu.",
        )
    if placement.dtype not in _PRECISION:
        raise UsageError(
            f"OpenVINO is given no {placement.dtype} here: PyTorch has the faster kernels",
            where="--runtime",
            hint="Use --runtime torch or auto, or --dtype float32.",
        )
    if not openvino_installed():
        raise MissingDependencyError(
            "OpenVINO is not installed",
            where="--runtime",
            hint="pip install 'negmine[openvino]', or use --runtime torch.",
        )
    try:
        return _in_place(model, placement, threads)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        if asked:
            raise UsageError(
                f"OpenVINO cannot run this model: {_why(error)}",
                where=f"--runtime, {spec}",
                hint="Use --runtime torch.",
            ) from error
        _stays(spec, error)
        return placement


def compiled_beside(
    model: Any, placement: Placement, threads: int | None, spec: str
) -> tuple[Any, Placement] | None:
    """A model like this one on a CPU whose transformer is compiled, whether it gains or not.

    Args:
        model: a SentenceTransformer or CrossEncoder, which stays as it is: another stage may hold
            it. All but the transformer is of both.
        placement: where it runs, by PyTorch.
        threads: CPU threads; ``None`` is one per core this process may use.
        spec: the model's name for messages.

    Returns:
        The other model and its placement; ``None``, told, where OpenVINO cannot run it.
    """
    other = _with_modules_of_its_own(model)
    other[0] = _with_modules_of_its_own(model[0])
    try:
        return other, _in_place(other, placement, threads)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        _stays(spec, error)
        return None


def _with_modules_of_its_own(module: Any) -> Any:
    """The same module; one of its modules may be replaced, and the given one keeps its own."""
    other = copy(module)
    other._modules = dict(module._modules)
    return other


def _in_place(model: Any, placement: Placement, threads: int | None) -> Placement:
    model[0].model = _compiled(model[0], placement.dtype, threads)
    return replace(placement, runtime="openvino", reason=f"{placement.reason}; by OpenVINO")


def _why(error: Exception) -> str:
    told = str(error).strip().splitlines()
    return told[0] if told else type(error).__name__


def _stays(spec: str, error: Exception) -> None:
    log.event(f"{spec}: runs with PyTorch, because OpenVINO cannot run it: {_why(error)}")


class _Compiled(torch.nn.Module):  # type: ignore[misc]
    """Takes the transformer's place in sentence-transformers' first module."""

    def __init__(self, request: Any, inputs: tuple[str, ...], output: str, config: Any) -> None:
        super().__init__()
        self.request, self.inputs, self.output, self.config = request, inputs, output, config

    def forward(self, **features: Any) -> dict[str, torch.Tensor]:
        given = {name: features[name].numpy() for name in self.inputs}
        # Copied: the next call writes its output where this one's lies.
        return {self.output: torch.from_numpy(self.request.infer(given, share_inputs=True)[0])}


def _compiled(transformer: Any, dtype: str, threads: int | None) -> _Compiled:
    """The compiled counterpart of a ``Transformer`` module's model.

    Raises:
        NotAsKnown: it is no plain text model, or what comes out is not what PyTorch gives.
    """
    traced = Read.of(transformer)
    output = traced.output
    # The first is traced.
    probes = traced.probes()
    with torch.inference_mode():
        expected = [traced(**probe) for probe in probes]
    request, inputs = _request(traced, probes[0], dtype, threads)
    made = _Compiled(request, inputs, output, transformer.model.config)
    for probe, want in zip(probes, expected, strict=True):
        _compare(made(**probe)[output], want, probe["attention_mask"], dtype)
    return made


def _request(
    traced: Read, example: dict[str, torch.Tensor], dtype: str, threads: int | None
) -> tuple[Any, tuple[str, ...]]:
    """An inference request of the compiled model, and the features that it takes."""
    with _untold():
        import openvino

        with torch.inference_mode(), _quiet():
            graph = openvino.convert_model(traced, example_input=example)
    inputs = tuple(port.any_name for port in graph.inputs)
    if strange := sorted(set(inputs) - set(example)):
        raise NotAsKnown(f"its graph asks for {', '.join(strange)}")
    compiled = openvino.Core().compile_model(
        graph,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _PRECISION[dtype],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or processors.allowed(),
        },
    )
    return compiled.create_infer_request(), inputs


@contextmanager
def _untold() -> Iterator[None]:
    """OpenVINO reports its use to its makers, from processes that it forks. negmine tells nobody.

    Its package for that is not importable from here on; where somebody has imported it before, it
    finds that there is no consent, until the conversion is over.
    """
    reporting: Any = sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if reporting is None:
        yield
        return

    def remember(telemetry: Any, given: bool) -> None:
        vars(telemetry)["consent"] = given

    reporting.Telemetry.consent = property(lambda telemetry: False, remember)
    try:
        yield
    finally:
        del reporting.Telemetry.consent


@contextmanager
def _quiet() -> Iterator[None]:
    """Without tracing's warnings that a branch became a constant: what came out is compared."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(before)


def _compare(made: torch.Tensor, want: torch.Tensor, mask: torch.Tensor, dtype: str) -> None:
    """Stop if a compiled output differs from PyTorch's where there are tokens."""
    if made.shape != want.shape:
        raise NotAsKnown(f"it gives the shape {tuple(made.shape)} for {tuple(want.shape)}")
    if want.ndim == mask.ndim + 1 and want.shape[: mask.ndim] == mask.shape:
        made, want = made[mask == 1], want[mask == 1]
    apart = distance(made, want)
    if not apart <= _APART[dtype]:
        raise NotAsKnown(f"its output differs from PyTorch's by {apart:.2g} of its size")
