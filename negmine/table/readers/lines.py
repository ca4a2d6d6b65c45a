"""Bytes and lines of a file or of stdin, decompressed, in blocks of bounded size."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa

from negmine.errors import InvalidDataError, MissingInputError
from negmine.table.readers import limits

_BOM = b"\xef\xbb\xbf"


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """What opening or decompressing a file raises, as the user's mistake that it is."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingInputError("no such file", where=path) from error
    except (PermissionError, IsADirectoryError) as error:
        raise MissingInputError(f"cannot be read: {error.strerror}", where=path) from error
    except (
        # Arrow raises UnicodeDecodeError for damaged column names, and others of its own.
        *(OSError, EOFError, zlib.error, lzma.LZMAError),
        *(pa.ArrowException, UnicodeDecodeError),
    ) as error:
        raise InvalidDataError(
            f"the file is damaged or cut short: {error}",
            where=path,
            hint="Fetch or write it again; the suffix must tell its compression.",
        ) from error


@contextmanager
def open_bytes(path: str, compression: str | None) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file or of stdin."""
    if path == "-":
        yield sys.stdin.buffer
        return
    opener = {"bz2": bz2.BZ2File, "xz": lzma.LZMAFile}.get(compression or "")
    with file_errors(path):
        # Arrow reads gzip faster than Python does, and Python 3.11 has no zstd.
        stream: Any = opener(path) if opener else pa.input_stream(path, compression=compression)
    with stream:
        yield stream


def line_blocks(path: str, compression: str | None) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of whole lines without their newlines, and the number of each block's first line.

    A block has at most ``MAX_BATCH_ROWS`` lines and about ``BLOCK_BYTES`` bytes (see
    :mod:`.limits`), or one longer line. Only a newline ends a line: the other separators that
    Unicode knows are text.
    """
    number = 1
    pending: list[bytes] = []
    with open_bytes(path, compression) as stream:
        for index, chunk in enumerate(_blocks(stream, path)):
            if index == 0:
                chunk = chunk.removeprefix(_BOM)
            end = chunk.rfind(b"\n")
            if end < 0:
                pending.append(chunk)
                if sum(map(len, pending)) > limits.MAX_LINE_BYTES:
                    raise InvalidDataError(
                        f"a line is longer than {limits.MAX_LINE_BYTES:,} bytes",
                        where=f"{shown(path)}:{number}",
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


def _blocks(stream: IO[bytes], path: str) -> Iterator[bytes]:
    """The bytes of ``stream`` in blocks; only the reading, not the use, may find it damaged."""
    while True:
        with file_errors(shown(path)):
            block = stream.read(limits.BLOCK_BYTES)
        if not block:
            return
        yield block


def shown(path: str) -> str:
    """What messages call a path."""
    return "stdin" if path == "-" else path


def line_text(line: bytes) -> str:
    """A line as text. Bytes that are no UTF-8 become surrogates, which the checks find again."""
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
