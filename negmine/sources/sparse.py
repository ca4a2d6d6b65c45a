"""Learned sparse retrieval: impacts on disk, one file per part of the corpus, and an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from negmine.engine.parts import over_parts
from negmine.models.base import SparseSettings
from negmine.models.counting import Progress, Reading, tell_resumed
from negmine.models.impacts import Impacts
from negmine.models.impacts import joined as joined_rows
from negmine.models.sparse_encoder import SparseEncoder, load_sparse_encoder
from negmine.sources.base import Among, Asked, Hits
from negmine.sources.encoded import EncodedQueries, OfQueries, model_of
from negmine.sources.exact import MEMORY
from negmine.sources.impacts import SCHEMA, ImpactSearch, StoredImpacts, tables
from negmine.sources.nearest import joined
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.documents import Documents, full_text


def build(
    documents: Documents,
    writer: Writer,
    encoders: Sequence[SparseEncoder],
    progress: Progress,
    part: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Encode every part of the corpus into one of the same name, a row per document.

    Args:
        documents: the corpus.
        writer: where the parts go; those that an interrupted run finished are kept.
        encoders: the model, once for each device.
        progress: told how many more documents are done; with several encoders by several threads.
        part: told the number of each part and how many there are.

    Returns:
        Documents, impacts, documents without any, and how many terms there are.
    """
    number = {name: place for place, name in enumerate(documents.names, 1)}

    def encoded(encoder: SparseEncoder, name: str, _: str) -> tuple[Impacts, dict[str, int]]:
        texts = full_text(documents.artifact.read(name)).to_pylist()
        kept, reading = writer.checkpoint(name, encoder.describe()), Reading(progress)
        return encoder.encode(texts, "document", reading, kept), reading.counts()

    def write(name: str, found: tuple[Impacts, dict[str, int]]) -> None:
        made, read = found
        empty = int((np.diff(made.starts) == 0).sum())
        counts = {"impacts": len(made.terms), "without_terms": empty, **read}
        writer.add_tables(name, tables(made), SCHEMA, counts)

    over_parts(
        ((name, name) for name in number),
        finished=writer.has,
        make=encoded,
        write=write,
        models=encoders,
        skipped=lambda name, _: tell_resumed(progress, documents.artifact.rows(name)),
        started=lambda name: part(number[name], len(number)) if part is not None else None,
        share=writer.share,
    )
    sums = {
        what: sum(int(writer.stats(name)[what]) for name in number)
        for what in ("impacts", "without_terms")
    }
    return {"documents": writer.rows(), "terms": encoders[0].dimension, **sums}


def load_query_encoder(made: Artifact, name: str, how: OfQueries) -> SparseEncoder:
    """The encoder that made the impacts ``name`` of an index, for queries.

    Raises:
        InvalidDataError: the model is not the one that encoded the corpus.
        UsageError: it runs code of its own, which is not ``trusted``.
    """
    reference, made_with = model_of(made, name, how.trusted), made.params
    return load_sparse_encoder(reference, SparseSettings(**how.settings(made_with)))


class SparseSource:
    """Candidates by the product of impacts.

    Args:
        documents: the corpus.
        stored: its impacts.
        load: loads the encoder of queries.
        memory: bytes for a search, beside the queries and the answer.
        together: queries encoded together, see :class:`negmine.sources.encoded.EncodedQueries`.
        name: of the source, for messages.
    """

    def __init__(
        self,
        documents: Documents,
        stored: StoredImpacts,
        load: Callable[[], SparseEncoder],
        *,
        memory: int = MEMORY,
        together: int = 4096,
        name: str = "encoder",
    ) -> None:
        self._documents = documents
        self._search = ImpactSearch(stored.of(len(documents)), documents.ids, memory)
        self._queries: EncodedQueries[SparseEncoder, Impacts] = EncodedQueries(
            name, load, joined_rows, together
        )

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that the encoder reads for these queries."""
        return self._queries.tokens(queries)

    def search(self, asked: Asked, k: int) -> Hits:
        """The k best documents of each query that share a term with it, by (-score, docid)."""
        return self._found(asked, k, None)

    def search_among(self, asked: Asked, k: int, among: Among) -> Hits:
        """Likewise of the documents that each query may find."""
        return self._found(asked, k, among)

    def _found(self, asked: Asked, k: int, among: Among | None) -> Hits:
        encoded, rows = self._queries.of(asked)
        found = []
        for some in self._search.groups(len(rows), k):
            of_some = None if among is None else among.take(np.arange(some.start, some.stop))
            query, places, score = self._search.search(encoded.take(rows[some]), k, of_some)
            found.append((query + some.start, places, score))
        query, places, score = joined(found)
        return Hits(query.astype(np.int32), self._documents.ids(places), score)

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair, 0 where they share no term.

        NaN where the corpus has no such document.
        """
        rows = self._documents.rows(docids)
        known = rows >= 0
        result = np.full(len(rows), np.nan, dtype=np.float32)
        encoded, asked_rows = self._queries.of(asked)
        result[known] = self._search.score(encoded, asked_rows[query[known]], rows[known])
        return result

    def close(self) -> None:
        """Let go of the model."""
        self._queries.close()
