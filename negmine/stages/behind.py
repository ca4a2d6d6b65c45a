"""Making the next part while one is worked on, and writing it while the next one is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")

#: Calls that may wait, and items made before they are asked for: what they hold stays in memory.
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


@contextmanager
def ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """The items in order, the next ones made by one other thread while their reader works.

    What making an item raises, its reader gets in that item's place. When the block ends early, the
    items that are being made are finished, and no further one is begun.
    """
    with ThreadPoolExecutor(1, "negmine-ahead") as pool:
        yield _made_by(pool, iter(items))


def _made_by(pool: ThreadPoolExecutor, source: Iterator[Item]) -> Iterator[Item]:
    end = object()
    pending: deque[Future[object]] = deque()
    for _ in range(1 + _WAITING):
        pending.append(pool.submit(next, source, end))
    while (item := pending.popleft().result()) is not end:
        pending.append(pool.submit(next, source, end))
        yield cast(Item, item)
