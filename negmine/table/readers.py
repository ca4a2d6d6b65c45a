"""The users' files as Arrow record batches: streamed, bounded in memory, every error exact.

Formats, by suffix: JSON lines (``.jsonl``, ``.ndjson``, ``.json``), ``.csv``, ``.tsv`` and
``.parquet``; a text format may also be compressed (``.gz``, ``.zst``, ``.bz2``, ``.xz``). ``-`` is
JSON lines on stdin. A directory is one in BEIR's layout (see :func:`read_qrels` for its qrels).

What a record may hold:

* An id is a string or an integer (``7`` is ``"7"``). A JSON or Parquet float counts where its value
  is integral and exact (``3.0`` is ``"3"``: what pandas makes of integers next to a null); the
  text ``3.0`` in a CSV file stays as it is. Spaces are kept. An empty id, one with a NUL, a null, a
  boolean, a list or an object is an error.
* A text is a string, possibly empty. A missing ``title``, or a null one, is ``""``.
* A grade is an integer, or a decimal with an integral value (``1.0``).
* A score is a finite number.

CSV follows RFC 4180. TSV knows no quoting, as in MS MARCO and BEIR: one line is one record, and
``"`` is a character like any other. Both need a header line and as many fields in every record.
JSON lines take their columns from the first record. Blank lines are skipped, but counted.
"""

from __future__ import annotations

import bz2
import csv
import difflib
import hashlib
import json
import lzma
import math
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, MissingInputError, UsageError, did_you_mean

CORPUS_SCHEMA = pa.schema([("docid", pa.string()), ("title", pa.string()), ("text", pa.string())])
QUERIES_SCHEMA = pa.schema([("qid", pa.string()), ("text", pa.string())])
QRELS_SCHEMA = pa.schema([("qid", pa.string()), ("docid", pa.string()), ("grade", pa.int32())])
RUN_SCHEMA = pa.schema([("qid", pa.string()), ("docid", pa.string()), ("score", pa.float32())])
PAIRS_SCHEMA = pa.schema([("query", pa.string()), ("positive", pa.string())])

MAX_BATCH_ROWS = 8192
MAX_BATCH_BYTES = 16 << 20
#: Longer than any document; a file without newlines must not be read into memory whole.
MAX_LINE_BYTES = 256 << 20
#: The csv module holds four bytes for each character of the field that it is reading.
MAX_CSV_FIELD_CHARS = 64 << 20
MAX_EXAMPLES = 20

_BLOCK_BYTES = 4 << 20
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_TREC_SUFFIXES = (".txt", ".trec", ".qrels", ".run")
#: The fields of TREC's files, which have no header line, and a number among them to know them by.
_TREC_HEADERS = {
    "qrels": (["qid", "iteration", "docid", "grade"], 3, "[+-]?[0-9]+"),
    "run": (
        ["qid", "iteration", "docid", "rank", "score", "tag"],
        4,
        r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?",
    ),
}
_BOM = b"\xef\xbb\xbf"
_GRADE = re.compile(r"[+-]?[0-9]+(\.0*)?")
#: Integers beyond this are not exact as floats, so such a float names no id.
_EXACT_FLOAT = 1 << 53
_MISSING: Any = object()

_Kind = Literal["id", "text", "title", "grade", "passages", "score"]
_Splitter = Callable[[str], list[str]]


@dataclass(frozen=True)
class _Target:
    """A column to produce, and the source columns it is looked for in, in this order."""

    name: str
    kind: _Kind
    aliases: tuple[str, ...]

    @property
    def optional(self) -> bool:
        return self.kind in ("title", "grade")


@dataclass(frozen=True)
class _Input:
    """One kind of input."""

    name: str
    schema: pa.Schema
    targets: tuple[_Target, ...]


