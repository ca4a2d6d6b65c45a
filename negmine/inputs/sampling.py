"""A part of a large input file, for those who want to know what reading all of it would take."""

from __future__ import annotations

import bz2
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from negmine.inputs.dialects import is_plain
from negmine.inputs.kinds import KINDS, Input
from negmine.inputs.layouts import Found
from negmine.inputs.specs import Specs, as_tuple, find_all

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
        specs: the sample's files, or the input itself where that is small.
        share: how much of the input they hold, 1.0 = all.
    """

    specs: tuple[str, ...]
    share: float


def sample(specs: Specs, role: str, folder: Path, most: int = WHOLE_BYTES) -> Sample:
    """About ``most`` bytes of an input, written into ``folder`` where it has more.

    JSON lines and TSV files are cut at even distances; CSV files (whose fields may hold newlines),
    compressed and Parquet files at their beginning; of many files some are taken. What is not
    local files of these formats alone is left whole.

    Args:
        specs: what a user would name.
        role: corpus, queries, qrels, run or pairs.
        folder: where the sample may be written.
        most: bytes of text wanted.

    Raises:
        MissingInputError: there is no such file.
    """
    found = find_all(KINDS[role], specs)
    whole = Sample(as_tuple(specs), 1.0)
    if not all(_can_be_cut(KINDS[role], one) for one in found):
        return whole
    files = [
        _File(Path(place.path), one.format, one.compression) for one in found for place in one.files
    ]
    if sum(file.weight for file in files) <= most:
        return whole
    sizes = [file.path.stat().st_size for file in files]
    count = min(len(files), _SLICES)
    taken = [number * len(files) // count for number in range(count)]
    cut = [
        _cut(files[at], folder / f"{role}-sample-{number}.{files[at].format}", most // count)
        for number, at in enumerate(taken)
    ]
    read = sum(share * sizes[at] for at, (_, share) in zip(taken, cut, strict=True))
    return Sample(tuple(spec for spec, _ in cut), min(1.0, read / sum(sizes)))


def _can_be_cut(kind: Input, found: Found) -> bool:
    if found.format not in _SAMPLED or not found.files:
        return False
    if not all(file.fs is None and not file.is_stdin for file in found.files):
        return False
    return found.format == "parquet" or all(
        is_plain(kind, file, found.compression, found.format) for file in found.files
    )


@dataclass(frozen=True)
class _File:
    """A local file that can be sampled."""

    path: Path
    format: str
    compression: str | None

    @property
    def weight(self) -> int:
        """About how many bytes of text it holds."""
        packed = self.compression is not None or self.format == "parquet"
        return self.path.stat().st_size * (4 if packed else 1)


def _cut(file: _File, target: Path, most: int) -> tuple[str, float]:
    """A file of about ``most`` bytes, and the share of the whole that it holds."""
    if file.weight <= most:
        return str(file.path), 1.0
    size = file.path.stat().st_size
    if file.format == "parquet":
        share = _parquet(file.path, target, most)
    elif file.compression is None and file.format != "csv":
        share = _slices(file.path, target, size, most)
    else:
        share = _beginning(file.path, target, size, file.compression, most)
    return str(target), share


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
