"""Which columns of an input are taken, which are left out, and who said so.

A user names columns (``--column TARGET=SOURCE``) and those that do not matter (``--ignore
COLUMN``). Everything else is found by name or left unread, and an :class:`Account` keeps what
became of every column, so that the stages can tell it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: What a shell does not take for a part of a word.
_SHELL = set(" \t\n'\"$`\\|&;<>()*?![]{}")
#: Columns named in a line for people; the manifest has all.
_NAMED = 12
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+|[0-9]+")


@dataclass
class Layout:
    """Files of one input that have the same columns.

    Attributes:
        files: their names.
        taken: target to source column.
        ignored: the columns that are not read, in the order of the file.
    """

    files: list[str]
    taken: dict[str, str]
    ignored: list[str]


@dataclass
class Account:
    """What became of the columns of one input, file by file.

    Attributes:
        layouts: the files, grouped by what is read of them.
        suspects: of a lenient reading, what a strict one would have refused, in words.
        notes: what else is to be told about how the files were read.
    """

    layouts: list[Layout] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, path: str, taken: Mapping[str, str], ignored: Sequence[str]) -> None:
        """Note what is read of a file; a file that is read twice counts once."""
        for layout in self.layouts:
            if layout.taken == taken and layout.ignored == ignored:
                if path not in layout.files:
                    layout.files.append(path)
                return
        self.layouts.append(Layout([path], dict(taken), list(ignored)))

    def late(self, path: str, name: str) -> None:
        """Note a field that only later records of a file have, and that is not read."""
        for layout in self.layouts:
            if path in layout.files and name not in layout.ignored:
                layout.ignored.append(name)

    def note(self, what: str) -> None:
        """Note once how a file was read."""
        if what not in self.notes:
            self.notes.append(what)

    def columns(self) -> set[str]:
        """Every column that any of the files has."""
        return {
            name for layout in self.layouts for name in (*layout.taken.values(), *layout.ignored)
        }

    def lines(self) -> list[str]:
        """One line for each group of files, for people."""
        return [f"{_files(layout.files)}: {words(layout)}" for layout in self.layouts] + self.notes

    def record(self) -> list[dict[str, Any]]:
        """The same for the manifest; what else was told stands in the first record."""
        records: list[dict[str, Any]] = [
            {
                "files": len(layout.files),
                "first": layout.files[0],
                "taken": dict(layout.taken),
                "ignored": list(layout.ignored),
            }
            for layout in self.layouts
        ]
        if records and self.notes:
            records[0]["notes"] = list(self.notes)
        return records


# Two inputs may be asked for the same columns and still have an account each.
@dataclass(frozen=True, eq=False)
class Columns(Mapping[str, str]):
    """What a user said about the columns of one input: a mapping of target to source column.

    Attributes:
        named: target to source column.
        ignored: columns that the user knows and does not want.
        account: keeps what became of every column.
        strict: False notes in the account what would be refused, instead of refusing it.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    account: Account = field(default_factory=Account)
    strict: bool = True

    @classmethod
    def of(cls, columns: Mapping[str, str], *, strict: bool = True) -> Columns:
        """A plain mapping as one of these."""
        return columns if isinstance(columns, cls) else cls(columns, strict=strict)

    def with_named(self, more: Mapping[str, str]) -> Columns:
        """The same with further columns named; the account is shared."""
        return Columns({**self.named, **more}, self.ignored, self.account, self.strict)

    def __getitem__(self, target: str) -> str:
        return self.named[target]

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)


def words(layout: Layout) -> str:
    """``docid from '_id', text; ignored: 'url'``."""
    taken = ", ".join(
        target if target == source else f"{target} from '{short(source)}'"
        for target, source in layout.taken.items()
    )
    return f"{taken or 'nothing'}; ignored: {_list(layout.ignored)}"


def words_of(name: str) -> set[str]:
    """The words that a column's name is made of, in any spelling, in small letters."""
    return {word.lower() for word in _WORD.findall(name)}


def short(name: str) -> str:
    """``name``, cut where it is too long to show."""
    return name if len(name) <= 40 else name[:40] + "..."


def shell_word(text: str) -> str:
    """``text`` as a shell takes it for one word, such as ``'positive=Positive Passage'``."""
    return shlex.quote(text) if set(text) & _SHELL else text


def _list(names: Collection[str]) -> str:
    shown = [f"'{short(name)}'" for name in list(names)[:_NAMED]]
    more = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")


def _files(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
