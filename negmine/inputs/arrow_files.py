"""Arrow files: alone, or as the shards of a data set saved by Hugging Face ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any

import pyarrow as pa

from negmine.errors import InvalidDataError
from negmine.inputs import limits
from negmine.inputs.arrow_columns import chunk_of, looker, sources_of
from negmine.inputs.chunks import Chunk
from negmine.inputs.columns import Columns
from negmine.inputs.kinds import Input
from negmine.inputs.places import Place, file_errors
from negmine.inputs.suspects import LOOKED_AT, settle

FILE_MAGIC = b"ARROW1"
#: What ends a stream. (Before Arrow 0.15 it was four zeros, which data may end with as well.)
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def arrow_chunks(kind: Input, file: Place, columns: Columns) -> Iterator[Chunk]:
    """An Arrow file or stream, a record batch at a time and each in pieces of bounded size."""
    with ExitStack() as stack:
        with file_errors(file):
            if file.fs is None:
                # Mapped, so that a large record batch is paged in and out, not held.
                source: Any = stack.enter_context(pa.memory_map(file.path))
            else:
                source = pa.PythonFile(stack.enter_context(file.open()), mode="r")
            batches, schema = open_arrow(source, file)
        sources = sources_of(kind, file, schema, columns)
        first = _first(batches, file)
        head = _joined(first, file)
        settle(kind, file.name, schema.names, sources, columns, looker(file, lambda _: head))
        batches = chain(first, batches)
        row = 1
        while True:
            with file_errors(file):
                batch = next(batches, None)
                if batch is None:
                    break
                batch = batch.select(list(dict.fromkeys(sources.values())))
                # The offsets come from the file: checked before anything is looked up by them.
                batch.validate(full=True)
            size = max(
                1,
                min(
                    limits.MAX_BATCH_ROWS,
                    limits.MAX_BATCH_BYTES * batch.num_rows // max(1, batch.nbytes),
                ),
            )
            for start in range(0, batch.num_rows, size):
                piece = batch.slice(start, size)
                yield chunk_of(kind, file, sources, piece, row)
                row += piece.num_rows


def _first(batches: Iterator[pa.RecordBatch], file: Place) -> list[pa.RecordBatch]:
    """The first record batches, as many as have the rows that are looked at."""
    found: list[pa.RecordBatch] = []
    with file_errors(file):
        while sum(batch.num_rows for batch in found) < LOOKED_AT:
            batch = next(batches, None)
            if batch is None:
                break
            found.append(batch)
    return found


def _joined(batches: list[pa.RecordBatch], file: Place) -> pa.RecordBatch | None:
    """Record batches as one."""
    if len(batches) < 2:
        return batches[0] if batches else None
    with file_errors(file):
        for batch in batches:
            # Joining copies by offsets that come from the file.
            batch.validate(full=True)
    return pa.concat_batches(batches)


def open_arrow(source: Any, file: Place) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    """The record batches of either form of file, known to be complete."""
    size = source.size()
    if source.read(len(FILE_MAGIC)) == FILE_MAGIC:
        source.seek(0)
        reader = pa.ipc.open_file(source)
        return (reader.get_batch(at) for at in range(reader.num_record_batches)), reader.schema
    source.seek(max(0, size - 8))
    if source.read(8) != _STREAM_END:
        # Arrow takes the end of the file for the end of the stream.
        raise InvalidDataError(
            "the file is damaged or cut short: the stream has no end mark",
            where=file.name,
            hint="Save the data set again, with a current version of its library.",
        )
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return iter(stream), stream.schema
