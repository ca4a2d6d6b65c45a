"""Whether the quotes in a TSV file enclose fields or are characters like any other.

MS MARCO, BEIR and TREC know no quoting; pandas, Excel and Python's ``csv`` quote a field that holds
a tab, a quote or a line end, and double the quotes in it. What people write by hand or take from
the web looks like neither, and a writer that quotes does so throughout, so a few records tell which
it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import contains

_ENCLOSED = re.compile(r'"(?:[^"]|"")*"')
#: Records that are enough to tell.
_ENOUGH = 500
#: What is rarer than one in so many of the other kind is a mistake in the file.
_RARE = 10


@dataclass(frozen=True)
class Evidence:
    """What some lines tell of their quotes, by the number of records.

    Attributes:
        quoted: only a writer that quotes would have written them.
        plain: only one that does not.
        either: every field with a quote is enclosed as a whole, as both may write it.
        first_quoted: the first of the former, from 0; -1 without any.
        first_plain: the first that is plain.
    """

    quoted: int = 0
    plain: int = 0
    either: int = 0
    first_quoted: int = -1
    first_plain: int = -1

    @property
    def says(self) -> bool | None:
        """Whether quotes enclose fields; None where the lines do not tell, or contradict."""
        if self.quoted > _RARE * self.plain:
            return True
        if self.plain > _RARE * self.quoted:
            return False
        return None


def has_quotes(lines: Sequence[bytes]) -> bool:
    """Whether there is any quote in the lines."""
    return any(map(contains, lines, repeat(b'"')))


def all_enclosed(line: str) -> bool:
    """Whether every field of a line is enclosed in quotes, as of a header that was quoted."""
    return all(map(_ENCLOSED.fullmatch, line.split("\t")))


def evidence(lines: Sequence[str], width: int) -> Evidence:
    """What lines of fields between tabs tell.

    Args:
        lines: whole lines; a record at their end may be cut.
        width: fields of a record.
    """
    # A line has to keep its end: it may lie within a field.
    reader = csv.reader((line + "\n" for line in lines), delimiter="\t", strict=True)
    counts = {"quoted": 0, "plain": 0, "either": 0}
    first: dict[str, int] = {}
    while counts["quoted"] + counts["plain"] < _ENOUGH:
        start = reader.line_num
        row: list[str] | None = None
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error:
            pass
        raw = lines[start : reader.line_num]
        found = _verdict(raw, row, width, cut=reader.line_num >= len(lines))
        if found is not None:
            counts[found] += 1
            first.setdefault(found, start)
    return Evidence(
        **counts, first_quoted=first.get("quoted", -1), first_plain=first.get("plain", -1)
    )


def _verdict(raw: Sequence[str], row: list[str] | None, width: int, *, cut: bool) -> str | None:
    """What the lines of one quoted record tell; ``row`` is what it gave, if anything."""
    fields = [field for line in raw for field in line.split("\t") if '"' in field]
    if not fields:
        return None
    fitting = all(line.count("\t") + 1 == width for line in raw)
    if row is None:
        # The record may go on in the next block.
        return None if cut and not fitting else "plain"
    if len(row) != width:
        return "plain" if fitting else None
    if len(raw) > 1:
        # Lines that are records of their own are hardly parts of one field.
        return "plain" if fitting else "quoted"
    if not fitting:
        return "quoted"
    if not all(map(_ENCLOSED.fullmatch, fields)):
        return "plain"
    doubled = [field for field in fields if '""' in field[1:-1] and field.strip('"')]
    return "quoted" if doubled and _written(row) == raw[0] else "either"


def _written(row: Sequence[str]) -> str:
    """A record as a writer has it that quotes what it must."""
    sink = io.StringIO()
    csv.writer(sink, delimiter="\t", lineterminator="").writerow(row)
    return sink.getvalue()
