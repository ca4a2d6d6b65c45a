"""Which files hold an input, and in which format and compression, by their names.

A folder is in BEIR's layout (``corpus.*``, ``queries.*``, ``qrels.*`` or ``qrels/*``) or a data set
saved by Hugging Face ``datasets`` (``state.json`` names its Arrow files); of a folder of such data
sets (``dataset_dict.json``) the split called like the input is taken, or the only one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from negmine.errors import InvalidDataError, MissingInputError, UsageError
from negmine.table.readers import catalogues, topics
from negmine.table.readers.headerless import TREC_SUFFIXES
from negmine.table.readers.kinds import KINDS, PAIRS, QRELS, Input
from negmine.table.readers.places import Place, file_errors, place

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
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
    "run": dict.fromkeys(TREC_SUFFIXES, "tsv"),
    "queries": {
        **dict.fromkeys(topics.SUFFIXES, "topics"),
        **dict.fromkeys(topics.EITHER_SUFFIXES, "topics or lines"),
    },
}
_STATE = "state.json"
_SPLITS = "dataset_dict.json"
_SPLIT_ORDER = ("train", "training", "dev", "validation")


def preferred(choices: Sequence[str]) -> str:
    """The choice for training, else the first: test queries do not belong in a training set."""
    for wanted in _SPLIT_ORDER:
        for choice in choices:
            if choice.rsplit("/", 1)[-1].split(".")[0] == wanted:
                return choice
    return choices[0]


class SeveralError(UsageError):
    """A folder holds several files or splits that could be meant.

    Attributes:
        choices: what to name instead of the folder.
    """

    def __init__(self, what: str, *, where: str, choices: list[str]) -> None:
        super().__init__(what, where=where, hint=f"Name one of them, e.g. {preferred(choices)}.")
        self.choices = choices


@dataclass(frozen=True)
class Found:
    """Where an input lies.

    Attributes:
        format: a value of :data:`FORMATS`, ``topics``, ``topics or lines`` or ``catalogue``.
        spec: what the user named.
        files: its files, read one after another; of a catalogue none.
        compression: of every file.
        folder: the saved data set that the files are of.
    """

    format: str
    spec: str
    files: tuple[Place, ...] = ()
    compression: str | None = None
    folder: Place | None = None


def find(kind: Input, spec: str) -> Found:
    """Look for an input where a user says that it is.

    Raises:
        MissingInputError: it is not there.
        UsageError: its format is not known, or several files could be meant.
    """
    if spec.startswith(catalogues.PREFIX):
        return Found("catalogue", spec)
    source = place(spec)
    if source.is_stdin:
        return Found("jsonl", spec, (source,))
    if source.is_dir():
        return _in_folder(kind, spec, source)
    format_, compression = format_of(source, kind)
    if not source.exists():
        raise MissingInputError("no such file", where=source.name)
    return Found(format_, spec, (source,), compression)


def format_of(file: Place, kind: Input) -> tuple[str, str | None]:
    """The format and the compression that a file's name tells."""
    stem, suffix = os.path.splitext(file.name.lower())
    compression = COMPRESSIONS.get(suffix)
    inner = os.path.splitext(stem)[1] if compression else suffix
    own = _SUFFIXES.get(kind.name, {})
    format_ = FORMATS.get(inner) or own.get(inner)
    if format_ is None or (format_ in _BINARY and compression):
        raise UsageError(
            f"unknown suffix '{inner + suffix if compression else suffix}'",
            where=file.name,
            hint=f"Known: {', '.join((*FORMATS, *own))}; all but .parquet and .arrow also with "
            f"{', '.join(COMPRESSIONS)}. JSON lines on stdin are named -.",
        )
    return format_, compression


def _in_folder(kind: Input, spec: str, folder: Place) -> Found:
    names = folder.files()
    if _SPLITS in names:
        folder = _split(kind, folder)
        names = folder.files()
    if _STATE in names:
        return Found("arrow", spec, _shards(folder), folder=folder)
    file = _pick(kind, folder, names)
    format_, compression = format_of(file, kind)
    return Found(format_, spec, (file,), compression)


