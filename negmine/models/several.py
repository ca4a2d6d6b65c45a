"""A model on several GPUs: each takes the next part that no other has begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

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
        yield _ahead(pool, one, iter(items), 2 * len(models))
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, one: Callable[[Item], Result], items: Iterator[Item], most: int
) -> Iterator[Result]:
    """The results in order, ``most`` of them begun or waiting."""
    pending: deque[Future[Result]] = deque(pool.submit(one, item) for item in islice(items, most))
    while pending:
        result = pending.popleft().result()
        pending.extend(pool.submit(one, item) for item in islice(items, 1))
        yield result
