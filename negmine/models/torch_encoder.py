"""Encoders of PyTorch, by sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from negmine.errors import UsageError
from negmine.models.base import EncoderSettings, Pooling, Side, Vectors
from negmine.models.batching import token_budget
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress
from negmine.models.devices import Placement, choose
from negmine.models.limits import refuse_pooling
from negmine.models.resolve import ModelRef, read_json
from negmine.models.room import Room
from negmine.models.running import fill
from negmine.models.tokens import Ints
from negmine.models.torch_models import (
    autocast,
    load_torch,
    on_device,
    torch_max_length,
)
from negmine.models.torch_texts import TorchTexts, prompt_of


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
            "query_prompt": self._texts("query").prompt,
            "doc_prompt": self._texts("document").prompt,
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
        return self._texts(side).lengths(texts)

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
        lengths, make = self._texts(side).batch_maker(texts)

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

    def _texts(self, side: Side) -> TorchTexts:
        settings = self.settings
        asked = settings.query_prompt if side == "query" else settings.doc_prompt
        return TorchTexts(self.model, side, prompt_of(self.model, side, asked), self.max_length)


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
