"""What is learned of a whole table, by one process or by several that share the work.

What needs the whole table goes in rounds: a summary of each part, which hangs on the part, on the
settings and on what earlier rounds have found alone, and what is made of all summaries in the order
of the parts. A process that makes a share of the parts summarises these first and tells each; then
it takes what others have told, and makes what is still missing: nobody waits for a process that may
never begin. What was told first holds for all, so that all go by the same limits, on whatever
machine. What is told has a digest, and a number of how it is told, which another version of negmine
that shares the artifact does not read.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from negmine.engine.shares import Share
from negmine.errors import InvalidDataError
from negmine.learning import stored

Item = TypeVar("Item")
Summary = TypeVar("Summary")
Found = TypeVar("Found")

#: Of what is missing, a process takes no more at once than one in so many: others may be at it.
_AT_ONCE = 8
_TOLD, _DIGEST = "of", "digest"


class Book(Protocol):
    """Where processes that share a table tell each other what they find (its writer)."""

    share: Share

    def told(self, name: str) -> Mapping[str, Any] | None:
        """What is told under a name, if anything."""

    def all_told(self, names: Iterable[str]) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """What is told under some of these names, each with its name."""

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell something under a name; what holds."""


class Summaries:
    """Summaries of the parts of one table.

    Args:
        parts: names of the parts, in order.
        book: where others make theirs known, and which parts are this process's; None where it is
            alone.
    """

    def __init__(self, parts: Sequence[str], book: Book | None = None) -> None:
        self._parts = list(parts)
        self._book = book
        self._mine, self._others = self._parts, list[str]()
        if book is not None and not book.share.whole:
            numbered = list(enumerate(self._parts))
            self._mine = [part for number, part in numbered if book.share.mine(number)]
            self._others = [part for number, part in numbered if not book.share.mine(number)]
            # An order of its own: of several processes each begins elsewhere.
            random.Random(str(book.share)).shuffle(self._others)

    def agreed(self, name: str, find: Callable[[], Found]) -> Found:
        """What is found of the whole table: of several processes the first one's word holds.

        Args:
            name: what it is.
            find: finds it; called where nobody has told it.
        """
        told = None if self._book is None else self._book.told(_under(name))
        if told is None:
            return self._say(name, find())
        found: Found = _read(name, told)
        return found

    def over(
        self,
        name: str,
        read: Callable[[Sequence[str]], Iterable[tuple[str, Item]]],
        summarise: Callable[[Item], Summary],
    ) -> list[Summary]:
        """A summary of every part, in order.

        Args:
            name: of the round.
            read: (name, part) of the parts of these names, read together as far as that saves work.
            summarise: the summary of a part: what :mod:`negmine.learning.stored` can tell.
        """
        found = self._told_of(name, self._parts)
        some = [part for part in self._mine if part not in found]
        most = 1
        while True:
            for part, item in read(some) if some else ():
                found[part] = self._say(f"{name}.{part}", summarise(item))
            missing = [part for part in self._others if part not in found]
            if not missing:
                return [found[part] for part in self._parts]
            found |= self._told_of(name, missing)
            missing = [part for part in missing if part not in found]
            # Few at first: others are probably about to tell theirs. Then more, so that what lies
            # behind the parts is read seldom where nobody else is there.
            some = missing[: min(most, 1 + len(missing) // _AT_ONCE)]
            most *= 2

    def _told_of(self, round_: str, parts: Sequence[str]) -> dict[str, Any]:
        """What others have told of some parts in a round, by the part's name."""
        if self._book is None:
            return {}
        names = {_under(f"{round_}.{part}"): part for part in parts}
        return {
            names[under]: _read(f"{round_}.{names[under]}", what)
            for under, what in self._book.all_told(names)
        }

    def _say(self, name: str, found: Found) -> Found:
        """Tell what was found; what holds."""
        if self._book is None or self._book.share.whole:
            return found
        held = stored.told(found)
        mine = {_TOLD: held, _DIGEST: _digest(held)}
        told = self._book.tell(_under(name), mine)
        if told is mine:
            return found
        holds: Found = _read(name, told)
        return holds


def _under(name: str) -> str:
    """The name under which something is told: another one where it is told otherwise."""
    return f"{stored.FORMAT}.{name}"


def _digest(held: Any) -> str:
    return hashlib.blake2b(json.dumps(held).encode(), digest_size=16).hexdigest()


def _read(name: str, told: Mapping[str, Any]) -> Any:
    """What was told.

    Raises:
        InvalidDataError: it is not what was told.
    """
    if _digest(told.get(_TOLD)) != told.get(_DIGEST):
        raise InvalidDataError(
            f"what another process has told of '{name}' is damaged",
            hint=f"Remove _shards/*.{_under(name)}.json of the artifact: it is found again.",
        )
    return stored.read(told[_TOLD])
