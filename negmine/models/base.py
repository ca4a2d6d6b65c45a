"""What encoders and cross-encoders are, whatever runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from negmine.errors import UsageError
from negmine.models.checkpoint import Checkpoint
from negmine.models.counting import Progress
from negmine.models.devices import Placement
from negmine.models.tokens import Ints

Activation = Literal["auto", "none", "sigmoid"]
Scores = npt.NDArray[np.float32]
#: (queries, documents, pairs of their indices [n, 2]).
PairTexts = tuple[Sequence[str], Sequence[str], npt.NDArray[np.integer]]


@dataclass(frozen=True)
class Settings:
    """How to run a model.

    Attributes:
        max_length: tokens of a text or pair; ``None`` is the model's own maximum.
        batch_size: most texts or pairs in a batch (fewer when they are long).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto``, ``float32``, ``bfloat16``, ``float16`` or ``int8``.
        runtime: ``auto``, ``torch`` or ``openvino``; what runs a PyTorch model.
        threads: CPU threads; ``None`` is what the backend takes by itself.
        trust_remote_code: whether Python code that the model brings may run.
    """

    max_length: int | None = None
    batch_size: int = 64
    device: str = "auto"
    dtype: str = "auto"
    runtime: str = "auto"
    threads: int | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class CrossEncoderSettings(Settings):
    """How to run a cross-encoder.

    Attributes:
        activation: what is applied to the logit; ``auto`` is what sentence-transformers applies
            for that model, and nothing for an ONNX graph.
    """

    activation: Activation = "auto"


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
        checkpoint: Checkpoint | None = None,
    ) -> Scores:
        """One float32 score per row ``(query index, document index)`` of ``pairs``.

        Rows that ``checkpoint`` has are not made again.
        """


def checked(pairs: npt.NDArray[np.integer]) -> Ints:
    """Pairs as int64 [n, 2].

    Raises:
        ValueError: they are of another shape.
    """
    if pairs.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs must be [n, 2], got {pairs.shape}")
    return pairs.astype(np.int64, copy=False)


Side = Literal["query", "document"]
Pooling = Literal["auto", "cls", "mean", "last"]
Vectors = npt.NDArray[np.float32]

DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class PromptedSettings(Settings):
    """How to run a model that reads queries and documents apart.

    Attributes:
        query_prompt: text before every query; ``None`` is the model's own, ``""`` is none.
        doc_prompt: text before every document; likewise.
    """

    query_prompt: str | None = None
    doc_prompt: str | None = None


@dataclass(frozen=True)
class EncoderSettings(PromptedSettings):
    """How to run a bi-encoder.

    Attributes:
        pooling: how token vectors become one; ``auto`` is the model's own.
        truncate_dim: the first numbers of a vector that are kept, before its length becomes 1;
            ``None`` keeps all.
        normalize: scale every vector to length 1.
    """

    pooling: Pooling = "auto"
    truncate_dim: int | None = None
    normalize: bool = True

    def truncation(self) -> dict[str, object]:
        """What is told of the truncation; nothing where there is none, as before there could be."""
        return {} if self.truncate_dim is None else {"truncate_dim": self.truncate_dim}

    def truncated(self, dimension: int, spec: str) -> int:
        """The dimension of the vectors that are kept, of those that the model ``spec`` gives.

        Raises:
            UsageError: it has fewer than asked for.
        """
        if self.truncate_dim is None:
            return dimension
        if self.truncate_dim > dimension:
            raise UsageError(
                f"truncate-dim {self.truncate_dim} is more than the {dimension} dimensions of the "
                "model's vectors",
                where=f"--truncate-dim, {spec}",
                hint=f"Use less than {dimension}, or leave it out.",
            )
        return self.truncate_dim


@dataclass(frozen=True)
class LateInteractionSettings(PromptedSettings):
    """How to run a model of late interaction; :attr:`max_length` is of documents."""


@dataclass(frozen=True)
class SparseSettings(PromptedSettings):
    """How to run a learned sparse encoder."""


class TextModel(Protocol):
    """A loaded model that reads texts of two sides, each by itself."""

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


class Encoder(TextModel, Protocol):
    """A loaded bi-encoder."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def encode(
        self,
        texts: Sequence[str],
        side: Side,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Vectors:
        """One C-contiguous float32 row per text, in the order of the texts.

        Rows that ``checkpoint`` has are not made again.
        """


Texts_contra = TypeVar("Texts_contra", contravariant=True)
#: Rows of the sample by which it is decided, or fewer.
SAMPLE = 64


@runtime_checkable
class Settles(Protocol[Texts_contra]):
    """A model of which it is decided for each artifact what runs it."""

    def settled(
        self,
        texts: Callable[[], Texts_contra],
        rows: Callable[[], int],
        before: Mapping[str, Any] | None,
    ) -> tuple[Self, dict[str, Any]]:
        """The model as it runs for an artifact, and what was chosen.

        Args:
            texts: a sample of what it will read: texts of documents, or pairs.
            rows: how many it will read.
            before: what was chosen for that artifact, which is then taken again; None = nothing
                yet.

        Raises:
            MissingDependencyError: what was chosen before is not installed here.
        """
