"""A part of a large input file, for those who want to know what reading all of it would take."""

from __future__ import annotations

import bz2
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from negmine.table.readers import format_of, input_file

#: Files up to this size are taken whole.
WHOLE_BYTES = 16 << 20
#: A file of lines is sampled at so many places, so that one that is sorted does not deceive.
_SLICES = 8
_PARQUET_ROWS = 4096


@dataclass(frozen=True)
class Sample:
    """A file that any reader takes for the input.

    Attributes:
        path: the sample, or the input itself where that is small.
        share: how much of the input it holds, 1.0 = all.
    """

    path: Path
    share: float


def sample(path: str, role: str, folder: Path, most: int = WHOLE_BYTES) -> Sample:
    """About ``most`` bytes of the input ``path``, written into ``folder`` where it has more.

    JSON lines and TSV files are cut at even distances; CSV files (whose fields may hold newlines),
    compressed and Parquet files at their beginning.

    Args:
        path: a file or a folder in BEIR layout.
        role: corpus, queries, qrels, run or pairs.
        folder: where the sample may be written.
        most: bytes of text wanted.

    Raises:
        MissingInputError: there is no such file.
    """
    file = input_file(path, role)
    format_, compression = format_of(str(file), role)
    size = file.stat().st_size
    if size <= (most if compression is None and format_ != "parquet" else most // 4):
        return Sample(file, 1.0)
    target = folder / f"{role}-sample{'.parquet' if format_ == 'parquet' else f'.{format_}'}"
    if format_ == "parquet":
        return Sample(target, _parquet(file, target, most))
    if compression is None and format_ != "csv":
        return Sample(target, _slices(file, target, size, most))
    return Sample(target, _beginning(file, target, size, compression, most))


def _parquet(file: Path, target: Path, most: int) -> float:
    """Copy the first rows; returns their share."""
    source = pq.ParquetFile(file, memory_map=True)
    rows = size = 0
    with pq.ParquetWriter(target, source.schema_arrow) as writer:
        for batch in source.iter_batches(batch_size=_PARQUET_ROWS):
            writer.write_batch(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if size >= most:
                break
    return rows / max(1, source.metadata.num_rows)


def _slices(file: Path, target: Path, size: int, most: int) -> float:
    """Copy whole lines from several places, the first line (a header, perhaps) among them."""
    written = 0
    with file.open("rb") as source, target.open("wb") as copy:
        for number in range(_SLICES):
            if number:
                source.seek(number * size // _SLICES)
                # The rest of a line that began before.
                source.readline()
            written += copy.write(_whole_lines(source.read(most // _SLICES)))
    return min(1.0, written / size)


def _beginning(file: Path, target: Path, size: int, compression: str | None, most: int) -> float:
    """Copy whole lines from the beginning, decompressed; returns the share of the file read."""
    openers: dict[str | None, Any] = {
        None: lambda raw: raw,
        "bz2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
    }
    with file.open("rb") as raw, target.open("wb") as copy:
        opener = openers.get(compression)
        stream: IO[bytes] = (
            opener(raw) if opener else pa.CompressedInputStream(pa.PythonFile(raw), compression)
        )
        data = stream.read(most)
        share = raw.tell() / size
        if share < 1:
            whole = _whole_lines(data)
            share *= len(whole) / max(1, len(data))
            data = whole
        copy.write(data)
    return min(1.0, share)


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]
