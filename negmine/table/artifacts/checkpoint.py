"""What a model has made of a part that is not finished: at most some seconds of its work are lost.

A checkpoint is a hidden file beside the parts. It begins with a key, which says whose rows these
are, and each record after it holds some rows and its own digest: a torn last one does not count.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from negmine.table.artifacts import disk

#: Seconds of work that may wait to be written.
SECONDS = 20.0
_DIGEST = 8
_KEY = 16


class Checkpoint:
    """Finished rows of one array that a model makes; made by :meth:`Writer.checkpoint`."""

    def __init__(self, path: Path, made_of: Mapping[str, Any]) -> None:
        self.path = path
        told = json.dumps(made_of, sort_keys=True, default=str).encode()
        self._key = hashlib.blake2b(told, digest_size=_KEY).digest()
        # What the file lacks: its header, and rows of the array, which has them all the same.
        self._header = b""
        self._out = np.empty((0, 0), dtype=np.float32)
        self._waiting: list[npt.NDArray[np.int64]] = []
        self._written = time.monotonic()

    def restore(self, out: np.ndarray) -> npt.NDArray[np.bool_]:
        """Fill in the rows of ``out`` that are finished; True for these, bool [rows].

        Rows of other models or settings, or of another array, are removed. Read a record at a time.

        Args:
            out: float32 [rows] or [rows, width], C-contiguous. It is the caller's, and read by
                :meth:`flush`.
        """
        rows, width = len(out), out.size // max(1, len(out))
        self._out = out.reshape(rows, width)
        done = np.zeros(rows, dtype=bool)
        header = self._key + np.array([rows, width], dtype=np.int64).tobytes()
        with disk.opened(self.path) as file:
            known = file.read(len(header)) == header
            whole = len(header)
            while known and (record := _record(file, rows, width)) is not None:
                self._out[record[0]] = record[1]
                done[record[0]] = True
                whole = file.tell()
        if known:
            # What comes after a torn record would be torn, too.
            disk.cut(self.path, whole)
        else:
            disk.remove_file(self.path)
            self._header = header
        return done

    def add(self, rows: npt.NDArray[np.int64]) -> None:
        """Keep rows of the array that are made; they are on the disk some seconds later."""
        self._waiting.append(rows)
        if time.monotonic() - self._written >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._waiting:
            records = (_bytes(rows, self._out[rows]) for rows in self._waiting)
            disk.append_bytes(self.path, chain([self._header], records))
            self._header = b""
            self._waiting.clear()
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forget the rows: their part is finished."""
        self._waiting.clear()
        disk.remove_file(self.path)


def _bytes(rows: npt.NDArray[np.int64], values: np.ndarray) -> bytes:
    """One record: a count, so many row numbers, their values [count, width], a digest."""
    body = b"".join(
        (
            np.int64(len(rows)).tobytes(),
            rows.astype(np.int64, copy=False).tobytes(),
            values.astype(np.float32, copy=False).tobytes(),
        )
    )
    return body + hashlib.blake2b(body, digest_size=_DIGEST).digest()


def _record(
    file: IO[bytes], rows: int, width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
    """Row numbers and values [count, width] of the next record; None if it is not whole.

    Args:
        file: where it begins.
        rows: of the array, so of no record are more.
        width: of the array.
    """
    told = file.read(8)
    count = int.from_bytes(told, "little", signed=True)
    if len(told) < 8 or not 0 <= count <= rows:
        return None
    size = count * 8 + count * width * 4
    content = file.read(size + _DIGEST)
    body, digest = told + content[:size], content[size:]
    if hashlib.blake2b(body, digest_size=_DIGEST).digest() != digest:
        return None
    values = np.frombuffer(body, np.float32, count * width, 8 + count * 8)
    return np.frombuffer(body, np.int64, count, 8), values.reshape(count, width)
