"""The ranges that options declare, and what a value outside of one was probably meant to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from negmine.errors import UsageError
from negmine.params.per_model import PerModel

#: Counts and seeds go into 32-bit columns and arrays; none of use is larger.
LARGEST_INT = 2**31 - 1


def check(field: dataclasses.Field[Any], value: Any, shown: str, where: str | None = None) -> None:
    """Refuse a value outside of the range that its option declares.

    Args:
        field: a field of a parameter class, made by :func:`negmine.params.option.opt`.
        value: its value; of ``NAME=NUMBER`` entries each number is checked, None is not.
        shown: what the user calls it: ``--flag``, or a recipe's key.
        where: the recipe's table it stands in.

    Raises:
        UsageError: it lies outside; the message tells the range and what was probably meant.
    """
    for number in _numbers(value):
        if not _inside(field.metadata, number):
            raise UsageError(
                f"{shown} must be {told(field.metadata)}, not {number:g}",
                where=where,
                hint=_probably(field.metadata, number),
            )


def check_all(params: Any) -> None:
    """Check every value of a parameter object that was not made from flags or a recipe.

    Raises:
        UsageError: see :func:`check`.
    """
    for field in dataclasses.fields(params):
        check(field, getattr(params, field.name), f"--{field.name.replace('_', '-')}")


def told(metadata: Mapping[str, Any]) -> str:
    """The range in words, such as ``above 0 and at most 1``; without one that of integers."""
    words = {"minimum": "at least", "above": "above", "maximum": "at most", "below": "below"}
    ends = [f"{word} {metadata[end]:g}" for end, word in words.items() if metadata[end] is not None]
    return " and ".join(ends) or f"at most {LARGEST_INT}"


def _inside(metadata: Mapping[str, Any], number: float) -> bool:
    low, high = metadata["minimum"], metadata["maximum"]
    above, below = metadata["above"], metadata["below"]
    return (
        (low is None or number >= low)
        and (above is None or number > above)
        and (high is None or number <= high)
        and (below is None or number < below)
        and (isinstance(number, float) or abs(number) <= LARGEST_INT)
    )


def _numbers(value: Any) -> list[float]:
    """The numbers of a value: itself, or those of ``NAME=NUMBER`` entries."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, PerModel):
        every = (value.every, *(one for _, one in value.named))
        return [number for one in every for number in _numbers(one)]
    if not isinstance(value, tuple):
        return []
    found = []
    for entry in value:
        try:
            found.append(float(entry.rpartition("=")[2]))
        except ValueError:
            # Whoever reads the entries says what they should look like.
            continue
    return found


def _probably(metadata: Mapping[str, Any], number: float) -> str | None:
    """What to write instead."""
    upper = metadata["maximum"] if metadata["maximum"] is not None else metadata["below"]
    told = []
    if upper == 1 and 1 < number <= 100:
        told.append(f"If {number:g} percent is meant, write {number / 100:g}.")
    if metadata["instead"]:
        told.append(metadata["instead"])
    return " ".join(told) or None