_CORPUS = _Input(
    "corpus",
    CORPUS_SCHEMA,
    (
        _Target("docid", "id", ("_id", "id", "docid", "doc_id", "pid")),
        _Target("title", "title", ("title",)),
        _Target("text", "text", ("text", "contents", "body", "passage", "document")),
    ),
)
_QUERIES = _Input(
    "queries",
    QUERIES_SCHEMA,
    (
        _Target("qid", "id", ("_id", "id", "qid", "query_id")),
        _Target("text", "text", ("text", "query", "question")),
    ),
)
_QRELS = _Input(
    "qrels",
    QRELS_SCHEMA,
    (
        _Target("qid", "id", ("query-id", "qid", "query_id")),
        _Target("docid", "id", ("corpus-id", "corpus_id", "docid", "doc_id", "pid")),
        _Target("grade", "grade", ("score", "grade", "relevance", "label")),
    ),
)
_RUN = _Input(
    "run",
    RUN_SCHEMA,
    (
        _Target("qid", "id", ("qid", "query-id", "query_id")),
        _Target("docid", "id", ("docid", "corpus-id", "corpus_id", "doc_id", "pid")),
        _Target("score", "score", ("score",)),
    ),
)
_PAIRS = _Input(
    "pairs",
    PAIRS_SCHEMA,
    (
        _Target("query", "text", ("query", "anchor", "question")),
        _Target(
            "positive",
            "passages",
            ("positive", "positives", "pos", "answer", "passage", "document", "response"),
        ),
    ),
)


class Problems:
    """What becomes of a bad record: the first one stops the run, or all are counted and skipped.

    Args:
        mode: ``"fail"`` raises at the first bad record, ``"skip"`` leaves it out.
    """

    def __init__(self, mode: Literal["fail", "skip"]) -> None:
        """Start with no problem."""
        self.mode = mode
        #: How many records were skipped.
        self.count = 0
        #: The first of their messages.
        self.examples: list[str] = []

    def report(self, where: str, message: str, hint: str | None = None) -> None:
        """Note a bad record, or raise :class:`InvalidDataError` in fail mode."""
        if self.mode == "fail":
            raise InvalidDataError(message, where=where, hint=hint)
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{where}: {message}")


def read_corpus(
    path: str, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The documents of ``path``: ``docid``, ``title`` (``""`` where absent) and ``text``.

    Args:
        path: a file, ``-``, or a directory that holds ``corpus.*``.
        columns: target to source column, for files that use other names.
        problems: told of every bad record.
    """
    return _read(_CORPUS, path, columns, problems)


def read_queries(
    path: str, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The queries of ``path``: ``qid`` and ``text``; see :func:`read_corpus`."""
    return _read(_QUERIES, path, columns, problems)


def read_qrels(
    path: str, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The judgements of ``path``: ``qid``, ``docid`` and ``grade`` (1 without such a column).

    Without a header line, the four columns of TREC are recognised (``qid 0 docid grade``, tabs or
    spaces) in ``.tsv``, ``.txt``, ``.trec`` and ``.qrels`` files: the first line has exactly four
    fields, the last one an integer, and ``columns`` is empty. In a directory they are ``qrels.*``
    or the only file in ``qrels/``: where that holds several splits one has to be named, as test
    queries do not belong in a training set.
    """
    return _read(_QRELS, path, columns, problems)


def read_run(path: str, columns: Mapping[str, str], problems: Problems) -> Iterator[pa.RecordBatch]:
    """A retrieval run: ``qid``, ``docid`` and ``score``.

    Without a header line, the six columns of TREC (``qid Q0 docid rank score tag``, tabs or spaces)
    are recognised as :func:`read_qrels` recognises its four.
    """
    return _read(_RUN, path, columns, problems)


def read_pairs(
    path: str, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The training pairs of ``path``: ``query`` and ``positive``.

    A JSON or Parquet list of positives gives one row each; an empty list is an error.
    """
    return _read(_PAIRS, path, columns, problems)


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
            for kind in (_CORPUS, _QUERIES, _QRELS)
            for file in _directory_files(source, kind)
        )
        if not found:
            raise MissingInputError("no corpus, queries or qrels in this directory", where=path)
        listing = "".join(f"{name}\0{file_digest(str(source / name))}\n" for name in found)
        return "blake2b:" + hashlib.blake2b(listing.encode(), digest_size=32).hexdigest()
    with _file_errors(path), source.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32))
    return "blake2b:" + digest.hexdigest()


# --- Which file, in which format --------------------------------------------------------------


