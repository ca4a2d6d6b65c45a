"""Workers of an engine, and leases handed out among them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from negmine.engine.engines import Call, Engine, Reply
from negmine.engine.leases import TRIES, Lease, Leases
from negmine.errors import MachineError

#: Seconds between two looks at what else goes on, and until a cluster without room is given up.
_LOOK, _PATIENCE = 0.5, 600.0


class LostUnitError(Exception):
    """A unit that ends every worker.

    Attributes:
        unit: its number.
        times: how many workers ended with it.
        how: how the last one did.
    """

    def __init__(self, unit: int, times: int, how: str) -> None:
        super().__init__(f"unit {unit} ended {times} workers")
        self.unit, self.times, self.how = unit, times, how


@dataclass(frozen=True)
class Work:
    """What is handed out.

    Attributes:
        make: the call that makes a lease.
        missing: which units of a lease are not made.
        heard: takes what a call returned, and says whether its lease is made.
        lost: told how a worker ended, and which of its units are not made.
        look: called now and then.
    """

    make: Callable[[Lease], Call]
    missing: Callable[[Lease], Lease]
    heard: Callable[[Any], bool]
    lost: Callable[[str, Lease], None]
    look: Callable[[], None]


class Crew:
    """The workers of a chain of stages, begun when they are needed, and begun anew when they end.

    Args:
        engine: who runs them.
        prepare: the first call of each.
    """

    def __init__(self, engine: Engine, prepare: Call) -> None:
        self.engine = engine
        self._prepare = prepare
        self._idle: set[int] = set()
        self._starting: set[int] = set()
        self._busy: dict[int, Lease] = {}
        self._stillborn = 0
        self._there = time.monotonic()

    def hand_out(self, leases: Leases, work: Work) -> None:
        """Have every unit made.

        Raises:
            LostUnitError: one of them ends every worker.
            NegmineError: what ``work.heard`` raises; workers do not start.
        """
        self._there = time.monotonic()
        while len(leases) or self._busy:
            self._begin(leases)
            self._give(leases, work)
            for reply in self.engine.replies(_LOOK):
                self._hear(reply, leases, work)
            work.look()

    def _begin(self, leases: Leases) -> None:
        """Begin as many workers as have something to do."""
        there = len(self._idle) + len(self._starting) + len(self._busy)
        wanted = min(self.engine.count, len(self._busy) + len(leases))
        for _ in range(wanted - there):
            worker = self.engine.start()
            self._starting.add(worker)
            self.engine.give(worker, self._prepare)
        if self._idle or self._busy:
            self._there = time.monotonic()
        elif time.monotonic() - self._there > _PATIENCE:
            raise MachineError(
                f"no worker has begun within {_PATIENCE / 60:.0f} minutes ({self.engine.words})",
                hint="See whether the cluster has room for one (ray status), then run the same "
                "command again: it continues.",
            )

    def _give(self, leases: Leases, work: Work) -> None:
        while self._idle and (lease := leases.take()) is not None:
            worker = min(self._idle)
            self._idle.remove(worker)
            self._busy[worker] = lease
            self.engine.give(worker, work.make(lease))

    def _hear(self, reply: Reply, leases: Leases, work: Work) -> None:
        lease = self._busy.pop(reply.worker, None)
        self._idle.discard(reply.worker)
        begun = reply.worker in self._starting
        self._starting.discard(reply.worker)
        if reply.lost is None:
            self._idle.add(reply.worker)
            self._stillborn = 0
        if reply.bug is not None:
            raise RuntimeError(f"in a worker:\n{reply.bug}")
        if reply.lost is not None:
            self._lost(reply.lost, lease, begun, leases, work)
        elif not work.heard(reply.value) and lease is not None:
            leases.back(work.missing(lease))

    def _lost(self, how: str, lease: Lease | None, begun: bool, leases: Leases, work: Work) -> None:
        if begun:
            self._stillborn += 1
            if self._stillborn >= TRIES:
                raise MachineError(
                    f"{self._stillborn} workers in a row ended before they did anything ({how})",
                    hint="Fewer --workers take less memory; what a worker said stands above.",
                )
        missing = () if lease is None else work.missing(lease)
        if lease is not None:
            work.lost(how, missing)
        unit = None if lease is None else leases.lost(lease, missing)
        if unit is not None:
            raise LostUnitError(unit, leases.ended(unit), how)

    def close(self) -> None:
        """End the workers."""
        self.engine.stop()
