"""Threads that wait for a server, so that nobody else has to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, Queue, SimpleQueue
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers(Generic[Task, Result]):
    """As many threads as there are tasks under way, which end with the process.

    They are no pool of the standard library's, which waits for all threads at the end: a server
    that hangs must not keep an interrupted command.

    Attributes:
        flying: tasks that were given and whose results were not taken.
    """

    def __init__(self, work: Callable[[Task], Result]) -> None:
        self._work = work
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._results: Queue[tuple[Task, Result | BaseException, float]] = Queue()
        self._threads = 0
        self.flying = 0

    def give(self, task: Task) -> None:
        """Have a task done."""
        self.flying += 1
        if self.flying > self._threads:
            self._threads += 1
            name = f"negmine-endpoint-{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._tasks.put(task)

    def take(self, timeout: float) -> list[tuple[Task, Result | BaseException, float]]:
        """All results that are there, with the time of each; waits for one at most ``timeout`` s.

        In the place of a result is what the work raised.
        """
        found = []
        try:
            found.append(self._results.get(timeout=max(0.0, timeout)))
            while True:
                found.append(self._results.get_nowait())
        except Empty:
            pass
        self.flying -= len(found)
        return found

    def end(self) -> None:
        """Let the threads end that wait for a task."""
        for _ in range(self._threads):
            self._tasks.put(None)
        self._threads = 0

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                result: Result | BaseException = self._work(task)
            except BaseException as error:
                result = error
            self._results.put((task, result, time.monotonic()))
