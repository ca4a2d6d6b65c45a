"""What a model has made of a part that is not finished: at most some seconds of its work are lost.

A checkpoint is a hidden file beside the parts. It begins with a key, which says whose rows these
are, and each record after it holds some rows and its own digest: a torn last one does not count.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from negmine.table.artifacts import disk

#: Seconds of work that may wait to be written.
SECONDS = 20.0
_DIGEST = 8
#: What stands for the width of rows that have none.
_RAGGED = -1
_KEY = 16


class Ragged(Protocol):
    """Rows of different length that a model makes."""

    def __len__(self) -> int:
        """The number of rows."""

    def dump(self, rows: npt.NDArray[np.int64]) -> bytes:
        """What the rows of these numbers hold."""

    def load(self, rows: npt.NDArray[np.int64], data: bytes) -> None:
        """Fill in the rows of these numbers with what :meth:`dump` gave."""


@dataclass(frozen=True)
class _Dense:
    """Rows of an array, float32 [rows, width]."""

    out: np.ndarray

    def __len__(self) -> int:
        return len(self.out)

    def dump(self, rows: npt.NDArray[np.int64]) -> bytes:
        """The values of these rows."""
        return self.out[rows].astype(np.float32, copy=False).tobytes()

    def load(self, rows: npt.NDArray[np.int64], data: bytes) -> None:
        """Fill in these rows."""
        self.out[rows] = np.frombuffer(data, np.float32).reshape(len(rows), self.out.shape[1])


class Checkpoint:
    """Finished rows that a model makes of one file; made by :meth:`Writer.checkpoint`."""

    def __init__(self, path: Path, made_of: Mapping[str, Any]) -> None:
        self.path = path
        told = json.dumps(made_of, sort_keys=True, default=str).encode()
        self._key = hashlib.blake2b(told, digest_size=_KEY).digest()
        # What the file lacks: its header, and rows of the array, which has them all the same.
        self._header = b""
        self._rows: Ragged = _Dense(np.empty((0, 0), dtype=np.float32))
        self._waiting: list[npt.NDArray[np.int64]] = []
        self._written = time.monotonic()

    def restore(self, out: np.ndarray) -> npt.NDArray[np.bool_]:
        """Fill in the rows of ``out`` that are finished; True for these, bool [rows].

        Rows of other models or settings, or of another array, are removed. Read a record at a time.

        Args:
            out: float32 [rows] or [rows, width], C-contiguous. It is the caller's, and read by
                :meth:`flush`.
        """
        width = out.size // max(1, len(out))
        return self._restored(_Dense(out.reshape(len(out), width)), width)

    def restore_rows(self, rows: Ragged) -> npt.NDArray[np.bool_]:
        """Likewise, of rows of different length."""
        return self._restored(rows, None)

    def _restored(self, rows: Ragged, width: int | None) -> npt.NDArray[np.bool_]:
        self._rows = rows
        done = np.zeros(len(rows), dtype=bool)
        told = [len(rows), _RAGGED if width is None else width]
        header = self._key + np.array(told, dtype=np.int64).tobytes()
        with disk.opened(self.path) as file:
            known = file.read(len(header)) == header
            whole = len(header)
            while known and (record := _record(file, len(rows), width)) is not None:
                rows.load(*record)
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
            ragged = not isinstance(self._rows, _Dense)
            records = (_bytes(rows, self._rows.dump(rows), ragged) for rows in self._waiting)
            disk.append_bytes(self.path, chain([self._header], records))
            self._header = b""
            self._waiting.clear()
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forget the rows: their part is finished."""
        self._waiting.clear()
        disk.remove_file(self.path)


def _bytes(rows: npt.NDArray[np.int64], values: bytes, ragged: bool) -> bytes:
    """One record: a count, so many row numbers, of ragged ones their size, values, a digest."""
    told = [np.int64(len(rows)).tobytes(), rows.astype(np.int64, copy=False).tobytes()]
    size = [np.int64(len(values)).tobytes()] if ragged else []
    body = b"".join([*told, *size, values])
    return body + hashlib.blake2b(body, digest_size=_DIGEST).digest()


def _record(
    file: IO[bytes], rows: int, width: int | None
) -> tuple[npt.NDArray[np.int64], bytes] | None:
    """Row numbers and values of the next record; None if it is not whole.

    Args:
        file: where it begins.
        rows: of the file that is made, so of no record are more.
        width: float32 numbers of each; None where a record says its size.
    """
    told = file.read(8)
    count = int.from_bytes(told, "little", signed=True)
    if len(told) < 8 or not 0 <= count <= rows:
        return None
    body = told + file.read(count * 8)
    size = count * (width or 0) * 4
    if width is None:
        told = file.read(8)
        size, body = int.from_bytes(told, "little", signed=True), body + told
        if size < 0:
            return None
    values = file.read(size)
    if hashlib.blake2b(body + values, digest_size=_DIGEST).digest() != file.read(_DIGEST):
        return None
    return np.frombuffer(body, np.int64, count, 8), values
