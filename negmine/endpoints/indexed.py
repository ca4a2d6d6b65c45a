"""Results in any order, each of which says by its index what it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def problem(
    rows: Iterable[tuple[Any, Any]],
    count: int,
    called: tuple[str, str],
    wrong: Callable[[int, Any], str | None],
) -> str | None:
    """What is wrong with the results about ``count`` things; None = nothing.

    Args:
        rows: (index, what is said of it) of each result, as the server has them.
        count: of how many was asked.
        called: what a result is called, and the things.
        wrong: what is wrong with what is said of an index; None = nothing.
    """
    result, things = called
    seen: set[int] = set()
    for index, said in rows:
        if not isinstance(index, int) or isinstance(index, bool):
            return f"a {result} without 'index'"
        if not 0 <= index < count:
            return f"index {index} is out of range: {count} {things} were asked about"
        if index in seen:
            return f"index {index} is there twice"
        seen.add(index)
        if (found := wrong(index, said)) is not None:
            return found
    missing = next((index for index in range(count) if index not in seen), None)
    return None if missing is None else f"index {missing} of {count} {things} is missing"
