"""The oracle is always the tokenizer itself, asked about every text by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from negmine.models.resolve import local_folder, resolve
from negmine.models.tokenised import RECENT_BYTES, Recent, Tokens, digest, name_of, way
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


@given(st.lists(TEXTS, max_size=6), st.sampled_from([0, 1000, 3000, RECENT_BYTES]))
def test_every_text_gets_its_own_tokens(calls: list[list[str]], size: int) -> None:
    """Whatever was asked before, whatever is forgotten, in the order that is asked for."""
    recent, tokenise = Recent(size), Asked()
    for texts in calls:
        tokenise.texts.clear()
        found = recent.of(texts, tokenise)
        assert rows(found, "ids") == [codes(text) for text in texts]
        assert rows(found, "n") == [[len(text)] for text in texts]
        assert found.constants == {"a": 1}
        assert len(set(tokenise.texts)) == len(tokenise.texts)


@given(st.lists(TEXTS, max_size=6))
def test_what_is_remembered_is_not_made_again(calls: list[list[str]]) -> None:
    recent, tokenise = Recent(), Asked()
    for texts in calls:
        recent.of(texts, tokenise)
    assert sorted(tokenise.texts) == sorted({text for texts in calls for text in texts})


def test_no_more_is_held_than_was_said() -> None:
    """What is held of any number of texts, by the arrays themselves."""
    recent, tokenise = Recent(100_000), Asked()
    for number in range(200):
        recent.of([f"{number} {row} {'x' * 100}" for row in range(20)], tokenise)
    held = [*recent._young.values(), *recent._old.values()]
    assert 0 < sum(column.nbytes for row in held for column in row) < 100_000
    assert len(held) < 100_000 / 300 + 2
    # No row is a view of all that was made with it.
    assert all(column.base is None for row in held for column in row)


def test_texts_that_are_cut_elsewhere_are_others() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert way("name", "x") != way("name", "y")


def test_a_tokenizers_name_is_not_how_it_pads_and_truncates() -> None:
    path = local_folder(resolve(MINILM)) / "tokenizer.json"
    one, other = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(path))
    one.enable_truncation(7, strategy="only_first", direction="left")
    one.enable_padding(direction="left", length=9)
    before = (one.truncation, one.padding)
    assert name_of(one) == name_of(other)
    assert (one.truncation, one.padding) == before
    other.add_tokens(["negmine"])
    assert name_of(one) != name_of(other)


@given(TEXTS.filter(len), st.data())
def test_rows_are_taken_in_any_order(texts: list[str], data: st.DataObject) -> None:
    every = [codes(text) for text in texts]
    places = data.draw(st.lists(st.integers(0, len(texts) - 1)))
    found = from_lists(every).take(np.array(places, dtype=np.int64))
    assert [found.row(n).tolist() for n in range(len(places))] == [every[n] for n in places]
    again = Ragged.of([np.array(row, dtype=np.int32) for row in every])
    assert again.values.tolist() == from_lists(every).values.tolist()
    assert again.offsets.tolist() == from_lists(every).offsets.tolist()
