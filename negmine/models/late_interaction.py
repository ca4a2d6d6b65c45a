"""Late interaction: vectors of tokens, and the sum of each query token's best match (MaxSim).

Token vectors are large (60 kB a document at 128 numbers), so none are kept: documents are encoded
batch by batch, meet the queries that ask for them, and are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from negmine import log
from negmine.errors import UsageError
from negmine.models.base import LateInteractionSettings, Scores, Side, checked
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress, Scaled
from negmine.models.devices import choose
from negmine.models.limits import check_late_interaction, checked_length
from negmine.models.resolve import ModelRef
from negmine.models.room import Room
from negmine.models.running import check_finite, go_through
from negmine.models.shared import loaded
from negmine.models.tokens import Ints
from negmine.models.torch_models import (
    NO_LIMIT,
    autocast,
    is_text_transformer,
    learned_positions,
    load_torch,
    on_device,
)
from negmine.models.torch_texts import TorchTextModel

#: Numbers of the padded token vectors, and of their products, that are held for pairs at a time.
_PAIR_NUMBERS = 1 << 23


@dataclass(frozen=True)
class LateInteraction(TorchTextModel):
    """A loaded model of late interaction."""

    settings: LateInteractionSettings

    def describe(self) -> dict[str, object]:
        """Everything that decides the output, for the fingerprint."""
        first = self.model[0]
        return self.described(
            query_length=getattr(first, "query_length", None),
            query_expansion=getattr(first, "query_expansion", None),
            dimension=self.model.get_embedding_dimension(),
            similarity=self.model.similarity_fn_name,
        )

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: npt.NDArray[np.integer],
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Scores:
        """One float32 score per row ``(query index, document index)`` of ``pairs``.

        Each text that the pairs name is encoded once. Documents of which ``checkpoint`` has all
        pairs are not encoded again.
        """
        import torch

        pairs = checked(pairs)
        out = np.empty(len(pairs), dtype=np.float32)
        if not len(pairs):
            return out
        asked, query = np.unique(pairs[:, 0], return_inverse=True)
        used, document = np.unique(pairs[:, 1], return_inverse=True)
        places = _Places.of(document)
        with torch.inference_mode(), autocast(self.placement):
            left = self._encoded([queries[i] for i in asked.tolist()], "query")
            texts = [documents[i] for i in used.tolist()]
            lengths, encode = self._encoder(texts, "document", progress)

            def work(rows: Ints) -> None:
                vectors = encode(rows)
                at = places.rows(rows)
                right = np.repeat(np.arange(len(rows)), places.counts[rows])
                values = self._similarities(
                    [left[i] for i in query[at].tolist()], [vectors[i] for i in right.tolist()]
                )
                check_finite(values, self.ref)
                out[at] = values

            told = Scaled(progress, len(used), len(pairs))
            kept = None if checkpoint is None else _ByDocument(checkpoint, places)
            go_through(out, self, lengths, work, told, kept)
        return out

    def _encoder(
        self, texts: Sequence[str], side: Side, progress: Progress | None = None
    ) -> tuple[Ints, Callable[[Ints], list[Any]]]:
        """Tokens of each text, and what gives the token vectors [tokens, dim] of some of them."""
        lengths, make = self.texts(side).batch_maker(texts, progress)

        def encode(rows: Ints) -> list[Any]:
            made = self.model(on_device(make(rows), self.placement.device), task=side)
            vectors, scored = made["token_embeddings"].float(), made["attention_mask"].bool()
            return [each[mask] for each, mask in zip(vectors, scored, strict=True)]

        return lengths, encode

    def _encoded(self, texts: Sequence[str], side: Side) -> list[Any]:
        """The token vectors of each text."""
        found: list[Any] = [None] * len(texts)
        lengths, encode = self._encoder(texts, side)

        def work(rows: Ints) -> None:
            for row, vectors in zip(rows.tolist(), encode(rows), strict=True):
                found[row] = vectors

        go_through(np.empty(0, dtype=np.float32), self, lengths, work, None, None)
        return found

    def _similarities(self, queries: list[Any], documents: list[Any]) -> Scores:
        """What the model's own similarity gives for each pair of token vectors, in float32."""
        import torch

        kind = self.placement.device.partition(":")[0]
        with torch.autocast(kind, enabled=False):
            made = self.model.similarity_pairwise(queries, documents, chunk_elements=_PAIR_NUMBERS)
        found: Scores = made.cpu().numpy()
        return found


@dataclass(frozen=True)
class _Places:
    """Which pairs each document is in.

    Attributes:
        order: row numbers of the pairs, those of a document side by side, int64 [pairs].
        starts: where in it each document's begin, int64 [documents].
        counts: pairs of each document, int64 [documents].
    """

    order: Ints
    starts: Ints
    counts: Ints

    @classmethod
    def of(cls, document: npt.NDArray[np.integer]) -> _Places:
        """Of the document of each pair; every one has a pair."""
        counts = np.bincount(document).astype(np.int64)
        return cls(np.argsort(document, kind="stable"), np.cumsum(counts) - counts, counts)

    def rows(self, documents: Ints) -> Ints:
        """Row numbers of the pairs of some documents, one document after the other."""
        counts = self.counts[documents]
        before = np.cumsum(counts) - counts
        places = np.repeat(self.starts[documents] - before, counts) + np.arange(counts.sum())
        rows: Ints = self.order[places]
        return rows


@dataclass(frozen=True)
class _ByDocument:
    """A checkpoint of pairs as one of documents: a document is finished when all its pairs are."""

    pairs: Checkpoint
    places: _Places

    def restore(self, out: np.ndarray) -> np.ndarray:
        """Fill in the pairs of ``out`` that are finished; True for finished documents."""
        done = self.pairs.restore(out)[self.places.order]
        finished: np.ndarray = np.logical_and.reduceat(done, self.places.starts)
        return finished

    def add(self, rows: Ints) -> None:
        """Keep the pairs of some documents."""
        self.pairs.add(self.places.rows(rows))


def load_late_interaction(ref: ModelRef, settings: LateInteractionSettings) -> LateInteraction:
    """Load a model of late interaction, compiled where it may be.

    Raises:
        UsageError: a setting that it cannot honour.
    """
    check_late_interaction(ref, settings)
    with log.waiting(f"loading {ref.spec}"):
        return loaded(_load, ref, settings)


def _load(ref: ModelRef, settings: LateInteractionSettings) -> LateInteraction:
    from sentence_transformers import MultiVectorEncoder

    from negmine.models.compiled import compile_model

    placement = choose(settings.device, settings.dtype)
    model = load_torch(
        MultiVectorEncoder, ref, placement, settings.threads, settings.trust_remote_code
    )
    length = _limit_documents(model, settings.max_length, ref)
    placement = compile_model(model, placement, settings.runtime, settings.threads, ref.spec)
    return LateInteraction(ref, settings, model, placement, length, Room(ref.spec, "text"))


def _limit_documents(model: Any, asked: int | None, ref: ModelRef) -> int:
    """Set how many tokens of a document are read, if that was asked for; says what it is now.

    Queries keep the model's own length: what they are filled up to decides what is scored.
    """
    first = model[0]
    length = checked_length(asked, learned_positions(model), ref.spec)
    if length is not None:
        if not is_text_transformer(first):
            raise UsageError(
                "the model's documents cannot be limited", where=f"--max-length, {ref.spec}"
            )
        first.document_length = length
    own = getattr(first, "document_length", None) or model.max_seq_length
    return int(own) if own and own < NO_LIMIT else NO_LIMIT
