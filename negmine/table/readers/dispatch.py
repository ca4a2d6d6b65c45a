"""From a path and a kind of input to the format's reader and the checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from negmine.errors import MissingInputError, UsageError, did_you_mean
from negmine.table.readers.delimited import csv_chunks, tsv_chunks
from negmine.table.readers.jsonl import json_chunks
from negmine.table.readers.kinds import Input
from negmine.table.readers.layouts import format_of, pick
from negmine.table.readers.parquet import parquet_chunks
from negmine.table.readers.problems import Problems
from negmine.table.readers.values import batches


def read(
    kind: Input, path: str, columns: Mapping[str, str], problems: Problems
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
        return batches(kind, json_chunks(kind, path, None, columns, problems), "stdin", problems)
    source = Path(path)
    if source.is_dir():
        source = pick(source, kind)
    file = str(source)
    format_, compression = format_of(file, kind)
    if not source.exists():
        raise MissingInputError("no such file", where=file)
    if format_ == "parquet":
        return batches(kind, parquet_chunks(kind, file, columns), file, problems)
    make = {"jsonl": json_chunks, "csv": csv_chunks, "tsv": tsv_chunks}[format_]
    return batches(kind, make(kind, file, compression, columns, problems), file, problems)
