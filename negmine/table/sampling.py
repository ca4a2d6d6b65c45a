"""A part of a large input file, for those who want to know what reading all of it would take."""

from __future__ import annotations

import bz2
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from negmine.table.readers.kinds import KINDS
from negmine.table.readers.layouts import find

#: Files up to this size are taken whole.
WHOLE_BYTES = 16 << 20
#: A file of lines is sampled at so many places, so that one that is sorted does not deceive.
_SLICES = 8
_PARQUET_ROWS = 4096


_SAMPLED = ("jsonl", "csv", "tsv", "parquet")


@dataclass(frozen=True)
class Sample:
    """An input that any reader takes.

    Attributes:
        spec: the sample, or the input itself where that is small.
        share: how much of the input it holds, 1.0 = all.
    """

    spec: str
    share: float


def sample(spec: str, role: str, folder: Path, most: int = WHOLE_BYTES) -> Sample:
    """About ``most`` bytes of an input, written into ``folder`` where it has more.

    JSON lines and TSV files are cut at even distances; CSV files (whose fields may hold newlines),
    compressed and Parquet files at their beginning. What is no single local file of these formats
    is left whole.

    Args:
        spec: what a user would name.
        role: corpus, queries, qrels, run or pairs.
        folder: where the sample may be written.
        most: bytes of text wanted.

    Raises:
        MissingInputError: there is no such file.
    """
    found = find(KINDS[role], spec)
    if found.format not in _SAMPLED or len(found.files) != 1 or found.files[0].fs is not None:
        return Sample(spec, 1.0)
    file, format_, compression = Path(found.files[0].path), found.format, found.compression
    size = file.stat().st_size
    if size <= (most if compression is None and format_ != "parquet" else most // 4):
        return Sample(spec, 1.0)
    target = folder / f"{role}-sample{'.parquet' if format_ == 'parquet' else f'.{format_}'}"
    if format_ == "parquet":
        share = _parquet(file, target, most)
    elif compression is None and format_ != "csv":
        share = _slices(file, target, size, most)
    else:
        share = _beginning(file, target, size, compression, most)
    return Sample(str(target), share)


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
