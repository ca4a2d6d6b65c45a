"""What the identity guard sees of texts: what tells them apart stays, what a copy changes goes."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.dedup.normal import CODE, NARROW, WIDE, WORDS, normalise

QUOTES = "'\"`‘’‚‛“”„‟«»‹›ʼ׳״"
SYMBOLS = "*/%&#@\\‰′″‴"
ALPHABET = "abZ0 5.,!=:-+*/(){}'’\"%–−²\n\téÉ́ß😀中文かข้าขकाक्ςΣŦﬁＡ：​"


def normal(text: str) -> str:
    result: str = normalise(pa.array([text])).texts[0].as_py()
    return result


def kind(text: str) -> int:
    return int(normalise(pa.array([text])).kind[0])


def unspaced(char: str) -> bool:
    """Han, kana and Thai are the scripts without spaces in the alphabet above."""
    return bool(re.match("[\u3040-\u30ff\u4e00-\u9fff\u0e00-\u0e7f]", char))


def reference(text: str) -> str:
    """The rules, character by character."""
    text = re.sub("([²³¹]+)", r"^\1", text.replace("´", "'"))
    text = unicodedata.normalize("NFKC", text)
    # Letter by letter: a sigma does not ask whether a word ends.
    text = "".join(c.lower() if len(c.lower()) == 1 else c for c in text).replace("ς", "σ")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    word = [unicodedata.category(c)[0] in "LMN" and c not in QUOTES for c in text]
    sign = [(unicodedata.category(c)[0] == "S" or c in SYMBOLS) and c not in QUOTES for c in text]
    bracket = [c in "()[]{}" for c in text]
    signs = sum(sign) + sum(bracket)
    if signs:
        edged = [False, *word, False]
        signs += sum(c in "-–‐‑" and not edged[i] * edged[i + 2] for i, c in enumerate(text))
    code = signs > 0 and 10 * signs >= sum(word)
    tokens: list[tuple[str, str]] = []
    for i, c in enumerate(text):
        before = i > 0 and word[i - 1]
        after = i + 1 < len(text) and word[i + 1]
        then = text[i + 1] if i + 1 < len(text) else ""
        if word[i]:
            tokens.append((c, "unspaced" if unspaced(c) else "word"))
        elif c in QUOTES and before and after:
            continue
        elif (
            sign[i]
            or (bracket[i] and code)
            or (c in "-–‐‑" and (code or (not before and then in list("0123456789"))))
            or (c == "!" and (then == "=" or (not before and after)))
            or (c == ":" and then == "=")
        ):
            tokens.append(("-" if c in "−–‐‑" else c, "symbol"))
        elif tokens and tokens[-1][1] != "space":
            tokens.append((" ", "space"))
    if tokens and tokens[-1][1] == "space":
        tokens.pop()
    out = ""
    for i, (c, what) in enumerate(tokens):
        last = tokens[i - 1][1] if i else ""
        if what == "space":
            sides = {last, tokens[i + 1][1]}
            out += "" if sides == {"symbol"} or "unspaced" in sides else " "
            continue
        out += (" " if {last, what} == {"word", "symbol"} else "") + c
    return out


@settings(max_examples=400, deadline=None)
@given(st.lists(st.text(ALPHABET, max_size=24), max_size=5))
def test_it_follows_its_rules(texts: list[str]) -> None:
    found = normalise(pa.array(texts, pa.string()))
    assert found.texts.to_pylist() == [reference(text) for text in texts]
    assert len(found.kind) == len(texts)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Vowel signs, tone marks and other combining marks.
        ("रोम", "राम"),
        ("ข้าว", "ข่าว"),
        ("ข้าว", "ขาว"),
        ("తెలుగు", "తెలగు"),
        ("ခါး", "ခါ"),
        ("ಮನೆ", "ಮನ"),
        ("कि", "की"),
        ("ma\u0301", "ma\u0300"),
        ("か", "が"),
        # Operators, and names made of them.
        ("def f(a, b): return a + b", "def f(a, b): return a - b"),
        ("def f(a, b): return a * b", "def f(a, b): return a / b"),
        ("C++", "C#"),
        ("C", "C++"),
        ("x = 1", "x = -1"),
        ("a != b", "a = b"),
        ("a := b", "a = b"),
        ("!ready", "ready"),
        ("a <= b", "a < b"),
        ("i++", "i--"),
        ("(a + b) * c", "a + (b * c)"),
        ("f(x)", "f[x]"),
        ("x²", "x2"),
        ("10³", "103"),
        ("-5 degrees", "5 degrees"),
        ("A ∪ B", "A ∩ B"),
        ("f′", "f"),
        ("50%", "50"),
        ("$5", "€5"),
        ("3.14", "314"),
    ],
)
def test_what_tells_texts_apart_stays(first: str, second: str) -> None:
    assert normal(first) != normal(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("  The Cat,\n sat! ", "the cat sat"),
        ("Baker's yeast, they said.", "bakers yeast they said"),
        ("“Don’t!”", "don't"),
        ("ﬁne—ÉTÉ", "fine été"),
        ("caf\u00e9", "cafe\u0301"),
        ("ＡＢＣ　１２３", "abc 123"),
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("使用 Python 编程。", "使用Python编程"),
        ("ข้าว ไทย", "ข้าวไทย"),
        ("ភាសា\u200bខ្មែរ", "ភាសាខ្មែរ"),
        ("がくせい", unicodedata.normalize("NFD", "がくせい")),
        ("한국어 문장", unicodedata.normalize("NFD", "한국어 문장")),
        ("मैं राम हूँ।", "मैं राम हूँ"),
        ("def f(a,b): return a+b", "def f(a, b):\n    return a + b"),
        ("5 − 3 = 2", "5 - 3 = 2"),
        ("the well-known case", "the well known case"),
        ("What is C++?", "what is c++"),
        ("ΟΔΟΣ", "οδος"),
        ("soft\u00adhyphen", "softhyphen"),
        ("1990–2000", "1990-2000"),
    ],
)
def test_what_a_copy_changes_goes(first: str, second: str) -> None:
    assert normal(first) == normal(second) != ""


def test_nothing_is_left_of_punctuation() -> None:
    assert [normal(text) for text in ("", " \n", "...", "— “”", "\u200b")] == [""] * 5


def test_texts_are_taken_apart_by_what_they_are_written_in() -> None:
    expected = {
        "An English sentence (with brackets), and 50% of numbers.": WORDS,
        "हिन्दी में एक वाक्य": WORDS,
        "한국어 문장입니다": WORDS,
        "今天天气很好": WIDE,
        "東京タワーに行きました": WIDE,
        "使用 Python 的 asyncio 库": WIDE,
        "วันนี้อากาศดี": NARROW,
        "ထမင်းစားပြီးပြီလား": NARROW,
        "សួស្តី": NARROW,
        "for (i = 0; i < n; i++) { s += a[i]; }": CODE,
        "E = mc^2": CODE,
        "": WORDS,
    }
    assert {text: kind(text) for text in expected} == expected


def test_texts_do_not_touch_each_other() -> None:
    texts = ["a'", "'b", "-", "5", "", "!", "=", "中", "a", "+"] * 300
    found = normalise(pa.array(texts))
    assert found.texts.to_pylist() == [normal(text) for text in texts]
    sliced = normalise(pa.array(texts).slice(1, 7))
    assert sliced.texts.to_pylist() == found.texts.to_pylist()[1:8]
    assert np.array_equal(sliced.kind, found.kind[1:8])
