"""The sheet that a person fills in, as CSV or as tasks of Label Studio, and the filled-in ones.

A sheet tells neither what the judge said nor how the row was drawn: who reads it shall not be led.
Every row names its ledger and its draw, and has a key, so that a sheet of another ledger and a row
that was changed are noticed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine.commands.audit.sampled.drawing import Draw
from negmine.errors import InvalidDataError, MissingInputError, UsageError
from negmine.inputs import limits
from negmine.inputs.label_words import folded, label_number
from negmine.table.artifacts import disk

#: What a person says of a row.
RELEVANT, NOT_RELEVANT, CANNOT_TELL = "yes", "no", "unsure"
ANSWER, KEY = "relevant", "key"
#: Columns of a CSV sheet: those of a task's data, between the answer and the key.
_DATA = ("number", "query", "document", "qid", "docid", "ledger", "draw", KEY)
_COLUMNS = ("number", ANSWER, *_DATA[1:])
_UNSURE = frozenset(("unsure", "?", "cannot tell", "can't tell", "unclear", "unknown", "maybe"))
#: What a spreadsheet takes for a formula where a cell begins with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Row:
    """A drawn negative with its texts.

    Attributes:
        qid: its query.
        docid: its document.
        query: the query's text.
        document: the document's.
    """

    qid: str
    docid: str
    query: str
    document: str


@dataclass(frozen=True)
class Sheet:
    """Drawn rows in the order in which they are read.

    Attributes:
        ledger: fingerprint of the ledger that they are of.
        draw: how they were drawn.
        rows: the rows.
    """

    ledger: str
    draw: Draw
    rows: Sequence[Row]

    def records(self) -> Iterator[dict[str, str]]:
        """The rows as a sheet tells them, in its order."""
        for number, row in enumerate(self.rows, 1):
            yield {
                "number": str(number),
                "query": row.query,
                "document": row.document,
                "qid": row.qid,
                "docid": row.docid,
                "ledger": self.ledger,
                "draw": self.draw.told,
                KEY: key_of(self.ledger, row.qid, row.docid),
            }


def key_of(ledger: str, qid: str, docid: str) -> str:
    """What names a row of a ledger; it begins with a letter, so that no program reads a number."""
    text = json.dumps([ledger, qid, docid], ensure_ascii=False)
    return "k" + hashlib.blake2b(disk.as_bytes(text), digest_size=8).hexdigest()


# --- writing ----------------------------------------------------------------------------------


def is_json(path: str) -> bool:
    """Whether a sheet is JSON, by the end of its name, or CSV.

    Raises:
        UsageError: it is neither.
    """
    name = path.lower()
    if name.endswith((".json", ".csv")):
        return name.endswith(".json")
    raise UsageError(
        "--sheet, --gold: a sheet is a CSV file or Label Studio's JSON, by the end of its name",
        where=path,
        hint="Name it *.csv or *.json.",
    )


def text_of(sheet: Sheet, answers: Mapping[str, str], *, as_json: bool) -> str:
    """A sheet as text, with the answers that are known already.

    Args:
        sheet: the rows.
        answers: by key.
        as_json: tasks of Label Studio; else CSV.
    """
    if as_json:
        return _tasks(sheet, answers)
    out = io.StringIO()
    # Spreadsheets read UTF-8 as such where it begins with this mark.
    out.write("\ufeff")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for record in sheet.records():
        values = {**record, ANSWER: answers.get(record[KEY], "")}
        writer.writerow([_guarded(values[name]) for name in _COLUMNS])
    return out.getvalue()


def _tasks(sheet: Sheet, answers: Mapping[str, str]) -> str:
    tasks = []
    for record in sheet.records():
        task: dict[str, Any] = {"data": record}
        if (answer := answers.get(record[KEY])) is not None:
            value = {"choices": [answer]}
            chosen = {"from_name": ANSWER, "to_name": "document", "type": "choices", "value": value}
            task["annotations"] = [{"result": [chosen]}]
        tasks.append(task)
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith((*_FORMULA, "'")) else cell


# --- reading ----------------------------------------------------------------------------------


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
                name: (cells[name] or "").removeprefix("'") for name in _COLUMNS if name in cells
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
        record = {name: str(data[name]) for name in _DATA if name in data}
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
