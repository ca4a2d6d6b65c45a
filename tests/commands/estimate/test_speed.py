"""A model's cost from a few timed batches, against one whose cost is known."""

from __future__ import annotations

import numpy as np
import pytest

from negmine import processors
from negmine.commands.estimate import speed
from negmine.models.batching import length_batches


class Clock:
    """Stands in for the time module: work moves it on."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def cost(rows: int, padded: int) -> float:
    """Seconds of a batch: a call, its tokens, and attention, which grows with the square."""
    return 0.001 + rows * (2e-5 * padded + 4e-8 * padded**2)


@pytest.mark.parametrize("most", [1024, 32_768])
@pytest.mark.parametrize("batch_size", [1, 16, 128])
def test_a_run_is_foretold_from_some_of_its_batches(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, most: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(speed, "time", clock)
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(3, 60, 2000), 3, 512).astype(np.int64)

    def run(rows: np.ndarray) -> None:
        for batch in length_batches(lengths[rows], batch_size, most):
            clock.now += cost(len(batch), int(lengths[rows][batch].max()))

    found = speed.measure(lengths, batch_size, most, run)
    tried = clock.now
    everything = np.clip(random.gamma(3, 60, 30_000), 3, 512).astype(np.int64)
    real = sum(
        cost(len(batch), int(everything[batch].max()))
        for batch in length_batches(everything, batch_size, most)
    )
    assert found.of_call(speed.stretched(lengths, 30_000)) == pytest.approx(real, rel=0.08)
    assert tried < 6


def test_the_smallest_batches_do_not_stand_for_the_whole_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a call costs much and a row nothing, whole batches are tried."""
    clock = Clock()
    monkeypatch.setattr(speed, "time", clock)
    lengths = np.full(500, 20, dtype=np.int64)
    sizes = []

    def run(rows: np.ndarray) -> None:
        sizes.append(len(rows))
        clock.now += 0.01

    found = speed.measure(lengths, 64, 64 * 256, run)
    assert max(sizes) == 64
    assert found.of_call(np.full(640, 20)) == pytest.approx(0.1)


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("cores", [1, 2, 3, 16])
def test_rows_that_run_side_by_side_are_timed_so(
    monkeypatch: pytest.MonkeyPatch, cores: int, seconds: float
) -> None:
    """One row at a time, in the threads that were taken, each of which gets as many rows."""
    clock = Clock()
    monkeypatch.setattr(speed, "time", clock)
    monkeypatch.setattr(processors, "threads", lambda: cores)
    lengths = np.full(300, 100, dtype=np.int64)
    sizes = []

    def run(rows: np.ndarray) -> None:
        sizes.append(len(rows))
        clock.now += seconds * -(-len(rows) // cores)

    found = speed.measure(lengths, 1, 512, run)
    assert found.of_call(np.full(1600, 100)) == pytest.approx(seconds * 1600 / cores, rel=0.01)
    # The first call prepares things and has two rows.
    assert not any(size % cores for size in sizes[1:])
    assert clock.now < 6


def test_stretched_lengths_have_the_sample_s_distribution() -> None:
    sample = np.random.default_rng(1).integers(1, 500, 300)
    for count in (7, 300, 5000):
        many = speed.stretched(sample, count)
        assert len(many) == count
        assert set(many) <= set(sample)
        assert abs(many.mean() - sample.mean()) < 500 / min(count, 300)
    assert np.array_equal(speed.stretched(sample, 300), np.sort(sample))


def test_memory_is_that_of_the_largest_batch() -> None:
    found = speed.Speed(np.array([10.0]), np.array([0.1]), 3.0, batch_size=8, batch_tokens=10_000)
    lengths = np.array([100] * 5 + [20] * 64)
    # With at most 8 rows a batch: 5 of 100 tokens and 3 more padded to that.
    assert found.memory_of_call(lengths) == 3 * 8 * 100
