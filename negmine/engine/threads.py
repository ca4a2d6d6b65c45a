"""Threads that work ahead of a reader, behind a writer, or each with a model of its own.

A model on several GPUs: each takes the next part that no other has begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import ParamSpec, TypeVar, cast

Model = TypeVar("Model")
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def in_turn(
    models: Sequence[Model], items: Iterable[Item], work: Callable[[Model, Item], Result]
) -> Iterator[Iterator[Result]]:
    """``work(model, item)`` of every item, in the order of the items.

    One model works in the caller's thread, when a result is asked for. Several work ahead, each in
    a thread of its own, and at most as many results as there are models wait. Which model has which
    item is not said. What ``work`` raises, the reader gets in that item's place. When the block
    ends early, what has begun is finished and nothing else is begun.

    Args:
        models: the same model, loaded for each device.
        items: what there is to do, at least one model's worth at a time.
        work: what is done; with several models it is called by several threads.
    """
    if len(models) == 1:
        yield (work(models[0], item) for item in items)
        return
    free: SimpleQueue[Model] = SimpleQueue()
    for model in models:
        free.put(model)

    def one(item: Item) -> Result:
        mine = free.get()
        try:
            return work(mine, item)
        finally:
            free.put(mine)

    pool = ThreadPoolExecutor(len(models), "negmine-gpu")
    try:
        yield _next_of(pool, one, iter(items), 2 * len(models))
    finally:
        pool.shutdown(cancel_futures=True)


def _next_of(
    pool: ThreadPoolExecutor, one: Callable[[Item], Result], items: Iterator[Item], most: int
) -> Iterator[Result]:
    """The results in order, ``most`` of them begun or waiting."""
    pending: deque[Future[Result]] = deque(pool.submit(one, item) for item in islice(items, most))
    while pending:
        result = pending.popleft().result()
        pending.extend(pool.submit(one, item) for item in islice(items, 1))
        yield result


Arguments = ParamSpec("Arguments")

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
