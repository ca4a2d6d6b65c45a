"""Bi-encoders: texts to vectors.

The hot loop of a mining run. Texts are tokenised once, sorted by their true token length over
the whole input, and cut into batches of similar length; rows come back in input order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from negmine import log
from negmine.errors import InvalidDataError, MissingInputError, UsageError
from negmine.models import onnx_graph
from negmine.models.batching import length_batches, token_budget
from negmine.models.devices import Placement, choose
from negmine.models.resolve import ModelRef, local_folder, onnx_file, read_json
from negmine.models.room import Room, loading
from negmine.models.tokens import Ints, Ragged, attention_mask, concatenate, from_lists

Side = Literal["query", "document"]
Pooling = Literal["auto", "cls", "mean", "last"]
Vectors = npt.NDArray[np.float32]
Progress = Callable[[int], None]

# Texts tokenised at a time: bounds the Python lists that a tokenizer returns.
TOKENIZE_CHUNK = 2048
NO_LIMIT = 2**31 - 1
"""The maximum length of a model that has none."""

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class EncoderSettings:
    """How to run a bi-encoder.

    Attributes:
        query_prompt: text before every query; ``None`` is the model's own, ``""`` is none.
        doc_prompt: text before every document; likewise.
        max_length: tokens of a text; ``None`` is the model's own maximum.
        batch_size: most texts in a batch (fewer when they are long).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        runtime: ``auto``, ``torch`` or ``openvino``; what runs a PyTorch model.
        pooling: how token vectors become one; ``auto`` is the model's own.
        normalize: scale every vector to length 1.
        threads: CPU threads; ``None`` is what the backend takes by itself.
        trust_remote_code: whether Python code that the model brings may run.
    """

    query_prompt: str | None = None
    doc_prompt: str | None = None
    max_length: int | None = None
    batch_size: int = 64
    device: str = "auto"
    dtype: str = "auto"
    runtime: str = "auto"
    pooling: Pooling = "auto"
    normalize: bool = True
    threads: int | None = None
    trust_remote_code: bool = False


class Encoder(Protocol):
    """A loaded bi-encoder."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def placement(self) -> Placement:
        """Where it runs, in which format."""

    @property
    def max_length(self) -> int:
        """Tokens of a text; the rest is cut off."""

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """Tokens of each text as the model reads it, by which batches are cut."""

    def encode(self, texts: Sequence[str], side: Side, progress: Progress | None = None) -> Vectors:
        """One C-contiguous float32 row per text, in the order of the texts."""


def load_encoder(ref: ModelRef, settings: EncoderSettings) -> Encoder:
    """Load a bi-encoder.

    Raises:
        UsageError: the model is a cross-encoder, or a setting that it cannot honour.
    """
    if ref.kind == "cross-encoder":
        raise UsageError(
            "this is a cross-encoder; it scores pairs and gives no vectors",
            where=ref.spec,
            hint="Name a bi-encoder here, and this model where a reranker is asked for.",
        )
    return _load_onnx(ref, settings) if ref.backend == "onnx" else _load_torch(ref, settings)


# --- sentence-transformers ---


