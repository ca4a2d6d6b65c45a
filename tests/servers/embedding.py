"""Encoders' protocols: vectors of the words in a text, and how they are packed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.servers.faults import misnumbered

Body = Mapping[str, Any]
#: The vector of a text.
Encoder = Callable[[str], list[float]]
#: Numbers of a vector.
WIDTH = 256


def words(text: str) -> list[float]:
    """How often each word is in it, by a hash: texts that share words are near."""
    found = [0.0] * WIDTH
    for word in "".join(c if c.isalnum() else " " for c in text.lower()).split():
        found[int(hashlib.blake2b(word.encode()).hexdigest(), 16) % WIDTH] += 1
    return found


def of_openai(body: Body) -> Sequence[str]:
    """The texts of a request."""
    return list(body["input"])


def of_tei(body: Body) -> Sequence[str]:
    assert body["truncate"] is True
    return list(body["inputs"])


def as_openai(vectors: list[list[float]], fault: str | None, body: Body) -> Any:
    """In another order than asked for; each says of which text it is."""
    rows = [{"index": at, "embedding": one} for at, one in enumerate(_bent(vectors, fault))][::-1]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {
        "object": "list",
        "model": body["model"],
        "data": misnumbered(rows, fault),
        "usage": usage,
    }


def as_tei(vectors: list[list[float]], fault: str | None, body: Body) -> Any:
    found = _bent(vectors, fault)
    return found[:-1] if fault == "few_items" else found


def _bent(vectors: list[list[float]], fault: str | None) -> list[list[float]]:
    match fault:
        case "nan":
            return [*vectors[:-1], [math.nan, *vectors[-1][1:]]]
        case "wrong_width":
            return [*vectors[:-1], vectors[-1][1:]]
    return vectors
