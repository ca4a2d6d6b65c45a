"""Texts and ids as they are shown to people: one line, so wide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import wrap

from negmine.log import printable

#: An id that is a text's digest, as :func:`negmine.table.ids.content_ids` makes them.
CONTENT_ID = re.compile(r"[0-9a-f]{32}")
#: How much of it is shown: of a million ids two begin alike with a chance of 1 in 500.
SHOWN_DIGITS = 12
_ID_WIDTH = 32
_WARNINGS = 3


def one_line(text: str, width: int) -> str:
    """``text`` as one line of at most ``width`` characters, without terminal control characters."""
    # Escaped before it is cut and padded: an escape is longer than what it stands for.
    text = printable(" ".join(text.split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def short_id(identifier: str) -> str:
    """An id as it is shown: the beginning of a digest, any other id as it is."""
    if CONTENT_ID.fullmatch(identifier):
        return identifier[:SHOWN_DIGITS]
    return one_line(identifier, _ID_WIDTH)


def counted(number: int, what: str) -> str:
    """A number with its noun: ``1 file``, ``1,200 files``."""
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{number:,} {what if number == 1 else plural}"


def headed(head: str, facts: Sequence[str], width: int) -> list[str]:
    """A head with its facts in brackets, below it where they do not fit: nothing is ever cut."""
    said = ", ".join(facts)
    line = f"{head} ({said})" if facts else head
    if not facts or len(line) <= width:
        return [line]
    return [head, *wrap(said, width, initial_indent="  ", subsequent_indent="  ")]


def warned(warnings: Sequence[str], width: int) -> list[str]:
    """The first warnings of an artifact, each in two lines' width, and how many others it has."""
    lines = [f"  warning: {one_line(text, 2 * width)}" for text in warnings[:_WARNINGS]]
    left = len(warnings) - _WARNINGS
    return lines if left <= 0 else [*lines, f"  ... and {counted(left, 'other warning')}"]
