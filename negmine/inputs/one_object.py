"""A file of one JSON object: a record itself, or the records that it holds by id or by column.

In which of these ways is asked here and nowhere else. What is written so in lines too, runs and
judgements as objects in objects, is :mod:`.nested`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from negmine.errors import InvalidDataError
from negmine.inputs import keyed
from negmine.inputs.columns import Columns, shell_word
from negmine.inputs.kinds import PAIRS, Input, known_names
from negmine.inputs.sets import names_known


def records(
    kind: Input, path: str, row: dict[str, Any], place: Any, columns: Columns
) -> tuple[list[dict[str, Any]], Sequence[Any]]:
    """The records of a file's only object, and their places.

    Args:
        kind: what is read.
        path: the file, for messages.
        row: the object.
        place: where it stands.
        columns: what the user names; told in which way the file was read.

    Raises:
        InvalidDataError: the object wraps the records in a field of its own.
    """
    names = {*columns.values(), *known_names()}
    of_sets = names | set(names_known())
    found = keyed.records(kind, row, of_sets)
    if found is not None:
        columns.account.note(f"{path}: read as an object of ids, {len(found):,} records")
        return [record for record, _ in found], [f"{place} ('{key}')" for _, key in found]
    made = _of_columns(row, of_sets if kind.name == PAIRS.name else names, path)
    if made is None:
        return [row], [place]
    columns.account.note(f"{path}: read as columns, {len(made):,} records")
    return made, [f"{place} (record {number})" for number in range(1, len(made) + 1)]


def _of_columns(
    record: dict[str, Any], known: Collection[str], name: str
) -> list[dict[str, Any]] | None:
    """The records of a file whose one JSON object holds columns; None where it is a record itself.

    Read are what pandas calls the orients ``columns`` and ``split`` and lists by column, and
    ``index`` where the inner names are known ones.

    Args:
        record: the only object of the file.
        known: names of columns that an input may have.
        name: the file, for messages.

    Raises:
        InvalidDataError: it wraps the records in a field of its own.
    """
    values = list(record.values())
    if set(record) >= {"columns", "data"} and _equal(record["data"], list, len(record["columns"])):
        return [dict(zip(record["columns"], row, strict=True)) for row in record["data"]]
    if not values or len({type(value) for value in values}) > 1:
        _refuse_wrapped(record, known, name)
        return None
    first = values[0]
    if isinstance(first, list) and _equal(values, list, len(first)) and len(values) > 1:
        return [dict(zip(record, row, strict=True)) for row in zip(*values, strict=True)]
    if isinstance(first, dict) and all(value.keys() == first.keys() for value in values):
        if not record.keys().isdisjoint(known):
            return [{column: record[column][row] for column in record} for row in first]
        if not first.keys().isdisjoint(known):
            return values
    _refuse_wrapped(record, known, name)
    return None


def _equal(values: Any, kind: Any, length: int) -> bool:
    return isinstance(values, list) and all(
        type(value) is kind and len(value) == length for value in values
    )


def _refuse_wrapped(record: dict[str, Any], known: Collection[str], name: str) -> None:
    """Refuse an object that holds the records in one of its fields."""
    lists = [
        key
        for key, value in record.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    ]
    if not record.keys().isdisjoint(known) or len(lists) != 1:
        return
    raise InvalidDataError(
        f"the records are in the field '{lists[0]}' of one object",
        where=name,
        hint=f"Take them out: jq -c '.\"{lists[0]}\"[]' {shell_word(name)} > records.jsonl",
    )
