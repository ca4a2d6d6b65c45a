"""How a text file is written, by its beginning where its name does not tell, or tells wrong.

A file is read as what its name says wherever it can be that. Only where its first line cannot be,
and is something else without doubt, it is read as that, and the user is told.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any

import orjson

from negmine.inputs.columns import Columns
from negmine.inputs.headerless import has_comments, headerless, is_comment
from negmine.inputs.json_values import json_form
from negmine.inputs.kinds import PAIRS, Input, known_names
from negmine.inputs.lines import Text, beginning, line_text
from negmine.inputs.places import Place
from negmine.inputs.quoting import all_enclosed, evidence
from negmine.inputs.sets import names_known
from negmine.inputs.wrappings import BINARY, HEAD_BYTES, unwrapped

_TABLES = ("csv", "tsv")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: Excel's own line that names the delimiter.
_SEP = re.compile(rb'"?sep=(.)"?\r?[\n\r]', re.IGNORECASE)
_FORMATS = {
    "jsonl": "JSON lines",
    "array": "an array of JSON",
    "values": "JSON over several lines",
    "csv": "CSV",
    "tsv": "TSV",
}
#: Records with as many fields as the first, itself included, that prove a table.
_PROVEN = 2
#: Records that show which delimiter it is where no name does.
_LOOKED_AT = 50


def look(kind: Input, file: Place, named: str | None, format_: str, columns: Columns) -> Text:
    """What a file is and how it is read; what its name does not tell goes into the account.

    Args:
        kind: what is read.
        file: the file.
        named: the packing that its name tells.
        format_: the format that its name tells, of lines.
        columns: what the user said.

    Returns:
        The text; its format is ``parquet`` or ``arrow`` where the name is wrong.

    Raises:
        InvalidDataError: it is packed in what is not read, or is no data at all.
    """
    text, head, told = unwrapped(file, named, format_)
    by_name = text.format
    if not text.layers and (binary := _binary(head)) is not None:
        text = replace(text, format=binary)
    elif head.strip():
        text = _of_head(kind, text, head, columns)
    if text.format != by_name:
        told.append(_FORMATS.get(text.format, text.format.capitalize()))
    if text.format == "csv" and text.delimiter != ",":
        told.append(f"fields between {_DELIMITERS.get(text.delimiter, repr(text.delimiter))}")
    if told:
        columns.account.note(f"{file.name}: read as {', '.join(told)}")
    return text


def is_plain(kind: Input, file: Place, named: str | None, format_: str) -> bool:
    """Whether a file is what its name says and can be cut at any line end."""
    text = look(kind, file, named, format_, Columns(strict=False))
    plain = replace(text, layers=(), delimiter=",") == Text(file, format=format_)
    if not plain or [layer.kind for layer in text.layers] not in ([], [named]):
        return False
    if format_ != "tsv":
        return True
    lines = beginning(text, HEAD_BYTES).decode("utf-8", "surrogateescape").splitlines()[:-1]
    if not lines or not any('"' in line for line in lines):
        return True
    return not all_enclosed(lines[0]) and not evidence(lines, lines[0].count("\t") + 1).says


def _binary(head: bytes) -> str | None:
    return next((format_ for begin, format_ in BINARY if head.startswith(begin)), None)


def _of_head(kind: Input, text: Text, head: bytes, columns: Columns) -> Text:
    """The format and the delimiter that the beginning of a file tells."""
    form = json_form(head)
    if text.format == "jsonl":
        if form is not None:
            return replace(text, format=form)
        return _table(kind, text, head, columns, None)
    if text.format in _TABLES and form is not None and _is_json(head, form):
        return replace(text, format=form)
    if text.format in _TABLES and not (text.format == "tsv" and has_comments(kind)):
        text, head = _past_remarks(kind, text, head, columns)
    if text.format == "csv":
        if (sep := _SEP.match(head)) is not None:
            return replace(text, delimiter=sep[1].decode("latin-1"), skip=text.skip + 1)
        return _table(kind, text, head, columns, ",")
    if text.format == "tsv" and not columns:
        first = head.lstrip().partition(text.line_end)[0].decode("utf-8", "surrogateescape")
        if headerless(kind, first.removesuffix("\r"), {}) is not None:
            return text
    return _table(kind, text, head, columns, "\t") if text.format == "tsv" else text


def _past_remarks(kind: Input, text: Text, head: bytes, columns: Columns) -> tuple[Text, bytes]:
    """Without the lines of remarks (``# made by ...``) that stand before a header.

    ``# `` may begin a record, too: what they stand before has to have known names, or be a table
    of which they are no records.
    """
    lines = head.split(text.line_end)
    remarks = list(takewhile(lambda line: not line.strip() or is_comment(line_text(line)), lines))
    if not any(map(bytes.strip, remarks)) or len(remarks) == len(lines):
        return text, head
    rest = text.line_end.join(lines[len(remarks) :])
    known = _known(kind, columns)
    tables = {sign: _rows(text, rest, sign) for sign in _DELIMITERS}
    if not any(
        _score(rows, known, 1)[0] or _stand_apart(remarks, rows, sign)
        for sign, rows in tables.items()
    ):
        return text, head
    columns.account.note(f"{text.name}: the lines before the header are comments ('# ...')")
    return replace(text, skip=len(remarks)), rest


def _stand_apart(remarks: Sequence[bytes], rows: Sequence[Sequence[str]], sign: str) -> bool:
    """Whether lines have another number of fields than the table that follows them."""
    if len(rows) < _PROVEN or not _score(rows, set(), 2)[1]:
        return False
    return all(line.count(sign.encode()) + 1 != len(rows[0]) for line in remarks if line.strip())


def _is_json(head: bytes, form: str) -> bool:
    """Whether a file that is called a table is JSON beyond doubt."""
    head = head.lstrip()
    if form == "array":
        return head[1:].lstrip().startswith(b"{")
    try:
        return form == "values" or isinstance(orjson.loads(head.partition(b"\n")[0]), dict)
    except orjson.JSONDecodeError:
        return False


def _table(kind: Input, text: Text, head: bytes, columns: Columns, named: str | None) -> Text:
    """A table with the delimiter that its first records tell; ``named`` is the name's."""
    asked = _asked_width(columns)
    found = {sign: _rows(text, head, sign) for sign in _DELIMITERS}
    known = set() if asked else _known(kind, columns)
    scores = {sign: _score(rows, known, max(2, asked)) for sign, rows in found.items()}
    best = max(scores, key=lambda sign: scores[sign])
    if named is not None and scores[named] >= scores[best]:
        best = named
    names, fits = scores[best]
    if named is None and not (names and fits):
        return text
    if best == "\t":
        return replace(text, format="tsv")
    return replace(text, format="csv", delimiter=best)


def _score(rows: Sequence[Sequence[str]], known: set[str], least: int) -> tuple[int, bool]:
    """How many fields of the first record are known names, and whether the records are a table."""
    if not rows:
        return 0, False
    width = len(rows[0])
    names = sum(_folded(name) in known for name in rows[0])
    return names, width >= least and all(len(row) == width for row in rows)


def _asked_width(columns: Columns) -> int:
    """The highest number that a field is asked for by; 0 where names are."""
    numbers = [name[1:] for name in columns.values() if re.fullmatch("#[1-9][0-9]*", name)]
    return max(map(int, numbers), default=0)


def _known(kind: Input, columns: Columns) -> set[str]:
    names = {*known_names(), *columns.values(), *columns.ignored}
    if kind.name == PAIRS.name:
        names |= set(names_known())
    return set(map(_folded, names))


def _folded(name: str) -> str:
    return name.strip().casefold().replace("-", "_")


def _rows(text: Text, head: bytes, delimiter: str) -> list[list[str]]:
    """The first whole records."""
    # A lone carriage return would be an error elsewhere than at a line's end.
    end = text.line_end.decode()
    lines = head.decode("utf-8", "surrogateescape").split(end)
    if len(head) >= HEAD_BYTES:
        lines.pop()
    plain = delimiter == "\t" and not all_enclosed(lines[0].removesuffix("\r"))
    quoting: Any = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    reader = csv.reader((line + end for line in lines), delimiter=delimiter, quoting=quoting)
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in islice(reader, _LOOKED_AT) if row)
    return rows