def _read(
    kind: _Input, path: str, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    """Check what can be checked without reading, at the call and not at the first batch."""
    names = [target.name for target in kind.targets]
    for target in columns:
        if target not in names:
            raise UsageError(
                f"unknown column '{target}' for {kind.name}",
                where=f"--column {target}={columns[target]}",
                hint=did_you_mean(target, names),
            )
    if path == "-":
        return _batches(kind, _json_chunks(kind, path, None, columns, problems), "stdin", problems)
    source = Path(path)
    if source.is_dir():
        source = _pick(source, kind)
    file = str(source)
    format_, compression = _format(file, kind)
    if not source.exists():
        raise MissingInputError("no such file", where=file)
    if format_ == "parquet":
        return _batches(kind, _parquet_chunks(kind, file, columns), file, problems)
    make = {"jsonl": _json_chunks, "csv": _csv_chunks, "tsv": _tsv_chunks}[format_]
    return _batches(kind, make(kind, file, compression, columns, problems), file, problems)


def _format(path: str, kind: _Input) -> tuple[str, str | None]:
    """The format and the compression that a file's name tells."""
    stem, suffix = os.path.splitext(path.lower())
    compression = _COMPRESSIONS.get(suffix)
    inner = os.path.splitext(stem)[1] if compression else suffix
    format_ = _FORMATS.get(inner)
    if inner in _TREC_SUFFIXES and kind.name in _TREC_HEADERS:
        format_ = "tsv"
    if format_ is None or (format_ == "parquet" and compression):
        raise UsageError(
            f"unknown suffix '{inner + suffix if compression else suffix}'",
            where=path,
            hint=f"Known: {', '.join(_FORMATS)}"
            + (f", {', '.join(_TREC_SUFFIXES)}" if kind.name in _TREC_HEADERS else "")
            + f"; all but .parquet also with {', '.join(_COMPRESSIONS)}. "
            "JSON lines on stdin are named -.",
        )
    return format_, compression


def _directory_files(folder: Path, kind: _Input) -> list[Path]:
    """The files of a BEIR directory that may hold this kind of input."""
    endings = [
        suffix + compression
        for suffix, format_ in _FORMATS.items()
        for compression in (("",) if format_ == "parquet" else ("", *_COMPRESSIONS))
    ]
    found = [folder / (kind.name + ending) for ending in endings]
    if kind is _QRELS and (folder / "qrels").is_dir():
        found += [
            file
            for file in sorted((folder / "qrels").iterdir())
            if file.name.endswith(tuple(endings)) and not file.name.startswith((".", "_"))
        ]
    return [file for file in found if file.is_file()]


def _pick(folder: Path, kind: _Input) -> Path:
    """The one file of a directory that holds this kind of input."""
    if kind is _PAIRS:
        raise UsageError("pairs are read from a file, not a directory", where=str(folder))
    found = _directory_files(folder, kind)
    if not found:
        layout = f"{kind.name}.jsonl" if kind is not _QRELS else "qrels.tsv or qrels/*.tsv"
        raise MissingInputError(
            f"no {kind.name} in this directory",
            where=str(folder),
            hint=f"Expected {layout}, or another of {', '.join(_FORMATS)}, "
            f"possibly with {', '.join(_COMPRESSIONS)}.",
        )
    if len(found) > 1:
        names = ", ".join(file.relative_to(folder).as_posix() for file in found)
        raise UsageError(
            f"several files hold {kind.name}: {names}",
            where=str(folder),
            hint=f"Name one of them, e.g. {found[-1]}.",
        )
    return found[0]


@contextmanager
def _file_errors(path: str) -> Iterator[None]:
    """What opening or decompressing a file raises, as the user's mistake that it is."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingInputError("no such file", where=path) from error
    except (PermissionError, IsADirectoryError) as error:
        raise MissingInputError(f"cannot be read: {error.strerror}", where=path) from error
    except (
        # Arrow raises UnicodeDecodeError for damaged column names, and others of its own.
        *(OSError, EOFError, zlib.error, lzma.LZMAError),
        *(pa.ArrowException, UnicodeDecodeError),
    ) as error:
        raise InvalidDataError(
            f"the file is damaged or cut short: {error}",
            where=path,
            hint="Fetch or write it again; the suffix must tell its compression.",
        ) from error


@contextmanager
def _open(path: str, compression: str | None) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file or of stdin."""
    if path == "-":
        yield sys.stdin.buffer
        return
    opener = {"bz2": bz2.BZ2File, "xz": lzma.LZMAFile}.get(compression or "")
    with _file_errors(path):
        # Arrow reads gzip faster than Python does, and Python 3.11 has no zstd.
        stream: Any = opener(path) if opener else pa.input_stream(path, compression=compression)
    with stream:
        yield stream


# --- Lines ------------------------------------------------------------------------------------


def _line_blocks(path: str, compression: str | None) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of whole lines without their newlines, and the number of each block's first line.

    A block has at most ``MAX_BATCH_ROWS`` lines and about ``_BLOCK_BYTES`` bytes, or one longer
    line. Only a newline ends a line: the other separators that Unicode knows are text.
    """
    number = 1
    pending: list[bytes] = []
    with _open(path, compression) as stream:
        for index, chunk in enumerate(_blocks(stream, path)):
            if index == 0:
                chunk = chunk.removeprefix(_BOM)
            end = chunk.rfind(b"\n")
            if end < 0:
                pending.append(chunk)
                if sum(map(len, pending)) > MAX_LINE_BYTES:
                    raise InvalidDataError(
                        f"a line is longer than {MAX_LINE_BYTES:,} bytes",
                        where=f"{_shown(path)}:{number}",
                        hint="Each line must hold one record.",
                    )
                continue
            lines = b"".join((*pending, chunk[:end])).split(b"\n")
            pending = [chunk[end + 1 :]]
            for start in range(0, len(lines), MAX_BATCH_ROWS):
                yield number + start, lines[start : start + MAX_BATCH_ROWS]
            number += len(lines)
    if last := b"".join(pending):
        yield number, [last]


def _blocks(stream: IO[bytes], path: str) -> Iterator[bytes]:
    """The bytes of ``stream`` in blocks; only the reading, not the use, may find it damaged."""
    while True:
        with _file_errors(_shown(path)):
            block = stream.read(_BLOCK_BYTES)
        if not block:
            return
        yield block


def _shown(path: str) -> str:
    return "stdin" if path == "-" else path


def _text(line: bytes) -> str:
    """A line as text. Bytes that are no UTF-8 become surrogates, which the checks find again."""
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")


# --- Formats: each gives chunks of values, not yet checked ------------------------------------


@dataclass(frozen=True)
class _Chunk:
    """Some records: for each target its values, as Python objects or as a checked Arrow array."""

    columns: dict[str, Any]
    #: The source column of each target; the absent optional ones are left out.
    sources: dict[str, str]
    #: Where each record begins: a line number, or a row number in a Parquet file.
    lines: Sequence[int]
    place: str = "{path}:{line}"

    def where(self, path: str, index: int) -> str:
        return self.place.format(path=path, line=self.lines[index])


def _resolve(
    kind: _Input, path: str, header: Sequence[str], columns: Mapping[str, str], hint: str = ""
) -> dict[str, str]:
    """The source column of each target; a required or asked-for one that is absent is an error."""
    sources: dict[str, str] = {}
    shown = [_short(name) for name in header]
    for target in kind.targets:
        wanted = columns.get(target.name)
        if wanted is not None and wanted not in header:
            raise InvalidDataError(
                f"no column '{wanted}' (asked for as '{target.name}')",
                where=path,
                hint=did_you_mean(wanted, shown) + hint,
            )
        found = wanted or next((name for name in target.aliases if name in header), None)
        if found is None:
            if target.optional:
                continue
            raise InvalidDataError(
                f"no column for '{target.name}': none of {', '.join(target.aliases)}",
                where=path,
                hint=f"Columns of the file: {', '.join(shown) or '(none)'}. "
                f"Name the right one with --column {target.name}={_near(target, header)}.{hint}",
            )
        if list(header).count(found) > 1:
            raise InvalidDataError(f"column '{found}' occurs more than once", where=path)
        sources[target.name] = found
    return sources


def _near(target: _Target, header: Sequence[str]) -> str:
    """The column of the file that looks most like one of the names a target is known by."""
    for name in header:
        if difflib.get_close_matches(name.lower(), target.aliases, n=1, cutoff=0.75):
            return _short(name)
    return "COLUMN"


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:40] + "..."


def _json_chunks(
    kind: _Input,
    path: str,
    compression: str | None,
    columns: Mapping[str, str],
    problems: Problems,
) -> Iterator[_Chunk]:
    """JSON lines; the first record decides which field is which."""
    sources: dict[str, str] | None = None
    for first, lines in _line_blocks(path, compression):
        rows, numbers = _json_rows(path, first, lines, problems)
        if not rows:
            continue
        if sources is None:
            sources = _resolve(kind, _shown(path), list(rows[0]), columns)
        found: dict[str, Any] = {}
        for target in kind.targets:
            source = sources.get(target.name) or _late_field(target, rows)
            if source is None:
                continue
            if target.kind == "title":
                sources[target.name] = source
                found[target.name] = [row.get(source) for row in rows]
            else:
                try:
                    found[target.name] = [row[source] for row in rows]
                except KeyError:
                    found[target.name] = [row.get(source, _MISSING) for row in rows]
        yield _Chunk(found, sources, numbers)


def _late_field(target: _Target, rows: list[dict[str, Any]]) -> str | None:
    """An optional field that the first record lacks and one of these has.

    A title may come and go. A grade may not: without its place in ``sources`` it is refused.
    """
    return next((name for name in target.aliases if any(name in row for row in rows)), None)


def _json_rows(
    path: str, first: int, lines: list[bytes], problems: Problems
) -> tuple[list[dict[str, Any]], Sequence[int]]:
    """The objects in ``lines`` and their line numbers."""
    try:
        rows = list(map(orjson.loads, lines))
        if set(map(type, rows)) == {dict}:
            return rows, range(first, first + len(rows))
    except orjson.JSONDecodeError:
        pass
    rows, numbers = [], []
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        where = f"{_shown(path)}:{number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.report(where, *_json_message(line, error))
            continue
        if not isinstance(row, dict):
            problems.report(
                where,
                f"expected a JSON object, found {_type_name(row)}",
                "Each line must hold one object; jq -c '.[]' turns an array into such lines.",
            )
            continue
        rows.append(row)
        numbers.append(number)
    return rows, numbers


def _json_message(line: bytes, error: json.JSONDecodeError) -> tuple[str, str | None]:
    """What is wrong with a line that orjson refused, and how to mend it."""
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return (
            f"not valid UTF-8: byte 0x{line[wrong.start]:02x} at column {wrong.start + 1}",
            "Save the file as UTF-8.",
        )
    if "surrogate" in error.msg:
        return f"a lone surrogate is no character (column {error.colno})", None
    return (
        f"not valid JSON: {error.msg} (column {error.colno})",
        "Each line must hold one JSON object.",
    )


def _tsv_chunks(
    kind: _Input,
    path: str,
    compression: str | None,
    columns: Mapping[str, str],
    problems: Problems,
) -> Iterator[_Chunk]:
    """Lines of fields between tabs, or TREC's qrels."""
    header: list[str] | None = None
    sources: dict[str, str] = {}
    split: _Splitter = _split_tabs
    for first, lines in _line_blocks(path, compression):
        rows: list[list[str]] = []
        numbers: list[int] = []
        for number, line in enumerate(map(_text, lines), first):
            if not line:
                continue
            if header is None:
                trec = None if columns else _trec_splitter(kind, line)
                header = _TREC_HEADERS[kind.name][0] if trec else split(line)
                sources = _resolve(
                    kind, path, header, columns, " The first line must name the columns."
                )
                if trec is None:
                    continue
                split = trec
            rows.append(split(line))
            numbers.append(number)
        if header is not None:
            yield from _table_chunk(
                path,
                header,
                sources,
                rows,
                numbers,
                problems,
                "A .tsv is read without quoting, one record per line; "
                "write texts with tabs or newlines as .csv or .jsonl.",
            )


def _split_tabs(line: str) -> list[str]:
    return line.split("\t")


def _split_blanks(line: str) -> list[str]:
    # Not str.split(), which would also split at the blanks that only Unicode knows.
    return re.split("[ \t]+", line.strip(" \t"))


def _trec_splitter(kind: _Input, line: str) -> _Splitter | None:
    """How to split a TREC file, if this first line is one of its lines and so no header."""
    if kind.name not in _TREC_HEADERS:
        return None
    header, number, pattern = _TREC_HEADERS[kind.name]
    known = {alias for target in kind.targets for alias in target.aliases}
    for split in (_split_tabs, _split_blanks):
        fields = split(line)
        if (
            len(fields) == len(header)
            and re.fullmatch(pattern, fields[number])
            and known.isdisjoint(fields)
        ):
            return split
    return None


def _csv_chunks(
    kind: _Input,
    path: str,
    compression: str | None,
    columns: Mapping[str, str],
    problems: Problems,
) -> Iterator[_Chunk]:
    """RFC 4180; a quoted field may span lines, and a record is named by its first one."""
    # The csv module has one limit for the whole process, too low for documents.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CSV_FIELD_CHARS))
    fed = 0

    def lines() -> Iterator[Iterable[str]]:
        nonlocal fed
        for _, block in _line_blocks(path, compression):
            fed += 1
            yield [line.decode("utf-8", "surrogateescape") + "\n" for line in block]

    reader = csv.reader(chain.from_iterable(lines()), strict=True)
    header: list[str] | None = None
    sources: dict[str, str] = {}
    rows: list[list[str]] = []
    numbers: list[int] = []
    block = number = 0
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if header is None:
                raise InvalidDataError(
                    f"not a valid CSV header: {error}", where=f"{path}:{number}"
                ) from error
            problems.report(
                f"{path}:{number}",
                f"not valid CSV: {error}",
                'Quote a field that holds a comma, a quote or a newline; double its quotes: "".',
            )
            continue
        if not row:
            continue
        if header is None:
            header = row
            sources = _resolve(
                kind, path, header, columns, " The first line must name the columns."
            )
            block = fed
            continue
        rows.append(row)
        numbers.append(number)
        # One block of lines, or what of it begins here, bounds both the rows and the bytes.
        if fed != block or len(rows) >= MAX_BATCH_ROWS:
            block = fed
            yield from _table_chunk(path, header, sources, rows, numbers, problems)
            rows, numbers = [], []
    if header is not None:
        yield from _table_chunk(path, header, sources, rows, numbers, problems)


def _table_chunk(
    path: str,
    header: list[str],
    sources: dict[str, str],
    rows: list[list[str]],
    numbers: list[int],
    problems: Problems,
    hint: str | None = None,
) -> Iterator[_Chunk]:
    """The wanted columns of rows of fields."""
    width = len(header)
    if set(map(len, rows)) - {width}:
        good: list[int] = []
        for index, row in enumerate(rows):
            if len(row) == width:
                good.append(index)
            else:
                problems.report(
                    f"{path}:{numbers[index]}",
                    f"{len(row)} fields where the header has {width}",
                    hint,
                )
        rows = [rows[index] for index in good]
        numbers = [numbers[index] for index in good]
    if rows:
        places = {name: header.index(source) for name, source in sources.items()}
        yield _Chunk(
            {name: [row[place] for row in rows] for name, place in places.items()},
            sources,
            numbers,
        )


def _parquet_chunks(kind: _Input, path: str, columns: Mapping[str, str]) -> Iterator[_Chunk]:
    """Parquet, a row group at a time and each in batches sized by its average row."""
    import pyarrow.parquet as pq

    # Without pre_buffer a column chunk is read as it is decoded: row groups may be huge.
    with _file_errors(path):
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    with file:
        schema = file.schema_arrow
        sources = _resolve(kind, path, schema.names, columns)
        for target in kind.targets:
            if target.name in sources:
                _check_type(target, schema.field(sources[target.name]), path)
        row = 1
        for group in range(file.num_row_groups):
            with _file_errors(path):
                size = _batch_rows(file.metadata.row_group(group), set(sources.values()))
                batches = file.iter_batches(size, [group], list(sources.values()))
            while True:
                with _file_errors(path):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield _Chunk(
                    {
                        target.name: _parquet_values(target, batch.column(sources[target.name]))
                        for target in kind.targets
                        if target.name in sources
                    },
                    sources,
                    range(row, row + batch.num_rows),
                    "{path}: row {line}",
                )
                row += batch.num_rows


def _batch_rows(group: Any, names: set[str]) -> int:
    """How many rows of a row group make a batch of about ``MAX_BATCH_BYTES``."""
    size: int = sum(
        group.column(index).total_uncompressed_size
        for index in range(group.num_columns)
        if group.column(index).path_in_schema.split(".")[0] in names
    )
    rows: int = group.num_rows
    return max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES * rows // max(1, size)))


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        # Some writers leave out the mark that says UTF-8.
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_null(kind)
    )


