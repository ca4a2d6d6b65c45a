"""Work over the parts of an artifact: every part that is not finished, written in order.

A stage says what its parts are, what of them is read together, how one is made, and what becomes of
it. Which parts are left to make, by whom, when, and on which device is said here and nowhere else:
this process does it, with its threads and its GPUs, all of it or a share beside other processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TypeVar, cast

from negmine.engine.shares import WHOLE, LeftToOthers, Share
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
    share: Share = WHOLE,
    together: int = 1,
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
        share: which of them this process makes, in units of so many parts:
        together: parts that are made together, and so by one process.

    Raises:
        LeftToOthers: what is this process's is written, and it is not the one that says what
            becomes of the whole; or it is, and something is missing that is not its own to make.
    """
    others: list[tuple[int, str]] = []
    seen = 0

    def unfinished() -> Iterator[tuple[str, Asked]]:
        nonlocal seen
        for number, (name, asked) in enumerate(parts):
            seen += 1
            if finished(name):
                skipped(name, asked)
            elif share.mine(number // together):
                yield name, asked
            else:
                others.append((number // together, name))

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
    if others or not share.whole:
        raise LeftToOthers(seen - len(others), others)


def leave_idle(
    names: Iterable[str], finished: Callable[[str], bool], share: Share, together: int = 1
) -> None:
    """End where nothing is left for this process to make: before a model is loaded for it.

    Args:
        names: of all parts, in order.
        finished: as of :func:`over_parts`.
        share: likewise.
        together: likewise.

    Raises:
        LeftToOthers: as :func:`over_parts` does.
    """
    parts = list(names)
    missing = [
        (number // together, name) for number, name in enumerate(parts) if not finished(name)
    ]
    if any(share.mine(unit) for unit, _ in missing):
        return
    if missing or not share.whole:
        raise LeftToOthers(len(parts) - len(missing), missing)


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
