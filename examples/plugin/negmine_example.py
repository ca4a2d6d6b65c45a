"""An example of everything that another package can add to negmine.

Small on purpose: a source that finds documents by the words they share with the query, a scorer
that counts these words, a rule and a format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from negmine.extend import (
    Asked,
    Chosen,
    Column,
    Documents,
    Examples,
    FilterParams,
    Format,
    Hits,
    Options,
    Prompts,
    RerankParams,
    RetrieveParams,
    Rule,
    UsageError,
    View,
    left_out,
    per_query,
    positions_in_group,
    rank_order,
    string_codes,
)

_BUCKETS = 1 << 20


def _words(texts: Sequence[str]) -> sparse.csr_matrix:
    """Which words stand in which text: 0 or 1, [texts, buckets]."""
    words = [sorted({hash_of(word) for word in re.findall(r"\w+", text.lower())}) for text in texts]
    ends = np.cumsum([0, *map(len, words)])
    columns = np.fromiter((word for text in words for word in text), dtype=np.int64)
    return sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(texts), _BUCKETS))


def hash_of(word: str) -> int:
    """The same in every process, as Python's own hash is not."""
    import zlib

    return zlib.crc32(word.encode()) % _BUCKETS


# --- a source: `retrieve --source NAME=plugin:words` ------------------------------------------


class Words:
    """Documents by the number of words that they share with the query."""

    def __init__(self, corpus: Documents) -> None:
        ids, words = [], []
        for _, part in corpus.parts(["docid", "title", "text"]):
            ids.append(part.column("docid"))
            texts = zip(
                part.column("title").to_pylist(), part.column("text").to_pylist(), strict=True
            )
            words.append(_words([f"{title} {text}" for title, text in texts]))
        self._docids = pa.chunked_array([c for part in ids for c in part.chunks], pa.string())
        self._order, _ = string_codes(self._docids)
        self._words = sparse.vstack(words).T.tocsc()

    def search(self, asked: Asked, k: int) -> Hits:
        """At most k documents per query, by (-score, docid)."""
        shared = (_words(asked.texts) @ self._words).tocoo()
        order = rank_order(shared.row, shared.data, self._order[shared.col])
        order = order[positions_in_group(shared.row[order]) <= k]
        return Hits(
            query=shared.row[order].astype(np.int32),
            docid=self._docids.take(pa.array(shared.col[order])).combine_chunks(),
            score=shared.data[order].astype(np.float32),
        )

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair, as search would give it."""
        shared = (_words(asked.texts) @ self._words).tocsr()
        rows = pc.index_in(docids, value_set=self._docids.combine_chunks()).to_numpy()
        return np.asarray(shared[query, rows]).ravel().astype(np.float32)

    def close(self) -> None:
        """Nothing is held open."""


def open_source(argument: str | None, corpus: Documents, params: RetrieveParams) -> Words:
    """Called with what follows the slash of ``plugin:words/...``, and the index's documents."""
    if argument is not None:
        raise UsageError("--source: plugin:words takes no argument")
    return Words(corpus)


# --- a scorer: `rerank --scorer NAME=plugin:jaccard` ------------------------------------------


class Jaccard:
    """Shared words over all words of both texts."""

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        pairs: np.ndarray,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Score of each (query index, document index) pair: float32 [n] for int [n, 2]."""
        left, right = _words(queries), _words(documents)
        shared = np.asarray(left[pairs[:, 0]].multiply(right[pairs[:, 1]]).sum(axis=1)).ravel()
        size = np.diff(left.indptr)[pairs[:, 0]] + np.diff(right.indptr)[pairs[:, 1]]
        if progress is not None:
            progress(len(pairs))
        return (shared / np.maximum(size - shared, 1)).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """What was loaded, for the manifest."""
        return {"kind": "word overlap"}


def load_scorer(argument: str | None, params: RerankParams, prompts: Prompts) -> Jaccard:
    """Called with what follows the slash of ``plugin:jaccard/...``."""
    return Jaccard()


# --- a rule: `filter --rule outlier=2` --------------------------------------------------------


def outlier(value: str | None) -> Rule:
    """Drop candidates that score VALUE standard deviations above the mean of their query."""
    try:
        deviations = float(value if value is not None else 2)
    except ValueError:
        raise UsageError(f"--rule outlier={value} is no number") from None

    def drop(view: View, params: FilterParams) -> np.ndarray:
        known = ~np.isnan(view.score) & ~view.positive
        score = np.where(known, view.score, 0.0)
        count = np.maximum(np.bincount(view.query, known), 1)
        mean = np.bincount(view.query, score) / count
        variance = np.bincount(view.query, np.where(known, score - mean[view.query], 0.0) ** 2)
        limit = mean + deviations * np.sqrt(variance / count)
        return known & (view.score > limit[view.query])

    return Rule("outlier", lambda params: True, drop)


# --- a format: `export --format question-answers` ---------------------------------------------


def _question_answers(chosen: Chosen, options: Options) -> Examples:
    """(question, [right], [wrong]) per query that has both."""
    rows = per_query(chosen)
    columns = [
        Column("question", "query_text", rows.query),
        Column("right", "doc_text", chosen.positive_doc[rows.positive], rows.positive_offsets),
        Column("wrong", "doc_text", chosen.negative_doc[rows.negative], rows.negative_offsets),
    ]
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


QUESTION_ANSWERS = Format(_question_answers)
