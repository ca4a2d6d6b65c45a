"""The crew: whatever workers do, all is made, or it is said why not."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from negmine.engine import crew as crews
from negmine.engine.crew import Crew, LostUnitError, Work
from negmine.engine.engines import Call, Engine, Reply
from negmine.engine.leases import Lease, Leases
from negmine.engine.local import LocalEngine
from negmine.errors import MachineError


class Scripted:
    """An engine in this process; what becomes of a lease is said by the test."""

    words, beside = "workers of a test", 1

    def __init__(self, count: int, fate: Callable[[Lease], str]) -> None:
        self.count, self._fate = count, fate
        self.begun = 0
        self.ended = False
        self._replies: deque[Reply] = deque()

    def start(self) -> int:
        self.begun += 1
        return self.begun

    def give(self, worker: int, call: Call) -> None:
        lease = call.arguments[0] if call.arguments else ()
        fate = self._fate(lease)
        if fate == "made":
            self._replies.append(Reply(worker, value=call.made()))
        else:
            lost = fate.removeprefix("lost ") if fate.startswith("lost") else None
            self._replies.append(Reply(worker, bug=None if lost else fate, lost=lost))

    def replies(self, seconds: float) -> Sequence[Reply]:
        return [self._replies.popleft()] if self._replies else []

    def stop(self) -> None:
        self.ended = True


def nothing() -> None:
    """The first call."""


def handed_out(engine: Engine, units: range, folder: Path) -> set[int]:
    """What is made of the units, each of which is a file."""

    def missing(lease: Lease) -> Lease:
        return tuple(unit for unit in lease if not (folder / str(unit)).exists())

    crew = Crew(engine, Call(nothing))
    work = Work(
        lambda lease: Call(touch, (lease, str(folder))),
        missing,
        lambda value: True,
        lambda how, lease: None,
        lambda: None,
    )
    try:
        crew.hand_out(Leases(units, engine.count), work)
    finally:
        crew.close()
    return {int(path.name) for path in folder.iterdir()}


def touch(lease: Lease, folder: str) -> None:
    """Make some units; one that is named KILL ends the process."""
    for unit in lease:
        if str(unit) == os.environ.get("KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        (Path(folder) / str(unit)).touch()


def test_all_is_made(tmp_path: Path) -> None:
    engine = Scripted(3, lambda lease: "made")
    assert handed_out(engine, range(50), tmp_path) == set(range(50))
    assert engine.begun == 3
    assert engine.ended


def test_no_more_workers_begin_than_have_something_to_do(tmp_path: Path) -> None:
    engine = Scripted(8, lambda lease: "made")
    handed_out(engine, range(2), tmp_path)
    assert engine.begun == 2


def test_others_are_begun_in_the_place_of_those_that_end(tmp_path: Path) -> None:
    left = [2]

    def fate(lease: Lease) -> str:
        if lease and left[0]:
            left[0] -= 1
            return "lost killed"
        return "made"

    engine = Scripted(2, fate)
    assert handed_out(engine, range(20), tmp_path) == set(range(20))
    assert engine.begun == 4


def test_a_unit_that_ends_every_worker_stops_it_when_all_else_is_made(tmp_path: Path) -> None:
    engine = Scripted(2, lambda lease: "lost killed by SIGKILL" if 7 in lease else "made")
    with pytest.raises(LostUnitError) as stopped:
        handed_out(engine, range(20), tmp_path)
    assert stopped.value.unit == 7
    assert stopped.value.times >= 3
    assert stopped.value.how == "killed by SIGKILL"
    assert {int(path.name) for path in tmp_path.iterdir()} == set(range(20)) - {7}
    assert engine.ended


def test_what_a_call_raises_is_raised_with_its_traceback(tmp_path: Path) -> None:
    engine = Scripted(1, lambda lease: "Traceback: a bug" if lease else "made")
    with pytest.raises(RuntimeError, match="a bug"):
        handed_out(engine, range(3), tmp_path)


def test_workers_that_do_not_start_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError, match="3 workers in a row ended before they did anything"):
        handed_out(Scripted(1, lambda lease: "lost exit code 1"), range(3), tmp_path)

    class Full(Scripted):
        def give(self, worker: int, call: Call) -> None:
            """There is no room, and no end of waiting."""

    monkeypatch.setattr(crews, "_PATIENCE", 0.0)
    with pytest.raises(MachineError, match="no worker has begun"):
        handed_out(Full(1, lambda lease: "made"), range(3), tmp_path)


def test_processes_make_all_and_one_that_kills_them_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes, real signals; nothing heavy is imported in them."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert handed_out(LocalEngine(2), range(9), tmp_path / "a") == set(range(9))
    monkeypatch.setenv("KILL", "4")
    with pytest.raises(LostUnitError) as stopped:
        handed_out(LocalEngine(2), range(9), tmp_path / "b")
    assert (stopped.value.unit, stopped.value.how) == (4, "killed by SIGKILL")


def test_processes_end_when_nobody_asks_any_more() -> None:
    engine = LocalEngine(1)
    number = engine.start()
    process, pipe = engine._workers[number].process, engine._workers[number].pipe
    engine.give(number, Call(time.sleep, (600,)))
    # As when the process that asked was killed.
    pipe.close()
    process.join(60)
    assert process.exitcode == 1


def test_processes_end_when_they_are_told(tmp_path: Path) -> None:
    engine = LocalEngine(1)
    number = engine.start()
    process: Any = engine._workers[number].process
    engine.give(number, Call(nothing))
    while not engine.replies(1):
        pass
    engine.give(number, Call(time.sleep, (600,)))
    started = time.monotonic()
    engine.stop()
    assert process.exitcode == 128 + signal.SIGTERM
    assert time.monotonic() - started < 60
