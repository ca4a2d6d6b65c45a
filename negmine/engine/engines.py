"""What an engine is: it has calls made by workers, and says which worker is gone.

A worker is a process, on this machine or on another one, that makes one call after the other and
keeps what it has loaded. Which calls, in which order, and what becomes of those of a worker that is
gone is the crew's to say (:mod:`negmine.engine.crew`), whoever runs the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Call:
    """What a worker is to do; a function that can be imported there, and what can be pickled.

    Attributes:
        function: does it, and raises nothing that a user can mend: it is for the function to say.
        arguments: its arguments.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def made(self) -> Any:
        """Make it."""
        return self.function(*self.arguments)


@dataclass(frozen=True)
class Reply:
    """What there is to say of a worker.

    Attributes:
        worker: its number.
        value: what its call returned.
        bug: what its call raised, as text with the traceback.
        lost: how it ended; its call may be made or not, and it makes no other.
    """

    worker: int
    value: Any = None
    bug: str | None = None
    lost: str | None = None


class Engine(Protocol):
    """Who has calls made.

    Attributes:
        words: who works, for people: ``2 processes of this machine``.
        count: how many workers there may be at a time.
        beside: how many of them one machine has.
    """

    words: str
    count: int
    beside: int

    def start(self) -> int:
        """Begin another worker, without waiting for it; its number."""

    def give(self, worker: int, call: Call) -> None:
        """Have a worker make a call, when it has begun; one at a time."""

    def replies(self, seconds: float) -> Sequence[Reply]:
        """What workers have said since; waits at most so long for something."""

    def stop(self) -> None:
        """End every worker, and what the engine itself has opened."""


@dataclass(frozen=True)
class Asked:
    """Which engine is to run a chain.

    Attributes:
        engine: its name.
        address: of a cluster.
        workers: how many; None = one for each so many GPUs.
        gpus: GPUs of each.
    """

    engine: str
    address: str | None = None
    workers: int | None = None
    gpus: int | None = None