@dataclass(frozen=True)
class _TorchEncoder:
    ref: ModelRef
    settings: EncoderSettings
    model: Any
    dimension: int
    placement: Placement
    max_length: int
    pooling: str
    room: Room

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""
        placement = self.placement
        return token_budget(self.settings.batch_size, placement.device, placement.runtime)

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        return {
            "backend": self.placement.runtime,
            "revision": self.ref.revision,
            "query_prompt": self._prompt("query"),
            "doc_prompt": self._prompt("document"),
            "max_length": self.max_length,
            "pooling": self.pooling,
            "normalize": self.settings.normalize,
            "dtype": self.placement.dtype,
            "batch_size": self.settings.batch_size,
            **self.room.facts(),
        }

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """Tokens of each text as the model reads it, by which batches are cut."""
        made = self._tokens(texts, side)
        return characters(texts, self.max_length) if made is None else made[0]["input_ids"].lengths

    def encode(self, texts: Sequence[str], side: Side, progress: Progress | None = None) -> Vectors:
        """One C-contiguous float32 row per text, in the order of the texts."""
        import torch

        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        lengths, make = self._batch_maker(texts, side)

        def work(rows: Ints) -> None:
            features = on_device(make(rows), self.placement.device)
            vectors = self.model(features, task=side)["sentence_embedding"].float()
            if self.settings.normalize:
                vectors = torch.nn.functional.normalize(vectors, p=2, dim=1)
            out[rows] = vectors.cpu().numpy()
            check_finite(out[rows], self.ref)
            if progress:
                progress(len(rows))

        batches = length_batches(lengths, self.settings.batch_size, self.batch_tokens)
        # One autocast over all batches: it keeps the weights it has converted.
        with torch.inference_mode(), autocast(self.placement):
            self.room.run(batches, lengths, work, self.placement)
        return out

    def _prompt(self, side: Side) -> str | None:
        """What ``encode_query`` and ``encode_document`` would put before a text."""
        own = self.settings.query_prompt if side == "query" else self.settings.doc_prompt
        if own is not None:
            return own
        prompts: dict[str, str] = self.model.prompts
        names = ("query",) if side == "query" else _DOCUMENT_PROMPTS
        for name in names:
            if name in prompts:
                return prompts[name]
        return prompts.get(self.model.default_prompt_name)

    def _tokens(
        self, texts: Sequence[str], side: Side
    ) -> tuple[dict[str, Ragged], dict[str, Any]] | None:
        """Features of texts tokenised once, to be padded here, and those that are no columns.

        ``None`` where the model's own way to make features is more than a tokenizer (images,
        chat templates, routes, static vectors).
        """
        if not texts or not is_plain_text_model(self.model):
            return None
        columns: dict[str, list[Ragged]] = {}
        constants: dict[str, Any] = {}
        for chunk in _chunks(texts):
            features = self.model.preprocess(
                chunk,
                prompt=self._prompt(side),
                task=side,
                processing_kwargs={"text": {"padding": False}, "common": {"return_tensors": None}},
            )
            for name, value in features.items():
                if name == "attention_mask":
                    continue
                if isinstance(value, list):
                    columns.setdefault(name, []).append(from_lists(value))
                else:
                    constants[name] = value
        return {name: concatenate(parts) for name, parts in columns.items()}, constants

    def _batch_maker(
        self, texts: Sequence[str], side: Side
    ) -> tuple[Ints, Callable[[Ints], dict[str, Any]]]:
        """Tokens of each text, and what makes the features of some rows."""
        made = self._tokens(texts, side)
        if made is not None:
            return made[0]["input_ids"].lengths, partial(self._padded, *made)

        def by_the_model(rows: Ints) -> dict[str, Any]:
            batch = [texts[row] for row in rows]
            features: dict[str, Any] = self.model.preprocess(
                batch, prompt=self._prompt(side), task=side
            )
            return features

        return characters(texts, self.max_length), by_the_model

    def _padded(
        self, tokens: dict[str, Ragged], constants: dict[str, Any], rows: Ints
    ) -> dict[str, Any]:
        import torch

        tokenizer = self.model.tokenizer
        left = tokenizer.padding_side == "left"
        fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        arrays = {
            name: column.pad(rows, fill.get(name) or 0, left=left)
            for name, column in tokens.items()
        }
        arrays["attention_mask"] = attention_mask(tokens["input_ids"].lengths[rows], left=left)
        return {**constants, **{name: torch.from_numpy(array) for name, array in arrays.items()}}


