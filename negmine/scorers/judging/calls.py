"""Requests that are made or stored, counted once each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Calls:
    """What is asked.

    Attributes:
        stored: keys of the requests that are answered already.
        left: of the others (bytes that are sent, most tokens of the answer), by their keys.
    """

    stored: frozenset[str] = frozenset()
    left: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __or__(self, other: Calls) -> Calls:
        """Both, what is the same once."""
        return Calls(self.stored | other.stored, {**self.left, **other.left})
