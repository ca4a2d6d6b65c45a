"""Files without a header line: TREC's qrels and runs, MS MARCO's collections and queries.

A file counts as one of them only where its first line cannot be a header, so nothing is guessed.
``#N`` in a column mapping names the N-th field of any other file that has no header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from negmine.inputs.kinds import Input

Splitter = Callable[[str], list[str]]
#: Suffixes of TREC's files besides those that every input may have.
TREC_SUFFIXES = (".txt", ".trec", ".qrels", ".run")
_DECIMAL = r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)"
#: Grades have few digits: three long integers are ids.
_SHORT = r"[+-]?[0-9]{1,2}([.][0-9]*)?"
_FLOAT = rf"({_DECIMAL}([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity))"
#: The fields of a TREC run, and the numbers among them: the tag may have blanks, or be left out.
_RUN = ["qid", "iteration", "docid", "rank", "score", "tag"]
_RUN_NUMBERS = {3: "[0-9]+", 4: _FLOAT}
#: Runs of fewer fields: of MS MARCO (its first line is a rank, 1 or 0), of ColBERT, with scores.
_SHORT_RUNS: tuple[tuple[list[str], dict[int, str]], ...] = (
    (["qid", "docid", "rank"], {2: "[01]"}),
    (["qid", "docid", "rank", "score"], {2: "[01]", 3: _FLOAT}),
    (["qid", "docid", "score"], {2: "[+-]?[0-9]*[.][0-9]+([eE][+-]?[0-9]+)?"}),
)
#: The fields of TREC's judgements, and the numbers among them to know them by: four fields, or
#: three (BEIR's without its header), or five (the ``prels`` of the million query track: a method
#: and the probability with which a document was chosen to be judged).
_TREC: dict[str, tuple[tuple[list[str], dict[int, str]], ...]] = {
    "qrels": (
        (["qid", "iteration", "docid", "grade"], {3: _DECIMAL}),
        (["qid", "docid", "grade"], {2: _SHORT}),
        (["qid", "docid", "grade", "method", "iprob"], {2: _SHORT, 3: "[0-9]", 4: _DECIMAL}),
    ),
}
#: Kinds of which a line of fields between blanks may be the header, and which may have comments.
_OF_BLANKS = ("qrels", "run")
#: MS MARCO's fields between tabs, and what each of the first line's must look like.
_MSMARCO = {
    "corpus": (
        (["docid", "text"], ["[0-9]+", ".*"]),
        (["docid", "url", "title", "text"], ["D?[0-9]+", "https?://.*", ".*", ".*"]),
    ),
    "queries": ((["qid", "text"], ["[0-9]+", ".*"]),),
}
#: MS MARCO's triples: a query, a positive, a negative, as texts or as ids.
_TRIPLE = ["query", "positive", "negative"]
_ID = re.compile("[0-9]+")
#: Fields that name a column.
_NAMES = frozenset(
    (
        *("query", "anchor", "question", "positive", "negative", "pos", "neg", "passage"),
        *("document", "answer", "response", "label", "score", "qid", "docid", "pid", "id", "text"),
    )
)
_POSITION = re.compile("#[1-9][0-9]*")


def headerless(
    kind: Input, line: str, columns: Mapping[str, str]
) -> tuple[list[str], Splitter] | None:
    """The fields' names and how to split, if a file's first line is a record and no header.

    Where a user names columns, only if they are some of these.
    """
    found = _headerless(kind, line)
    return found if found is not None and set(columns.values()) <= set(found[0]) else None


def _headerless(kind: Input, line: str) -> tuple[list[str], Splitter] | None:
    known = {alias for target in kind.targets for alias in target.aliases}
    if kind.name == "run":
        return _run(line, known)
    for names, numbers in _TREC.get(kind.name, ()):
        for split in (split_tabs, split_blanks):
            fields = split(line)
            if (
                len(fields) == len(names)
                and all(re.fullmatch(numbers[at], fields[at]) for at in numbers)
                and known.isdisjoint(fields)
            ):
                mixed = split is split_tabs and kind.name == "qrels"
                return names, _either(len(names)) if mixed else split
    fields = split_tabs(line)
    if kind.name == "pairs" and _is_triple(fields):
        return _TRIPLE, split_tabs
    for header, patterns in _MSMARCO.get(kind.name, ()):
        if len(fields) == len(header) and all(
            re.fullmatch(pattern, text, re.DOTALL)
            for pattern, text in zip(patterns, fields, strict=True)
        ):
            return header, split_tabs
    return None


def _run(line: str, known: set[str]) -> tuple[list[str], Splitter] | None:
    """The layout of a run without a header."""
    fields = split_run(line)
    tagged = len(fields) == len(_RUN) and bool(fields[-1])
    numbers = {4: _FLOAT} if tagged else _RUN_NUMBERS
    if len(fields) == len(_RUN) and _are(numbers, fields) and known.isdisjoint(fields):
        return _RUN, split_run
    for split in (split_tabs, split_blanks):
        fields = split(line)
        for names, places in _SHORT_RUNS:
            if len(fields) == len(names) and _are(places, fields) and known.isdisjoint(fields):
                return names, split
    return None


def _are(numbers: Mapping[int, str], fields: list[str]) -> bool:
    return all(re.fullmatch(numbers[at], fields[at].lower()) for at in numbers)


def split_run(line: str) -> list[str]:
    """The six fields of a TREC run: between tabs, or between blanks where these are not six.

    As trec_eval reads them, what ends the line is blank; the tag is all that is left, or nothing.
    """
    line = line.rstrip(" \t")
    fields = line.split("\t")
    if len(fields) not in (len(_RUN) - 1, len(_RUN)):
        fields = re.split("[ \t]+", line.lstrip(" \t"), maxsplit=len(_RUN) - 1)
    return [*fields, ""] if len(fields) == len(_RUN) - 1 else fields


def _is_triple(fields: list[str]) -> bool:
    """Whether these are three texts or three ids, and no names of columns.

    Three single words may be either, and are taken for names.
    """
    if len(fields) != len(_TRIPLE):
        return False
    if all(_ID.fullmatch(field) for field in fields):
        return True
    names = any(field.strip().casefold() in _NAMES for field in fields)
    ids = any(_ID.fullmatch(field) for field in fields)
    return not names and not ids and any(" " in field.strip() for field in fields)


def header_splitter(kind: Input, line: str) -> Splitter:
    """How a header line is split: judgements and runs may have blanks between their fields."""
    return split_tabs if "\t" in line or kind.name not in _OF_BLANKS else split_blanks


def has_comments(kind: Input) -> bool:
    """Whether lines may be remarks: those of judgements and runs."""
    return kind.name in _OF_BLANKS


def is_comment(line: str) -> bool:
    """Whether a line is a remark and no record, where there are any."""
    return line == "#" or line.startswith(("# ", "#\t", "##"))


def positions(columns: Mapping[str, str], fields: list[str]) -> list[str] | None:
    """``["#1", "#2", ...]`` as the header where a mapping asks for fields by their number."""
    asked = [source for source in columns.values() if _POSITION.fullmatch(source)]
    if not asked or any(source in fields for source in asked):
        return None
    return [f"#{number}" for number in range(1, len(fields) + 1)]


def split_tabs(line: str) -> list[str]:
    """The fields between tabs."""
    return line.split("\t")


def _either(width: int) -> Splitter:
    """What splits at tabs where that gives so many fields, else at blanks: files mix them."""

    def split(line: str) -> list[str]:
        fields = line.split("\t")
        return fields if len(fields) == width else split_blanks(line)

    return split


def split_blanks(line: str) -> list[str]:
    """The fields between runs of blanks and tabs."""
    # Not str.split(), which would also split at the blanks that only Unicode knows.
    return re.split("[ \t]+", line.strip(" \t"))
