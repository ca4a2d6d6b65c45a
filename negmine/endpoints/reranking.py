"""Rerankers behind HTTP: how documents of one query are put, and what an answer says.

Sources: Cohere's API reference (``/v1/rerank``, ``/v2/rerank``), which Jina's, vLLM's and
llama.cpp's follow; vLLM's score API (``/score``); text-embeddings-inference's OpenAPI document
(``/rerank``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from negmine.endpoints import indexed, listing
from negmine.endpoints.request import Answer, Request
from negmine.endpoints.settings import Place

#: What is kept of an answer under this name: the scores, in the order of the documents asked about.
_SCORES = "scores"


@dataclass(frozen=True)
class Shape:
    """What requests and answers of a kind of server look like.

    Attributes:
        scheme: how the kind is written.
        path: below the endpoint's URL.
        place: where such servers are.
        asked: the body, of (model, query, documents).
        results: the field of the answer with a result for each document.
        score: the field of a result with its score.
    """

    scheme: str
    path: str
    place: Place
    asked: Callable[[str, str, Sequence[str]], Mapping[str, Any]]
    results: str
    score: str

    def request(self, model: str, query: str, documents: Sequence[str]) -> Request:
        """The request for the scores of documents for a query."""
        count = len(documents)
        return Request(
            self.path,
            self.asked(model, query, documents),
            most=0,
            problem=partial(self.problem, count=count),
            kept=partial(self._kept, count=count),
        )

    def problem(self, body: Mapping[str, Any], count: int) -> str | None:
        """What is wrong with an answer about ``count`` documents; None = nothing."""
        results = body.get(self.results)
        if not isinstance(results, list):
            named = "that is a list" if self.results == "items" else f"with '{self.results}'"
            return f"no answer {named}"
        rows = (
            (one.get("index"), one.get(self.score)) if isinstance(one, Mapping) else (None, None)
            for one in results
        )

        def wrong(index: int, score: Any) -> str | None:
            if _is_finite(score):
                return None
            return f"the '{self.score}' of index {index} is no finite number"

        return indexed.problem(rows, count, ("result", "documents"), wrong)

    def _kept(self, body: Mapping[str, Any], count: int) -> Mapping[str, Any]:
        """The scores in the order of the documents, without texts that are said again."""
        scores = [0.0] * count
        for one in body[self.results]:
            scores[one["index"]] = float(one[self.score])
        return {_SCORES: scores}


def _is_finite(value: Any) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and abs(value) <= _MOST and math.isfinite(value)


#: What a score is held as.
_MOST = float(np.finfo(np.float32).max)


def scores_of(answer: Answer) -> np.ndarray:
    """The scores of the documents that were asked about, float64 [documents]."""
    return np.array(answer.body[_SCORES], dtype=np.float64)


def _as_cohere(model: str, query: str, documents: Sequence[str]) -> Mapping[str, Any]:
    return {"model": model, "query": query, "documents": list(documents)}


def _as_vllm(model: str, query: str, documents: Sequence[str]) -> Mapping[str, Any]:
    return {"model": model, "text_1": query, "text_2": list(documents)}


def _as_tei(model: str, query: str, documents: Sequence[str]) -> Mapping[str, Any]:
    # A server has one model. What is too long is cut, as models on this machine do.
    return {"query": query, "texts": list(documents), "truncate": True}


_VLLM = Place(None, "", (listing.OPENAI_AT_ROOT,))
_TEI = Place(None, "", (listing.TEI, listing.OPENAI_AT_ROOT))
COHERE = Shape("cohere", "/rerank", Place(url=None), _as_cohere, "results", "relevance_score")
VLLM = Shape("vllm", "/score", _VLLM, _as_vllm, "data", "score")
TEI = Shape("tei", "/rerank", _TEI, _as_tei, "items", "score")
SHAPES = (COHERE, VLLM, TEI)
