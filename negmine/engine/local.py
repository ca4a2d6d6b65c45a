"""Workers that are processes of this machine, asked through pipes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from negmine.engine.engines import Call, Reply

#: Seconds that a worker has to put away what it has made.
_TO_END = 10.0


@dataclass(frozen=True)
class _Worker:
    process: Any
    pipe: Connection


class LocalEngine:
    """Processes that are begun afresh (no fork: what threads hold would be held for ever).

    Args:
        count: how many.
        environments: what the environment of each says besides, by its place among them.
    """

    def __init__(self, count: int, environments: Sequence[Mapping[str, str]] = ()) -> None:
        self.count = self.beside = count
        self.words = f"{count} process{'es' if count > 1 else ''} of this machine"
        self._environments = list(environments) or [{}] * count
        self._workers: dict[int, _Worker] = {}
        self._places: dict[int, int] = {}
        self._begun = 0

    def start(self) -> int:
        """Begin a process, in the place of one that has ended."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,), daemon=True, name="negmine-worker")
        place = min(set(range(self.count)) - set(self._places.values()))
        # Ctrl-C goes to all that the terminal runs: the one that was called ends the others.
        with _without_interrupts(), _environment(self._environments[place]):
            process.start()
        theirs.close()
        number, self._begun = self._begun, self._begun + 1
        self._workers[number] = _Worker(process, ours)
        self._places[number] = place
        return number

    def give(self, worker: int, call: Call) -> None:
        """Write it into its pipe; where it is gone already, that is seen when it is read."""
        with suppress(OSError):
            self._workers[worker].pipe.send(call)

    def replies(self, seconds: float) -> Sequence[Reply]:
        """What lies in the pipes; a closed one is a process that has ended."""
        pipes = {worker.pipe: number for number, worker in self._workers.items()}
        return [self._said(pipes[one]) for one in connection.wait(list(pipes), seconds)]  # type: ignore[index]

    def _said(self, number: int) -> Reply:
        worker = self._workers[number]
        try:
            value, bug = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(_TO_END)
            del self._workers[number], self._places[number]
            return Reply(number, lost=_ending(worker.process.exitcode))
        return Reply(number, value=value, bug=bug)

    def stop(self) -> None:
        """Ask them to end, and end those that do not."""
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join(_TO_END)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()
        self._places.clear()


def _ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "it does not answer"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """What begins here does not see SIGINT; this process sees it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """What begins here has these variables, too: libraries read some when they are loaded."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- in the worker ----------------------------------------------------------------------------


def serve(pipe: Connection) -> None:
    """Make the calls that come, until whoever asks is gone, however it went."""
    # Results go to stdout, and they are the other process's.
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, _terminated)
    calls: SimpleQueue[Call | str] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, calls), name="negmine-calls", daemon=True).start()
    while True:
        pipe.send(_answer(calls.get()))


def _answer(call: Call | str) -> tuple[Any, str | None]:
    """(what a call returns, what it raises); of one that could not be read, why not."""
    if isinstance(call, str):
        return None, call
    try:
        return call.made(), None
    except Exception:  # of any kind: who asked stops, and says which
        return None, traceback.format_exc()


def _listen(pipe: Connection, calls: SimpleQueue[Call | str]) -> None:
    try:
        while True:
            try:
                calls.put(pipe.recv())
            except (EOFError, OSError):
                raise
            except Exception:  # what it takes to read a call may be broken here
                calls.put(traceback.format_exc())
    except (EOFError, OSError):
        # Nobody is there any more who would want what is being made.
        os._exit(1)


def _terminated(signum: int, frame: object) -> None:
    sys.exit(128 + signum)
