"""Encoders of PyTorch, by sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from negmine.errors import UsageError
from negmine.models.base import EncoderSettings, Pooling, Side, Vectors
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress
from negmine.models.devices import choose
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
from negmine.models.torch_texts import TorchTextModel
from negmine.models.trial import Run, settle


@dataclass(frozen=True)
class _TorchEncoder(TorchTextModel):
    settings: EncoderSettings
    dimension: int
    pooling: str

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        settings = self.settings
        return self.described(
            pooling=self.pooling, **settings.truncation(), normalize=settings.normalize
        )

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
        lengths, make = self.texts(side).batch_maker(texts, progress)

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

    def settled(
        self,
        texts: Callable[[], Sequence[str]],
        rows: Callable[[], int],
        before: Mapping[str, Any] | None,
    ) -> tuple[_TorchEncoder, dict[str, Any]]:
        """The encoder as it runs for an artifact; see :class:`negmine.models.base.Settles`."""

        def sample() -> tuple[Ints, Run[_TorchEncoder]]:
            some = texts()

            def run(model: _TorchEncoder, rows: Ints) -> Vectors:
                return model.encode([some[row] for row in rows.tolist()], "document")

            return self.lengths(some, "document"), run

        return settle(self, before, rows, sample, partial(load_torch_encoder, self.ref))


def load_torch_encoder(ref: ModelRef, settings: EncoderSettings) -> _TorchEncoder:
    """Load an encoder that PyTorch runs, compiled where it may be."""
    from sentence_transformers import SentenceTransformer

    from negmine.models.compiled import compile_model
    from negmine.models.first_token import read_first_token_alone
    from negmine.models.int8 import into_int8

    placement = choose(settings.device, settings.dtype, int8=True)
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
    read_first_token_alone(model, placement)
    if placement.dtype == "int8":
        into_int8(model, ref.spec)
    placement = compile_model(model, placement, settings.runtime, settings.threads, ref.spec)
    return _TorchEncoder(
        *(ref, settings, model, placement, length, Room(ref.spec, "text")),
        dimension=dimension,
        pooling=pooling,
    )


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
