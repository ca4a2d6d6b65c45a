"""Writing tables to files, one slice at a time."""

from __future__ import annotations

import bz2
import lzma
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from negmine.errors import ConflictError, InvalidDataError
from negmine.table.names import rank_column

#: Suffixes of files with fields between spaces, as TREC's tools read them.
FIELD_SUFFIXES = (".trec", ".run", ".qrels", ".txt")
#: Suffixes that :func:`write_tables` knows; of two that fit, the first counts.
SUFFIXES = (
    ".parquet",
    ".colbert.jsonl",
    ".jsonl",
    ".jsonl.gz",
    ".jsonl.zst",
    ".tsv",
    *FIELD_SUFFIXES,
)


def suffix_of(path: Path) -> str | None:
    """The known suffix that ``path`` ends with, or None."""
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)


def write_parquet(
    path: Path,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write each table that has rows as one row group; returns the rows written.

    ``datasets`` reads files without a row group, but none whose first one is empty.
    """
    rows = 0
    # Not as a context manager: that would write a valid footer after an exception.
    writer = pq.ParquetWriter(
        path,
        schema.with_metadata(metadata),
        compression="zstd",
        use_dictionary=_dictionaries(schema),
    )
    for table in tables:
        if not table.num_rows:
            continue
        writer.write_table(table.replace_schema_metadata(metadata), row_group_size=table.num_rows)
        rows += table.num_rows
    writer.close()
    return rows


def _dictionaries(schema: pa.Schema) -> list[str] | bool:
    """The columns whose values repeat within a part, so that a dictionary of them pays.

    Scores and ranks do not, nor do the ids and texts of documents: without their dictionaries a
    part of candidates is a third smaller and written in half the time.
    """
    if any(pa.types.is_nested(field.type) for field in schema):
        # pyarrow names the columns inside by paths of its own.
        return True
    unique = ("docid", "text")
    names = [
        field.name
        for field in schema
        if field.name not in unique
        and not field.name.startswith(rank_column(""))
        and not pa.types.is_floating(field.type)
    ]
    return names or False


def write_jsonl(file: BinaryIO | pa.NativeFile, tables: Iterable[pa.Table]) -> int:
    """Write one JSON object per row; returns the rows written."""
    rows = 0
    for table in tables:
        for batch in table.to_batches(max_chunksize=4096):
            file.write(b"".join(orjson.dumps(row) + b"\n" for row in batch.to_pylist()))
            rows += batch.num_rows
    return rows


def write_arrays(file: BinaryIO | pa.NativeFile, tables: Iterable[pa.Table]) -> int:
    """Write one JSON array per row, of its values; an object among them is an array of its own.

    Returns:
        The rows written.
    """
    rows = 0
    for table in tables:
        for batch in table.to_batches(max_chunksize=4096):
            columns = [
                zip(*(part.to_pylist() for part in column.flatten()), strict=True)
                if pa.types.is_struct(column.type)
                else column.to_pylist()
                for column in batch.columns
            ]
            lines = zip(*columns, strict=True)
            file.write(b"".join(orjson.dumps(line) + b"\n" for line in lines))
            rows += batch.num_rows
    return rows


def write_tsv(file: BinaryIO | pa.NativeFile, tables: Iterable[pa.Table]) -> int:
    """Write one line per row, its values between tabs; returns the rows written.

    Tabs and line ends inside a value become spaces: the format has no way to tell them.
    """
    rows = 0
    for table in tables:
        for batch in table.to_batches(max_chunksize=65_536):
            columns = [
                pc.replace_substring_regex(column.cast(pa.string()), r"[\t\r\n]+", " ")
                for column in batch.columns
            ]
            lines = pc.binary_join_element_wise(*columns, "\t").to_pylist()
            file.write("".join(f"{line}\n" for line in lines).encode())
            rows += batch.num_rows
    return rows


def write_fields(file: BinaryIO | pa.NativeFile, tables: Iterable[pa.Table]) -> int:
    """Write one line per row, its values between spaces; returns the rows written.

    Raises:
        InvalidDataError: a value holds white space, so that no reader could tell the fields.
    """
    rows = 0
    for table in tables:
        for batch in table.to_batches(max_chunksize=65_536):
            columns = [column.cast(pa.string()) for column in batch.columns]
            for name, column in zip(batch.schema.names, columns, strict=True):
                blank = pc.match_substring_regex(column, r"\s|^$")
                if pc.any(blank).as_py():
                    value = column.filter(blank)[0].as_py()
                    raise InvalidDataError(
                        f"{name} {value!r} is empty or holds white space, which separates fields",
                        hint="Choose a format with JSON lines or Parquet, or rename the id.",
                    )
            lines = pc.binary_join_element_wise(*columns, " ").to_pylist()
            file.write("".join(f"{line}\n" for line in lines).encode())
            rows += batch.num_rows
    return rows


def write_tables(
    path: Path,
    suffix: str,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
    header: bool = False,
) -> int:
    """Write tables in the format of a suffix of :data:`SUFFIXES`; returns the rows written.

    Args:
        path: the file.
        suffix: the suffix.
        tables: the rows.
        schema: of all tables.
        metadata: of a Parquet file.
        header: begin with a line of the columns' names between tabs.
    """
    if suffix == ".parquet":
        return write_parquet(path, tables, schema, metadata)
    compression = {".jsonl.gz": "gzip", ".jsonl.zst": "zstd"}.get(suffix)
    write = {".colbert.jsonl": write_arrays, ".tsv": write_tsv}.get(suffix, write_jsonl)
    if suffix in FIELD_SUFFIXES:
        write = write_fields
    with pa.output_stream(str(path), compression=compression) as stream:
        if header:
            stream.write(("\t".join(schema.names) + "\n").encode())
        return write(stream, tables)


def write_packed(
    path: Path, pieces: Iterable[bytes], layers: Sequence[tuple[str, str | None]] = ()
) -> None:
    """Write bytes, packed.

    Args:
        path: the file.
        pieces: the bytes.
        layers: what they are packed in, the outermost first: gzip, zstd, bz2, xz or zip, and in an
            archive the name of its file.
    """
    with ExitStack() as stack:
        sink: Any = stack.enter_context(path.open("wb"))
        for kind, member in layers:
            sink = stack.enter_context(_packer(stack, sink, kind, member))
        for piece in pieces:
            sink.write(piece)


def _packer(stack: ExitStack, sink: Any, kind: str, member: str | None) -> Any:
    """What packs bytes into another stream; the same bytes for the same bytes."""
    if kind == "zip":
        archive = stack.enter_context(zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED))
        about = zipfile.ZipInfo(member or "data")
        about.compress_type = zipfile.ZIP_DEFLATED
        return archive.open(about, "w", force_zip64=True)
    if kind in ("bz2", "xz"):
        return bz2.BZ2File(sink, "wb") if kind == "bz2" else lzma.LZMAFile(sink, "wb")
    return pa.CompressedOutputStream(sink, kind)


def write_parquet_as(
    path: Path, tables: Iterable[pa.Table], schema: pa.Schema, compression: str
) -> None:
    """Write tables with a schema's own metadata, a row group each."""
    with pq.ParquetWriter(path, schema, compression=compression) as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)


def write_arrow(path: Path, tables: Iterable[pa.Table], schema: pa.Schema, *, stream: bool) -> None:
    """Write tables as an Arrow file, or as an Arrow stream."""
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), schema) as writer:
        for table in tables:
            writer.write_table(table)


def write_new_text(path: Path, text: str, *, replace: bool) -> None:
    """Write a small text file whole or not at all.

    Raises:
        ConflictError: it exists and ``replace`` is False.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        if replace:
            temporary.replace(path)
            return
        try:
            # Unlike a rename, a link does not replace what came in between.
            os.link(temporary, path)
        except FileExistsError:
            raise ConflictError(
                "exists already", where=str(path), hint="Give --force, or another -o."
            ) from None
    finally:
        temporary.unlink(missing_ok=True)
