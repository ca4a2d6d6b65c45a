"""JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import orjson

from negmine.inputs import keyed, limits, nested, one_object
from negmine.inputs.chunks import MISSING, Chunk, resolve
from negmine.inputs.columns import Columns
from negmine.inputs.json_values import value_blocks
from negmine.inputs.kinds import ARRAY, PAIRS, Input, Target
from negmine.inputs.lines import Text, line_blocks
from negmine.inputs.problems import Problems
from negmine.inputs.suspects import LOOKED_AT, Look, refuse, settle
from negmine.inputs.values import type_name
from negmine.inputs.wrappings import mend_encoding

_CONSTANT = re.compile(rb"\b(NaN|Infinity)\b")


def json_chunks(
    kind: Input,
    text: Text,
    columns: Columns,
    problems: Problems,
) -> Iterator[Chunk]:
    """JSON lines, an array, or records over several lines; the first one says which field is which.

    A file of one object that holds columns is read as their rows.
    """
    sources: dict[str, str] | None = None
    known: set[str] = set()
    later: set[str] = set()
    for rows, numbers in _records(kind, text, columns, problems):
        if sources is None:
            hint = nested.told_lists(kind, rows[0]) or keyed.told(kind, rows[0], text.name)
            sources = resolve(kind, text.name, list(rows[0]), columns, hint)
            known = set(rows[0])
            settle(kind, text.name, rows[0], sources, columns, _looker(rows))
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
            if target.kind in ("title", "kept", "rank", "raw"):
                sources[target.name] = source
                found[target.name] = [row.get(source) for row in rows]
            else:
                try:
                    found[target.name] = [row[source] for row in rows]
                except KeyError:
                    found[target.name] = [row.get(source, MISSING) for row in rows]
        if new:
            _settle_late(kind, text.name, new, found_in, columns, rows)
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


def _records(
    kind: Input, text: Text, columns: Columns, problems: Problems
) -> Iterator[tuple[list[dict[str, Any]], Sequence[Any]]]:
    """Some records at a time, and the place of each."""
    found = _json_rows(kind, text, columns, problems)
    rows, numbers = next(found, ([], []))
    if len(rows) == 1:
        following = next(found, None)
        if following is None and isinstance(rows[0], dict):
            rows, numbers = one_object.records(kind, text.name, rows[0], numbers[0], columns)
        elif following is not None:
            found = chain([following], found)
    for start in range(0, len(rows), limits.MAX_BATCH_ROWS):
        end = start + limits.MAX_BATCH_ROWS
        yield rows[start:end], numbers[start:end]
    yield from found


def _json_rows(
    kind: Input, text: Text, columns: Columns, problems: Problems
) -> Iterator[tuple[list[dict[str, Any]], Sequence[Any]]]:
    """The objects of each block, and their places, where there are any."""
    for places, pieces in _pieces(text):
        found = _objects(kind, text.name, places, pieces, columns, problems)
        if found[0]:
            yield _flat(kind, text.name, found, columns)


def _pieces(text: Text) -> Iterator[tuple[Sequence[Any], list[bytes]]]:
    """The values of a file, not parsed yet, some at a time; and the place of each."""
    if text.format in ("array", "values"):
        yield from value_blocks(text, text.format == "array")
        return
    for first, lines in line_blocks(text):
        yield range(first, first + len(lines)), lines


def _flat(
    kind: Input,
    path: str,
    found: tuple[list[dict[str, Any]], Sequence[Any]],
    columns: Columns,
) -> tuple[list[dict[str, Any]], Sequence[Any]]:
    """Runs and judgements of objects in objects as one record for each pair."""
    rows, places = found
    named = columns.values()
    if not nested.may_nest(kind) or not all(nested.is_nested(row, named) for row in rows):
        return found
    flat = nested.records(kind, rows, places)
    columns.account.note(f"{path}: read as documents of queries, {len(flat[0]):,} records")
    return flat


def _objects(
    kind: Input,
    path: str,
    places: Sequence[Any],
    pieces: list[bytes],
    columns: Columns,
    problems: Problems,
) -> tuple[list[dict[str, Any]], Sequence[Any]]:
    """The objects in ``pieces``, and their places."""
    try:
        rows = list(map(orjson.loads, pieces))
        if set(map(type, rows)) == {dict}:
            return rows, places
    except orjson.JSONDecodeError:
        pass
    rows, numbers = [], []
    for number, piece in zip(places, pieces, strict=True):
        if not piece.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = orjson.loads(piece)
        except orjson.JSONDecodeError as error:
            row = _with_constants(piece)
            if row is None:
                problems.report(where, *_json_message(piece, error, pieces, path))
                continue
            columns.account.note(
                f"{path}: NaN and Infinity are read as null where no text or id is"
            )
        if kind.name == PAIRS.name and _is_array(row):
            row = {ARRAY: row}
        if not isinstance(row, dict):
            problems.report(
                where,
                f"expected a JSON object, found {type_name(row)}",
                "Each record must be one object; jq -c '.[]' takes them out of arrays.",
            )
            continue
        rows.append(row)
        numbers.append(number)
    return rows, numbers


def _with_constants(piece: bytes) -> Any:
    """A value with the constants that JSON does not know, as floats; None where it is no such one.

    Python, pandas and JavaScript's libraries write them for missing values.
    """
    if not _CONSTANT.search(piece):
        return None
    try:
        return json.loads(piece.decode())
    except (ValueError, RecursionError):
        return None


def _is_array(row: Any) -> bool:
    """Whether a line is an array of texts or numbers, and not of records."""
    return isinstance(row, list) and not any(isinstance(item, dict) for item in row)


def _json_message(
    line: bytes, error: json.JSONDecodeError, others: list[bytes], path: str
) -> tuple[str, str | None]:
    """What is wrong with a line that orjson refused, and how to mend it."""
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        byte = line[wrong.start]
        what = f"not valid UTF-8: byte 0x{byte:02x} at column {wrong.start + 1}"
        if any(map(_is_other_utf8, others)):
            return what, "Other lines are UTF-8 with such letters: mend this one, or leave it out."
        return what, mend_encoding(byte, path)
    if "surrogate" in error.msg:
        return (
            f"a lone surrogate is no character (column {error.colno})",
            "It is half of a character, left where a text was cut: write the text anew.",
        )
    return (
        f"not valid JSON: {error.msg} (column {error.colno})",
        "Each line must hold one JSON object.",
    )


def _is_other_utf8(line: bytes) -> bool:
    """Whether a line is UTF-8 and more than ASCII."""
    if line.isascii():
        return False
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
