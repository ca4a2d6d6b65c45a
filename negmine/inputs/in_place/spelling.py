"""Records as bytes, spelled as the record in whose place they stand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from negmine.inputs.kinds import ARRAY

#: How ``json`` and others put blanks between things.
_SEPARATORS = ((", ", ": "), (",", ":"), (",", ": "))


def parted(data: bytes) -> tuple[bytes, bytes]:
    """A record's bytes, and the line ends behind it."""
    body = data.rstrip(b"\r\n")
    return body, data[len(body) :]


def json_record(body: bytes) -> dict[str, Any]:
    """A record of JSON by its fields; an array stands in a field of its own."""
    value = json.loads(body.decode())
    return {ARRAY: value} if isinstance(value, list) else value


def json_like(body: bytes, records: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Records of JSON in the spelling of another: its blanks, indents and escapes."""
    text = body.decode().strip()
    value = json.loads(text)
    indent, base = _indented(text)
    styles: list[dict[str, Any]] = [
        {"separators": separators, "ensure_ascii": escaped, "indent": one}
        for one in dict.fromkeys((indent, None))
        for separators in (_SEPARATORS if one is None else reversed(_SEPARATORS))
        for escaped in (False, True)
    ]

    def spelled(record: Any, style: Mapping[str, Any]) -> str:
        # No text of JSON holds a line end, so all of them stand between its things.
        return json.dumps(record, **style).replace("\n", "\n" + base)

    style = next((one for one in styles if spelled(value, one) == text), styles[0])
    plain = [record[ARRAY] if set(record) == {ARRAY} else record for record in records]
    return [spelled(one, style).encode() for one in plain]


def _indented(text: str) -> tuple[int | str | None, str]:
    """By what a value's lines are indented, and where its last line begins."""
    _, *lines = text.split("\n")
    if not lines:
        return None, ""
    blanks = [line[: len(line) - len(line.lstrip())] for line in lines]
    base = blanks[-1]
    indent = blanks[0].removeprefix(base)
    return (indent if indent.strip(" ") else len(indent)), base


def fields(body: bytes, delimiter: str, *, quoted: bool) -> list[str]:
    """The fields of a record of a table."""
    text = body.decode()
    if not quoted:
        return text.split(delimiter)
    lines = io.StringIO(text, newline="")
    return next(csv.reader(lines, delimiter=delimiter, strict=True))


def fields_like(
    body: bytes, rows: Sequence[Sequence[Any]], delimiter: str, *, quoted: bool
) -> list[bytes]:
    """Records of a table, quoted as another one is."""
    told = [["" if value is None else str(value) for value in row] for row in rows]
    if not quoted:
        return [delimiter.join(row).encode() for row in told]
    every = _all_quoted(body, delimiter)
    found = []
    for row in told:
        sink = io.StringIO(newline="")
        quoting: Any = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
        csv.writer(sink, delimiter=delimiter, lineterminator="", quoting=quoting).writerow(row)
        found.append(sink.getvalue().encode())
    return found


def _all_quoted(body: bytes, delimiter: str) -> bool:
    """Whether every field of a record stands between quotes."""
    sink = io.StringIO(newline="")
    row = fields(body, delimiter, quoted=True)
    csv.writer(sink, delimiter=delimiter, lineterminator="", quoting=csv.QUOTE_ALL).writerow(row)
    return sink.getvalue().encode() == body
