"""From an answer to a verdict: nothing that was not said becomes one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from negmine.endpoints.chat import ChatAnswer
from negmine.scorers.judging import prompts
from negmine.scorers.judging.verdicts import (
    HIGHEST_GRADE,
    Judgement,
    by_grade,
    by_grades,
    by_logprobs,
    by_text,
    words_of,
)

WORDS = words_of(prompts.load("en"))


def answer(text: str = "", first: dict[str, float] | None = None, **more: Any) -> ChatAnswer:
    tokens = None if first is None else tuple((t, math.log(p)) for t, p in first.items())
    told = {"finish": "stop", "refusal": None, **more}
    return ChatAnswer(text, told["finish"], tokens, told["refusal"], "m", 1, 1, None)


@pytest.mark.parametrize(
    ("first", "score", "verdict"),
    [
        ({"Yes": 0.6, " yes": 0.2, "No": 0.1, "NO": 0.1}, 0.8, "yes"),
        ({"▁no": 0.5, "Ġno": 0.3, "yes": 0.1, "the": 0.1}, 1 / 9, "no"),
        ({"yes": 0.4, "no": 0.4}, 0.5, "unsure"),
        # "nothing" is not no, and a longer answer's beginning is not one of ours.
        ({"yes": 0.2, "nothing": 0.7}, 1.0, "yes"),
        ({"**Yes**": 0.5, '"no"': 0.5}, 0.5, "unsure"),
    ],
)
def test_all_spellings_count(first: dict[str, float], score: float, verdict: str) -> None:
    found = by_logprobs(answer(first=first), WORDS)
    assert found.score == pytest.approx(score)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer("Yes"), "no_logprobs"),
        (answer("The", first={"The": 0.9, "yes": 0.03, "no": 0.01}), "low_mass"),
        (answer("unsure", first={"uns": 0.5, "Unsure": 0.2, "yes": 0.3}), "cannot_tell"),
        (answer("", first={"yes": 0.9}, refusal="No, I can't."), "refused"),
        (answer("", first={"yes": 0.9}, finish="content_filter"), "refused"),
        (answer("Yes", first={"yes": 0.0 + 1e-300}), "low_mass"),
    ],
)
def test_no_verdict_of_probabilities(said: ChatAnswer, reason: str) -> None:
    found = by_logprobs(said, WORDS)
    assert (found.score, found.verdict, found.reason) == (None, "unjudged", reason)


def test_other_languages_have_their_own_words() -> None:
    chinese, spanish = (words_of(prompts.load(name)) for name in ("zh", "es"))
    assert by_logprobs(answer(first={"是": 0.3, "否": 0.1}), chinese).score == pytest.approx(0.75)
    assert by_logprobs(answer(first={"Sí": 0.3, " no": 0.1}), spanish).score == pytest.approx(0.75)
    assert by_logprobs(answer(first={"Yes": 0.9}), chinese).reason == "low_mass"


@pytest.mark.parametrize(
    ("text", "score", "reason"),
    [
        ("Yes.", 1.0, None),
        ("no, because it is not", 0.0, None),
        ("Answer: **yes**", 1.0, None),
        ("<think>No? Perhaps no.</think>\nyes", 1.0, None),
        ("unsure", None, "cannot_tell"),
        ("It is about yes and no.", None, "unparsable"),
        ("The document says that one can say yes to all of that.", None, "unparsable"),
        ("", None, "unparsable"),
        ("I'm sorry, but I can't help with that.", None, "unparsable"),
    ],
)
def test_words(text: str, score: float | None, reason: str | None) -> None:
    assert by_text(answer(text), WORDS) == Judgement(score, reason)


def test_what_is_cut_off_is_no_verdict() -> None:
    assert by_text(answer("yes", finish="length"), WORDS).reason == "truncated"
    assert by_grade(answer('{"grade": 3', finish="length")).reason == "truncated"


@pytest.mark.parametrize(
    ("text", "score", "reason"),
    [
        ('{"grade": 4}', 1.0, None),
        ('```json\n{"grade": 1}\n```', 0.25, None),
        ('{"grade": 2.0}', 0.5, None),
        ('{"grade": null}', None, "cannot_tell"),
        ('{"grade": NaN}', None, "not_finite"),
        ('{"grade": 5}', None, "wrong_schema"),
        ('{"grade": -1}', None, "wrong_schema"),
        ('{"grade": 1.5}', None, "wrong_schema"),
        ('{"grade": true}', None, "wrong_schema"),
        ('{"grade": "3"}', None, "wrong_schema"),
        ('{"score": 3}', None, "wrong_schema"),
        ("[3]", None, "wrong_schema"),
        ('{"grade": 3', None, "unparsable"),
        ("3 of 4", None, "unparsable"),
        ("[" * 5000, None, "unparsable"),
    ],
)
def test_a_grade(text: str, score: float | None, reason: str | None) -> None:
    assert by_grade(answer(text)) == Judgement(score, reason)


def grades(*entries: tuple[Any, Any]) -> ChatAnswer:
    items = [{"document": number, "grade": grade} for number, grade in entries]
    return answer(json.dumps({"grades": items}))


def test_grades_are_told_by_their_numbers_whatever_their_order() -> None:
    found, extra = by_grades(grades((3, 0), (1, HIGHEST_GRADE), (2, None)), 3)
    assert [one.score for one in found] == [1.0, None, 0.0]
    assert [one.reason for one in found] == [None, "cannot_tell", None]
    assert extra == 0


def test_an_item_that_is_missing_or_there_twice_is_no_verdict() -> None:
    entries = [(1, 4), (2, 0), (2, 3), (9, 4), ("3", 4), (1, 4)]
    found, extra = by_grades(grades(*entries), 4)
    assert [one.reason for one in found] == [None, "repeated_item", "missing_item", "missing_item"]
    assert extra == 2
    for text in ("{}", '{"grades": {"1": 3}}'):
        found, _ = by_grades(answer(text), 2)
        assert [one.reason for one in found] == ["wrong_schema"] * 2
