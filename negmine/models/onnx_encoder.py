"""Encoders of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from negmine.errors import UsageError
from negmine.models import onnx_graph
from negmine.models.base import DOCUMENT_PROMPTS, EncoderSettings, Pooling, Side, Vectors
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress, tell_tokens
from negmine.models.devices import Placement
from negmine.models.resolve import ModelRef, local_folder, onnx_file, read_json
from negmine.models.room import Room
from negmine.models.running import fill
from negmine.models.token_cache import Tokens, key_of, tokenizer_name
from negmine.models.token_files import tokens_of
from negmine.models.tokens import Ints, attention_mask, chunks, concatenate, from_lists


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
            **self.settings.truncation(),
            "normalize": self.settings.normalize,
            "dtype": self.placement.dtype,
            "batch_size": 1 if self.graph.row_by_row else self.settings.batch_size,
            **self.room.facts(),
        }

    def encode(
        self,
        texts: Sequence[str],
        side: Side,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Vectors:
        """One C-contiguous float32 row per text, in the order of the texts."""
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        made = self._tokens(texts, side).columns
        tokens, token_types = made["ids"], made["types"]
        lengths = tokens.lengths
        tell_tokens(progress, lengths, self.max_length)

        def vectors(rows: Ints) -> Vectors:
            return self.graph.run(
                self.output,
                tokens.pad(rows, self.pad_id),
                token_types.pad(rows),
                lengths[rows],
                self._pool,
            )

        fill(out, self, lengths, vectors, progress, checkpoint)
        return out

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """Tokens of each text as the model reads it, by which batches are cut."""
        return self._tokens(texts, side).columns["ids"].lengths

    def _tokens(self, texts: Sequence[str], side: Side) -> Tokens:
        """Token ids and token types of each text."""
        prompt = self.prompts[side]

        def tokenised(some: Sequence[str]) -> Tokens:
            ids, types = [], []
            for chunk in chunks(some):
                encodings = self.tokenizer.encode_batch_fast([prompt + text for text in chunk])
                ids.append(from_lists([encoding.ids for encoding in encodings]))
                types.append(from_lists([encoding.type_ids for encoding in encodings]))
            return Tokens({"ids": concatenate(ids), "types": concatenate(types)})

        name = self._tokenizer
        key = None if name is None else key_of(name, prompt, self.max_length)
        return tokens_of(self.ref, side, key, texts, tokenised)

    @cached_property
    def _tokenizer(self) -> str | None:
        return tokenizer_name(self.tokenizer)

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
        vectors = vectors[:, : self.settings.truncate_dim]
        if self.settings.normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(norms, 1e-12)
        return vectors


def load_onnx_encoder(ref: ModelRef, settings: EncoderSettings) -> _OnnxEncoder:
    """Load an encoder that ONNX Runtime runs."""
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
            "document": _own_prompt(settings.doc_prompt, saved, DOCUMENT_PROMPTS),
        },
        room=Room(ref.spec, "text"),
    )
    # A graph's output shape need not name the dimension; one short text does.
    probe = tokenizer.encode("a")
    ids, types = from_lists([probe.ids]), from_lists([probe.type_ids])
    row = np.zeros(1, dtype=np.int64)
    whole = replace(encoder, settings=replace(settings, truncate_dim=None))
    vector = graph.run(output, ids.pad(row), types.pad(row), ids.lengths, whole._pool)
    return replace(encoder, dimension=settings.truncated(int(vector.shape[1]), ref.spec))


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
