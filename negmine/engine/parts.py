"""Work over the parts of an artifact: every part that is not finished, written in order.

A stage says what its parts are, what of them is read together, how one is made, and what becomes of
it. Which parts are left to make, by whom, when, and on which device is said here and nowhere else:
this process does it, with its threads and its GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TypeVar, cast

from negmine.engine.threads import ahead, behind, in_turn

Asked = TypeVar("Asked")
Read = TypeVar("Read")
Model = TypeVar("Model")
Made = TypeVar("Made")


def _nothing(*_: object) -> None:
    """What is done where nobody wants to know."""


def over_parts(
    parts: Iterable[tuple[str, Asked]],
    *,
    finished: Callable[[str], bool],
    make: Callable[[Model, str, Read], Made],
    write: Callable[[str, Made], None],
    models: Sequence[Model] | None = None,
    prepare: Callable[[Iterator[tuple[str, Asked]]], Iterable[tuple[str, Read]]] | None = None,
    skipped: Callable[[str, Asked], None] = _nothing,
    started: Callable[[str], None] = _nothing,
    overlap: bool = False,
) -> None:
    """Make every part that is not finished, and write each in the order of the parts.

    Args:
        parts: name and what is known of each part, in order; read lazily, once.
        finished: whether an interrupted run has finished the part of this name.
        make: a part's content, from a model and what was read for it. It depends on nothing else:
            which model makes which part, and what was made before, does not show.
        write: takes the made parts, in order.
        models: whoever makes parts, one for each device; with several, each makes the next part
            that no other has begun, in a thread of its own. Default: none is needed.
        prepare: reads what the unfinished parts are made from, several at a time where that saves
            a look-up; it may leave some out and keeps their order. Default: as they are.
        skipped: told of each finished part.
        started: told of each part before it is made.
        overlap: have the next parts read, and the made ones written, while one is made.
    """

    def unfinished() -> Iterator[tuple[str, Asked]]:
        for name, asked in parts:
            if finished(name):
                skipped(name, asked)
            else:
                yield name, asked

    def made(model: Model, part: tuple[str, Read]) -> tuple[str, Made]:
        name, read = part
        started(name)
        return name, make(model, name, read)

    with ExitStack() as stack:
        pending = cast(Iterable[tuple[str, Read]], unfinished())
        if prepare is not None:
            pending = prepare(unfinished())
        if overlap:
            write = stack.enter_context(behind(write))
            pending = stack.enter_context(ahead(pending))
        with in_turn(models or cast(Sequence[Model], (None,)), pending, made) as results:
            for name, result in results:
                write(name, result)


def groups(
    items: Iterable[Asked], size: Callable[[Asked], int], most: int
) -> Iterator[list[Asked]]:
    """Consecutive items whose sizes add up to at most ``most``; at least one in each group."""
    group: list[Asked] = []
    held = 0
    for item in items:
        more = size(item)
        if group and held + more > most:
            yield group
            group, held = [], 0
        group.append(item)
        held += more
    if group:
        yield group
