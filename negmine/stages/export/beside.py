"""Lists that nobody read, and that no longer fit the lists of passages that they stand beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from negmine.inputs.in_place import size_of


class Beside:
    """Counts, over the records that change, unread lists as long as a list that was cut or grew.

    One that is as long in every such record is no chance: it tells something of each passage.
    """

    def __init__(self) -> None:
        self._as_long: Counter[str] = Counter()
        self._others: set[str] = set()

    def see(self, read: Collection[str], raw: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compare a record with what stands in its place.

        Args:
            read: the columns that are read.
            raw: the record.
            record: what stands in its place.
        """
        both = [(size_of(raw.get(name)), size_of(record.get(name))) for name in read]
        before = {was for was, now in both if was is not None and now is not None and was != now}
        if not before:
            return
        for name in raw.keys() - set(read):
            size = size_of(raw[name])
            if size in before:
                self._as_long[name] += 1
            elif size is not None:
                self._others.add(name)

    @property
    def warnings(self) -> list[str]:
        """What the user should know."""
        return [
            f"'{name}' is not read and has a value for each passage in all {count} records whose "
            "lists have changed: it stays as it was and no longer fits them; take it out of the "
            "set, or put what it tells into the passages (objects keep what is in them)"
            for name, count in sorted(self._as_long.items())
            if name not in self._others
        ]