def _load_torch(ref: ModelRef, settings: EncoderSettings) -> _TorchEncoder:
    from sentence_transformers import SentenceTransformer

    from negmine.models.compiled import compile_model

    placement = choose(settings.device, settings.dtype)
    model_type = read_json(Path(ref.location) / "config_sentence_transformers.json").get(
        "model_type", "SentenceTransformer"
    )
    if model_type != "SentenceTransformer":
        raise UsageError(f"a {model_type} model gives no single vector per text", where=ref.spec)
    model = load_torch(
        SentenceTransformer, ref, placement, settings.threads, settings.trust_remote_code
    )
    pooling = _set_pooling(model, settings.pooling, ref)
    length = torch_max_length(model, settings.max_length, ref)
    dimension = model.get_embedding_dimension()
    if dimension is None:
        dimension = len(model.encode("a", show_progress_bar=False))
    placement = compile_model(model, placement, settings.runtime, settings.threads, ref.spec)
    room = Room(ref.spec, "text")
    return _TorchEncoder(ref, settings, model, int(dimension), placement, length, pooling, room)


def _set_pooling(model: Any, pooling: Pooling, ref: ModelRef) -> str:
    """Replace the model's pooling if another one was asked for; says what it is now."""
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule

    found = [i for i, module in enumerate(model) if isinstance(module, PoolingModule)]
    if pooling == "auto":
        return " ".join(str(model[i].pooling_mode) for i in found) or "model"
    if len(found) != 1:
        raise UsageError(
            "the model has no pooling of its own to replace", where=f"--pooling, {ref.spec}"
        )
    old = model[found[0]]
    mode = "lasttoken" if pooling == "last" else pooling
    model[found[0]] = PoolingModule(old.embedding_dimension, mode, old.include_prompt)
    return mode


def load_torch(
    kind: Any, ref: ModelRef, placement: Placement, threads: int | None, trusted: bool
) -> Any:
    """A SentenceTransformer or CrossEncoder, in evaluation mode, at its place.

    On a GPU the weights are held in the chosen format; on a CPU they stay in float32 and
    bfloat16 is autocast's, which keeps what needs the precision.

    Raises:
        MissingInputError: there is no such model.
        UsageError: it brings code of its own, which is not ``trusted``.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    # Its "Loading weights" bar ignores --quiet and draws on a stderr that is no terminal.
    transformers_logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    dtype = torch.float32 if placement.device == "cpu" else getattr(torch, placement.dtype)
    with loading(ref.spec, placement):
        model = _constructed(kind, ref, placement, dtype, trusted)
        if any(type(module).__module__.startswith(_DYNAMIC) for module in model.modules()):
            log.warn([f"{ref.spec}: code that the model brings runs here (--trust-remote-code)"])
        return model.to(dtype).eval()


def _constructed(kind: Any, ref: ModelRef, placement: Placement, dtype: Any, trusted: bool) -> Any:
    try:
        return kind(
            ref.location,
            device=placement.device,
            revision=ref.hub_revision if not Path(ref.location).is_dir() else None,
            local_files_only=Path(ref.location).is_dir(),
            model_kwargs={"dtype": dtype},
            trust_remote_code=trusted,
        )
    except OSError as error:
        raise MissingInputError(f"the model cannot be loaded: {error}", where=ref.spec) from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UsageError(
            "this model brings Python code of its own, which would run in this process",
            where=ref.spec,
            hint="Read that code, then allow it with --trust-remote-code.",
        ) from error


#: Where transformers and sentence-transformers put a model's own classes.
_DYNAMIC = "transformers_modules"


def torch_max_length(model: Any, asked: int | None, ref: ModelRef) -> int:
    """Set the model's maximum length to what was asked for and say what it is now."""
    length = onnx_graph.checked_length(asked, _positions(model), ref.spec)
    if length is not None:
        try:
            model.max_seq_length = length
        except AttributeError as error:
            raise UsageError(
                "the model takes texts of any length; it cannot be limited",
                where=f"--max-length, {ref.spec}",
            ) from error
    own = model.max_seq_length
    return int(own) if own and own < NO_LIMIT else NO_LIMIT


