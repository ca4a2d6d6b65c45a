"""Cross-encoders: (query, document) pairs to scores.

Queries and documents are tokenised once each; pairs are assembled from their ids per batch,
and batches are cut by length across queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from negmine.errors import UsageError
from negmine.models import onnx_graph
from negmine.models.batching import length_batches, token_budget
from negmine.models.devices import Placement, choose
from negmine.models.encoders import (
    autocast,
    characters,
    check_finite,
    is_plain_text_model,
    load_torch,
    on_device,
    torch_max_length,
)
from negmine.models.pairs import PairRows, PairTokenizer, pair_tokenizer, probes
from negmine.models.resolve import ModelRef, local_folder, onnx_file
from negmine.models.room import Room
from negmine.models.tokens import Ints, attention_mask

Activation = Literal["auto", "none", "sigmoid"]
Scores = npt.NDArray[np.float32]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class CrossEncoderSettings:
    """How to run a cross-encoder.

    Attributes:
        max_length: tokens of a pair; ``None`` is the model's own maximum.
        batch_size: most pairs in a batch (fewer when they are long).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        runtime: ``auto``, ``torch`` or ``openvino``; what runs a PyTorch model.
        activation: what is applied to the logit; ``auto`` is what sentence-transformers applies
            for that model, and nothing for an ONNX graph.
        threads: CPU threads; ``None`` is what the backend takes by itself.
        trust_remote_code: whether Python code that the model brings may run.
    """

    max_length: int | None = None
    batch_size: int = 64
    device: str = "auto"
    dtype: str = "auto"
    runtime: str = "auto"
    activation: Activation = "auto"
    threads: int | None = None
    trust_remote_code: bool = False


class CrossEncoder(Protocol):
    """A loaded cross-encoder."""

    @property
    def placement(self) -> Placement:
        """Where it runs, in which format."""

    @property
    def max_length(self) -> int:
        """Tokens of a pair; the longer text is cut first."""

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""

    def lengths(
        self, queries: Sequence[str], documents: Sequence[str], pairs: npt.NDArray[np.integer]
    ) -> Ints:
        """Tokens of each pair as the model reads it, by which batches are cut."""

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: npt.NDArray[np.integer],
        progress: Progress | None = None,
    ) -> Scores:
        """One float32 score per row ``(query index, document index)`` of ``pairs``."""


def load_cross_encoder(ref: ModelRef, settings: CrossEncoderSettings) -> CrossEncoder:
    """Load a cross-encoder.

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
    return _load_onnx(ref, settings) if ref.backend == "onnx" else _load_torch(ref, settings)


def _checked(pairs: npt.NDArray[np.integer]) -> Ints:
    if pairs.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs must be [n, 2], got {pairs.shape}")
    return pairs.astype(np.int64, copy=False)


# --- sentence-transformers ---


