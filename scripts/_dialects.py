"""Records in every dialect that people's files have: what ``fuzz_meaning.py`` writes its truth in.

A dialect is *documented* where docs/inputs.md promises that it is read. Of the others a reader may
refuse a file, but what it accepts has to mean the same.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """A file.

    Attributes:
        path: where it lies.
        dialect: how it is written, in words.
        documented: whether it has to be read.
    """

    path: Path
    dialect: str
    documented: bool


def write(
    rng: random.Random,
    folder: Path,
    stem: str,
    records: Sequence[Record],
    *,
    tables: bool = True,
    parts: bool = True,
) -> Written:
    """Records of the same keys, in a dialect drawn at random.

    Args:
        rng: what decides.
        folder: where the file goes.
        stem: its name without the suffixes.
        records: what it holds; values are strings, numbers, booleans, None, lists or objects.
        tables: whether CSV and TSV may be drawn: not where values are lists or objects.
        parts: whether several files may be drawn: a folder of them, or a pattern.
    """
    kinds = ["lines", "lines", "array", "parquet", "arrow"]
    if tables:
        kinds += ["csv", "csv", "tsv"]
    kind = rng.choice(kinds)
    if parts and len(records) > 1 and rng.random() < 0.15:
        return _parts(rng, folder / stem, records, kind)
    return _WRITERS[kind](rng, folder / stem, records)


def _parts(rng: random.Random, folder: Path, records: Sequence[Record], kind: str) -> Written:
    """A folder of files of one kind, each in a dialect of its own; or a pattern for them."""
    folder.mkdir()
    count = rng.randint(2, min(4, len(records)))
    cuts = [0, *sorted(rng.sample(range(1, len(records)), count - 1)), len(records)]
    style = rng.choice(["part-{:05}", "part-{}", "{:04}", "data-{:05}-of-{:05}"])
    written = [
        _WRITERS[kind](rng, folder / style.format(at, count), records[first:last])
        for at, (first, last) in enumerate(pairwise(cuts))
    ]
    path = folder / "*" if rng.random() < 0.3 else folder
    told = f"{'pattern' if path != folder else 'folder'} of {count}"
    dialects = " + ".join(part.dialect for part in written)
    # Files of one table are called alike.
    alike = len({part.path.name.split(".", 1)[1] for part in written}) == 1
    documented = alike and all(part.documented for part in written)
    return Written(path, f"{told}: {dialects}", documented)


def _lines(rng: random.Random, stem: Path, records: Sequence[Record]) -> Written:
    """JSON lines, with or without blank lines, carriage returns, a mark or another encoding."""
    escaped = rng.random() < 0.5
    end = rng.choice(["\n", "\n", "\r\n"])
    blank = rng.random() < 0.1
    text = "".join(
        json.dumps(record, ensure_ascii=escaped) + end + (end if blank else "")
        for record in records
    )
    if rng.random() < 0.2:
        text = text.rstrip("\r\n")
    suffix = rng.choice([".jsonl", ".jsonl", ".ndjson", ".json"])
    return _stored(rng, stem, suffix, text, f"JSON lines{' CRLF' if end != chr(10) else ''}")


def _array(rng: random.Random, stem: Path, records: Sequence[Record]) -> Written:
    """A JSON array of the records, in one line or indented."""
    indent = rng.choice([None, 1, 4])
    text = json.dumps(records, indent=indent, ensure_ascii=rng.random() < 0.5)
    suffix = rng.choice([".json", ".json", ".jsonl"])
    return _stored(rng, stem, suffix, text, "JSON array")


def _csv(rng: random.Random, stem: Path, records: Sequence[Record]) -> Written:
    """Comma or semicolon, any quoting, any line end, perhaps pandas' unnamed index first."""
    delimiter = rng.choice([",", ",", ",", ";"])
    end = rng.choice(["\n", "\r\n", "\r\n", "\r"])
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    index = rng.random() < 0.1
    text = _table(records, delimiter, end, quoting, index)
    announced = delimiter == ";" and rng.random() < 0.3
    if announced:
        text = f"sep={delimiter}{end}{text}"
    written = _stored(rng, stem, ".csv", text, f"CSV {delimiter!r} {end!r} quoting {quoting}")
    # Where fields hold other ends of lines than the file, it has both.
    mixed = end == "\r" and "\n" in text
    return Written(written.path, written.dialect, written.documented and not mixed)


