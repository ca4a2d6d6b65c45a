"""Learned sparse encoders, by sentence-transformers: texts to weights of terms.

SPLADE (a masked language model's head), encoders whose queries are looked up and not inferred, and
sparse autoencoders over dense vectors (CSR) are one thing here: each text becomes a row of terms
and whole numbers (:mod:`negmine.models.impacts`). Prompts, lengths and the routes of queries and
documents are the library's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from negmine import log
from negmine.errors import InvalidDataError
from negmine.models.base import Side, SparseSettings
from negmine.models.batching import token_budget
from negmine.models.counting import Progress
from negmine.models.devices import Placement, choose
from negmine.models.impacts import SCALE, Impacts, Rows
from negmine.models.limits import check_sparse
from negmine.models.resolve import ModelRef
from negmine.models.room import Room
from negmine.models.running import go_through
from negmine.models.tokens import Ints
from negmine.models.torch_models import autocast, load_torch, on_device, torch_max_length
from negmine.models.torch_texts import TorchTexts, prompt_of

_LARGEST = np.iinfo(np.int32).max


class RowsCheckpoint(Protocol):
    """Keeps finished rows of one part."""

    def restore_rows(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Fill in the rows that are finished; True for these, bool [rows]."""

    def add(self, rows: Ints) -> None:
        """Keep some rows, which are made now and do not change any more."""


class SparseEncoder(Protocol):
    """A loaded learned sparse encoder."""

    @property
    def dimension(self) -> int:
        """How many terms there are."""

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

    def encode(
        self,
        texts: Sequence[str],
        side: Side,
        progress: Progress | None = None,
        checkpoint: RowsCheckpoint | None = None,
    ) -> Impacts:
        """A row for each text, in the order of the texts."""


@dataclass(frozen=True)
class _TorchSparse:
    ref: ModelRef
    settings: SparseSettings
    model: Any
    dimension: int
    placement: Placement
    max_length: int
    heads: int
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
            "max_active_dims": self.model.max_active_dims,
            "scale": SCALE,
            "dtype": self.placement.dtype,
            "batch_size": self.settings.batch_size,
            "heads_in_pieces": self.heads,
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
        checkpoint: RowsCheckpoint | None = None,
    ) -> Impacts:
        """A row for each text, in the order of the texts."""
        import torch

        out = Rows(len(texts))
        lengths, make = self._texts(side).batch_maker(texts)

        def work(rows: Ints) -> None:
            features = on_device(make(rows), self.placement.device)
            out.put(rows, self._impacts(self._weights(features, side)))

        kept = None if checkpoint is None else _Kept(out, checkpoint)
        with torch.inference_mode(), autocast(self.placement):
            go_through(np.empty(0, dtype=np.float32), self, lengths, work, progress, kept)
        return out.all()

    def _weights(self, features: dict[str, Any], side: Side) -> Any:
        """The weights [texts, terms] as the library's own methods give them."""
        most = self.model.max_active_dims
        if most is None:
            return self.model(features, task=side)["sentence_embedding"]
        from sentence_transformers.util import select_max_active_dims

        found = self.model(features, task=side, max_active_dims=most)["sentence_embedding"]
        return select_max_active_dims(found, max_active_dims=most)

    def _impacts(self, weights: Any) -> Impacts:
        """The weights of a batch as whole numbers."""
        row, term = (each.cpu() for each in weights.nonzero(as_tuple=True))
        values = weights[weights != 0].double().cpu().numpy()
        scaled = np.rint(values * SCALE)
        if not np.isfinite(scaled).all() or np.abs(scaled).max(initial=0) > _LARGEST:
            raise InvalidDataError(
                "the model gave a weight that is not a finite number, or is far too large",
                where=self.ref.spec,
                hint="Try --dtype float32; if that does not help, the model's weights are broken.",
            )
        some = scaled != 0
        counts = np.bincount(row.numpy()[some], minlength=len(weights))
        return Impacts(
            np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]),
            term.numpy()[some].astype(np.int32),
            scaled[some].astype(np.int32),
        )

    def _texts(self, side: Side) -> TorchTexts:
        settings = self.settings
        asked = settings.query_prompt if side == "query" else settings.doc_prompt
        return TorchTexts(self.model, side, prompt_of(self.model, side, asked), self.max_length)


@dataclass(frozen=True)
class _Kept:
    """A checkpoint of rows as one of an array's, which there is none of."""

    rows: Rows
    checkpoint: RowsCheckpoint

    def restore(self, out: np.ndarray) -> np.ndarray:
        """Fill in the rows that are finished; True for these."""
        return self.checkpoint.restore_rows(self.rows)

    def add(self, rows: Ints) -> None:
        """Keep some rows."""
        self.checkpoint.add(rows)


def load_sparse_encoder(ref: ModelRef, settings: SparseSettings) -> SparseEncoder:
    """Load a learned sparse encoder.

    Raises:
        UsageError: the model is none, or a setting that it cannot honour.
    """
    check_sparse(ref, settings)
    with log.waiting(f"loading {ref.spec}"):
        return _load(ref, settings)


def _load(ref: ModelRef, settings: SparseSettings) -> SparseEncoder:
    import torch
    from sentence_transformers import SparseEncoder as Library

    from negmine.models.compiled import compile_model
    from negmine.models.splade_head import sequences, take_head

    placement = choose(settings.device, settings.dtype)
    model = load_torch(Library, ref, placement, settings.threads, settings.trust_remote_code)
    length = torch_max_length(model, settings.max_length, ref)
    dtype = getattr(torch, placement.dtype)
    heads = take_head(model, dtype, partial(autocast, placement), ref.spec)
    for sequence in sequences(model):
        if hasattr(sequence[0], "model"):
            placement = compile_model(
                sequence, placement, settings.runtime, settings.threads, ref.spec
            )
    # Not what its last module says: before the first text that may be the hidden states' width.
    dimension = model.encode_document("a", show_progress_bar=False).shape[-1]
    room = Room(ref.spec, "text")
    return _TorchSparse(ref, settings, model, int(dimension), placement, length, heads, room)
