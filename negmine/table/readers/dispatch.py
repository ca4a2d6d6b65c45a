"""From a path and a kind of input to the format's reader and the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from negmine.errors import UsageError, did_you_mean
from negmine.table.readers import catalogues
from negmine.table.readers.arrow_files import arrow_chunks
from negmine.table.readers.chunks import Chunk
from negmine.table.readers.delimited import csv_chunks, tsv_chunks
from negmine.table.readers.jsonl import json_chunks
from negmine.table.readers.kinds import Input
from negmine.table.readers.layouts import Found, find
from negmine.table.readers.parquet import parquet_chunks
from negmine.table.readers.places import Place
from negmine.table.readers.problems import Problems
from negmine.table.readers.topics import topic_chunks, topic_or_line_chunks
from negmine.table.readers.values import batches

_Reader = Callable[[Input, Place, str | None, Mapping[str, str], Problems], Iterator[Chunk]]

#: Formats of lines, and their readers.
_TEXT: dict[str, _Reader] = {
    "jsonl": json_chunks,
    "csv": csv_chunks,
    "tsv": tsv_chunks,
    "topics": topic_chunks,
    "topics or lines": topic_or_line_chunks,
}
#: Formats of columns.
_BINARY = {"parquet": parquet_chunks, "arrow": arrow_chunks}


def read(
    kind: Input, spec: str, columns: Mapping[str, str], problems: Problems
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
    found = find(kind, spec)
    if found.format == "catalogue":
        catalogues.check(kind, spec)
        chunks = catalogues.catalogue_chunks(kind, spec, columns, problems)
        return batches(kind, chunks, spec, problems)
    return _files(kind, found, columns, problems)


def _files(
    kind: Input, found: Found, columns: Mapping[str, str], problems: Problems
) -> Iterator[pa.RecordBatch]:
    for file in found.files:
        if found.format in _BINARY:
            chunks = _BINARY[found.format](kind, file, columns)
        else:
            chunks = _TEXT[found.format](kind, file, found.compression, columns, problems)
        yield from batches(kind, chunks, file.name, problems)
