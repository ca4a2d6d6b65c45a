"""Rerankers' protocols: what is asked, and how scores are packed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.servers.faults import misnumbered
from tests.servers.judges import Judge, probability

Body = Mapping[str, Any]
#: The scores of documents for a query.
Ranker = Callable[[str, Sequence[str]], list[float]]


def by(judge: Judge) -> Ranker:
    """A reranker that is as good as a judge, with probabilities as scores."""
    return lambda query, documents: [probability(judge(query, text)) for text in documents]


def of_cohere(body: Body) -> tuple[str, Sequence[str]]:
    """Query and documents of a request."""
    return body["query"], body["documents"]


def of_vllm(body: Body) -> tuple[str, Sequence[str]]:
    return body["text_1"], body["text_2"]


def of_tei(body: Body) -> tuple[str, Sequence[str]]:
    assert body["truncate"] is True
    return body["query"], body["texts"]


def as_cohere(scores: Sequence[float], fault: str | None, body: Body) -> Any:
    """The best first, the documents with them as Jina sends them."""
    rows = _rows(scores, "relevance_score", fault)
    texts = body["documents"]
    said = [{**row, "document": {"text": texts[row.get("index", 0) % len(texts)]}} for row in rows]
    usage = {"total_tokens": sum(len(text.split()) for text in texts)}
    return {"model": body["model"], "results": said, "usage": usage}


def as_vllm(scores: Sequence[float], fault: str | None, body: Body) -> Any:
    rows = [{"object": "score", **row} for row in _rows(scores, "score", fault)]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "model": body["model"], "data": rows, "usage": usage}


def as_tei(scores: Sequence[float], fault: str | None, body: Body) -> Any:
    return _rows(scores, "score", fault)


def _rows(scores: Sequence[float], name: str, fault: str | None) -> list[dict[str, Any]]:
    """Results in the order of their scores; ``index`` says of which document each is."""
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    rows: list[dict[str, Any]] = [{"index": at, name: scores[at]} for at in order]
    match fault:
        case "nan":
            rows[-1][name] = math.nan
        case "null_score":
            rows[-1][name] = None
    return misnumbered(rows, fault)
