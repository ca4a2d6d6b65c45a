"""Which units are handed out together, and which unit is to blame where workers end.

A lease is what a worker makes in one go. Setting a stage up takes as long for one unit as for many,
so leases begin large and get smaller towards the end, where workers would wait for the last one:
each takes its share of half of what is left (guided self-scheduling), and never less than a small
part of all. A lease whose worker ended is cut in two, until what ends workers is alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

#: A unit with which so many workers ended, the last ones with nothing else, is to blame.
TRIES = 3
_ALONE = 2
#: A worker is given at least the so-manieth part of its share of all.
_LEAST = 8

Lease = tuple[int, ...]


def setups(workers: int, units: int = 10_000) -> int:
    """How often one of so many workers sets a stage up, as long as none ends, at the most."""
    leases = Leases(range(units), workers)
    count = 0
    while leases.take() is not None:
        count += 1
    return -(-count // workers)


class Leases:
    """Units that are left to hand out."""

    def __init__(self, units: Iterable[int], workers: int) -> None:
        self._fresh = deque(sorted(set(units)))
        self._again: deque[Lease] = deque()
        self._workers = max(1, workers)
        self._least = max(1, len(self._fresh) // (_LEAST * self._workers))
        self._ends: Counter[int] = Counter()
        self._alone: Counter[int] = Counter()

    def __len__(self) -> int:
        """Units that nobody has."""
        return len(self._fresh) + sum(map(len, self._again))

    def take(self) -> Lease | None:
        """What the next worker makes; what was given back comes last. None: nothing is left."""
        if self._fresh:
            size = max(self._least, -(-len(self._fresh) // (2 * self._workers)))
            return tuple(self._fresh.popleft() for _ in range(min(size, len(self._fresh))))
        return self._again.popleft() if self._again else None

    def back(self, lease: Lease) -> None:
        """Nobody has made it, and nobody is to blame."""
        if lease:
            self._again.append(lease)

    def lost(self, lease: Lease, missing: Lease) -> int | None:
        """The worker of a lease ended.

        Args:
            lease: what it was given.
            missing: what of that is not made.

        Returns:
            The unit that ends every worker; None where that is not known, or not so.
        """
        self._ends.update(missing)
        if len(lease) == 1 and missing:
            (unit,) = missing
            self._alone[unit] += 1
            if self._ends[unit] >= TRIES and self._alone[unit] >= _ALONE:
                return unit
        half = len(missing) // 2
        self.back(missing[:half])
        self.back(missing[half:])
        return None

    def ended(self, unit: int) -> int:
        """How many workers ended with it."""
        return self._ends[unit]
