from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.errors import UsageError
from negmine.models.batching import length_batches, token_budget

LENGTHS = st.lists(st.integers(0, 700), max_size=200).map(lambda x: np.array(x, dtype=np.int64))


@given(LENGTHS, st.integers(1, 40), st.integers(1, 3000))
def test_batches_partition_and_stay_within_bounds(
    lengths: np.ndarray, batch_size: int, budget: int
) -> None:
    batches = length_batches(lengths, batch_size, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    order = [(-lengths[i], i) for batch in batches for i in batch]
    assert order == sorted(order)


@given(LENGTHS, st.integers(1, 40))
def test_a_batch_ends_only_at_a_bound(lengths: np.ndarray, batch_size: int) -> None:
    for batch in length_batches(lengths, batch_size, 1000)[:-1]:
        one_more = (len(batch) + 1) * lengths[batch].max()
        assert len(batch) == batch_size or one_more > 1000


def test_no_rows_no_batches() -> None:
    assert length_batches(np.array([], dtype=np.int64), 8, 100) == []


def test_refuses_an_empty_batch() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        length_batches(np.array([3]), 0, 100)


def test_a_cpu_takes_fewer_tokens_at_once_than_a_gpu() -> None:
    assert token_budget(128, "cuda:1") == 128 * 256
    assert token_budget(128, "cpu") == 1024
    assert token_budget(128, "cpu", "openvino", "bfloat16") == 4096
    assert token_budget(2, "cpu") == 2 * 256
