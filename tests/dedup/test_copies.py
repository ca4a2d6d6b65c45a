"""Candidates of one query that are copies of each other, against a look at every pair."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.dedup import copies, minhash

pytest.importorskip("rensa")


def families(rng: np.random.Generator, count: int) -> list[str]:
    """Texts of 40 words, some of them copies of others but for some words or letters' case."""
    words = np.array([f"w{n}" for n in range(500)])
    texts: list[str] = []
    for _ in range(count):
        kind = rng.random()
        if texts and kind < 0.6:
            parts = str(rng.choice(np.array(texts))).split() or ["w0"]
            for at in rng.integers(0, len(parts), size=int(rng.integers(0, 4))):
                parts[at] = str(rng.choice(words))
            texts.append(" ".join(parts).upper() if kind < 0.2 else " ".join(parts))
        else:
            texts.append("" if kind > 0.97 else " ".join(rng.choice(words, size=40)))
    return texts


def by_all_pairs(
    query: np.ndarray, candidate: np.ndarray, signature: np.ndarray, at: float
) -> list[set[int]]:
    """Groups of rows by following every pair that is near."""
    left: set[int] = set(np.flatnonzero(candidate).tolist())
    found = []
    while left:
        group, new = set[int](), {left.pop()}
        while new:
            one = new.pop()
            group.add(one)
            near = {
                other
                for other in left
                if query[one] == query[other] and (signature[one] == signature[other]).mean() >= at
            }
            new |= near
            left -= near
        found.append(group)
    return [group for group in found if len(group) > 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([0.8, 0.9, 1.0]))
def test_groups_are_those_of_every_pair(seed: int, at: float) -> None:
    rng = np.random.default_rng(seed)
    texts = families(rng, 60)
    described = minhash.describe(pa.array(texts))
    signature = described.signature.astype(np.uint16)
    query = np.repeat(np.arange(4), 40)
    document = np.concatenate([rng.permutation(len(texts))[:40] for _ in range(4)])
    candidate = rng.random(len(query)) < 0.9
    found = copies.groups(query, candidate, document, signature, copies.bands(signature), at)
    groups = {number: set(np.flatnonzero(found == number).tolist()) for number in set(found)}
    groups.pop(-1, None)
    expected = by_all_pairs(query, candidate, signature[document], at)
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, expected))
    # Whatever other documents are looked up with them.
    more = copies.bands(np.concatenate([signature, signature[::-1]]))
    again = copies.groups(query, candidate, document, signature, more, at)
    assert ((again[:, None] == again) == (found[:, None] == found)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([0.8, 0.9, 1.0]))
def test_families_change_nothing_that_is_said_of_positives(seed: int, at: float) -> None:
    rng = np.random.default_rng(seed)
    described = minhash.describe(pa.array(families(rng, 60)))
    signature = described.signature.astype(np.uint16)
    query = np.repeat(np.arange(4), 40)
    document = np.concatenate([rng.permutation(len(signature))[:40] for _ in range(4)])
    positive = rng.random(len(query)) < 0.2
    family = copies.bands(signature).family[document]
    given_all = (query, positive, document, described.size, signature, at)
    near = minhash.near_duplicate(*given_all)
    assert copies.families_tell(at)
    assert np.array_equal(minhash.near_duplicate(*given_all, family), near)
    content = described.content[document]
    same = minhash.same_text(query, positive, content)
    assert np.array_equal(minhash.same_text(query, positive, content, family), same)


def test_families_tell_of_texts_as_near_as_bands_are_many() -> None:
    # 32 bands: 31 values that differ leave one of them whole, 32 need not.
    assert copies.families_tell(97 / 128)
    assert not copies.families_tell(96 / 128)


def test_of_a_group_the_first_is_kept() -> None:
    group = np.array([5, 5, -1, 5, 7, 7, -1])
    place = np.array([3, 1, 2, 0, 2, 1, 3])
    found = copies.repeats(group, place)
    assert found.tolist() == [True, False, False, False, True, False, False]
    assert not copies.repeats(group, np.zeros(7, dtype=np.int64)).any()


def test_nothing_among_nothing() -> None:
    none = np.empty(0, dtype=np.int64)
    signature = np.empty((0, 128), dtype=np.uint16)
    banded = copies.bands(signature)
    assert banded.family.tolist() == []
    found = copies.groups(none, none.astype(bool), none, signature, banded, 0.8)
    assert found.tolist() == []
