"""The files of one folder as tables: shards (``train-00000-of-00008``), parts, single files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from negmine.errors import InvalidDataError, MissingInputError
from negmine.inputs.layouts import endings
from negmine.inputs.places import Place
from negmine.inputs.saved import json_object
from negmine.table import artifacts

#: ``train-00000-of-00008``, also with the hash that the hub once put behind it.
_SHARD = re.compile(r"(.*?)[-_.]?([0-9]{1,7})-of-([0-9]{1,7})([-.][0-9a-f]+)?")
#: What those who write a table in parts call them: ``part-00000``, ``part.0``, ``0000``.
_PART = re.compile(r"(?:(?:part|shard|chunk|file|data)[-_.]?)?([0-9]+)([-_.].*)?")
_GENERIC = ("", "data", "part", "shard", "chunk", "file")
_NAMED = 5


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts ``part-2`` before ``part-10``."""
    return tuple(
        (0, int(piece), piece) if piece.isdecimal() and piece.isascii() else (1, 0, piece)
        for piece in re.split("([0-9]+)", name)
        if piece
    )


@dataclass(frozen=True)
class Table:
    """Files of a folder that are one table.

    Attributes:
        name: what it is called below the folder that was named: ``train``, ``corpus/test``, or
            nothing where it is all of it.
        folder: where the files lie.
        names: the files' names, in order.
    """

    name: str
    folder: Place
    names: tuple[str, ...]

    @property
    def files(self) -> tuple[Place, ...]:
        """The files, in order."""
        return tuple(self.folder.child(name) for name in self.names)

    @property
    def last(self) -> str:
        """The last part of its name: the split."""
        return self.name.rsplit("/", 1)[-1]


def hidden(name: str) -> bool:
    """Whether readers of a folder pass over a file or folder of this name."""
    return name.startswith((".", "_"))


def tables(folder: Place, below: str, names: Iterable[str]) -> list[Table]:
    """The data files of a folder, those of one table together.

    Args:
        folder: where they lie.
        below: what the folder is called below the one that was named; nothing for that one itself.
        names: its files.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        ending = _ending(name)
        if ending is not None and not hidden(name):
            groups.setdefault((_table(name.removesuffix(ending)), ending), []).append(name)
    return [
        Table("/".join(filter(None, (below, table))), folder, tuple(sorted(found, key=natural)))
        for (table, _), found in sorted(groups.items())
    ]


def pattern_of(table: Table) -> str:
    """A pattern for the names of a table in numbered parts."""
    prefix = re.split("[0-9]", table.names[0], maxsplit=1)[0]
    return f"{prefix}[0-9]*{_ending(table.names[0])}"


def _ending(name: str) -> str | None:
    return max((e for e in endings() if name.endswith(e)), key=len, default=None)


def _stem(name: str) -> str:
    return name.removesuffix(_ending(name) or "")


def _table(stem: str) -> str:
    """The table that a file of this name is of."""
    shard = _SHARD.fullmatch(stem)
    if shard:
        return "" if shard[1] in _GENERIC else shard[1]
    return "" if _PART.fullmatch(stem) else stem


def check_complete(table: Table) -> list[str]:
    """See that no file of a table is missing; returns what is odd about its files.

    Raises:
        MissingInputError: files that others name, or that the folder's manifest names, are not
            there.
        InvalidDataError: the files are of several exports, or of an unfinished one.
    """
    beside = set(table.folder.files()) - set(table.names)
    _check_manifest(table, beside)
    unread = _unread(table, beside)
    totals = {shard[3] for shard in map(_shard, table.names) if shard}
    if len(totals) > 1:
        counts = " and ".join(sorted(str(int(total)) for total in totals))
        raise InvalidDataError(
            f"'{table.last or table.names[0]}' is there in {counts} shards",
            where=table.folder.name,
            hint="Keep the files of one export, or name them by a pattern.",
        )
    if totals:
        if missing := missing_shards(table.names):
            raise MissingInputError(
                f"{len(missing)} of {int(totals.pop())} shards are missing: {_few(missing)}",
                where=table.folder.name,
                hint="Fetch them; to read only those that are there, name them by a pattern.",
            )
        return unread
    return _gaps(table.names) + unread


def _shard(name: str) -> re.Match[str] | None:
    return _SHARD.fullmatch(_stem(name))


def missing_shards(names: Sequence[str]) -> list[str]:
    """Names of the shards that these files' names tell of and that are not among them."""
    missing = []
    found: dict[tuple[str, str], dict[int, str]] = {}
    for name in names:
        shard = _shard(name)
        if shard:
            found.setdefault((shard[1], shard[3]), {})[int(shard[2])] = name
    for (_, total), numbers in found.items():
        name = next(iter(numbers.values()))
        shard = _shard(name)
        assert shard is not None
        # Some count from 1.
        first = 1 if int(total) in numbers else 0
        missing += [
            f"{name[: shard.start(2)]}{number:0{len(shard[2])}}-of-{total}"
            for number in range(first, first + int(total))
            if number not in numbers
        ]
    return missing


def _gaps(names: Sequence[str]) -> list[str]:
    """Numbers that parts between the first and the last do not have."""
    parts = [_PART.fullmatch(_stem(name)) for name in names]
    numbers = {int(part[1]) for part in parts if part}
    if len(numbers) < 2:
        return []
    lost = [str(n) for n in range(min(numbers), max(numbers)) if n not in numbers]
    return [f"no part has the number {_few(lost)}"] if lost else []


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unread(table: Table, beside: Iterable[str]) -> list[str]:
    """Files that are called like a table's, and whose format or compression is not known."""
    of_table = {_table(_stem(name)) for name in table.names}
    names = [
        name
        for name in beside
        if not hidden(name) and _ending(name) is None and _table(name.split(".")[0]) in of_table
    ]
    return [f"not read, as the suffix is not known: {_few(sorted(names))}"] if names else []


def _check_manifest(table: Table, beside: Collection[str]) -> None:
    """A folder that negmine wrote is finished, and has every part that it says."""
    if artifacts.JOURNAL in beside:
        raise InvalidDataError(
            "negmine has not finished writing this folder",
            where=table.folder.name,
            hint="Run the command that writes it again: it goes on where it stopped.",
        )
    if artifacts.MANIFEST not in beside:
        return
    listed = json_object(table.folder.child(artifacts.MANIFEST)).get("files")
    parts = [name for name in listed or () if _ending(name) and "/" not in name]
    # What lies beside is of another table: a collection has three in one folder.
    there = {*table.names, *beside}
    missing = sorted(set(parts) - there) if isinstance(listed, dict) else []
    if missing and set(parts) & set(table.names):
        raise MissingInputError(
            f"{len(missing)} of {len(parts)} parts are missing: {_few(missing)}",
            where=table.folder.name,
            hint="They are in the folder's manifest; copy the whole folder.",
        )
