"""CSV and TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from negmine.errors import InvalidDataError
from negmine.table.readers import limits
from negmine.table.readers.chunks import Chunk, resolve
from negmine.table.readers.columns import Columns
from negmine.table.readers.headerless import (
    Splitter,
    header_splitter,
    headerless,
    is_comment,
    positions,
    split_tabs,
)
from negmine.table.readers.kinds import Input
from negmine.table.readers.lines import line_blocks, line_text
from negmine.table.readers.places import Place
from negmine.table.readers.problems import Problems
from negmine.table.readers.suspects import LOOKED_AT, Look, settle


def tsv_chunks(
    kind: Input,
    file: Place,
    compression: str | None,
    columns: Columns,
    problems: Problems,
) -> Iterator[Chunk]:
    """Lines of fields between tabs, with or without a header line."""
    header: list[str] | None = None
    sources: dict[str, str] = {}
    split: Splitter = split_tabs
    settled = False
    for first, lines in line_blocks(file, compression):
        rows: list[list[str]] = []
        numbers: list[int] = []
        for number, line in enumerate(map(line_text, lines), first):
            if not line:
                continue
            if line[0] == "#" and is_comment(kind, line):
                columns.account.note(f"{file.name}: lines that begin with '# ' are comments")
                continue
            if header is None:
                split = header_splitter(kind, line)
                found = None if columns else headerless(kind, line)
                by_position = positions(columns, split(line))
                if found is not None:
                    header, split = found
                else:
                    header = by_position or split(line)
                sources = resolve(kind, file.name, header, columns, _header_hint(kind))
                if found is None and by_position is None:
                    continue
            rows.append(split(line))
            numbers.append(number)
        if header is not None:
            if not settled:
                settled = True
                settle(kind, file.name, header, sources, columns, _looker(header, rows))
            yield from _table_chunk(
                file.name,
                header,
                sources,
                rows,
                numbers,
                problems,
                "A .tsv is read without quoting, one record per line; "
                "write texts with tabs or newlines as .csv or .jsonl.",
            )


def csv_chunks(
    kind: Input,
    file: Place,
    compression: str | None,
    columns: Columns,
    problems: Problems,
) -> Iterator[Chunk]:
    """RFC 4180; a quoted field may span lines, and a record is named by its first one."""
    # The csv module has one limit for the whole process, too low for documents.
    csv.field_size_limit(max(csv.field_size_limit(), limits.MAX_CSV_FIELD_CHARS))
    fed = 0

    def lines() -> Iterator[Iterable[str]]:
        nonlocal fed
        for _, block in line_blocks(file, compression):
            fed += 1
            yield [line.decode("utf-8", "surrogateescape") + "\n" for line in block]

    reader = csv.reader(chain.from_iterable(lines()), strict=True)
    header: list[str] | None = None
    sources: dict[str, str] = {}
    rows: list[list[str]] = []
    numbers: list[int] = []
    block = number = 0
    settled = False
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if header is None:
                raise InvalidDataError(
                    f"not a valid CSV header: {error}", where=f"{file.name}:{number}"
                ) from error
            problems.report(
                f"{file.name}:{number}",
                f"not valid CSV: {error}",
                'Quote a field that holds a comma, a quote or a newline; double its quotes: "".',
            )
            continue
        if not row:
            continue
        if header is None:
            by_position = positions(columns, row)
            header = by_position or row
            sources = resolve(kind, file.name, header, columns, _header_hint(kind))
            block = fed
            if by_position is None:
                continue
        rows.append(row)
        numbers.append(number)
        # One block of lines, or what of it begins here, bounds both the rows and the bytes.
        if fed != block or len(rows) >= limits.MAX_BATCH_ROWS:
            block = fed
            if not settled:
                settled = True
                settle(kind, file.name, header, sources, columns, _looker(header, rows))
            yield from _table_chunk(file.name, header, sources, rows, numbers, problems)
            rows, numbers = [], []
    if header is not None:
        if not settled:
            settle(kind, file.name, header, sources, columns, _looker(header, rows))
        yield from _table_chunk(file.name, header, sources, rows, numbers, problems)


def _looker(header: list[str], rows: list[list[str]]) -> Look:
    """What gives the first values of a column."""

    def look(name: str) -> Sequence[str]:
        at = header.index(name)
        return [row[at] for row in rows[:LOOKED_AT] if at < len(row)]

    return look


def _table_chunk(
    path: str,
    header: list[str],
    sources: dict[str, str],
    rows: list[list[str]],
    numbers: list[int],
    problems: Problems,
    hint: str | None = None,
) -> Iterator[Chunk]:
    """The wanted columns of rows of fields."""
    width = len(header)
    if set(map(len, rows)) - {width}:
        good: list[int] = []
        for index, row in enumerate(rows):
            if len(row) == width:
                good.append(index)
            else:
                problems.report(
                    f"{path}:{numbers[index]}",
                    f"{len(row)} fields where the header has {width}",
                    hint,
                )
        rows = [rows[index] for index in good]
        numbers = [numbers[index] for index in good]
    if rows:
        places = {name: header.index(source) for name, source in sources.items()}
        yield Chunk(
            {name: [row[place] for row in rows] for name, place in places.items()},
            sources,
            numbers,
        )


def _required(kind: Input) -> list[str]:
    return [target.name for target in kind.targets if not target.optional]


def _header_hint(kind: Input) -> str:
    return (
        " The first line must name the columns; if there is no such line, name them by number: "
        + " ".join(f"--column {name}=#{number}" for number, name in enumerate(_required(kind), 1))
        + "."
    )
