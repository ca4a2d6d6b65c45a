"""What a model costs: a few real batches are timed, the rest follows from the texts' lengths.

A model's time per row depends on the row's padded length and on little else, so it is measured at
some lengths spread over those that the user's texts have, and read off in between. The batches of
the run are known beforehand: they are cut by length, and the lengths are sampled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from negmine import memory, processors
from negmine.models.batching import length_batches

#: Where in the sorted lengths a batch is timed.
_PLACES = (0.02, 0.2, 0.4, 0.6, 0.8, 0.95)
#: Seconds that one timed batch may take, about; a whole batch is taken where it takes less.
_SECONDS = 0.7
_FIRST_ROWS = 4
#: Rows for each core where a model takes row by row: with fewer, a core that is done waits for the
#: other as long as it worked, and what else the machine did just then is taken for the model.
_ROWS_PER_CORE = 8


@dataclass(frozen=True)
class Speed:
    """Seconds per row by padded length, and memory per padded token.

    Attributes:
        lengths: padded lengths that were timed, rising.
        seconds: of one row of that length.
        bytes_per_token: memory that a batch, or the rows side by side, take while they run.
        batch_size: most rows in a batch.
        batch_tokens: most padded tokens in a batch.
    """

    lengths: np.ndarray
    seconds: np.ndarray
    bytes_per_token: float
    batch_size: int
    batch_tokens: int

    def of_call(self, lengths: np.ndarray) -> float:
        """Seconds of one call with rows of these lengths."""
        total = 0.0
        for rows in length_batches(lengths, self.batch_size, self.batch_tokens):
            # Longest first, so the first row's length is what the others are padded to.
            total += len(rows) * self._row(float(lengths[rows[0]]))
        return total

    def memory_of_call(self, lengths: np.ndarray) -> int:
        """Bytes that the largest batch of a call takes."""
        batches = length_batches(lengths, self.batch_size, self.batch_tokens)
        largest = max((len(rows) * int(lengths[rows[0]]) for rows in batches), default=0)
        return int(largest * self.bytes_per_token)

    def _row(self, length: float) -> float:
        if length < self.lengths[0]:
            return float(self.seconds[0] * length / self.lengths[0])
        if length > self.lengths[-1]:
            return float(self.seconds[-1] * length / self.lengths[-1])
        return float(np.interp(length, self.lengths, self.seconds))


def resident_bytes() -> int:
    """What this process holds now (0 where the system does not tell)."""
    memory.reset_peak_memory()
    return memory.peak_memory() or 0


def stretched(lengths: np.ndarray, count: int) -> np.ndarray:
    """``count`` lengths of the same distribution as the sampled ones."""
    if count == 0 or len(lengths) == 0:
        return np.zeros(0, dtype=np.int64)
    ordered = np.sort(lengths)
    at = (np.arange(count) + 0.5) * len(ordered) / count
    return ordered[at.astype(np.int64)]


def measure(
    lengths: np.ndarray,
    batch_size: int,
    batch_tokens: int,
    run: Callable[[np.ndarray], object],
) -> Speed:
    """Time ``run`` on rows of some lengths.

    Args:
        lengths: tokens of each sampled row.
        batch_size: most rows in a batch.
        batch_tokens: most padded tokens in a batch.
        run: runs the model on the rows of these numbers.
    """
    order = np.argsort(lengths, kind="stable")
    # A model that takes row by row runs rows side by side: one alone would show one core's speed.
    alone = batch_size == 1
    cores = (processors.threads() or processors.allowed()) if alone else 1
    together = _ROWS_PER_CORE * cores if alone else 1
    # The first call prepares things, and is part of no batch's time.
    run(order[: min(2, len(order))])
    found: dict[int, list[float]] = {}
    count, most = _FIRST_ROWS, 0.0
    for place in _PLACES:
        longest = max(1, int(lengths[order[int(place * (len(order) - 1))]]))
        full = len(length_batches(np.full(batch_size, longest), batch_size, batch_tokens)[0])
        full = max(full, together)
        count = _multiple(min(count, full), cores)
        before = resident_bytes()
        while True:
            rows = _around(order, place, count)
            started = time.perf_counter()
            run(rows)
            seconds = time.perf_counter() - started
            if count >= full or seconds > _SECONDS / 3:
                break
            # A batch that is too small shows what a call costs, not what a row does.
            more = max(2 * count, int(count * _SECONDS / max(seconds, 1e-6) / 2))
            count = _multiple(min(full, more), cores)
        padded = max(1, int(lengths[rows].max()))
        held = padded * (1 if alone else len(rows))
        most = max(most, ((memory.peak_memory() or 0) - before) / held)
        found.setdefault(padded, []).append(seconds / len(rows))
        count = max(1, int(count * min(2.0, _SECONDS / max(seconds, 1e-6))))
    known = np.array(sorted(found))
    seconds_of = np.array([float(np.median(found[length])) for length in known])
    return Speed(known.astype(np.float64), seconds_of, most, batch_size, batch_tokens)


def _multiple(count: int, cores: int) -> int:
    """``count``, or a little less, so that every core gets as many rows."""
    return max(cores, count - count % cores)


def _around(order: np.ndarray, place: float, count: int) -> np.ndarray:
    """``count`` rows with lengths about that place; a sample too small for it is repeated."""
    middle = int(place * (len(order) - 1))
    low = int(np.clip(middle - count // 2, 0, max(0, len(order) - count)))
    rows = order[low : low + count]
    return rows[np.arange(count) % len(rows)]
