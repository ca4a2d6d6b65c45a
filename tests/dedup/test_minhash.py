"""The identity guard: same and nearly the same texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from negmine.dedup import minhash
from negmine.dedup.normal import normalise

pytest.importorskip("rensa")

WORDS = [f"w{i}" for i in range(60)]


def test_normalise() -> None:
    texts = pa.array(["  The Cat,\n sat! ", "the cat sat", "ﬁne—ÉTÉ", "...", ""])
    assert normalise(texts).texts.to_pylist() == [
        "the cat sat",
        "the cat sat",
        "fine été",
        "",
        "",
    ]


def jaccard(a: list[str], b: list[str], n: int = 3) -> float:
    left = {tuple(a[i : i + n]) for i in range(len(a) - n + 1)}
    right = {tuple(b[i : i + n]) for i in range(len(b) - n + 1)}
    return len(left & right) / len(left | right)


@pytest.mark.parametrize("cut", [0, 3, 10, 30])
def test_minhash_estimates_the_jaccard_similarity_of_word_triples(cut: int) -> None:
    other = WORDS[cut:]
    texts = pa.array([" ".join(WORDS), " ".join(other)])
    described = minhash.describe(texts)
    assert described.size.tolist() == [58, 58 - cut]
    found = minhash.similarity(described.signature, np.array([0]), np.array([1]))
    assert found[0] == pytest.approx(jaccard(WORDS, other), abs=0.13)


def test_short_and_empty_texts() -> None:
    described = minhash.describe(pa.array(["one", "one", "", "two words"]))
    assert described.size.tolist() == [1, 1, 0, 1]
    assert (described.signature[0] == described.signature[1]).all()
    query, positive = np.zeros(4, dtype=int), np.array([True, False, False, False])
    found = minhash.near_duplicate(
        query, positive, np.arange(4), described.size, described.signature, 0.8
    )
    assert found.tolist() == [False, True, False, False]
    # Two empty texts are not each other's duplicates.
    found = minhash.near_duplicate(
        query, positive, np.array([2, 2, 2, 2]), described.size, described.signature, 0.8
    )
    assert not found.any()


@pytest.mark.parametrize("at", [0.05, 0.5, 0.8, 1.0])
def test_unlike_pairs_are_told_early_and_the_same(at: float) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 1 << 16, size=(300, 128), dtype=np.uint16)
    second = rng.integers(0, 1 << 16, size=(300, 128), dtype=np.uint16)
    kept = rng.random(300)[:, None] > rng.random((300, 128))
    signature = np.concatenate([first, np.where(kept, first, second)])
    # Exactly at the limit, with all that differs in the first columns, and one beyond it.
    differ = 128 - int(np.ceil(at * 128))
    for row, count in ((300, differ), (301, differ + 1)):
        signature[row] = signature[row - 300]
        signature[row, :count] ^= 1
    left, right = np.arange(300), np.arange(300, 600)
    expected = (signature[left] == signature[right]).mean(axis=1) >= at
    assert expected[:2].tolist() == [True, False]
    assert minhash.similar(signature, left, right, at).tolist() == expected.tolist()


def test_positive_pairs_stay_within_the_query() -> None:
    query = np.array([0, 0, 0, 1, 1, 2])
    positive = np.array([True, False, True, False, False, True])
    left, right = minhash.positive_pairs(query, positive)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(1, 0), (1, 2)]


def test_clusters_queries() -> None:
    texts = [
        "What is the boundary layer of a flat plate?",
        "something else entirely",
        "what is the boundary layer of a flat plate",
        "the plate boundary flat layer of a what is",
        "what is the pressure of a flat disc",
        "",
        "",
    ]
    found = minhash.clusters(*minhash.signatures(pa.array(texts)), 0.9)
    assert found[0] == found[2] == found[3] >= 0
    assert found[[1, 4, 5, 6]].tolist() == [-1, -1, -1, -1]


def test_siblings() -> None:
    query = np.array([0, 0, 0, 0, 1])
    positive = np.array([True, False, False, False, False])
    docids = pa.chunked_array([["p#1", "p#2", "p2#1", "p", "p#3"]])
    found = minhash.siblings(query, positive, docids, "#[0-9]+")
    assert found.tolist() == [False, True, False, True, False]


def test_texts_without_a_letter_are_alone() -> None:
    texts = pa.array(["???", "", "..."])
    assert minhash.clusters(*minhash.signatures(texts), 0.9).tolist() == [-1, -1, -1]


# What is nearly the same, by runs of characters where there are no spaces.
THAI = (
    "กระทรวงสาธารณสุขประกาศให้ประชาชนทุกคนสวมหน้ากากอนามัยเมื่อออกจากบ้านและล้างมือบ่อยๆ "
    "โรงเรียนทั่วประเทศเปิดภาคเรียนใหม่ในเดือนพฤษภาคมหลังจากปิดเทอมฤดูร้อนนานสองเดือนครึ่ง "
    "ชาวนาในภาคอีสานเริ่มหว่านข้าวตั้งแต่ต้นฤดูฝนและเก็บเกี่ยวในช่วงปลายปี"
)
CHINESE = (
    "北京是中华人民共和国的首都，也是全国的政治、文化中心，人口超过两千万，历史悠久，名胜古迹众多。"
    "上海位于长江入海口，是中国最大的港口城市和经济中心，每年吸引大量来自世界各地的游客与投资者。"
)


@pytest.mark.parametrize("passage", [THAI, CHINESE])
def test_near_duplicates_without_spaces(passage: str) -> None:
    texts = [passage, passage + passage[:4], passage[: len(passage) // 2]]
    described = minhash.describe(pa.array(texts))
    left, right = np.array([0, 0]), np.array([1, 2])
    near, far = minhash.similarity(described.signature, left, right)
    assert near > 0.8
    assert far < 0.6


def test_one_word_of_a_short_question_makes_another() -> None:
    pairs = [
        ("ประเทศไทยมีกี่จังหวัด", "ประเทศลาวมีกี่จังหวัด"),
        ("ข้าวราคาเท่าไร", "ข่าวราคาเท่าไร"),
        ("中国的首都在哪里", "韩国的首都在哪里"),
        ("日本の首都はどこですか", "英国の首都はどこですか"),
        ("తెలుగు భాష ఎప్పుడు పుట్టింది", "తెలుగు భాష ఎక్కడ పుట్టింది"),
        ("रोम की राजधानी", "राम की राजधानी"),
        ("what does a++ do", "what does a-- do"),
        ("sort a vector in C++", "sort a vector in C#"),
        ("return a + b - c", "return a - b + c"),
    ]
    texts = pa.array([text for pair in pairs for text in pair])
    assert (minhash.clusters(*minhash.signatures(texts), 0.9) == -1).all()
    copies = pa.array([f"{text}?" for pair in pairs for text in pair])
    both = minhash.clusters(*minhash.signatures(pa.concat_arrays([texts, copies])), 0.9)
    assert (both[: len(texts)] == both[len(texts) :]).all()
    assert len(set(both.tolist())) == len(texts)
