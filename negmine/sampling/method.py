"""Samplers, weights and batchers by name: one table each, with what every one needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from negmine.errors import UsageError


@dataclass(frozen=True)
class Method:
    """One way to sample, to weigh or to batch.

    Attributes:
        name: what the option says.
        words: what it does, in a few words.
        options: parameters of the stage that have no effect unless it, or another one that names
            them, is asked for.
    """

    name: str
    words: str
    options: tuple[str, ...] = field(default=(), kw_only=True)


M = TypeVar("M", bound=Method)


def table(*methods: M) -> dict[str, M]:
    """Methods by name."""
    return {method.name: method for method in methods}


def find(methods: Mapping[str, M], name: str, option: str) -> M:
    """The method of a name.

    Args:
        methods: those there are.
        name: the one that is asked for.
        option: what asks for it.

    Raises:
        UsageError: there is none of this name; tells those there are.
    """
    if name not in methods:
        known = "; ".join(f"{method.name} ({method.words})" for method in methods.values())
        raise UsageError(f"{option}: there is no '{name}'", hint=f"One of: {known}.")
    return methods[name]


def owners(methods: Mapping[str, M]) -> dict[str, tuple[str, ...]]:
    """The options that belong to methods, and the names of these."""
    found: dict[str, tuple[str, ...]] = {}
    for method in methods.values():
        for option in method.options:
            found[option] = (*found.get(option, ()), method.name)
    return found


def either(names: tuple[str, ...]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
