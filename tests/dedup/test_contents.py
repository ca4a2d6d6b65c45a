"""Answers in texts against DPR's own way of looking for them, and numbers."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.dedup import contents


def tokens(text: str) -> list[str]:
    """As DPR's SimpleTokenizer gives them, by Unicode categories of single characters."""
    found: list[str] = []
    inside = False
    for character in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(character)[0]
        if kind in "LNM":
            found[-1:] = [found[-1] + character] if inside else [*found[-1:], character]
        elif kind not in "ZC":
            found.append(character)
        inside = kind in "LNM"
    return [token.lower().replace("ς", "σ") for token in found]


def has_answer(answers: list[str], text: str) -> bool:
    words = tokens(text)
    return any(
        wanted == words[at : at + len(wanted)]
        for wanted in map(tokens, answers)
        if wanted
        for at in range(len(words))
    )


def holds(answers: list[str], text: str) -> bool:
    (words,) = contents.words(pa.array([text])).to_pylist()
    own = contents.words(pa.array(answers, pa.string())).to_pylist()
    zero = np.zeros(1, dtype=np.int64)
    return bool(contents.holding(zero, zero, [words], [own])[0])


@pytest.mark.parametrize(
    ("answers", "text", "held"),
    [
        (["Paris"], "It was PARIS, then.", True),
        (["art"], "The party started.", False),
        (["New  York"], "in new york's streets", True),
        (["U.S."], "the u.s. army", True),
        (["U.S."], "the us army", False),
        (["café"], "a cafe\N{COMBINING ACUTE ACCENT} there", True),
        (["cafe"], "a café there", False),
        (["14"], "in 1914", False),
        (["", " - "], "nothing - here", True),
        (["", "  "], "nothing here", False),
        ([], "nothing here", False),
        (["3.5"], "about 3.5 km", True),
    ],
)
def test_by_hand(answers: list[str], text: str, held: bool) -> None:
    assert holds(answers, text) is held
    assert has_answer(answers, text) is held


ALPHABET = st.sampled_from("ab AB.-é1 \n\tß東京٣\N{COMBINING ACUTE ACCENT}$")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(ALPHABET, max_size=4), max_size=3), st.text(ALPHABET, max_size=20))
def test_as_dpr_looks(answers: list[str], text: str) -> None:
    assert holds(answers, text) == has_answer(answers, text)


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        ('["a", "b c"]', ["a", "b c"]),
        ("['a', \"b's\"]", ["a", "b's"]),
        ("[1, null]", ["1"]),
        ("[not a list]", ["[not a list]"]),
        ("Paris", ["Paris"]),
        (None, []),
    ],
)
def test_lists_of_any_writing(value: str | None, answers: list[str]) -> None:
    assert contents.answers(value) == answers


def test_numbers() -> None:
    texts = pa.array(["in 1914", "nineteen", "\N{ARABIC-INDIC DIGIT THREE} times", ""])
    assert contents.has_number(texts).tolist() == [True, False, True, False]
    asking = ["How many states are there?", "the percentage change", "what year was it", "top 5"]
    others = ["Who wrote it?", "how to swim", "numbering of houses", "show many things"]
    found = contents.asks_for_number(pa.array([*asking, *others])).tolist()
    assert found == [True] * 4 + [False] * 4
    assert not re.search(r"\d", asking[0])
