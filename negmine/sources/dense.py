"""Dense retrieval: vectors on disk, one file per part of the corpus, and an encoder of queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa

from negmine import log
from negmine.engine.parts import over_parts
from negmine.models.base import Encoder, EncoderSettings
from negmine.models.counting import READ, Progress, Reading, tell_resumed
from negmine.models.devices import gpus
from negmine.models.encoders import load_encoder
from negmine.models.served_encoder import PROBED, ServedEncoder
from negmine.sources.base import Among, Asked, Capabilities, Hits
from negmine.sources.encoded import ENDPOINT, EncodedQueries, OfQueries, behind, model_of
from negmine.sources.exact import MEMORY
from negmine.sources.nearest import Nearest, Pairs, joined
from negmine.sources.vectors import (
    Stored,
    Vectors,
    refuse_overflow,
    rounding,
    score_pairs,
)
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.documents import Documents, full_text


def build(
    documents: Documents,
    writer: Writer,
    encoders: Sequence[Encoder],
    progress: Progress,
    stored: Stored = "auto",
    part: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Encode every part of the corpus into ``part-NNNNN.npy``, a row per document.

    Args:
        documents: the corpus.
        writer: where the parts go; those that an interrupted run finished are kept.
        encoders: the model, once for each device; each encodes the next part that no other has
            begun, so that a part's vectors do not depend on how many there are.
        progress: told how many more documents are done; with several encoders by several threads.
        stored: number format; auto takes float16 where :func:`rounding` finds no loss in the
            first part.
        part: told the number of each part and how many there are.

    Returns:
        The format, and what was found of the loss.
    """
    facts: dict[str, Any] = {} if stored == "auto" else {"dtype": stored, "reason": "asked for"}
    names = documents.names
    targets = {name.replace(".parquet", ".npy"): name for name in names}
    number = {target: place for place, target in enumerate(targets, 1)}

    def encoded(encoder: Encoder, target: str, name: str) -> tuple[np.ndarray, dict[str, int]]:
        texts = full_text(documents.artifact.read(name)).to_pylist()
        kept, reading = writer.checkpoint(target, encoder.describe()), Reading(progress)
        return encoder.encode(texts, "document", reading, kept), reading.counts()

    def skipped(target: str, name: str) -> None:
        tell_resumed(progress, documents.artifact.rows(name))
        settled(writer.stats(target))

    def settled(found: dict[str, Any]) -> None:
        if not facts:
            facts.update({key: value for key, value in found.items() if key not in READ})

    def write(target: str, made: tuple[np.ndarray, dict[str, int]]) -> None:
        vectors, read = made
        if not facts:
            settled(_agreed(writer, vectors))
        if facts["dtype"] == "float16":
            refuse_overflow(vectors, targets[target])
        # Told with the first part: a run that was cut short goes on in its format.
        told = facts if targets[target] == names[0] else {}
        writer.add_array(target, vectors.astype(facts["dtype"]), {**told, **read})

    first, *_ = targets
    if not (writer.share.whole or facts or writer.share.mine(0)):
        # Who encodes the first part decides, and may not have come to it.
        before = writer.chosen(_FORMAT)
        settled(
            dict(before) if before else _agreed(writer, encoded(encoders[0], first, names[0])[0])
        )

    over_parts(
        targets.items(),
        finished=writer.has,
        make=encoded,
        write=write,
        models=encoders,
        skipped=skipped,
        started=lambda target: part(number[target], len(number)) if part is not None else None,
        share=writer.share,
    )
    return facts


#: What processes that encode the same documents agree upon.
_FORMAT = "stored"


def _agreed(writer: Writer, first: np.ndarray) -> dict[str, Any]:
    """How vectors are stored, by those of the first part: what another process has said holds."""
    if writer.share.whole:
        return dict(writer.chosen(_FORMAT) or rounding(first))
    return dict(writer.choose(_FORMAT, rounding(first)))


def load_query_encoder(vectors: Artifact, name: str, how: OfQueries) -> Encoder:
    """The encoder that made the vectors ``name`` of an index, for queries.

    Raises:
        InvalidDataError: the model is not the one that encoded the corpus.
        UsageError: it runs code of its own, which is not ``trusted``.
    """
    made_with = vectors.params
    settings = EncoderSettings(
        pooling=made_with["pooling"],
        truncate_dim=made_with.get("truncate_dim"),
        normalize=made_with["normalize"],
        **how.settings(made_with),
    )
    asked = behind(vectors, name, how.server)
    if asked is None:
        return load_encoder(model_of(vectors, name, how.trusted), settings)
    settings = replace(settings, doc_prompt=made_with["doc_prompt"])
    before = vectors.manifest["run"].get(ENDPOINT, {}).get(PROBED)
    return ServedEncoder(asked, settings, how.server.place, before)


