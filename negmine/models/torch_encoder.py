"""Encoders of PyTorch, by sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from negmine.errors import UsageError
from negmine.models.base import DOCUMENT_PROMPTS, EncoderSettings, Pooling, Side, Vectors
from negmine.models.batching import token_budget
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress
from negmine.models.devices import Placement, choose
from negmine.models.limits import refuse_pooling
from negmine.models.resolve import ModelRef, read_json
from negmine.models.room import Room
from negmine.models.running import fill
from negmine.models.tokens import Ints, Ragged, attention_mask, chunks, concatenate, from_lists
from negmine.models.torch_models import (
    autocast,
    characters,
    is_plain_text_model,
    load_torch,
    on_device,
    torch_max_length,
)


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
            **self.settings.truncation(),
            "normalize": self.settings.normalize,
            "dtype": self.placement.dtype,
            "batch_size": self.settings.batch_size,
            **self.room.facts(),
        }

    def lengths(self, texts: Sequence[str], side: Side) -> Ints:
        """Tokens of each text as the model reads it, by which batches are cut."""
        made = self._tokens(texts, side)
        return characters(texts, self.max_length) if made is None else made[0]["input_ids"].lengths

    def encode(
        self,
        texts: Sequence[str],
        side: Side,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Vectors:
        """One C-contiguous float32 row per text, in the order of the texts."""
        import torch

        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        lengths, make = self._batch_maker(texts, side)

        def vectors(rows: Ints) -> Vectors:
            features = on_device(make(rows), self.placement.device)
            made = self.model(features, task=side)["sentence_embedding"].float()
            made = made[:, : self.dimension]
            if self.settings.normalize:
                made = torch.nn.functional.normalize(made, p=2, dim=1)
            found: Vectors = made.cpu().numpy()
            return found

        # One autocast over all batches: it keeps the weights it has converted.
        with torch.inference_mode(), autocast(self.placement):
            fill(out, self, lengths, vectors, progress, checkpoint)
        return out

    def _prompt(self, side: Side) -> str | None:
        """What ``encode_query`` and ``encode_document`` would put before a text."""
        own = self.settings.query_prompt if side == "query" else self.settings.doc_prompt
        if own is not None:
            return own
        prompts: dict[str, str] = self.model.prompts
        names = ("query",) if side == "query" else DOCUMENT_PROMPTS
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
        for chunk in chunks(texts):
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


def load_torch_encoder(ref: ModelRef, settings: EncoderSettings) -> _TorchEncoder:
    """Load an encoder that PyTorch runs, compiled where it may be."""
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
    dimension = settings.truncated(int(dimension), ref.spec)
    placement = compile_model(model, placement, settings.runtime, settings.threads, ref.spec)
    room = Room(ref.spec, "text")
    return _TorchEncoder(ref, settings, model, dimension, placement, length, pooling, room)


def _set_pooling(model: Any, pooling: Pooling, ref: ModelRef) -> str:
    """Replace the model's pooling if another one was asked for; says what it is now."""
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule

    found = [i for i, module in enumerate(model) if isinstance(module, PoolingModule)]
    if pooling == "auto":
        return " ".join(str(model[i].pooling_mode) for i in found) or "model"
    if len(found) != 1:
        refuse_pooling(ref)
    old = model[found[0]]
    mode = "lasttoken" if pooling == "last" else pooling
    model[found[0]] = PoolingModule(old.embedding_dimension, mode, old.include_prompt)
    return mode
