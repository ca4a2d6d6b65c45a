"""Requests that are made or stored, counted once each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from negmine.endpoints.asking import Client
from negmine.endpoints.request import Request


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


def calls_of(asked: Iterable[Request], client: Client) -> Calls:
    """What the requests would take, by what is stored; nobody is asked."""
    requests = {one.key: one for one in asked}
    known = frozenset(client.store.get(requests, client.identity))
    left = {key: one for key, one in requests.items() if key not in known}
    return Calls(known, {key: (len(one.content), one.most or 0) for key, one in left.items()})