@dataclass(frozen=True)
class _TorchCrossEncoder:
    ref: ModelRef
    settings: CrossEncoderSettings
    model: Any
    placement: Placement
    max_length: int
    activation: Callable[[Any], Any]
    activation_name: str
    tokenizer: PairTokenizer | None
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
            "max_length": self.max_length,
            "activation": self.activation_name,
            "dtype": self.placement.dtype,
            "batch_size": self.settings.batch_size,
            **self.room.facts(),
        }

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: npt.NDArray[np.integer],
        progress: Progress | None = None,
    ) -> Scores:
        """One float32 score per row ``(query index, document index)`` of ``pairs``."""
        import torch

        pairs = _checked(pairs)
        out = np.empty(len(pairs), dtype=np.float32)
        if not len(pairs):
            return out
        lengths, make = self._batch_maker(queries, documents, pairs)

        def work(rows: Ints) -> None:
            features = on_device(make(rows), self.placement.device)
            scores = self.activation(self.model(features)["scores"].float())
            out[rows] = scores.reshape(len(rows)).cpu().numpy()
            check_finite(out[rows], self.ref)
            if progress:
                progress(len(rows))

        batches = length_batches(lengths, self.settings.batch_size, self.batch_tokens)
        with torch.inference_mode(), autocast(self.placement):
            self.room.run(batches, lengths, work, self.placement)
        return out

    def lengths(
        self, queries: Sequence[str], documents: Sequence[str], pairs: npt.NDArray[np.integer]
    ) -> Ints:
        """Tokens of each pair as the model reads it, by which batches are cut."""
        pairs = _checked(pairs)
        if self.tokenizer is None:
            return self._characters(queries, documents, pairs)
        return self.tokenizer.rows(queries, documents, pairs).lengths

    def _characters(self, queries: Sequence[str], documents: Sequence[str], pairs: Ints) -> Ints:
        lengths = (
            characters(queries, self.max_length)[pairs[:, 0]]
            + characters(documents, self.max_length)[pairs[:, 1]]
        )
        return np.minimum(lengths, self.max_length)

    def _batch_maker(
        self, queries: Sequence[str], documents: Sequence[str], pairs: Ints
    ) -> tuple[Ints, Callable[[Ints], dict[str, Any]]]:
        """Tokens of each pair, and what makes the features of some rows."""
        if self.tokenizer is not None:
            made = self.tokenizer.rows(queries, documents, pairs)
            return made.lengths, partial(self._padded, made)
        prompt = default_prompt(self.model)

        def by_the_model(rows: Ints) -> dict[str, Any]:
            # Chat templates, prompts.
            batch = [(queries[q], documents[d]) for q, d in pairs[rows].tolist()]
            features: dict[str, Any] = self.model.preprocess(batch, prompt=prompt)
            return features

        return self._characters(queries, documents, pairs), by_the_model

    def _padded(self, made: PairRows, rows: Ints) -> dict[str, Any]:
        import torch

        tokenizer = self.model.tokenizer
        left = tokenizer.padding_side == "left"
        ids, types = made.batch(rows, tokenizer.pad_token_id or 0, left)
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(attention_mask(made.lengths[rows], left)),
            "modality": "text",
        }
        if "token_type_ids" in tokenizer.model_input_names:
            features["token_type_ids"] = torch.from_numpy(types)
        return features


def default_prompt(model: Any) -> str | None:
    """The prompt that ``CrossEncoder.predict`` would use by itself."""
    prompt: str | None = model.prompts.get(model.default_prompt_name)
    return prompt


def _load_torch(ref: ModelRef, settings: CrossEncoderSettings) -> _TorchCrossEncoder:
    import torch
    from sentence_transformers import CrossEncoder as Model

    from negmine.models.compiled import compile_model

    placement = choose(settings.device, settings.dtype)
    model = load_torch(Model, ref, placement, settings.threads, settings.trust_remote_code)
    if model.num_labels != 1:
        raise UsageError(
            f"the model gives {model.num_labels} values per pair; a reranker gives one",
            where=ref.spec,
            hint="Use a cross-encoder with num_labels = 1.",
        )
    length = torch_max_length(model, settings.max_length, ref)
    activation = {
        "auto": model.activation_fn,
        "none": torch.nn.Identity(),
        "sigmoid": torch.nn.Sigmoid(),
    }[settings.activation]
    name = type(activation).__name__.lower().replace("identity", "none")
    tokenizer = _fast_pairs(model, length)
    placement = compile_model(model, placement, settings.runtime, settings.threads, ref.spec)
    room = Room(ref.spec, "pair")
    return _TorchCrossEncoder(
        ref, settings, model, placement, length, activation, name, tokenizer, room
    )


def _fast_pairs(model: Any, max_length: int) -> PairTokenizer | None:
    """Pairs from texts tokenised once, if they are what the model itself would make."""
    if not is_plain_text_model(model) or default_prompt(model):
        return None
    from tokenizers import Tokenizer

    # A copy: ours is truncated differently, and transformers sets its own at every call.
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tried = pair_tokenizer(tokenizer, max_length)
    queries, documents, pairs = probes(max_length)
    rows = tried.rows(queries, documents, pairs)
    for row, (q, d) in enumerate(pairs.tolist()):
        own = model.preprocess([(queries[q], documents[d])])
        if own.get("modality") != "text":
            return None
        ids, types = rows.batch(np.array([row]), pad_id=0)
        own_types = own.get("token_type_ids")
        if own["input_ids"].tolist() != ids.tolist() or (
            own_types is not None and own_types.tolist() != types.tolist()
        ):
            return None
    return tried


