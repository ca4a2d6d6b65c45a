"""Progress of models: by tokens, told in rows."""

from __future__ import annotations

import numpy as np

from negmine.models.batching import length_batches
from negmine.models.counting import ByTokens, Scaled


class Seen:
    """Takes what it is told."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.before: list[int] = []

    def __call__(self, count: int) -> None:
        self.made.append(count)

    def there(self, count: int) -> None:
        self.before.append(count)


def test_half_of_the_tokens_is_half_of_the_progress() -> None:
    lengths = np.array([10] * 90 + [100] * 9)
    seen = Seen()
    counted = ByTokens(seen, lengths)
    batches = length_batches(lengths, batch_size=9)
    counted.made(batches[0])
    assert set(lengths[batches[0]]) == {100}
    assert sum(seen.made) == 99 // 2
    for rows in batches[1:]:
        counted.made(rows)
    assert sum(seen.made) == 99


def test_rows_that_were_there_are_told_as_such() -> None:
    seen = Seen()
    counted = ByTokens(seen, np.array([4, 4, 4, 4]))
    counted.there(np.array([0, 1]))
    counted.made(np.array([2, 3]))
    assert (seen.before, seen.made) == ([2], [2])
    plain: list[int] = []
    ByTokens(plain.append, np.array([4, 4])).there(np.array([0]))
    assert plain == [1]


def test_documents_told_in_pairs() -> None:
    seen = Seen()
    scaled = Scaled(seen, 3, 10)
    for _ in range(3):
        scaled(1)
    assert sum(seen.made) == 10
    Scaled(None, 0, 0)(1)
