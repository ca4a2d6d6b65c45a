"""Sheets that people filled in: how they are read, and whose answers are whose.

Every row names its ledger and its draw, and has a key, so that a sheet of another ledger and a row
that was changed are noticed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine.commands.audit.sampled.sheets import (
    ANSWER,
    CANNOT_TELL,
    COLUMNS,
    DATA,
    KEY,
    NOT_RELEVANT,
    RELEVANT,
    Row,
    Sheet,
    is_json,
    key_of,
)
from negmine.errors import InvalidDataError, MissingInputError
from negmine.inputs import limits
from negmine.inputs.label_words import folded, label_number
from negmine.table.artifacts import disk

_UNSURE = frozenset(("unsure", "?", "cannot tell", "can't tell", "unclear", "unknown", "maybe"))


@dataclass(frozen=True)
class Filled:
    """A filled-in sheet as its file has it.

    Attributes:
        path: the file.
        records: its rows, with their answers.
    """

    path: str
    records: Sequence[Mapping[str, str]]

    def one(self, column: str) -> str | None:
        """What all rows say in a column; None where they differ."""
        found = {record[column] for record in self.records}
        return found.pop() if len(found) == 1 else None


def read(path: str) -> Filled:
    """A filled-in sheet.

    Raises:
        MissingInputError: there is no such file.
        InvalidDataError: it is no sheet.
    """
    as_json = is_json(path)
    if not disk.is_file(Path(path)):
        raise MissingInputError("--gold: there is no such file", where=path)
    with disk.opened(Path(path)) as file:
        raw = file.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidDataError(
            "--gold: is not UTF-8", where=path, hint="Save it as CSV UTF-8."
        ) from None
    records = list(_of_tasks(text, path) if as_json else _of_cells(text, path))
    if not records:
        raise InvalidDataError("--gold: has no row", where=path)
    return Filled(path, records)


def _of_cells(text: str, path: str) -> Iterator[dict[str, str]]:
    header = text.partition("\n")[0]
    # Spreadsheets of other countries separate by semicolons.
    separator = max(",;\t", key=header.count)
    csv.field_size_limit(max(csv.field_size_limit(), limits.MAX_CSV_FIELD_CHARS))
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for number, cells in enumerate(reader, 2):
            if not any(isinstance(cell, str) and cell.strip() for cell in cells.values()):
                continue
            record = {
                name: (cells[name] or "").removeprefix("'") for name in COLUMNS if name in cells
            }
            yield _checked(record, path, f"line {number}")
    except csv.Error as error:
        raise InvalidDataError(f"--gold: not readable as CSV: {error}", where=path) from None


def _of_tasks(text: str, path: str) -> Iterator[dict[str, str]]:
    try:
        tasks = json.loads(text)
    except ValueError as error:
        raise InvalidDataError(f"--gold: not readable as JSON: {error}", where=path) from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InvalidDataError("--gold: is no list of Label Studio's tasks", where=path)
    for number, task in enumerate(tasks, 1):
        # The small form of an export (JSON-MIN) has data and answers side by side.
        data = task["data"] if isinstance(task.get("data"), dict) else task
        record = {name: str(data[name]) for name in DATA if name in data}
        told = list(_choices(task))
        if data is task and isinstance(task.get(ANSWER), str):
            told.append(task[ANSWER])
        for other in told or [""]:
            yield _checked({**record, ANSWER: other}, path, f"task {number}")


def _choices(task: Mapping[str, Any]) -> Iterator[str]:
    """What each annotator chose of a task; skipped ones say nothing."""
    annotations = task.get("annotations")
    for annotation in annotations if isinstance(annotations, list) else []:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        for result in results if isinstance(results, list) else []:
            value = result.get("value") if isinstance(result, dict) else None
            chosen = value.get("choices") if isinstance(value, dict) else None
            if isinstance(chosen, list):
                yield from (str(one) for one in chosen)


def _checked(record: dict[str, str], path: str, place: str) -> dict[str, str]:
    missing = [
        name for name in (ANSWER, "qid", "docid", "ledger", "draw", KEY) if name not in record
    ]
    if missing:
        raise InvalidDataError(
            f"--gold: {place} has no '{missing[0]}'",
            where=path,
            hint="Fill in a sheet that --sheet wrote, and keep its columns.",
        )
    return {**record, ANSWER: _answer(record[ANSWER], path, place), "place": place}


def _answer(word: str, path: str, place: str) -> str:
    """``yes``, ``no``, ``unsure``, or nothing."""
    told = folded(word)
    if not told or told in _UNSURE:
        return CANNOT_TELL if told else ""
    number = {"1": 1.0, "0": 0.0}.get(told, label_number(told))
    if number is None:
        raise InvalidDataError(
            f"--gold: {place} answers {word!r}",
            where=path,
            hint=f"Answer {RELEVANT}, {NOT_RELEVANT} or {CANNOT_TELL}, or nothing.",
        )
    return RELEVANT if number else NOT_RELEVANT


# --- matching ---------------------------------------------------------------------------------


def answers_of(files: Iterable[Filled], sheet: Sheet) -> tuple[dict[str, str], int]:
    """What people said of the drawn rows, by key.

    Args:
        files: filled-in sheets.
        sheet: the rows as they are drawn of the ledger.

    Returns:
        (answers, how many rows several people answered differently: these are unsure).

    Raises:
        InvalidDataError: a row is of another ledger, was not drawn, or was changed.
    """
    rows = {key_of(sheet.ledger, row.qid, row.docid): row for row in sheet.rows}
    found: dict[str, set[str]] = {}
    for file in files:
        for record in file.records:
            _check_row(record, file.path, sheet, rows)
            if record[ANSWER]:
                found.setdefault(record[KEY], set()).add(record[ANSWER])
    answers = {k: CANNOT_TELL if len(said) > 1 else next(iter(said)) for k, said in found.items()}
    return answers, sum(len(said) > 1 for said in found.values())


def _check_row(record: Mapping[str, str], path: str, sheet: Sheet, rows: Mapping[str, Row]) -> None:
    named = f"{record['place']} (query {record['qid']!r}, document {record['docid']!r})"
    if record["ledger"] != sheet.ledger:
        raise InvalidDataError(
            f"--gold: {named} is of another ledger",
            where=path,
            hint=f"It is of {record['ledger']!r}, this ledger is {sheet.ledger!r}: of what was "
            "mined with other settings another sheet is needed.",
        )
    row = rows.get(record[KEY])
    if row is None:
        raise InvalidDataError(
            f"--gold: {named} was not drawn of this ledger",
            where=path,
            hint="Fill in the sheet as --sheet wrote it; rows cannot be added.",
        )
    for name, ours in (
        ("qid", row.qid),
        ("docid", row.docid),
        ("query", row.query),
        ("document", row.document),
    ):
        if name in record and _plain(record[name]) != _plain(ours):
            raise InvalidDataError(
                f"--gold: the {name} of {named} was changed",
                where=path,
                hint=f"In the ledger the row is query {row.qid!r}, document {row.docid!r}. Write "
                "the sheet again with --sheet, and copy the answers.",
            )


def _plain(text: str) -> str:
    """A text without what programs change in it: line ends and blanks."""
    return " ".join(text.removeprefix("'").split())
