"""TREC's qrels and runs: fields between blanks, without a header line."""

from __future__ import annotations

import re
from collections.abc import Callable

from negmine.table.readers.kinds import Input

Splitter = Callable[[str], list[str]]
TREC_SUFFIXES = (".txt", ".trec", ".qrels", ".run")
#: The fields of TREC's files, which have no header line, and a number among them to know them by.
TREC_HEADERS = {
    "qrels": (["qid", "iteration", "docid", "grade"], 3, "[+-]?[0-9]+"),
    "run": (
        ["qid", "iteration", "docid", "rank", "score", "tag"],
        4,
        r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?",
    ),
}


def trec_splitter(kind: Input, line: str) -> Splitter | None:
    """How to split a TREC file, if this first line is one of its lines and so no header."""
    if kind.name not in TREC_HEADERS:
        return None
    header, number, pattern = TREC_HEADERS[kind.name]
    known = {alias for target in kind.targets for alias in target.aliases}
    for split in (split_tabs, _split_blanks):
        fields = split(line)
        if (
            len(fields) == len(header)
            and re.fullmatch(pattern, fields[number])
            and known.isdisjoint(fields)
        ):
            return split
    return None


def split_tabs(line: str) -> list[str]:
    """The fields between tabs."""
    return line.split("\t")


def _split_blanks(line: str) -> list[str]:
    # Not str.split(), which would also split at the blanks that only Unicode knows.
    return re.split("[ \t]+", line.strip(" \t"))
