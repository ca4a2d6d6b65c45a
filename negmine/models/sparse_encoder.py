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
from negmine.models.base import Side, SparseSettings, TextModel
from negmine.models.counting import Progress
from negmine.models.devices import choose
from negmine.models.impacts import SCALE, Impacts, Rows
from negmine.models.limits import check_sparse
from negmine.models.resolve import ModelRef
from negmine.models.room import Room
from negmine.models.running import go_through
from negmine.models.shared import loaded
from negmine.models.tokens import Ints
from negmine.models.torch_models import autocast, load_torch, on_device, torch_max_length
from negmine.models.torch_texts import TorchTextModel

_LARGEST = np.iinfo(np.int32).max


class RowsCheckpoint(Protocol):
    """Keeps finished rows of one part."""

    def restore_rows(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Fill in the rows that are finished; True for these, bool [rows]."""

    def add(self, rows: Ints) -> None:
        """Keep some rows, which are made now and do not change any more."""


class SparseEncoder(TextModel, Protocol):
    """A loaded learned sparse encoder."""

    @property
    def dimension(self) -> int:
        """How many terms there are."""

    def encode(
        self,
        texts: Sequence[str],
        side: Side,
        progress: Progress | None = None,
        checkpoint: RowsCheckpoint | None = None,
    ) -> Impacts:
        """A row for each text, in the order of the texts."""


@dataclass(frozen=True)
class _TorchSparse(TorchTextModel):
    settings: SparseSettings
    dimension: int
    heads: int

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        most = self.model.max_active_dims
        return self.described(max_active_dims=most, scale=SCALE, heads_in_pieces=self.heads)

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
        lengths, make = self.texts(side).batch_maker(texts, progress)

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
    """Load a learned sparse encoder, or take the one that an earlier stage loaded.

    Raises:
        UsageError: the model is none, or a setting that it cannot honour.
    """
    check_sparse(ref, settings)
    with log.waiting(f"loading {ref.spec}"):
        return loaded(_load, ref, settings)


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
    return _TorchSparse(
        *(ref, settings, model, placement, length, Room(ref.spec, "text")),
        dimension=int(dimension),
        heads=heads,
    )
