"""The format and the compression of a file, by its name; and what is found of an input."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from negmine.errors import UsageError
from negmine.inputs import topics
from negmine.inputs.headerless import TREC_SUFFIXES
from negmine.inputs.kinds import Input
from negmine.inputs.places import Place

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
#: Formats that compress what they hold themselves.
_BINARY = ("parquet", "arrow")
#: Suffixes that only some kinds of input have.
_SUFFIXES: dict[str, dict[str, str]] = {
    "qrels": dict.fromkeys(TREC_SUFFIXES, "tsv"),
    # Terrier calls its runs .res.
    "run": dict.fromkeys((*TREC_SUFFIXES, ".res"), "tsv"),
    "queries": {
        **dict.fromkeys(topics.SUFFIXES, "topics"),
        **dict.fromkeys(topics.EITHER_SUFFIXES, "topics or lines"),
    },
}
_SPLIT_ORDER = ("train", "training", "dev", "validation")


def split_name(spec: str) -> str:
    """The split that a file, or the end of ``FOLDER:SPLIT``, is called by."""
    return re.sub("-[0-9]+-of-[0-9]+.*", "", re.split("[/:]", spec)[-1].split(".")[0])


def preferred(choices: Sequence[str]) -> str:
    """The choice for training, else the first: test queries do not belong in a training set."""
    for wanted in _SPLIT_ORDER:
        for choice in choices:
            if split_name(choice) == wanted:
                return choice
    return choices[0]


class SeveralError(UsageError):
    """A folder holds several files or splits that could be meant.

    Args:
        what: what is there.
        where: the folder.
        choices: what to name instead of it.
        hint: what else may be meant.

    Attributes:
        choices: the choices.
    """

    def __init__(self, what: str, *, where: str, choices: list[str], hint: str = "") -> None:
        named = f"Name one of them, e.g. {preferred(choices)}.{hint}"
        super().__init__(what, where=where, hint=named)
        self.choices = choices


@dataclass(frozen=True)
class Found:
    """Where an input lies.

    Attributes:
        format: a value of :data:`FORMATS`, ``topics``, ``topics or lines`` or ``catalogue``.
        spec: what the user named.
        files: its files, read one after another; of a catalogue none.
        compression: of every file.
        folder: where the files lie that are one table: a saved data set, or parts of one.
        notes: what is to be told about how they were chosen.
    """

    format: str
    spec: str
    files: tuple[Place, ...] = ()
    compression: str | None = None
    folder: Place | None = None
    notes: tuple[str, ...] = ()


def format_of(file: Place, kind: Input) -> tuple[str, str | None]:
    """The format and the compression that a file's name tells."""
    stem, suffix = os.path.splitext(file.name.lower())
    compression = COMPRESSIONS.get(suffix)
    inner = os.path.splitext(stem)[1] if compression else suffix
    own = _SUFFIXES.get(kind.name, {})
    format_ = FORMATS.get(inner) or own.get(inner)
    if compression == "zip" and not inner:
        # Its one file's name will tell.
        format_ = "jsonl"
    if format_ is None or (format_ in _BINARY and compression):
        raise UsageError(
            f"unknown suffix '{inner + suffix if compression else suffix}'",
            where=file.name,
            hint=f"Known: {', '.join((*FORMATS, *own))}; all but .parquet and .arrow also with "
            f"{', '.join(COMPRESSIONS)}. JSON lines on stdin are named -.",
        )
    return format_, compression


def is_data(name: str) -> bool:
    """Whether a file is called as those that :func:`format_of` knows."""
    stem, suffix = os.path.splitext(name.lower())
    inner = os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix
    return inner in FORMATS or any(inner in own for own in _SUFFIXES.values())


def endings() -> tuple[str, ...]:
    """The endings of all files that any input may be in."""
    return tuple(
        suffix + compression
        for suffix, format_ in FORMATS.items()
        for compression in (("",) if format_ in _BINARY else ("", *COMPRESSIONS))
    )
