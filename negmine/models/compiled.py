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

import numpy as np
import torch

from negmine import log, processors
from negmine.errors import MissingDependencyError, UsageError
from negmine.models.devices import Placement, openvino_installed

#: (rows, tokens, tokens of the last row) that a compiled model is tried on; the first is traced.
_PROBES = ((2, 7, 5), (3, 33, 4), (1, 12, 12), (5, 64, 63))
#: Largest distance from PyTorch's output, as a share of its norm. bfloat16 gives about 0.01;
#: a mask or a length that became a constant in tracing gives far more.
_APART = {"float32": 1e-3, "bfloat16": 0.1}
_PRECISION = {"float32": "f32", "bfloat16": "bf16"}
_FEATURES = ("input_ids", "attention_mask", "token_type_ids")


class _NotCompiled(Exception):
    """Why a model stays with PyTorch."""


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


class _Traced(torch.nn.Module):  # type: ignore[misc]
    """The transformer as a function from features to the one output that is read."""

    def __init__(self, model: torch.nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        read: torch.Tensor = self.model(**given, return_dict=True)[self.output]
        return read


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
        _NotCompiled: it is no plain text model, or what comes out is not what PyTorch gives.
    """
    from negmine.models.torch_models import is_text_transformer

    if not is_text_transformer(transformer):
        raise _NotCompiled("its inputs are not the output of a tokenizer alone")
    how = transformer.modality_config["text"]
    output = how["method_output_name"]
    if how["method"] != "forward" or not isinstance(output, str):
        raise _NotCompiled(f"it is read as {how['method']}: {output}")
    asked = transformer.tokenizer.model_input_names
    if unknown := sorted(set(asked) - set(_FEATURES)):
        raise _NotCompiled(f"it asks for {', '.join(unknown)}")
    names = tuple(name for name in _FEATURES if name in asked)
    traced = _Traced(transformer.model, output).eval()
    probes = [_probe(transformer, names, *shape) for shape in _PROBES]
    with torch.inference_mode():
        expected = [traced(**probe) for probe in probes]
    request, inputs = _request(traced, probes[0], dtype, threads)
    made = _Compiled(request, inputs, output, transformer.model.config)
    for probe, want in zip(probes, expected, strict=True):
        _compare(made(**probe)[output], want, probe["attention_mask"], dtype)
    return made


def _probe(
    transformer: Any, names: tuple[str, ...], rows: int, tokens: int, last: int
) -> dict[str, torch.Tensor]:
    """Features of random tokens, the last row padded."""
    tokenizer = transformer.tokenizer
    tokens = min(tokens, transformer.max_seq_length or tokens)
    mask = np.ones((rows, tokens), dtype=np.int64)
    mask[-1, min(last, tokens) :] = 0
    if tokenizer.padding_side == "left":
        mask = np.ascontiguousarray(mask[:, ::-1])
    drawn = np.random.default_rng(rows).integers(0, len(tokenizer), mask.shape)
    ids = np.where(mask == 1, drawn, tokenizer.pad_token_id or 0)
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: torch.from_numpy(arrays[name]) for name in names}


def _request(
    traced: _Traced, example: dict[str, torch.Tensor], dtype: str, threads: int | None
) -> tuple[Any, tuple[str, ...]]:
    """An inference request of the compiled model, and the features that it takes."""
    with _untold():
        import openvino

        with torch.inference_mode(), _quiet():
            graph = openvino.convert_model(traced, example_input=example)
    inputs = tuple(port.any_name for port in graph.inputs)
    if strange := sorted(set(inputs) - set(example)):
        raise _NotCompiled(f"its graph asks for {', '.join(strange)}")
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
        raise _NotCompiled(f"it gives the shape {tuple(made.shape)} for {tuple(want.shape)}")
    if want.ndim == mask.ndim + 1 and want.shape[: mask.ndim] == mask.shape:
        made, want = made[mask == 1], want[mask == 1]
    apart = float((made - want).norm() / want.norm())
    if not apart <= _APART[dtype]:
        raise _NotCompiled(f"its output differs from PyTorch's by {apart:.2g} of its size")
