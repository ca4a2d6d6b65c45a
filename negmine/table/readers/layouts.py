"""Which file holds an input, and in which format and compression: names only, no contents."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from negmine.errors import MissingInputError, UsageError
from negmine.table.readers.kinds import CORPUS, PAIRS, QRELS, QUERIES, RUN, Input
from negmine.table.readers.lines import file_errors
from negmine.table.readers.trec import TREC_HEADERS, TREC_SUFFIXES

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


def format_of(path: str, kind: Input) -> tuple[str, str | None]:
    """The format and the compression that a file's name tells."""
    stem, suffix = os.path.splitext(path.lower())
    compression = COMPRESSIONS.get(suffix)
    inner = os.path.splitext(stem)[1] if compression else suffix
    format_ = FORMATS.get(inner)
    if inner in TREC_SUFFIXES and kind.name in TREC_HEADERS:
        format_ = "tsv"
    if format_ is None or (format_ == "parquet" and compression):
        raise UsageError(
            f"unknown suffix '{inner + suffix if compression else suffix}'",
            where=path,
            hint=f"Known: {', '.join(FORMATS)}"
            + (f", {', '.join(TREC_SUFFIXES)}" if kind.name in TREC_HEADERS else "")
            + f"; all but .parquet also with {', '.join(COMPRESSIONS)}. "
            "JSON lines on stdin are named -.",
        )
    return format_, compression


def _directory_files(folder: Path, kind: Input) -> list[Path]:
    """The files of a BEIR directory that may hold this kind of input."""
    endings = [
        suffix + compression
        for suffix, format_ in FORMATS.items()
        for compression in (("",) if format_ == "parquet" else ("", *COMPRESSIONS))
    ]
    found = [folder / (kind.name + ending) for ending in endings]
    if kind is QRELS and (folder / "qrels").is_dir():
        found += [
            file
            for file in sorted((folder / "qrels").iterdir())
            if file.name.endswith(tuple(endings)) and not file.name.startswith((".", "_"))
        ]
    return [file for file in found if file.is_file()]


def pick(folder: Path, kind: Input) -> Path:
    """The one file of a directory that holds this kind of input."""
    if kind is PAIRS:
        raise UsageError("pairs are read from a file, not a directory", where=str(folder))
    found = _directory_files(folder, kind)
    if not found:
        layout = f"{kind.name}.jsonl" if kind is not QRELS else "qrels.tsv or qrels/*.tsv"
        raise MissingInputError(
            f"no {kind.name} in this directory",
            where=str(folder),
            hint=f"Expected {layout}, or another of {', '.join(FORMATS)}, "
            f"possibly with {', '.join(COMPRESSIONS)}.",
        )
    if len(found) > 1:
        names = ", ".join(file.relative_to(folder).as_posix() for file in found)
        raise UsageError(
            f"several files hold {kind.name}: {names}",
            where=str(folder),
            hint=f"Name one of them, e.g. {found[-1]}.",
        )
    return found[0]


def input_file(path: str, role: str) -> Path:
    """The file that reading ``path`` as ``role`` (corpus, queries, qrels, run, pairs) would read.

    Raises:
        MissingInputError: there is none.
        UsageError: a directory holds several.
    """
    kind = {kind.name: kind for kind in (CORPUS, QUERIES, QRELS, RUN, PAIRS)}[role]
    source = Path(path)
    if source.is_dir():
        return pick(source, kind)
    format_of(path, kind)
    if not source.exists():
        raise MissingInputError("no such file", where=path)
    return source


def file_digest(path: str) -> str:
    """``blake2b:<hex>`` of a file's bytes as they are on disk.

    Of a directory: of the names and digests of the input files recognised in it.
    """
    if path == "-":
        raise UsageError("stdin has no digest", hint="Write it to a file first.")
    source = Path(path)
    if source.is_dir():
        found = sorted(
            file.relative_to(source).as_posix()
            for kind in (CORPUS, QUERIES, QRELS)
            for file in _directory_files(source, kind)
        )
        if not found:
            raise MissingInputError("no corpus, queries or qrels in this directory", where=path)
        listing = "".join(f"{name}\0{file_digest(str(source / name))}\n" for name in found)
        return "blake2b:" + hashlib.blake2b(listing.encode(), digest_size=32).hexdigest()
    with file_errors(path), source.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32))
    return "blake2b:" + digest.hexdigest()
