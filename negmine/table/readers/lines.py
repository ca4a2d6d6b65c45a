"""Bytes and lines of a file or of stdin, decompressed, in blocks of bounded size."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa

from negmine.errors import InvalidDataError
from negmine.table.readers import limits
from negmine.table.readers.places import Place, file_errors

_BOM = b"\xef\xbb\xbf"


@contextmanager
def open_bytes(file: Place, compression: str | None) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file or of stdin."""
    if file.fs is None and not file.is_stdin:
        # By its name: Arrow reads a local file without Python in between.
        with _decompressed(file.path, file, compression) as stream:
            yield stream
        return
    with file.open() as raw:
        if compression is None:
            yield raw
            return
        with _decompressed(raw, file, compression) as stream:
            yield stream


def _decompressed(source: Any, file: Place, compression: str | None) -> Any:
    opener = {"bz2": bz2.BZ2File, "xz": lzma.LZMAFile}.get(compression or "")
    with file_errors(file):
        # Arrow reads gzip faster than Python does, and Python 3.11 has no zstd.
        return opener(source) if opener else pa.input_stream(source, compression=compression)


def line_blocks(file: Place, compression: str | None) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of whole lines without their newlines, and the number of each block's first line.

    A block has at most ``MAX_BATCH_ROWS`` lines and about ``BLOCK_BYTES`` bytes (see
    :mod:`.limits`), or one longer line. Only a newline ends a line: the other separators that
    Unicode knows are text.
    """
    number = 1
    pending: list[bytes] = []
    with open_bytes(file, compression) as stream:
        for index, chunk in enumerate(blocks(stream, file)):
            if index == 0:
                chunk = chunk.removeprefix(_BOM)
            end = chunk.rfind(b"\n")
            if end < 0:
                pending.append(chunk)
                if sum(map(len, pending)) > limits.MAX_LINE_BYTES:
                    raise InvalidDataError(
                        f"a line is longer than {limits.MAX_LINE_BYTES:,} bytes",
                        where=f"{file.name}:{number}",
                        hint="Each line must hold one record.",
                    )
                continue
            lines = b"".join((*pending, chunk[:end])).split(b"\n")
            pending = [chunk[end + 1 :]]
            for start in range(0, len(lines), limits.MAX_BATCH_ROWS):
                yield number + start, lines[start : start + limits.MAX_BATCH_ROWS]
            number += len(lines)
    if last := b"".join(pending):
        yield number, [last]


def blocks(stream: IO[bytes], file: Place) -> Iterator[bytes]:
    """The bytes of ``stream`` in blocks; only the reading, not the use, may find it damaged."""
    while True:
        with file_errors(file):
            block = stream.read(limits.BLOCK_BYTES)
        if not block:
            return
        yield block


def line_text(line: bytes) -> str:
    """A line as text. Bytes that are no UTF-8 become surrogates, which the checks find again."""
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