def _tsv(rng: random.Random, stem: Path, records: Sequence[Record]) -> Written:
    """Fields between tabs: as they are, as MS MARCO has them, or quoted, as pandas writes them."""
    end = rng.choice(["\n", "\n", "\r\n"])
    fields = [str(value) for record in records for value in record.values()]
    raw = not any(set(field) & set("\t\r\n") for field in fields) and rng.random() < 0.7
    # A file in which every value is enclosed in quotes cannot be told from a quoted one.
    if raw and not any(field.startswith('"') and field.endswith('"') for field in fields):
        rows = [
            list(records[0]),
            *(["" if v is None else str(v) for v in r.values()] for r in records),
        ]
        text = "".join("\t".join(row) + end for row in rows)
        return _stored(rng, stem, ".tsv", text, "TSV")
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    return _stored(rng, stem, ".tsv", _table(records, "\t", end, quoting, False), "quoted TSV")


def _table(records: Sequence[Record], delimiter: str, end: str, quoting: Any, index: bool) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end, quoting=quoting)
    first: list[Any] = [""] if index else []
    writer.writerow([*first, *records[0]])
    for number, record in enumerate(records):
        writer.writerow([*([number] if index else []), *record.values()])
    return stream.getvalue()


def _parquet(rng: random.Random, stem: Path, records: Sequence[Record]) -> Written:
    path = stem.with_name(stem.name + ".parquet")
    table = pa.Table.from_pylist([dict(record) for record in records])
    pq.write_table(table, path, row_group_size=rng.choice([1, 3, 1000]))
    return Written(path, "Parquet", True)


def _arrow(rng: random.Random, stem: Path, records: Sequence[Record]) -> Written:
    path = stem.with_name(stem.name + ".arrow")
    table = pa.Table.from_pylist([dict(record) for record in records])
    new = rng.choice([pa.ipc.new_file, pa.ipc.new_stream])
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rng.choice([1, 1000]))
    return Written(path, "Arrow", True)


_WRITERS = {
    "lines": _lines,
    "array": _array,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "arrow": _arrow,
}


def _stored(rng: random.Random, stem: Path, suffix: str, text: str, dialect: str) -> Written:
    """Text as bytes: its encoding and its compression."""
    encoding = rng.choice(["utf-8"] * 8 + ["utf-8-sig", "utf-8-sig", "utf-16", "cp1252"])
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError:
        encoding, data = "utf-8", text.encode()
    if encoding == "cp1252" and text.isascii():
        encoding = "utf-8"
    documented = encoding != "cp1252"
    ending = rng.choice(["", "", "", "", ".gz", ".zst", ".bz2", ".xz", ".zip"])
    unsaid = ending == ".gz" and rng.random() < 0.3
    name = f"{stem.name}{suffix}"
    path = stem.with_name(name if unsaid else name + ending)
    path.write_bytes(zipped(data, name) if ending == ".zip" else compressed(data, ending))
    told = [dialect, encoding, f"{ending} without saying so" if unsaid else ending]
    return Written(path, " ".join(filter(None, told)), documented)


def compressed(data: bytes, ending: str) -> bytes:
    """``data`` as a file of this ending holds it."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".zst": lambda plain: bytes(pa.compress(plain, codec="zstd", asbytes=True)),
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    return packers[ending](data) if ending in packers else data


def zipped(data: bytes, name: str) -> bytes:
    """A zip archive of one member."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return sink.getvalue()
