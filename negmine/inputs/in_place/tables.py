"""Parquet and Arrow files, with other records in the place of some.

Rows that nobody changes are taken as they are, and so is, of a row that changes, what no layout
reads; the schema stays, with its metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from negmine.inputs import limits
from negmine.inputs.arrow_files import FILE_MAGIC, open_arrow
from negmine.inputs.in_place.reading import (
    At,
    Block,
    Blocks,
    Entry,
    Replacement,
    Settings,
    parsed,
)
from negmine.inputs.parquet import batch_rows
from negmine.inputs.places import Place, file_errors
from negmine.table import writers


class _Columns:
    """What files of columns share.

    Args:
        settings: what it is read with.
        file: the file.
    """

    def __init__(self, settings: Settings, file: Place) -> None:
        self.settings, self.file = settings, file

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """All rows with all columns."""
        raise NotImplementedError

    def blocks(self) -> Iterator[Block]:
        """All records; a block holds the rows of a batch."""
        met = (entry for entries in parsed(self.settings) for entry in entries)
        entry = next(met, None)
        first = 1
        for batch in self._batches():
            entries = []
            for number in range(first, first + batch.num_rows):
                known = entry is not None and entry.place == number
                one = entry if known and entry is not None else Entry(number, problem="no record")
                entry = next(met, None) if known else entry
                one.data = number - first
                entries.append(one)
            first += batch.num_rows
            yield Block(entries, rows=pa.Table.from_batches([batch]))

    def decoded(self, block: Block, entry: Entry) -> Mapping[str, Any]:
        """All of a record, by column: values of what is read, and places of all else."""
        assert entry.record is not None
        read = [name for name in entry.record.columns if name in block.rows.schema.names]
        values: dict[str, Any] = block.rows.select(read).slice(entry.data, 1).to_pylist()[0]
        unread = [name for name in block.rows.schema.names if name not in values]
        return values | {name: _at(block.rows, name, entry.data) for name in unread}

    def dialect(self) -> Mapping[str, Any]:
        """Nothing: the file tells it itself."""
        return {}

    def written(self, found: Blocks) -> Iterator[pa.Table]:
        """The file's rows."""
        for block, replacements in found:
            if all(records is None for records in replacements):
                yield block.rows
            else:
                yield _replaced(block.rows, replacements)


def _at(rows: pa.Table, name: str, row: int) -> At:
    kind, value = rows.schema.field(name).type, rows.column(name)[row]
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return At(row, len(value) if lists and value.is_valid else None)


def _replaced(rows: pa.Table, replacements: Sequence[Replacement]) -> pa.Table:
    """A table with other records in the place of some rows."""
    new: list[Mapping[str, Any]] = []
    order: list[int] = []
    for number, records in enumerate(replacements):
        if records is None:
            order.append(number)
            continue
        order += range(rows.num_rows + len(new), rows.num_rows + len(new) + len(records))
        new += records
    columns = []
    for field in rows.schema:
        values = [record[field.name] for record in new]
        if values and all(isinstance(value, At) for value in values):
            places = pa.array([value.row for value in values], pa.int64())
            columns.append(rows.column(field.name).take(places))
        else:
            columns.append(_array(values, field))
    added = pa.table(columns, rows.schema)
    return pa.concat_tables([rows, added]).take(pa.array(order, pa.int64()))


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    kind = field.type
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


class ParquetFile(_Columns):
    """A Parquet file."""

    def save(self, path: Path, found: Blocks) -> None:
        """Write the file with other records in the place of some."""
        import pyarrow.parquet as pq

        with ExitStack() as stack:
            file = self.file
            source: Any = file.path if file.fs is None else stack.enter_context(file.open())
            with file_errors(file):
                parquet = stack.enter_context(pq.ParquetFile(source))
                about, schema = parquet.metadata, parquet.schema_arrow
        packing = about.row_group(0).column(0).compression if about.num_row_groups else "SNAPPY"
        packing = "NONE" if packing == "UNCOMPRESSED" else packing
        writers.write_parquet_as(path, self.written(found), schema, packing)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with ExitStack() as stack:
            file = self.file
            source: Any = file.path if file.fs is None else stack.enter_context(file.open())
            with file_errors(file):
                parquet = stack.enter_context(pq.ParquetFile(source, pre_buffer=False))
            for group in range(parquet.num_row_groups):
                about = parquet.metadata.row_group(group)
                size = batch_rows(about, set(parquet.schema_arrow.names))
                yield from parquet.iter_batches(size, [group])


class ArrowFile(_Columns):
    """An Arrow file or stream."""

    def save(self, path: Path, found: Blocks) -> None:
        """Write the file with other records in the place of some."""
        with self._opened() as (_, schema, stream):
            writers.write_arrow(path, self.written(found), schema, stream=stream)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Iterator[pa.RecordBatch], pa.Schema, bool]]:
        """The record batches, their schema, and whether it is a stream."""
        with ExitStack() as stack:
            file = self.file
            source: Any = (
                stack.enter_context(pa.memory_map(file.path))
                if file.fs is None
                else pa.PythonFile(stack.enter_context(file.open()), mode="r")
            )
            with file_errors(file):
                stream = source.read(len(FILE_MAGIC)) != FILE_MAGIC
                source.seek(0)
                batches, schema = open_arrow(source, file)
            yield batches, schema, stream

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with self._opened() as (batches, _, _):
            for batch in batches:
                for start in range(0, batch.num_rows, limits.MAX_BATCH_ROWS):
                    yield batch.slice(start, limits.MAX_BATCH_ROWS)
