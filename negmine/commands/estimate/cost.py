"""What a dry run tells of a stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from negmine.table.artifacts.state import State


@dataclass
class Cost:
    """What a stage is expected to read, write, hold and take; 0 where nothing is to be done.

    Attributes:
        stage: its name.
        target: where its result goes.
        state: up to date, or what would happen.
        documents, queries, rows, tokens: what it goes through; rows are (query, document) pairs.
        units: what several processes may share it in; 0 = not known.
        disk_bytes: what it writes.
        memory_bytes: the most that the process holds.
        calls: requests to servers, and how many of these are answered already (``calls_stored``).
        price: what those cost that are not, by ``--price``; None = not known.
        seconds: how long it takes.
        breakdown: the seconds by what they are spent on.
        guesses: what was assumed, because nothing here could be asked.
    """

    stage: str
    target: Path
    state: str = "to do"
    documents: int = 0
    queries: int = 0
    rows: int = 0
    tokens: int = 0
    units: int = 0
    calls: int = 0
    calls_stored: int = 0
    price: float | None = None
    disk_bytes: int = 0
    memory_bytes: int = 0
    breakdown: dict[str, float] = field(default_factory=dict)
    guesses: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """All of the breakdown."""
        return sum(self.breakdown.values())

    @property
    def skipped(self) -> bool:
        """Whether nothing is left to be done."""
        return self.state == "up to date"

    def add(self, what: str, seconds: float) -> None:
        """Count seconds that are spent on something."""
        self.breakdown[what] = self.breakdown.get(what, 0.0) + max(0.0, seconds)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the seconds of the block as they are."""
        watch = Watch()
        with watch:
            yield
        self.add(what, watch.seconds)

    def facts(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        facts = asdict(self)
        facts["target"] = str(self.target)
        facts["seconds"] = round(self.seconds, 2)
        facts["breakdown"] = {what: round(value, 3) for what, value in self.breakdown.items()}
        return facts


class Watch:
    """A stopwatch: ``with watch: ...`` adds to ``seconds``."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> Watch:
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started


def told(state: State) -> str:
    """A state in words."""
    words = {"made": "up to date", "start": "to do", "resume": f"{len(state.done)} files are there"}
    if state.kind == "refused":
        return "refused: " + " ".join(state.reason.split("\n"))
    return words[state.kind] + (f"; {state.reason}" if state.reason else "")
