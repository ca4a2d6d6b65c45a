"""The oracle is always the tokenizer itself, asked about every text by itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import PreTokenizedString, Tokenizer
from tokenizers.pre_tokenizers import PreTokenizer

from negmine.models.resolve import local_folder, resolve
from negmine.models.token_cache import (
    CACHE_BYTES,
    TokenCache,
    Tokens,
    digest,
    key_of,
    tokenizer_name,
)
from negmine.models.tokens import Ragged, from_lists
from tests.conftest import MINILM


def codes(text: str) -> list[int]:
    """Stands for a tokenizer: a number for each character."""
    return [ord(character) for character in text]


class Asked:
    """A tokenizer that remembers what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tokens:
        self.texts += texts
        lengths = from_lists([[len(text)] for text in texts])
        return Tokens({"ids": from_lists([codes(text) for text in texts]), "n": lengths}, {"a": 1})


def rows(tokens: Tokens, name: str) -> list[list[int]]:
    column = tokens.columns[name]
    return [column.row(number).tolist() for number in range(len(column.lengths))]


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=12)


@given(st.lists(TEXTS, max_size=6), st.sampled_from([0, 1000, 3000, CACHE_BYTES]))
def test_every_text_gets_its_own_tokens(calls: list[list[str]], size: int) -> None:
    """Whatever was asked before, whatever is forgotten, in the order that is asked for."""
    cache_of, tokenise = TokenCache(size), Asked()
    for texts in calls:
        tokenise.texts.clear()
        found = cache_of.of(texts, tokenise)
        assert rows(found, "ids") == [codes(text) for text in texts]
        assert rows(found, "n") == [[len(text)] for text in texts]
        assert found.constants == {"a": 1}
        assert len(set(tokenise.texts)) == len(tokenise.texts)


@given(st.lists(TEXTS, max_size=6))
def test_what_is_remembered_is_not_made_again(calls: list[list[str]]) -> None:
    cache_of, tokenise = TokenCache(), Asked()
    for texts in calls:
        cache_of.of(texts, tokenise)
    assert sorted(tokenise.texts) == sorted({text for texts in calls for text in texts})


def test_no_more_is_held_than_was_said() -> None:
    """What is held of any number of texts, by the arrays themselves."""
    cache_of, tokenise = TokenCache(100_000), Asked()
    for number in range(200):
        cache_of.of([f"{number} {row} {'x' * 100}" for row in range(20)], tokenise)
    held = [*cache_of._young.values(), *cache_of._old.values()]
    assert 0 < sum(column.nbytes for row in held for column in row) < 100_000
    assert len(held) < 100_000 / 450 + 2
    # No row is a view of all that was made with it.
    assert all(column.base is None for row in held for column in row)


def test_texts_that_are_cut_elsewhere_are_others() -> None:
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc")}) == 3
    assert key_of("name", "x") != key_of("name", "y")


def test_a_tokenizers_name_is_not_how_it_pads_and_truncates() -> None:
    path = local_folder(resolve(MINILM)) / "tokenizer.json"
    one, other = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(path))
    one.enable_truncation(7, strategy="only_first", direction="left")
    one.enable_padding(direction="left", length=9)
    before = (one.truncation, one.padding)
    assert tokenizer_name(one) == tokenizer_name(other)
    assert (one.truncation, one.padding) == before
    other.encode_special_tokens = True
    assert tokenizer_name(one) != tokenizer_name(other)
    other.encode_special_tokens = False
    other.add_tokens(["negmine"])
    assert tokenizer_name(one) != tokenizer_name(other)


class _Splits:
    """A part of a tokenizer in Python, as RoFormer's."""

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        text.split(lambda number, part: [part])


def test_a_tokenizer_with_parts_in_python_has_no_name() -> None:
    tokenizer = Tokenizer.from_file(str(local_folder(resolve(MINILM)) / "tokenizer.json"))
    tokenizer.enable_truncation(7)
    tokenizer.pre_tokenizer = PreTokenizer.custom(_Splits())
    assert tokenizer_name(tokenizer) is None
    assert tokenizer.truncation["max_length"] == 7


def test_threads_get_each_its_own() -> None:
    cache = TokenCache(20_000)
    texts = [f"{number % 50} text" for number in range(2000)]

    def read(start: int) -> bool:
        some = texts[start : start + 40]
        return rows(cache.of(some, Asked()), "ids") == [codes(text) for text in some]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(0, 1960, 7)))


@given(TEXTS.filter(len), st.data())
def test_rows_are_taken_in_any_order(texts: list[str], data: st.DataObject) -> None:
    every = [codes(text) for text in texts]
    places = data.draw(st.lists(st.integers(0, len(texts) - 1)))
    found = from_lists(every).take(np.array(places, dtype=np.int64))
    assert [found.row(n).tolist() for n in range(len(places))] == [every[n] for n in places]
    again = Ragged.of([np.array(row, dtype=np.int32) for row in every])
    assert again.values.tolist() == from_lists(every).values.tolist()
    assert again.offsets.tolist() == from_lists(every).offsets.tolist()
