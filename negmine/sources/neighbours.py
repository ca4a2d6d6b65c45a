"""``--source NAME=neighbours:ENCODER``: documents near what is known to be right.

Either the nearest documents of each known positive (the lookahead of ANCE-Tele, Sun et al., arXiv
2210.17167), or with ``/query`` the positives of the nearest queries. Both go by stored vectors,
exactly; of several positives, or several queries that share one, the greatest likeness counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import pyarrow as pa

from negmine.errors import UsageError, did_you_mean
from negmine.models import devices
from negmine.params.per_model import of_model
from negmine.params.retrieve import RetrieveParams
from negmine.params.values import per_name
from negmine.sources.another import OF_QUERIES, said_of
from negmine.sources.base import Asked, Capabilities, Hits, Source
from negmine.sources.child import Needs
from negmine.sources.dense_kind import query_encoder
from negmine.sources.kind import Kind, Opening, SourceRef
from negmine.sources.nearest import Nearest, Pairs, expanded, greatest, joined
from negmine.sources.vectors import Vectors, score_pairs
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents
from negmine.table.names import VECTORS
from negmine.table.ranking import find

SCHEME = "neighbours"
OF_QUERY = "query"


class PositiveNeighbours:
    """The nearest documents of each query's known positives.

    A document's score is its greatest product with any of them. What is a known positive of the
    query is none of its finds, and a query without positives has none.

    Args:
        documents: the corpus.
        nearest: the search of its vectors.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        searches=False, reads_corpus=True, vectors=True
    )

    def __init__(self, documents: Documents, nearest: Nearest) -> None:
        self._documents, self._nearest = documents, nearest
        self._dimension = nearest.vectors.part(0).shape[1]

    def search(self, asked: Asked, k: int) -> Hits:
        """The k nearest documents of each query's positives, by (-score, docid)."""
        query, rows = self._positives(asked)
        most = int(np.bincount(query).max(initial=0))
        deep = min(k + most, len(self._documents))
        barred = np.sort(query * len(self._documents) + rows)
        # A positive's vector, and its neighbours once more for the query.
        more = 4 * self._dimension + 80 * deep
        found = [
            self._found(query[some], rows[some], barred, deep, k)
            for some in self._nearest.groups(len(rows), deep, more)
        ]
        # A query with many positives is searched in several goes.
        query, rows, score = found[0] if len(found) == 1 else self._best(*joined(found), k)
        return Hits(query.astype(np.int32), self._documents.ids(rows), score)

    def _positives(self, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
        """(query ascending, row) of the known positives."""
        rows = self._documents.rows(asked.positive_docid)
        known = rows >= 0
        return asked.positive_query[known].astype(np.int64), rows[known]

    def _found(
        self, query: np.ndarray, rows: np.ndarray, barred: np.ndarray, deep: int, k: int
    ) -> Pairs:
        """The best k of each query by some of its positives (``rows``)."""
        distinct, which = np.unique(rows, return_inverse=True)
        _, found, score = self._nearest.search(self._nearest.vectors.take(distinct), deep)
        found = found.reshape(len(distinct), deep)[which].ravel()
        score = score.reshape(len(distinct), deep)[which].ravel()
        query = np.repeat(query, deep)
        keep = ~find(barred, query * len(self._documents) + found)[1]
        return self._best(query[keep], found[keep], score[keep], k)

    def _best(self, query: np.ndarray, rows: np.ndarray, score: np.ndarray, k: int) -> Pairs:
        """The best k of each query, a document by the greatest of its scores."""
        pair = query * len(self._documents) + rows
        order = np.lexsort((-score, pair))
        order = order[np.append(True, pair[order][1:] != pair[order][:-1])[: len(order)]]
        return self._nearest.ranked(query[order], rows[order], score[order], k)

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Greatest product with any known positive; NaN where the query has none."""
        rows = self._documents.rows(docids)
        owner, positive = self._positives(asked)
        count = np.bincount(owner, minlength=len(asked))
        first = np.cumsum(count) - count
        result = np.full(len(rows), np.nan, dtype=np.float32)
        at_once = self._nearest.memory // (4 * self._dimension + 64)
        for pair, number in expanded(np.where(rows >= 0, count[query], 0), at_once):
            distinct, which = np.unique(positive[first[query[pair]] + number], return_inverse=True)
            vectors = self._nearest.vectors.take(distinct)
            greatest(result, pair, score_pairs(self._nearest.vectors, vectors, which, rows[pair]))
        return result

    def close(self) -> None:
        """Nothing is held open."""


# --- the kind of source -------------------------------------------------------------------------


def _parted(name: str, rest: str, encoders: Sequence[str]) -> tuple[str, bool]:
    """(encoder, whether it goes by queries) of ``ENCODER[/query]``.

    Raises:
        UsageError: it is written otherwise, or there are no such vectors.
    """
    encoder, slash, of = rest.partition("/")
    written = f"--source {name}={SCHEME}:{rest}"
    if slash and of != OF_QUERY:
        raise UsageError(
            f"{written}: there are no neighbours of '{of}'",
            hint=f"Write {SCHEME}:{encoder} for those of the positives, {SCHEME}:{encoder}/"
            f"{OF_QUERY} for the positives of the nearest queries.",
        )
    if encoder not in encoders:
        known = did_you_mean(encoder, list(encoders)) if encoders else ""
        raise UsageError(
            f"{written}: the index has no vectors '{encoder}'",
            hint=known or "Index with --encoder NAME=MODEL.",
        )
    return encoder, bool(slash)


def _check(params: RetrieveParams, encoders: Sequence[str]) -> None:
    for name, rest in NEIGHBOURS.declared(params).items():
        _parted(name, rest, encoders)


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    from negmine.sources.encoded import calls_of, local_models, refuse_untrusted

    refs = []
    for name, rest in wanted.items():
        encoder, by_query = _parted(name, rest, index.roles(VECTORS))
        vectors = index.input(encoder)
        models = local_models(vectors, encoder) if by_query else ()
        calls = None
        if by_query:
            own = said_of(params, name, encoder)
            calls = calls_of(vectors, encoder, of_model(own.batch_size, encoder))
            refuse_untrusted(vectors, encoder, of_model(own.trust_remote_code, encoder))
        opened = _open_queries if by_query else _open_positives
        refs.append(
            SourceRef(
                name,
                partial(opened, name, encoder, vectors),
                beside={encoder: vectors},
                spec=f"{SCHEME}:{rest}",
                needs=partial(Needs, models),
                vectors=None if by_query else vectors,
                calls=calls,
            )
        )
    return refs


def _open_positives(name: str, encoder: str, vectors: Artifact, opening: Opening) -> Source:
    judged = opening.judgements
    without = len(opening.qids) - len(np.unique(judged.query[judged.positive]))
    if without:
        opening.counts[f"{name}_queries_without_positives"] = without
        opening.warnings.append(
            f"--source {name}: {without} queries have no known positive, and so no neighbours"
        )
    corpus = opening.corpus
    stored = Vectors(vectors).of(len(corpus))
    on = devices.for_products(opening.params.device)
    return PositiveNeighbours(
        corpus, Nearest(stored, corpus.ids, memory=opening.budget.search, on=on)
    )


def _open_queries(name: str, encoder: str, vectors: Artifact, opening: Opening) -> Source:
    from negmine.sources.query_neighbours import QueryNeighbours

    params = said_of(opening.params, name, encoder)
    prompt = per_name(params.query_prompt, {encoder: ""}, "--query-prompt").get(encoder)
    judged = opening.judgements
    every = Asked(
        opening.qids,
        opening.texts,
        positive_query=judged.query[judged.positive],
        positive_docid=judged.docid.filter(pa.array(judged.positive)),
    )
    return QueryNeighbours(
        None if opening.trial else every,
        query_encoder(opening, params, encoder, vectors, prompt),
        memory=opening.budget.search,
        device=params.device,
        together=opening.together,
        folder=opening.scratch,
    )


NEIGHBOURS = Kind(
    SCHEME,
    _choose,
    scheme=SCHEME,
    usage=f"{SCHEME}:ENCODER[/{OF_QUERY}]",
    by_name=OF_QUERIES,
    check=_check,
)
