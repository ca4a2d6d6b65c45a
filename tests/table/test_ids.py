import hashlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.table.ids import content_ids

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_known_values_never_change() -> None:
    ids = content_ids(pa.array(["", "abc", "Müller"]))
    assert ids.type == pa.string()
    assert ids.to_pylist() == [
        "e3b0c44298fc1c149afbf4c8996fb924",
        "ba7816bf8f01cfea414140de5dae2223",
        "a78429899bb825ce667d25d92e2cde48",
    ]


def test_no_texts_no_ids() -> None:
    assert content_ids(pa.array([], pa.string())).equals(pa.array([], pa.string()))


def test_a_missing_text_is_refused() -> None:
    with pytest.raises(ValueError, match="missing text"):
        content_ids(pa.array(["a", None]))


def test_slices_and_other_string_types() -> None:
    texts = pa.array(["a", "b", "c"])
    assert content_ids(texts[1:]).equals(content_ids(pa.array(["b", "c"], pa.large_string())))


@given(st.lists(TEXT))
def test_is_the_documented_hash(texts: list[str]) -> None:
    expected = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    assert content_ids(pa.array(texts, pa.string())).to_pylist() == expected
