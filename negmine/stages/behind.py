"""Writing a part while the next one is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec

Arguments = ParamSpec("Arguments")

#: Calls that may wait: what they hold stays in memory.
_WAITING = 1


@contextmanager
def behind(do: Callable[Arguments, object]) -> Iterator[Callable[Arguments, None]]:
    """A function that has ``do`` called by one other thread, in order, while its caller goes on.

    At the end of the block every call has been made. What a call raises, the next call or the end
    of the block raises; the calls after it may have been made.
    """
    pending: deque[Future[object]] = deque()

    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        while len(pending) > _WAITING:
            pending.popleft().result()
        pending.append(pool.submit(do, *arguments, **named))

    with ThreadPoolExecutor(1, "negmine-behind") as pool:
        yield call
        for one in pending:
            one.result()
