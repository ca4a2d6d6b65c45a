from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.models.tokens import attention_mask, concatenate, from_lists

ROWS = st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=12)


@given(ROWS, st.booleans(), st.randoms())
def test_pad_is_what_a_loop_makes(rows: list[list[int]], left: bool, rng: object) -> None:
    order = list(range(len(rows)))[::-1]
    width = max((len(row) for row in rows), default=0)
    expected = []
    for i in order:
        fill = [0] * (width - len(rows[i]))
        expected.append(fill + rows[i] if left else rows[i] + fill)
    ragged = from_lists(rows)
    index = np.array(order, dtype=np.int64)
    assert ragged.pad(index, 0, left).tolist() == expected
    mask = attention_mask(ragged.lengths[index], left)
    assert mask.tolist() == [[int(v > 0) for v in row] for row in expected]


@given(ROWS, st.integers(0, 12))
def test_concatenate_undoes_a_split(rows: list[list[int]], cut: int) -> None:
    joined = concatenate([from_lists(rows[:cut]), from_lists(rows[cut:])])
    assert joined.lengths.tolist() == [len(row) for row in rows]
    assert joined.values.tolist() == [value for row in rows for value in row]


def test_concatenate_nothing() -> None:
    assert len(concatenate([]).lengths) == 0


@pytest.mark.parametrize("left", [False, True])
def test_pad_fills_with_the_given_id(left: bool) -> None:
    padded = from_lists([[5], [6, 7]]).pad(np.array([0, 1]), fill=99, left=left)
    assert padded.tolist() == ([[99, 5], [6, 7]] if left else [[5, 99], [6, 7]])
