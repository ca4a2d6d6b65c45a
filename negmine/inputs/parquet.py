"""Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from negmine.inputs import limits
from negmine.inputs.arrow_columns import chunk_of, looker, sources_of
from negmine.inputs.chunks import Chunk
from negmine.inputs.columns import Columns
from negmine.inputs.kinds import Input
from negmine.inputs.places import Place, file_errors
from negmine.inputs.suspects import LOOKED_AT, settle


def parquet_chunks(kind: Input, file: Place, columns: Columns) -> Iterator[Chunk]:
    """Parquet, a row group at a time and each in batches sized by its average row."""
    import pyarrow.parquet as pq

    # Without pre_buffer a column chunk is read as it is decoded: row groups may be huge.
    with ExitStack() as stack:
        source: Any = file.path if file.fs is None else stack.enter_context(file.open())
        with file_errors(file):
            parquet = pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20)
        stack.enter_context(parquet)
        with file_errors(file):
            schema = parquet.schema_arrow
        sources = sources_of(kind, file, schema, columns)
        look = looker(
            file, lambda name: next(parquet.iter_batches(LOOKED_AT, columns=[name]), None)
        )
        settle(kind, file.name, schema.names, sources, columns, look)
        row = 1
        for group in range(parquet.num_row_groups):
            with file_errors(file):
                size = batch_rows(parquet.metadata.row_group(group), set(sources.values()))
                wanted = list(dict.fromkeys(sources.values()))
                batches = parquet.iter_batches(size, [group], wanted)
            while True:
                with file_errors(file):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield chunk_of(kind, file, sources, batch, row)
                row += batch.num_rows


def batch_rows(group: Any, names: set[str]) -> int:
    """How many rows of a row group make a batch of about ``limits.MAX_BATCH_BYTES``."""
    size: int = sum(
        group.column(index).total_uncompressed_size
        for index in range(group.num_columns)
        if group.column(index).path_in_schema.split(".")[0] in names
    )
    rows: int = group.num_rows
    return max(1, min(limits.MAX_BATCH_ROWS, limits.MAX_BATCH_BYTES * rows // max(1, size)))