# --- onnxruntime ---


@dataclass(frozen=True)
class _OnnxCrossEncoder:
    ref: ModelRef
    settings: CrossEncoderSettings
    graph: onnx_graph.Graph
    tokenizer: PairTokenizer
    pad_id: int
    output: str
    room: Room

    @property
    def placement(self) -> Placement:
        """Where it runs, in which format."""
        return self.graph.placement

    @property
    def max_length(self) -> int:
        """Tokens of a pair; the longer text is cut first."""
        return self.tokenizer.max_length

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""
        return self.graph.token_budget(self.settings.batch_size)

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        return {
            "backend": "onnx",
            "revision": self.ref.revision,
            "max_length": self.max_length,
            "activation": "sigmoid" if self.settings.activation == "sigmoid" else "none",
            "dtype": self.placement.dtype,
            "batch_size": 1 if self.graph.row_by_row else self.settings.batch_size,
            **self.room.facts(),
        }

    def lengths(
        self, queries: Sequence[str], documents: Sequence[str], pairs: npt.NDArray[np.integer]
    ) -> Ints:
        """Tokens of each pair as the model reads it, by which batches are cut."""
        return self.tokenizer.rows(queries, documents, _checked(pairs)).lengths

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: npt.NDArray[np.integer],
        progress: Progress | None = None,
    ) -> Scores:
        """One float32 score per row ``(query index, document index)`` of ``pairs``."""
        pairs = _checked(pairs)
        out = np.empty(len(pairs), dtype=np.float32)
        if not len(pairs):
            return out
        made = self.tokenizer.rows(queries, documents, pairs)
        lengths = made.lengths

        def work(rows: Ints) -> None:
            ids, types = made.batch(rows, self.pad_id)
            logits = self.graph.run(self.output, ids, types, lengths[rows], _one_logit)
            check_finite(logits, self.ref)
            out[rows] = logits
            if progress:
                progress(len(rows))

        batches = length_batches(lengths, self.settings.batch_size, self.batch_tokens)
        self.room.run(batches, lengths, work, self.placement)
        if self.settings.activation == "sigmoid":
            # In float64, where the exponential of a large negative logit does not overflow.
            out = (1 / (1 + np.exp(-out.astype(np.float64)))).astype(np.float32)
        return out


def _one_logit(output: npt.NDArray[Any], lengths: Ints) -> Scores:
    if output.size != len(lengths):
        raise UsageError(
            f"the graph gives {output.size // len(lengths)} values per pair; a reranker gives one",
            hint="Use a cross-encoder with one logit.",
        )
    return output.reshape(len(lengths)).astype(np.float32, copy=False)


def _load_onnx(ref: ModelRef, settings: CrossEncoderSettings) -> _OnnxCrossEncoder:
    folder = local_folder(ref)
    graph = onnx_graph.open_graph(
        onnx_file(folder), settings.device, settings.dtype, settings.threads
    )
    flat = [name for name, rank in graph.ranks.items() if rank in (1, 2)]
    if not flat:
        raise UsageError(
            "the graph gives hidden states, not one logit per pair: it is a bi-encoder",
            where=ref.spec,
            hint="Name a cross-encoder (a reranker) here.",
        )
    tokenizer = onnx_graph.open_tokenizer(folder)
    pad = onnx_graph.pad_id(folder, tokenizer)
    length = onnx_graph.max_length(folder, settings.max_length)
    model = _OnnxCrossEncoder(
        ref=ref,
        settings=settings,
        graph=graph,
        tokenizer=pair_tokenizer(tokenizer, length),
        pad_id=pad,
        output="logits" if "logits" in flat else flat[0],
        room=Room(ref.spec, "pair"),
    )
    # One pair, so that a graph with several labels is refused here and not after an hour.
    model.score(["a"], ["b"], np.zeros((1, 2), dtype=np.int64))
    return model
