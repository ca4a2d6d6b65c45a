"""Cross-encoders of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from negmine.errors import UsageError
from negmine.models import onnx_graph
from negmine.models.base import CrossEncoderSettings, Scores, checked
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress, tell_tokens
from negmine.models.devices import Placement
from negmine.models.pairs import PairTokenizer, pair_tokenizer
from negmine.models.resolve import ModelRef, local_folder, onnx_file
from negmine.models.room import Room
from negmine.models.running import fill
from negmine.models.tokens import Ints


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
        return self.tokenizer.rows(queries, documents, checked(pairs)).lengths

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: npt.NDArray[np.integer],
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Scores:
        """One float32 score per row ``(query index, document index)`` of ``pairs``."""
        pairs = checked(pairs)
        out = np.empty(len(pairs), dtype=np.float32)
        if not len(pairs):
            return out
        made = self.tokenizer.rows(queries, documents, pairs)
        lengths = made.lengths
        tell_tokens(progress, lengths, self.max_length)

        def logits(rows: Ints) -> Scores:
            ids, types = made.batch(rows, self.pad_id)
            return self.graph.run(self.output, ids, types, lengths[rows], _one_logit)

        fill(out, self, lengths, logits, progress, checkpoint)
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


def load_onnx_cross_encoder(ref: ModelRef, settings: CrossEncoderSettings) -> _OnnxCrossEncoder:
    """Load a cross-encoder that ONNX Runtime runs."""
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
