"""CSV and TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from negmine.errors import InvalidDataError
from negmine.inputs import limits
from negmine.inputs.chunks import Chunk, resolve
from negmine.inputs.columns import Columns
from negmine.inputs.headerless import (
    Splitter,
    has_comments,
    header_splitter,
    headerless,
    is_comment,
    positions,
    split_tabs,
)
from negmine.inputs.kinds import RUN, Input, asked_for
from negmine.inputs.lines import Text, line_blocks, line_text
from negmine.inputs.problems import Problems
from negmine.inputs.quoting import all_enclosed, evidence, has_quotes
from negmine.inputs.suspects import LOOKED_AT, Look, settle

_UNQUOTED = (
    "This .tsv is read without quoting, one record per line; write texts with tabs or newlines as "
    ".csv or .jsonl."
)
_QUOTED = 'Quote a field that holds the delimiter, a quote or a newline; double its quotes: "".'


def tsv_chunks(kind: Input, text: Text, columns: Columns, problems: Problems) -> Iterator[Chunk]:
    """Lines of fields between tabs, with or without a header line.

    Where the first quotes show that fields are quoted, the rest is read so.
    """
    table = _Table(kind, text.name, columns, problems, _UNQUOTED)
    split: Splitter = split_tabs
    quotes = _Quotes(text.name, columns)
    remarks = has_comments(kind)
    found = line_blocks(text)
    for first, lines in found:
        if first == 1 and text.skip:
            first, lines = 1 + text.skip, lines[text.skip :]
        if quotes.open and quotes.enclose(first, lines, table.header):
            yield from _csv_records(table, text, chain([(first, lines)], found), "\t")
            return
        if table.header is not None and not remarks and b"" not in lines and b"\r" not in lines:
            # As most blocks of most files are.
            yield from table.chunk(
                list(map(split, map(line_text, lines))), range(first, first + len(lines))
            )
            continue
        rows: list[list[str]] = []
        numbers: list[int] = []
        for number, line in enumerate(map(line_text, lines), first):
            if not line:
                continue
            if remarks and line[0] == "#" and is_comment(line):
                columns.account.note(f"{text.name}: lines that begin with '# ' are comments")
                continue
            if table.header is None:
                known = headerless(kind, line, columns)
                split = header_splitter(kind, line) if known is None else known[1]
                quotes.open = quotes.open and split is split_tabs
                if not table.begin(split(line), known and known[0]):
                    continue
            rows.append(split(line))
            numbers.append(number)
        yield from table.chunk(rows, numbers)
    quotes.tell()


def csv_chunks(kind: Input, text: Text, columns: Columns, problems: Problems) -> Iterator[Chunk]:
    """RFC 4180; a quoted field may span lines, and a record is named by its first one."""
    table = _Table(kind, text.name, columns, problems, None)
    yield from _csv_records(table, text, line_blocks(text), text.delimiter)


def _csv_records(
    table: _Table, text: Text, found: Iterator[tuple[int, list[bytes]]], delimiter: str
) -> Iterator[Chunk]:
    """The records of a table whose fields may be quoted, from some line on."""
    # The csv module has one limit for the whole process, too low for documents.
    csv.field_size_limit(max(csv.field_size_limit(), limits.MAX_CSV_FIELD_CHARS))
    fed = before = 0
    end = text.line_end.decode()

    def lines() -> Iterator[Iterable[str]]:
        nonlocal fed, before
        for first, block in found:
            if not fed:
                skipped = text.skip if first == 1 else 0
                before, block = first + skipped - 1, block[skipped:]
            fed += 1
            yield [line.decode("utf-8", "surrogateescape") + end for line in block]

    reader = csv.reader(chain.from_iterable(lines()), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    block = 0
    begun = table.header is not None
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            where = f"{text.name}:{before + begin}"
            if not begun:
                raise InvalidDataError(f"not a valid CSV header: {error}", where=where) from error
            table.problems.report(where, f"not valid CSV: {error}", _QUOTED)
            continue
        if not row:
            continue
        if not begun:
            block, begun = fed, True
            if not table.begin(row, None):
                continue
        rows.append(row)
        numbers.append(begin)
        # One block of lines, or what of it begins here, bounds both the rows and the bytes.
        if fed != block or len(rows) >= limits.MAX_BATCH_ROWS:
            block = fed
            yield from table.chunk(rows, _from(before, numbers))
            rows, numbers = [], []
    yield from table.chunk(rows, _from(before, numbers))


def _from(before: int, numbers: list[int]) -> list[int]:
    """Numbers of lines in the file, of those behind its first ``before`` ones."""
    return [before + number for number in numbers] if before else numbers


class _Quotes:
    """Whether the quotes of a TSV file enclose fields, as far as it was read.

    Attributes:
        open: whether that is to be found out still.
    """

    def __init__(self, path: str, columns: Columns) -> None:
        self._path, self._columns = path, columns
        self._either, self._either_at = 0, 0
        self.open = True

    def enclose(self, first: int, lines: list[bytes], header: list[str] | None) -> bool:
        """Whether fields are enclosed in quotes from this block on.

        Raises:
            InvalidDataError: some records are quoted, and others cannot be.
        """
        if not has_quotes(lines):
            return False
        decoded = list(map(line_text, lines))
        top = next(filter(None, decoded), "")
        if header is None and all_enclosed(top):
            return self._quoted()
        width = len(header) if header is not None else top.count("\t") + 1
        if width == 1:
            return False
        found = evidence(decoded, width)
        if found.says and self._either:
            self._refuse(first + found.first_quoted, self._either_at)
        if found.says:
            return self._quoted()
        if found.says is None and found.plain:
            self._refuse(first + found.first_quoted, first + found.first_plain)
        self.open = found.says is None
        if not self._either:
            self._either_at = first + next(n for n, line in enumerate(lines) if b'"' in line)
        self._either += found.either
        return False

    def _quoted(self) -> bool:
        self._columns.account.note(f"{self._path}: read as quoted TSV (quotes enclose fields)")
        return True

    def _refuse(self, quoted: int, other: int) -> None:
        raise InvalidDataError(
            f"a field is quoted as in CSV (its quotes doubled), but line {other} is not",
            where=f"{self._path}:{quoted}",
            hint="A .tsv is quoted throughout (pandas, Excel) or not at all (MS MARCO, BEIR). "
            "Write it anew as .csv or .jsonl.",
        )

    def tell(self) -> None:
        """At the end: say what quotes were kept that might have been meant to enclose."""
        if self.open and self._either:
            self._columns.account.note(
                f"{self._path}: fields are enclosed in quotes, from line {self._either_at} on, and "
                "none of them shows that they are quoted: read as characters"
            )


class _Table:
    """Rows of fields under a header, as chunks of the wanted columns."""

    def __init__(
        self, kind: Input, path: str, columns: Columns, problems: Problems, hint: str | None
    ) -> None:
        self.kind, self.path, self.columns, self.problems = kind, path, columns, problems
        self.header: list[str] | None = None
        self._hint = hint
        self._sources: dict[str, str] = {}
        self._settled = False

    def begin(self, fields: list[str], header: list[str] | None) -> bool:
        """Take the first line; True where it is a record already, of the columns ``header``."""
        header = header or positions(self.columns, fields)
        self.header = header or fields
        hint = _header_hint(self.kind)
        self._sources = resolve(self.kind, self.path, self.header, self.columns, hint)
        return header is not None

    def chunk(self, rows: list[list[str]], numbers: Sequence[int]) -> Iterator[Chunk]:
        """The wanted columns of rows of fields."""
        if self.header is None:
            return
        if not self._settled:
            self._settled = True
            look = _looker(self.header, rows)
            settle(self.kind, self.path, self.header, self._sources, self.columns, look)
        width = len(self.header)
        if set(map(len, rows)) - {width}:
            rows, numbers = self._fitting(rows, numbers)
        if rows:
            places = {name: self.header.index(source) for name, source in self._sources.items()}
            yield Chunk(
                {name: [row[place] for row in rows] for name, place in places.items()},
                self._sources,
                numbers,
            )

    def _fitting(
        self, rows: list[list[str]], numbers: Sequence[int]
    ) -> tuple[list[list[str]], list[int]]:
        """The rows with as many fields as the header; the others are reported."""
        assert self.header is not None
        width = len(self.header)
        hint = self._hint
        if all(len(row) == width + 1 for row in rows):
            hint = (
                "R's row names have no name in the header: write.table(..., row.names = FALSE), or "
                "col.names = NA."
            )
        good: list[int] = []
        for index, row in enumerate(rows):
            if len(row) == width:
                good.append(index)
            else:
                where = f"{self.path}:{numbers[index]}"
                self.problems.report(where, f"{len(row)} fields where the header has {width}", hint)
        return [rows[index] for index in good], [numbers[index] for index in good]


def _looker(header: list[str], rows: list[list[str]]) -> Look:
    """What gives the first values of a column."""

    def look(name: str) -> Sequence[str]:
        at = header.index(name)
        return [row[at] for row in rows[:LOOKED_AT] if at < len(row)]

    return look


def _required(kind: Input) -> list[str]:
    return [target.name for target in kind.targets if not target.optional]


def _header_hint(kind: Input) -> str:
    names = _required(kind)
    if kind is RUN:
        names = [*names, "rank"]
    return (
        " The first line must name the columns; if there is no such line, name them by number: "
        + " ".join(
            f"--column {asked_for(kind, name)}=#{number}" for number, name in enumerate(names, 1)
        )
        + "."
    )
