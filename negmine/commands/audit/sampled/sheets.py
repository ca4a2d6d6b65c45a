"""The sheet that a person fills in, as CSV or as tasks of Label Studio.

A sheet tells neither what the judge said nor how the row was drawn: who reads it shall not be led.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negmine.commands.audit.sampled.drawing import Draw
from negmine.errors import UsageError
from negmine.table.artifacts import disk

#: What a person says of a row.
RELEVANT, NOT_RELEVANT, CANNOT_TELL = "yes", "no", "unsure"
ANSWER, KEY = "relevant", "key"
#: Columns of a CSV sheet: those of a task's data, between the answer and the key.
DATA = ("number", "query", "document", "qid", "docid", "ledger", "draw", KEY)
COLUMNS = ("number", ANSWER, *DATA[1:])
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
    writer.writerow(COLUMNS)
    for record in sheet.records():
        values = {**record, ANSWER: answers.get(record[KEY], "")}
        writer.writerow([_guarded(values[name]) for name in COLUMNS])
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
