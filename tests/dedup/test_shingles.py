"""The sets that texts are compared by, against runs cut out of the strings."""

from __future__ import annotations

import random
import re

import numpy as np
import pyarrow as pa
import pytest

from negmine.dedup import shingles as module
from negmine.dedup.normal import CODE, NARROW, WIDE, WORDS, normalise
from negmine.dedup.shingles import DOCUMENT, QUERY, Lengths, shingles


def runs(text: str, kind: int, lengths: Lengths) -> list[str]:
    """What a text is taken apart into."""
    if not text:
        return []
    if kind == WORDS:
        words = text.split(" ")
        return [
            " ".join(words[at : at + lengths.words])
            for at in range(max(1, len(words) - lengths.words + 1))
        ]
    length = lengths.wide if kind == WIDE else lengths.narrow
    if kind == CODE:
        text = re.sub(r"(?a:\b \b)", "_", text)
    text = "\0" * (length - 1) + text.replace(" ", "") + "\0" * (length - 1)
    return [text[at : at + length] for at in range(len(text) - length + 1)]


@pytest.mark.parametrize("lengths", [DOCUMENT, QUERY])
def test_shingles_are_the_runs_of_a_text(lengths: Lengths, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    alphabets = ("กขคงจฉชซ", "中文字汉语词典", "abcd ", "ab+=(){} ", "")
    texts = [
        "".join(draw.choices(draw.choice(alphabets) or " ", k=draw.randrange(60)))
        for _ in range(300)
    ]
    normal = normalise(pa.array(texts))
    assert set(normal.kind.tolist()) == {WORDS, WIDE, NARROW, CODE}
    hashes, offsets = shingles(normal, lengths)
    known: dict[tuple[int, str], int] = {}
    for row, (text, kind) in enumerate(zip(normal.texts.to_pylist(), normal.kind, strict=True)):
        expected = runs(text, int(kind), lengths)
        found = hashes[offsets[row] : offsets[row + 1]].tolist()
        assert len(found) == len(expected)
        for run, value in zip(expected, found, strict=True):
            # Equal runs have equal hashes, and no others have.
            width = len(run) if kind != WORDS else min(lengths.words, len(run.split(" ")))
            assert known.setdefault((width, run), value) == value
    assert len(set(known.values())) == len(known)
    monkeypatch.setattr(module, "_CHARACTERS_AT_ONCE", 50)
    again = shingles(normal, lengths)
    assert np.array_equal(again[0], hashes)
    assert np.array_equal(again[1], offsets)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12.5%", "125%"),
        ("1.5 m/s", "15 m/s"),
        ("x = 1.5 * y", "x = 15 * y"),
        ("p < 0.05", "p < 0.5"),
        ("O-O", "O-O-O"),
        ("ha ha", "ha ha ha"),
    ],
)
def test_short_texts_of_other_numbers_are_no_near_duplicates(one: str, other: str) -> None:
    hashes, offsets = shingles(normalise(pa.array([one, other])), DOCUMENT)
    first, second = set(hashes[: offsets[1]].tolist()), set(hashes[offsets[1] :].tolist())
    assert len(first & second) < 0.8 * len(first | second)


def test_a_copy_of_code_has_the_same_sets() -> None:
    texts = ["for (int i=0; i<n; i++)", "for (int  i = 0; i < n; i++)"]
    hashes, offsets = shingles(normalise(pa.array(texts)), DOCUMENT)
    assert hashes[: offsets[1]].tolist() == hashes[offsets[1] :].tolist()
