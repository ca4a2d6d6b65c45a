"""JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from negmine.table.readers.chunks import MISSING, Chunk, resolve
from negmine.table.readers.columns import Columns
from negmine.table.readers.kinds import ARRAY, PAIRS, Input, Target
from negmine.table.readers.lines import line_blocks
from negmine.table.readers.places import Place
from negmine.table.readers.problems import Problems
from negmine.table.readers.suspects import LOOKED_AT, Look, refuse, settle
from negmine.table.readers.values import type_name


def json_chunks(
    kind: Input,
    file: Place,
    compression: str | None,
    columns: Columns,
    problems: Problems,
) -> Iterator[Chunk]:
    """JSON lines; the first record decides which field is which."""
    sources: dict[str, str] | None = None
    known: set[str] = set()
    later: set[str] = set()
    for first, lines in line_blocks(file, compression):
        rows, numbers = _json_rows(kind, file.name, first, lines, problems)
        if not rows:
            continue
        if sources is None:
            sources = resolve(kind, file.name, list(rows[0]), columns)
            known = set(rows[0])
            settle(kind, file.name, rows[0], sources, columns, _looker(rows))
        new = set().union(*rows) - known
        known |= new
        later |= new
        found: dict[str, Any] = {}
        found_in: dict[str, str] = {}
        for target in kind.targets:
            source = sources.get(target.name) or _late_field(target, later - columns.ignored)
            if source is None:
                continue
            found_in[target.name] = source
            if target.kind in ("title", "kept", "raw"):
                sources[target.name] = source
                found[target.name] = [row.get(source) for row in rows]
            else:
                try:
                    found[target.name] = [row[source] for row in rows]
                except KeyError:
                    found[target.name] = [row.get(source, MISSING) for row in rows]
        if new:
            _settle_late(kind, file.name, new, found_in, columns, rows)
        yield Chunk(found, sources, numbers)


def _late_field(target: Target, later: set[str]) -> str | None:
    """An optional field that the first record lacks and one of these has.

    A title may come and go. A grade may not: without its place in ``sources`` it is refused.
    """
    return next((name for name in target.aliases if name in later), None)


def _settle_late(
    kind: Input,
    path: str,
    new: set[str],
    sources: dict[str, str],
    columns: Columns,
    rows: list[dict[str, Any]],
) -> None:
    """Account for fields that only later records have."""
    unread = sorted(new - set(sources.values()))
    for name in unread:
        columns.account.late(path, name)
    refuse(kind, path, unread, sources, columns, _looker(rows))


def _looker(rows: list[dict[str, Any]]) -> Look:
    return lambda name: [row[name] for row in rows if name in row][:LOOKED_AT]


def _json_rows(
    kind: Input, path: str, first: int, lines: list[bytes], problems: Problems
) -> tuple[list[dict[str, Any]], Sequence[int]]:
    """The objects in ``lines`` and their line numbers."""
    try:
        rows = list(map(orjson.loads, lines))
        if set(map(type, rows)) == {dict}:
            return rows, range(first, first + len(rows))
    except orjson.JSONDecodeError:
        pass
    rows, numbers = [], []
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.report(where, *_json_message(line, error))
            continue
        if kind.name == PAIRS.name and _is_array(row):
            row = {ARRAY: row}
        if not isinstance(row, dict):
            problems.report(
                where,
                f"expected a JSON object, found {type_name(row)}",
                "Each line must hold one object; jq -c '.[]' turns an array into such lines.",
            )
            continue
        rows.append(row)
        numbers.append(number)
    return rows, numbers


def _is_array(row: Any) -> bool:
    """Whether a line is an array of texts or numbers, and not of records."""
    return isinstance(row, list) and not any(isinstance(item, dict) for item in row)


def _json_message(line: bytes, error: json.JSONDecodeError) -> tuple[str, str | None]:
    """What is wrong with a line that orjson refused, and how to mend it."""
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return (
            f"not valid UTF-8: byte 0x{line[wrong.start]:02x} at column {wrong.start + 1}",
            "Save the file as UTF-8.",
        )
    if "surrogate" in error.msg:
        return f"a lone surrogate is no character (column {error.colno})", None
    return (
        f"not valid JSON: {error.msg} (column {error.colno})",
        "Each line must hold one JSON object.",
    )