def _check_type(target: _Target, field: pa.Field, path: str) -> None:
    """Refuse a Parquet column of which no value could be right."""
    types = pa.types
    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    fits = _is_text(kind)
    if target.kind in ("id", "grade", "score"):
        fits = fits or types.is_integer(kind) or types.is_floating(kind)
    elif target.kind == "passages" and (types.is_list(kind) or types.is_large_list(kind)):
        fits = _is_text(kind.value_type)
    if not fits:
        wanted = {
            "id": "strings or integers",
            "grade": "integers",
            "score": "numbers",
            "passages": "strings or lists of strings",
        }.get(target.kind, "strings")
        raise InvalidDataError(
            f"column '{field.name}' is of type {field.type}, '{target.name}' needs {wanted}",
            where=path,
        )


def _parquet_values(target: _Target, column: pa.Array) -> Any:
    """A string or int32 array where all values are fit for it, else Python objects to check."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        return _python_values(column)
    try:
        if target.kind == "score":
            return _python_values(column)
        if target.kind == "grade":
            return (
                column.cast(pa.int32())
                if pa.types.is_integer(column.type)
                else _python_values(column)
            )
        if _is_text(column.type) or pa.types.is_integer(column.type):
            strings = column.cast(pa.string())
            # Reading Parquet takes the writer's word for it that strings are UTF-8.
            strings.validate(full=True)
            return strings
    except pa.ArrowInvalid:
        pass
    return _python_values(column)


def _python_values(column: pa.Array) -> list[Any]:
    if _is_text(column.type) and not pa.types.is_null(column.type):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [
            value if value is None else value.decode("utf-8", "surrogateescape") for value in raw
        ]
    values: list[Any] = column.to_pylist()
    return values


# --- Values -----------------------------------------------------------------------------------


def _batches(
    kind: _Input, chunks: Iterator[_Chunk], path: str, problems: Problems
) -> Iterator[pa.RecordBatch]:
    """Checked record batches: whole columns at once, row by row only to name a culprit."""
    for chunk in chunks:
        arrays = []
        for target in kind.targets:
            array = _whole_column(target, chunk)
            if array is None:
                yield from _row_by_row(kind, chunk, path, problems)
                break
            arrays.append(array)
        else:
            yield from _bounded(pa.RecordBatch.from_arrays(arrays, schema=kind.schema))


def _bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """``batch``, in pieces where a few long texts make it too large."""
    if batch.num_rows > 1 and batch.nbytes > MAX_BATCH_BYTES:
        half = batch.num_rows // 2
        yield from _bounded(batch.slice(0, half))
        yield from _bounded(batch.slice(half))
    elif batch.num_rows:
        yield batch


def _whole_column(target: _Target, chunk: _Chunk) -> pa.Array | None:
    """The column as an array if every value is good, else None."""
    values = chunk.columns.get(target.name)
    if values is None:
        return _default(target, len(chunk.lines))
    if target.name not in chunk.sources and target.kind == "grade":
        return None
    if isinstance(values, list):
        types = set(map(type, values))
        if target.kind == "id" and types <= {str, int}:
            values = list(map(str, values)) if int in types else values
        elif target.kind == "title" and types <= {str, type(None)}:
            values = [value or "" for value in values] if type(None) in types else values
        elif target.kind == "grade":
            if types != {int}:
                return None
        elif target.kind == "score":
            return _scores(values, types)
        elif types != {str}:
            return None
        try:
            array = pa.array(values, pa.int32() if target.kind == "grade" else pa.string())
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
            return None
    else:
        array = values
    return None if target.kind == "id" and _has_bad_id(array) else array


def _scores(values: list[Any], types: set[type]) -> pa.Array | None:
    """Scores as numbers, if all of them are finite ones."""
    if not types <= {int, float, str}:
        return None
    try:
        numbers = np.array(values, dtype=np.float64)
    except (ValueError, OverflowError):
        return None
    with np.errstate(over="ignore"):
        scores = numbers.astype(np.float32)
    return pa.array(scores) if np.isfinite(scores).all() else None


def _default(target: _Target, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(1, pa.int32()) if target.kind == "grade" else pa.scalar(""), rows)


def _has_bad_id(ids: pa.Array) -> bool:
    return bool(
        pc.any(pc.equal(pc.binary_length(ids), 0)).as_py()
        or pc.any(pc.match_substring(ids, "\0")).as_py()
    )


class _BadValueError(Exception):
    """A value that its target cannot take."""


def _row_by_row(
    kind: _Input, chunk: _Chunk, path: str, problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The good records of a chunk in which something needs a closer look."""
    kept: list[tuple[Any, ...]] = []
    size = 0
    names = [target.name for target in kind.targets if target.name in chunk.columns]
    columns = [
        values if isinstance(values, list) else values.to_pylist()
        for values in (chunk.columns[name] for name in names)
    ]
    for index, values in enumerate(zip(*columns, strict=True)):
        given = dict(zip(names, values, strict=True))
        try:
            record = [_value(target, given, chunk.sources) for target in kind.targets]
        except _BadValueError as error:
            problems.report(chunk.where(path, index), str(error))
            continue
        for row in _expanded(kind, record):
            kept.append(row)
            size += sum(len(value) for value in row if isinstance(value, str))
            # Lists of positives repeat their query: what was bounded as read may grow here.
            if len(kept) >= MAX_BATCH_ROWS or size >= MAX_BATCH_BYTES:
                yield from _bounded(_from_rows(kind, kept))
                kept, size = [], 0
    if kept:
        yield from _bounded(_from_rows(kind, kept))