class Approximate(Protocol):
    """An index that may miss some of the best."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(query index, row) of what is found for each query, at most ``k``."""

    def recall(self, vectors: Vectors, queries: np.ndarray, k: int, memory: int) -> dict[str, Any]:
        """What share of the exact best ``k`` is found, and how it was measured."""


class DenseSource:
    """Candidates by inner product with one encoder's vectors.

    Attributes:
        recall: of an approximate index, what was measured with the first queries searched.

    Args:
        documents: the corpus.
        vectors: its vectors.
        load: loads the encoder of queries.
        memory: bytes for a search, beside the queries' vectors and the answer.
        ann: an approximate index of the vectors, instead of the exact search.
        device: where models run; the search goes where the encoder does.
        together: queries encoded together: what else is in a model's batch shows in the last
            digits of a vector, so this must not depend on how many are searched together.
        name: of the source, for messages.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(vectors=True)

    def __init__(
        self,
        documents: Documents,
        vectors: Vectors,
        load: Callable[[], Encoder],
        *,
        memory: int = MEMORY,
        ann: Approximate | None = None,
        device: str = "auto",
        together: int = 4096,
        name: str = "encoder",
    ) -> None:
        self._documents = documents
        self._vectors = vectors.of(len(documents))
        self._memory = memory
        self._ann = ann
        self.recall: Mapping[str, Any] | None = None
        self._device = device
        self._queries: EncodedQueries[Encoder, np.ndarray] = EncodedQueries(
            name, load, np.concatenate, together
        )

    def vectors_of(self, asked: Asked) -> np.ndarray:
        """The queries' vectors, float32 [n, dim]."""
        encoded, rows = self._queries.of(asked)
        return encoded[rows]

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that the encoder reads for these queries."""
        return self._queries.tokens(queries)

    def search(self, asked: Asked, k: int) -> Hits:
        """The k best documents of each query, by (-score, docid)."""
        return self._found(asked, k, None)

    def search_among(self, asked: Asked, k: int, among: Among) -> Hits:
        """Likewise of the documents that each query may find; always exactly."""
        return self._found(asked, k, among)

    def _found(self, asked: Asked, k: int, among: Among | None) -> Hits:
        encoded, rows = self._queries.of(asked)
        k = min(k, len(self._vectors))
        nearest = self._nearest()
        found = [
            self._search(nearest, encoded[rows[some]], some.start, k, among)
            for some in nearest.groups(len(rows), k)
        ]
        query, places, score = joined(found)
        return Hits(query.astype(np.int32), self._documents.ids(places), score)

    def _nearest(self) -> Nearest:
        on = gpus(self._device, self._queries.model.placement.device)
        return Nearest(self._vectors, self._documents.ids, memory=self._memory, on=on)

    def _search(
        self, nearest: Nearest, queries: np.ndarray, first: int, k: int, among: Among | None
    ) -> Pairs:
        """(query, row, score) of the best k of some queries, in order, numbered from ``first``."""
        if self._ann is None or among is not None:
            numbers = np.arange(first, first + len(queries))
            may = None if among is None else among.take(numbers)
            query, rows, exact = nearest.search(queries, k, may)
            return query + first, rows, exact
        if self.recall is None:
            with log.waiting("measuring what the approximate search misses"):
                self.recall = self._ann.recall(self._vectors, queries, k, self._memory)
        query, rows = self._ann.search(queries, nearest.depth(k))
        exact = score_pairs(self._vectors, queries, query, rows)
        query, rows, exact = nearest.ranked(query, rows, exact, k)
        return query + first, rows, exact

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair; NaN where the corpus has no such document."""
        rows = self._documents.rows(docids)
        known = rows >= 0
        result = np.full(len(rows), np.nan, dtype=np.float32)
        encoded, asked_rows = self._queries.of(asked)
        result[known] = score_pairs(self._vectors, encoded, asked_rows[query[known]], rows[known])
        return result

    def spent(self) -> dict[str, Any]:
        """What the server of the encoder was asked, where it is behind HTTP."""
        return self._queries.spent()

    def close(self) -> None:
        """Let go of the model."""
        self._queries.close()
