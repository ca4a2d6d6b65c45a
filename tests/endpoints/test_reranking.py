"""What rerankers answer is put back by its index, or refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from negmine.endpoints import probing
from negmine.endpoints.request import answer_of
from negmine.endpoints.reranking import SHAPES, Shape, scores_of

QUERY, TEXTS = "which", ["a", "b", "c"]


def body(shape: Shape, rows: list[Any]) -> dict[str, Any]:
    named = [
        {shape.score: row[1], **({} if row[0] is None else {"index": row[0]})}
        if isinstance(row, tuple)
        else row
        for row in rows
    ]
    return {shape.results: named}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.scheme)
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(0, 1.0), (1, math.nan), (2, 0.5)], "of index 1 is no finite number"),
        ([(0, 1.0), (1, math.inf), (2, 0.5)], "of index 1 is no finite number"),
        ([(0, 1.0), (1, 1e39), (2, 0.5)], "of index 1 is no finite number"),
        ([(0, 1.0), (1, 10**400), (2, 0.5)], "of index 1 is no finite number"),
        ([(0, 1.0), (1, None), (2, 0.5)], "of index 1 is no finite number"),
        ([(0, 1.0), (1, True), (2, 0.5)], "of index 1 is no finite number"),
        ([(0, 1.0), (1, "2"), (2, 0.5)], "of index 1 is no finite number"),
        ([(0, 1.0), (0, 2.0), (2, 0.5)], "index 0 is there twice"),
        ([(0, 1.0), (1, 2.0), (3, 0.5)], "index 3 is out of range: 3 documents"),
        ([(0, 1.0), (1, 2.0), (-1, 0.5)], "index -1 is out of range"),
        ([(2, 1.0), (0, 2.0)], "index 1 of 3 documents is missing"),
        ([(0, 1.0), (None, 2.0), (2, 1.0)], "a result without 'index'"),
        ([(0, 1.0), (True, 2.0), (2, 1.0)], "a result without 'index'"),
        ([(0, 1.0), 2.0, (2, 1.0)], "a result without 'index'"),
    ],
)
def test_what_is_no_answer_is_named(shape: Shape, rows: list[Any], said: str) -> None:
    request = shape.request("model", QUERY, TEXTS)
    assert request.problem is not None
    assert said in (request.problem(body(shape, rows)) or "")
    assert "no answer" in (request.problem({shape.results: {}}) or "")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.scheme)
def test_scores_come_in_the_order_of_the_documents(shape: Shape) -> None:
    request = shape.request("model", QUERY, TEXTS)
    said = {**body(shape, [(2, 0.5), (0, -1), (1, 7)]), "model": "m", "usage": {"total_tokens": 3}}
    assert request.problem is not None
    assert request.problem(said) is None
    answer = answer_of(said, request)
    assert scores_of(answer).tolist() == [-1, 7, 0.5]
    assert (answer.model, answer.usage.tokens) == ("m", 3)


def test_each_question_of_the_probe_has_its_answer_in_another_place() -> None:
    places = [probing.texts_for(n).index(text) for n, (_, text) in enumerate(probing.ASKED)]
    assert sorted(places) == list(range(len(probing.ASKED)))