def _positions(model: Any) -> int | None:
    """How many positions a model with learned positions has, the reserved ones left out."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        rows = getattr(table, "num_embeddings", None)
        if table is not None and rows is not None:
            reserved = 0 if table.padding_idx is None else table.padding_idx + 1
            return int(rows - reserved)
    return None


def is_plain_text_model(model: Any) -> bool:
    """Whether the model's features are its tokenizer's output and nothing else."""
    from sentence_transformers.base.modules import Transformer

    first = model[0]
    return (
        isinstance(first, Transformer)
        and first.tokenizer is not None
        and first.tokenizer.is_fast
        and first.modalities == ["text"]
        and first.transformer_task in ("feature-extraction", "sequence-classification")
        and first.query_expansion is None
        and not first.can_flatten_inputs
    )


def autocast(placement: Placement) -> AbstractContextManager[Any]:
    """The context in which PyTorch computes in bfloat16 on a CPU.

    A GPU's weights are in it already, and OpenVINO converts its own.
    """
    import torch

    if placement.device == "cpu" and (placement.dtype, placement.runtime) == ("bfloat16", "torch"):
        context: AbstractContextManager[Any] = torch.autocast("cpu", dtype=torch.bfloat16)
        return context
    return nullcontext()


def on_device(features: dict[str, Any], device: str) -> dict[str, Any]:
    """The features with their tensors moved."""
    return {
        name: value.to(device) if hasattr(value, "to") else value
        for name, value in features.items()
    }


def characters(texts: Sequence[str], max_length: int) -> Ints:
    """A stand-in for token lengths where texts cannot be tokenised beforehand."""
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    return np.minimum(lengths // 3 + 2, max_length)


def check_finite(values: npt.NDArray[np.float32], ref: ModelRef) -> None:
    """Stop at the first output that is not a number."""
    if not np.isfinite(values).all():
        raise InvalidDataError(
            "the model gave a value that is not a finite number",
            where=ref.spec,
            hint="Try --dtype float32; if that does not help, the model's weights are broken.",
        )


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), TOKENIZE_CHUNK):
        yield list(texts[start : start + TOKENIZE_CHUNK])


# --- onnxruntime ---


@dataclass(frozen=True)
class _OnnxEncoder:
    ref: ModelRef
    settings: EncoderSettings
    graph: onnx_graph.Graph
    tokenizer: Any
    pad_id: int
    output: str
    dimension: int
    max_length: int
    pooling: str
    prompts: dict[str, str]
    room: Room

    @property
    def placement(self) -> Placement:
        """Where it runs, in which format."""
        return self.graph.placement

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""
        return self.graph.token_budget(self.settings.batch_size)

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        return {
            "backend": "onnx",
            "revision": self.ref.revision,
            "query_prompt": self.prompts["query"],
            "doc_prompt": self.prompts["document"],
            "max_length": self.max_length,
            "pooling": self.pooling,
            "normalize": self.settings.normalize,
            "dtype": self.placement.dtype,
            "batch_size": 1 if self.graph.row_by_row else self.settings.batch_size,
            **self.room.facts(),
        }

    def encode(self, texts: Sequence[str], side: Side, progress: Progress | None = None) -> Vectors:
        """One C-contiguous float32 row per text, in the order of the texts."""
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        tokens, token_types = self._tokens(texts, side)
        lengths = tokens.lengths

        def work(rows: Ints) -> None:
            vectors = self.graph.run(
                self.output,
                tokens.pad(rows, self.pad_id),
                token_types.pad(rows),
                lengths[rows],
                self._pool,
            )
            check_finite(vectors, self.ref)
            out[rows] = vectors
            if progress:
                progress(len(rows))

        batches = length_batches(lengths, self.settings.batch_size, self.batch_tokens)
        self.room.run(batches, lengths, work, self.placement)
        return out

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """Tokens of each text as the model reads it, by which batches are cut."""
        return self._tokens(texts, side)[0].lengths

    def _tokens(self, texts: Sequence[str], side: Side) -> tuple[Ragged, Ragged]:
        """Token ids and token types of each text."""
        prompt = self.prompts[side]
        ids, types = [], []
        for chunk in _chunks(texts):
            encodings = self.tokenizer.encode_batch_fast([prompt + text for text in chunk])
            ids.append(from_lists([encoding.ids for encoding in encodings]))
            types.append(from_lists([encoding.type_ids for encoding in encodings]))
        return concatenate(ids), concatenate(types)

    def _pool(self, output: npt.NDArray[Any], lengths: Ints) -> Vectors:
        hidden = output.astype(np.float32, copy=False)
        if hidden.ndim == 2:
            vectors = hidden
        elif self.pooling == "cls":
            vectors = hidden[:, 0]
        elif self.pooling == "last":
            vectors = hidden[np.arange(len(hidden)), lengths - 1]
        else:
            mask = attention_mask(lengths).astype(np.float32)[:, :, None]
            vectors = (hidden * mask).sum(axis=1) / lengths[:, None].astype(np.float32)
        if self.settings.normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(norms, 1e-12)
        return vectors


def _load_onnx(ref: ModelRef, settings: EncoderSettings) -> _OnnxEncoder:
    folder = local_folder(ref)
    file = onnx_file(folder)
    graph = onnx_graph.open_graph(file, settings.device, settings.dtype, settings.threads)
    output, pooling = _onnx_output(graph, folder, settings.pooling, ref)
    tokenizer = onnx_graph.open_tokenizer(folder)
    length = onnx_graph.max_length(folder, settings.max_length)
    tokenizer.enable_truncation(length)
    saved = read_json(folder / "config_sentence_transformers.json")
    encoder = _OnnxEncoder(
        ref=ref,
        settings=settings,
        graph=graph,
        tokenizer=tokenizer,
        pad_id=onnx_graph.pad_id(folder, tokenizer),
        output=output,
        dimension=0,
        max_length=length,
        pooling=pooling,
        prompts={
            "query": _own_prompt(settings.query_prompt, saved, ("query",)),
            "document": _own_prompt(settings.doc_prompt, saved, _DOCUMENT_PROMPTS),
        },
        room=Room(ref.spec, "text"),
    )
    # A graph's output shape need not name the dimension; one short text does.
    probe = tokenizer.encode("a")
    ids, types = from_lists([probe.ids]), from_lists([probe.type_ids])
    row = np.zeros(1, dtype=np.int64)
    vector = graph.run(output, ids.pad(row), types.pad(row), ids.lengths, encoder._pool)
    return replace(encoder, dimension=int(vector.shape[1]))


def _own_prompt(asked: str | None, saved: dict[str, Any], names: Sequence[str]) -> str:
    if asked is not None:
        return asked
    prompts: dict[str, str | None] = saved.get("prompts") or {}
    for name in (*names, saved.get("default_prompt_name")):
        if name in prompts:
            return prompts[name] or ""
    return ""


def _onnx_output(
    graph: onnx_graph.Graph, folder: Path, pooling: Pooling, ref: ModelRef
) -> tuple[str, str]:
    """The output to read and how to pool it."""
    pooled = [
        name
        for name, rank in graph.ranks.items()
        if rank == 2 and name in ("sentence_embedding", "pooled", "pooled_embedding")
    ]
    hidden = [name for name, rank in graph.ranks.items() if rank == 3]
    if pooled and pooling == "auto":
        return pooled[0], "graph"
    if not hidden:
        shapes = ", ".join(f"{name} ({rank}-D)" for name, rank in graph.ranks.items())
        raise UsageError(
            f"the graph gives no hidden states to pool (its outputs: {shapes})",
            where=ref.spec,
            hint="A graph with one logit per pair is a cross-encoder: name it as the reranker.",
        )
    if pooling != "auto":
        return hidden[0], pooling
    saved = read_json(folder / "1_Pooling" / "config.json")
    mode = saved.get("pooling_mode")
    legacy = {
        "cls": saved.get("pooling_mode_cls_token"),
        "mean": saved.get("pooling_mode_mean_tokens"),
        "last": saved.get("pooling_mode_lasttoken"),
    }
    modes = [name for name, on in legacy.items() if on or mode == name]
    if mode == "lasttoken":
        modes = ["last"]
    if len(modes) != 1:
        raise UsageError(
            "the model's folder does not say how to pool token vectors",
            where=ref.spec,
            hint="Pass --pooling cls, mean or last, as its model card says.",
        )
    return hidden[0], modes[0]