def _from_rows(kind: _Input, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(list(column), field.type)
        for column, field in zip(columns, kind.schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=kind.schema)


def _expanded(kind: _Input, record: list[Any]) -> Iterator[tuple[Any, ...]]:
    if kind is _PAIRS:
        query, positives = record
        yield from ((query, positive) for positive in positives)
    else:
        yield tuple(record)


def _value(target: _Target, given: dict[str, Any], sources: dict[str, str]) -> Any:
    """A target's value in one record, or what is wrong with it."""
    source = sources.get(target.name)
    value = given.get(target.name, _MISSING)
    if source is None:
        if value is not _MISSING:
            raise _BadValueError(
                f"a {target.name} where the first record has none: all must have it, or none"
            )
        return 1 if target.kind == "grade" else ""
    if value is _MISSING:
        raise _BadValueError(f"field '{source}' is missing")
    if target.kind == "id":
        return _id_value(value, source)
    if target.kind == "grade":
        return _grade_value(value, source)
    if target.kind == "score":
        return _score_value(value, source)
    if target.kind == "title" and value is None:
        return ""
    if target.kind == "passages":
        if not isinstance(value, list):
            return [_text_value(value, source)]
        if not value:
            raise _BadValueError(f"field '{source}' is an empty list")
        return [_text_value(item, f"{source}[{at}]") for at, item in enumerate(value)]
    return _text_value(value, source)


def _text_value(value: Any, source: str) -> str:
    if not isinstance(value, str):
        raise _BadValueError(f"field '{source}' must be a string, found {_type_name(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _BadValueError(f"field '{source}' is not valid UTF-8") from error
    return value


def _id_value(value: Any, source: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        if not (abs(value) < _EXACT_FLOAT and value == math.floor(value)):
            raise _BadValueError(f"field '{source}' must be a string or an integer, found {value}")
        return str(int(value))
    if not isinstance(value, str):
        raise _BadValueError(
            f"field '{source}' must be a string or an integer, found {_type_name(value)}"
        )
    if not value:
        raise _BadValueError(f"field '{source}' is empty: an id is needed")
    if "\0" in value:
        raise _BadValueError(f"field '{source}' has a NUL character: not allowed in an id")
    return _text_value(value, source)


def _grade_value(value: Any, source: str) -> int:
    grade: int | None = None
    if isinstance(value, str):
        grade = int(value.partition(".")[0]) if _GRADE.fullmatch(value) else None
        found = f"'{_short(value)}'"
    elif isinstance(value, float):
        grade = int(value) if value.is_integer() else None
        found = str(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        grade = value
        found = str(value)
    else:
        found = _type_name(value)
    if grade is None or not -(1 << 31) <= grade < 1 << 31:
        raise _BadValueError(f"field '{source}' must be an integer, found {found}")
    return grade


def _score_value(value: Any, source: str) -> float:
    scores = None
    if not isinstance(value, bool):
        scores = _scores([value], {type(value)})
    if scores is None:
        found = repr(value) if isinstance(value, (str, float)) else _type_name(value)
        raise _BadValueError(f"field '{source}' must be a finite number, found {found}")
    score: float = scores[0].as_py()
    return score


def _type_name(value: Any) -> str:
    """What JSON calls the type of a value."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")


def format_of(path: str, role: str) -> tuple[str, str | None]:
    """The format (jsonl, csv, tsv, parquet) and the compression that a file's name tells."""
    return _format(path, _kind(role))


def _kind(role: str) -> _Input:
    return {kind.name: kind for kind in (_CORPUS, _QUERIES, _QRELS, _RUN, _PAIRS)}[role]


def input_file(path: str, role: str) -> Path:
    """The file that reading ``path`` as ``role`` (corpus, queries, qrels, run, pairs) would read.

    Raises:
        MissingInputError: there is none.
        UsageError: a directory holds several.
    """
    kind = _kind(role)
    source = Path(path)
    if source.is_dir():
        return _pick(source, kind)
    _format(path, kind)
    if not source.exists():
        raise MissingInputError("no such file", where=path)
    return source
