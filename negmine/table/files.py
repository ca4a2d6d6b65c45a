"""Writing tables to files, one slice at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

#: Suffixes that :func:`write_tables` knows.
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")


def suffix_of(path: Path) -> str | None:
    """The known suffix that ``path`` ends with, or None."""
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)


def write_parquet(
    path: Path,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write each table as one row group; returns the rows written."""
    rows = 0
    # Not as a context manager: that would write a valid footer after an exception.
    writer = pq.ParquetWriter(path, schema.with_metadata(metadata), compression="zstd")
    for table in tables:
        writer.write_table(
            table.replace_schema_metadata(metadata), row_group_size=max(1, table.num_rows)
        )
        rows += table.num_rows
    writer.close()
    return rows


def write_jsonl(file: BinaryIO | pa.NativeFile, tables: Iterable[pa.Table]) -> int:
    """Write one JSON object per row; returns the rows written."""
    rows = 0
    for table in tables:
        for batch in table.to_batches(max_chunksize=4096):
            file.write(b"".join(orjson.dumps(row) + b"\n" for row in batch.to_pylist()))
            rows += batch.num_rows
    return rows


def write_tables(path: Path, suffix: str, tables: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Write tables in the format of a suffix of :data:`SUFFIXES`; returns the rows written."""
    if suffix == ".parquet":
        return write_parquet(path, tables, schema)
    compression = {".jsonl": None, ".jsonl.gz": "gzip", ".jsonl.zst": "zstd"}[suffix]
    with pa.output_stream(str(path), compression=compression) as stream:
        return write_jsonl(stream, tables)
