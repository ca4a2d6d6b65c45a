"""Encoders behind HTTP: how texts are put, and the vectors in an answer.

Sources: OpenAI's API reference (``/embeddings``), which vLLM, llama.cpp, text-embeddings-inference,
Ollama and hosted services follow; text-embeddings-inference's OpenAPI document (``/embed``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from negmine.endpoints import indexed, listing
from negmine.endpoints.request import Answer, Request
from negmine.endpoints.settings import Place

#: What numbers of JSON are; true and false are none.
_NUMBERS = {float, int}
#: What is kept of an answer: float32 values, row by row, in the order of the texts.
_VECTORS = "vectors"


@dataclass(frozen=True)
class Shape:
    """What requests and answers of a kind of server look like.

    Attributes:
        scheme: how the kind is written.
        path: below the endpoint's URL.
        place: where such servers are.
        asked: the body, of (model, texts).
        rows: the vectors in an answer as (index, numbers); None where it is another thing.
    """

    scheme: str
    path: str
    place: Place
    asked: Callable[[str, Sequence[str]], Mapping[str, Any]]
    rows: Callable[[Mapping[str, Any]], Sequence[tuple[Any, Any]] | None]

    def request(self, model: str, texts: Sequence[str], width: int | None = None) -> Request:
        """The request for the vectors of texts.

        Args:
            model: its name at the server.
            texts: what is encoded.
            width: how many numbers a vector has; None = not known yet.
        """
        count = len(texts)
        return Request(
            self.path,
            self.asked(model, texts),
            most=0,
            problem=partial(self.problem, count=count, width=width),
            kept=partial(self._kept, count=count),
        )

    def problem(self, body: Mapping[str, Any], count: int, width: int | None) -> str | None:
        """What is wrong with an answer about ``count`` texts; None = nothing."""
        rows = self.rows(body)
        if rows is None:
            return "no answer with a vector for each text"
        widths = [] if width is None else [width]

        def wrong(index: int, numbers: Any) -> str | None:
            vector = _vector(numbers)
            if vector is None:
                return f"the vector of index {index} is no list of finite numbers"
            widths.append(len(vector))
            if len(vector) == widths[0]:
                return None
            return f"the vector of index {index} has {len(vector)} numbers, others {widths[0]}"

        return indexed.problem(rows, count, ("vector", "texts"), wrong)

    def _kept(self, body: Mapping[str, Any], count: int) -> Mapping[str, Any]:
        """The vectors in the order of the texts, as bytes in base64."""
        rows: list[Any] = [None] * count
        for index, numbers in self.rows(body) or ():
            rows[index] = numbers
        held = np.array(rows, dtype=np.float64).astype("<f4")
        return {_VECTORS: base64.b64encode(held.tobytes()).decode(), "width": held.shape[1]}


def _vector(numbers: Any) -> np.ndarray | None:
    """Numbers as float32 [width]; None where they are something else, or not finite."""
    if not isinstance(numbers, list) or not numbers or not set(map(type, numbers)) <= _NUMBERS:
        return None
    with np.errstate(over="ignore"):
        try:
            found = np.array(numbers, dtype=np.float64).astype(np.float32)
        except OverflowError:
            return None
    return found if np.isfinite(found).all() else None


def vectors_of(answer: Answer) -> np.ndarray:
    """The vectors of the texts that were asked about, float32 [texts, width]."""
    held = np.frombuffer(base64.b64decode(answer.body[_VECTORS]), dtype="<f4")
    return held.reshape(-1, answer.body["width"]).astype(np.float32)


def _as_openai(model: str, texts: Sequence[str]) -> Mapping[str, Any]:
    return {"model": model, "input": list(texts), "encoding_format": "float"}


def _of_openai(body: Mapping[str, Any]) -> Sequence[tuple[Any, Any]] | None:
    data = body.get("data")
    if not isinstance(data, list) or not all(isinstance(one, Mapping) for one in data):
        return None
    return [(one.get("index"), one.get("embedding")) for one in data]


def _as_tei(model: str, texts: Sequence[str]) -> Mapping[str, Any]:
    # A server has one model. What is too long is cut, as models on this machine do.
    return {"inputs": list(texts), "truncate": True, "normalize": False}


def _of_tei(body: Mapping[str, Any]) -> Sequence[tuple[Any, Any]] | None:
    items = body.get("items")
    return list(enumerate(items)) if isinstance(items, list) else None


OPENAI = Shape("openai", "/embeddings", Place(), _as_openai, _of_openai)
TEI = Shape("tei", "/embed", Place(None, "", (listing.TEI,)), _as_tei, _of_tei)
SHAPES = (OPENAI, TEI)
