"""The records of a training set's file with their places, parsed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from negmine.inputs.chunks import Chunk
from negmine.inputs.columns import Columns
from negmine.inputs.dispatch import read_chunks
from negmine.inputs.examples import without_unread
from negmine.inputs.kinds import EXAMPLES_SCHEMA, PAIRS, Input
from negmine.inputs.layouts import Found
from negmine.inputs.problems import Problems
from negmine.inputs.sets import Beginning, Layout, recognised
from negmine.inputs.sets.base import Example, Lying, Opened, Reading, Record
from negmine.inputs.sets.lists import LISTS
from negmine.inputs.values import BadValueError

#: What is written in the place of a record, by column; None leaves it as it is.
Replacement = Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True)
class At:
    """A value that nobody reads: that of a row, which Python's types might not hold whole.

    Attributes:
        row: its number in the block.
        size: how many values it holds, where it is a list.
    """

    row: int
    size: int | None = None


def size_of(value: Any) -> int | None:
    """How many values a list holds; None where it is none."""
    if isinstance(value, At):
        return value.size
    return len(value) if isinstance(value, list) else None


@dataclass
class Entry:
    """A record at its place.

    Attributes:
        place: the line on which it begins, or the number of its row.
        record: what is read of it.
        example: what it says; None where it could not be read.
        problem: why not.
        data: its bytes with its line end, or its row's number in the block.
    """

    place: int | str
    record: Record | None = None
    example: Example | None = None
    problem: str = ""
    data: Any = None


@dataclass
class Block:
    """Some records of a file.

    Attributes:
        entries: the records, in the order of the file.
        head: what stands before them and is none.
        rows: their rows, where the file holds columns.
    """

    entries: list[Entry] = field(default_factory=list)
    head: bytes = b""
    rows: Any = None


#: Blocks in their order, and for each of a block's entries what is written in its place.
Blocks = Iterable[tuple[Block, Sequence[Replacement]]]


class SetFile(Protocol):
    """A training set's file."""

    @property
    def settings(self) -> Settings:
        """What it is read with."""

    def blocks(self) -> Iterator[Block]:
        """All records, some at a time."""

    def decoded(self, block: Block, entry: Entry) -> Mapping[str, Any]:
        """All of a record, by column."""

    def save(self, path: Path, found: Blocks) -> None:
        """Write the file with other records in the place of some."""

    def dialect(self) -> Mapping[str, Any]:
        """What has to be said to read it as a table, in the words of pandas and ``datasets``."""


@dataclass(frozen=True)
class Parser:
    """A layout, opened for a file.

    Attributes:
        layout: what it was recognised as; plain pairs are lists without negatives.
        beginning: what it was recognised by.
        opened: how its records are read and rewritten.
    """

    layout: Layout
    beginning: Beginning
    opened: Opened


def parser(beginning: Beginning) -> Parser:
    """How the records of a file that begins so are read."""
    layout = recognised(beginning) or LISTS
    return Parser(layout, beginning, layout.open(beginning))


@dataclass(frozen=True)
class Settings:
    """What a file is read with.

    Attributes:
        found: the file.
        parser: its layout.
        columns: what the user says of its columns.
        reading: how what the layout leaves open is read.
        on_error: whether a bad record stops the run.
    """

    found: Found
    parser: Parser
    columns: Columns
    reading: Reading
    on_error: str

    def lying(self, entry: Entry, raw: Mapping[str, Any]) -> Lying:
        """A record with all that is known of it."""
        assert entry.record is not None
        assert entry.example is not None
        return Lying(entry.record, raw, self.reading, entry.example)


class _Noted(Problems):
    """Bad records, each with its place.

    Attributes:
        noted: (place, message) of those that nobody took yet.
    """

    def __init__(self, on_error: str) -> None:
        super().__init__("fail" if on_error == "fail" else "skip")
        self.noted: list[tuple[str, str]] = []

    def report(
        self, where: str, message: str, hint: str | None = None, *, unclear: bool = False
    ) -> None:
        """Note it, or raise."""
        super().report(where, message, hint, unclear=unclear)
        self.noted.append((where, message))

    def take(self, name: str) -> list[Entry]:
        """Those that were noted since the last call, as records that could not be read."""
        found = [Entry(_place(where, name), problem=message) for where, message in self.noted]
        self.noted.clear()
        return found


def _place(where: str, name: str) -> int | str:
    """The place in a message's address."""
    told = where.removeprefix(name).lstrip(":").strip().removeprefix("row").strip()
    return int(told) if told.isdigit() else told


def parsed(settings: Settings) -> Iterator[list[Entry]]:
    """All records of a file, bad ones too, some at a time; without their data."""
    layout = settings.parser
    kind = Input(PAIRS.name, EXAMPLES_SCHEMA, layout.opened.targets)
    columns = without_unread(settings.columns, layout.layout, layout.beginning)
    problems = _Noted(settings.on_error)
    (file,) = settings.found.files
    name = file.name
    for name, chunk in read_chunks(kind, settings.found, columns, problems):
        entries = _of_chunk(name, chunk, settings, problems)
        yield _in_order([*entries, *problems.take(name)])
    yield problems.take(name)


def _of_chunk(name: str, chunk: Chunk, settings: Settings, problems: Problems) -> list[Entry]:
    """The good records of a chunk."""
    found = []
    read = settings.parser.opened.read
    columns = [_values(column) for column in chunk.columns.values()]
    for at, values in enumerate(zip(*columns, strict=True)):
        record = Record(dict(zip(chunk.columns, values, strict=True)), chunk.sources)
        try:
            example = read(record, settings.reading)
        except BadValueError as error:
            problems.report(chunk.where(name, at), str(error), error.hint, unclear=error.unclear)
            continue
        found.append(Entry(chunk.lines[at], record, example))
    return found


def _values(column: Any) -> Sequence[Any]:
    return column if isinstance(column, list) else list(column.to_pylist())


def _in_order(entries: list[Entry]) -> list[Entry]:
    """Records by their places, where these are numbers; a place counts once."""
    if not all(isinstance(entry.place, int) for entry in entries):
        return entries
    return sorted(entries, key=lambda entry: entry.place)