# --- data sets saved by `datasets` ----------------------------------------------------------------


def _split(kind: Input, folder: Place) -> Place:
    """The one split of a folder of splits that can be meant."""
    splits = _json(folder.child(_SPLITS)).get("splits")
    if not isinstance(splits, list) or not splits or not all(isinstance(s, str) for s in splits):
        raise InvalidDataError("it names no splits", where=folder.child(_SPLITS).name)
    if kind.name in splits:
        return folder.child(kind.name)
    if len(splits) == 1:
        return folder.child(splits[0])
    raise SeveralError(
        f"the data set has several splits: {', '.join(splits)}",
        where=folder.name,
        choices=[folder.child(name).name for name in splits],
    )


def _shards(folder: Place) -> tuple[Place, ...]:
    """The Arrow files of a saved data set, in order."""
    where = folder.child(_STATE)
    state = _json(where)
    entries = state.get("_data_files")
    listed = entries if isinstance(entries, list) else []
    named = [entry.get("filename") for entry in listed if isinstance(entry, dict)]
    names = [name for name in named if isinstance(name, str) and name == Path(name).name]
    if entries is not listed or len(names) != len(listed):
        raise InvalidDataError("it names no data files of this folder", where=where.name)
    if state.get("_indices_data_files"):
        raise InvalidDataError(
            "the data set's rows are chosen by an indices file, which is not read",
            where=where.name,
            hint="Save it again with a current version of datasets.",
        )
    return tuple(folder.child(name) for name in names)


def _json(file: Place) -> dict[str, Any]:
    with file.open() as stream, file_errors(file):
        data = stream.read()
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidDataError(f"not valid JSON: {error}", where=file.name) from None
    if not isinstance(value, dict):
        raise InvalidDataError("expected a JSON object", where=file.name)
    return value


# --- BEIR's folders -------------------------------------------------------------------------------


def _endings() -> list[str]:
    return [
        suffix + compression
        for suffix, format_ in FORMATS.items()
        for compression in (("",) if format_ in _BINARY else ("", *COMPRESSIONS))
    ]


def _candidates(kind: Input, folder: Place, names: list[str]) -> list[str]:
    """The files of a BEIR directory that may hold this kind of input."""
    endings = _endings()
    found = [kind.name + ending for ending in endings if kind.name + ending in names]
    qrels = folder.child("qrels")
    if kind is QRELS and qrels.is_dir():
        found += [
            f"qrels/{name}"
            for name in qrels.files()
            if name.endswith(tuple(endings)) and not name.startswith((".", "_"))
        ]
    return found


def _pick(kind: Input, folder: Place, names: list[str]) -> Place:
    """The one file of a directory that holds this kind of input."""
    if kind is PAIRS:
        raise UsageError(
            "pairs are read from a file, not a directory",
            where=folder.name,
            hint="Name the file; a data set saved by `datasets` is read as a folder.",
        )
    found = _candidates(kind, folder, names)
    if not found:
        layout = f"{kind.name}.jsonl" if kind is not QRELS else "qrels.tsv or qrels/*.tsv"
        raise MissingInputError(
            f"no {kind.name} in this directory",
            where=folder.name,
            hint=f"Expected {layout}, or another of {', '.join(FORMATS)}, "
            f"possibly with {', '.join(COMPRESSIONS)}.",
        )
    if len(found) > 1:
        raise SeveralError(
            f"several files hold {kind.name}: {', '.join(found)}",
            where=folder.name,
            choices=[folder.child(name).name for name in found],
        )
    return folder.child(found[0])


def input_file(path: str, role: str) -> Path:
    """The one local file that reading ``path`` as ``role`` would read.

    Raises:
        MissingInputError: there is none.
        UsageError: there are several, or it is not a local one.
    """
    files = find(KINDS[role], path).files
    if len(files) != 1 or files[0].fs is not None:
        raise UsageError(f"{role} must be one local file here", where=path)
    return Path(files[0].path)
