"""What a model has made of a part that is not finished: at most some seconds of its work are lost.

A checkpoint is a hidden file beside the parts. It begins with a key, which says whose rows these
are, and each record after it holds some rows and its own digest: a torn last one does not count.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        self._waiting: list[bytes] = []
        self._written = time.monotonic()

    def restore(self, out: np.ndarray) -> npt.NDArray[np.bool_]:
        """Fill in the rows of ``out`` that are finished; True for these, bool [rows].

        Rows of other models or settings, or of another array, are removed.
        """
        done = np.zeros(len(out), dtype=bool)
        shape = np.array([len(out), out.size // max(1, len(out))], dtype=np.int64)
        header = self._key + shape.tobytes()
        content = disk.content_of(self.path)
        if not content.startswith(header):
            disk.remove_file(self.path)
            self._waiting = [header]
            return done
        start = len(header)
        flat = out.reshape(len(out), -1)
        while (record := _record(content, start, int(shape[1]))) is not None:
            rows, values, start = record
            flat[rows] = values
            done[rows] = True
        if start < len(content):
            # What comes after a torn record would be torn, too.
            disk.cut(self.path, start)
        return done

    def add(self, rows: npt.NDArray[np.int64], values: np.ndarray) -> None:
        """Keep some rows; they are on the disk some seconds later."""
        body = b"".join(
            (
                np.int64(len(rows)).tobytes(),
                rows.astype(np.int64, copy=False).tobytes(),
                values.astype(np.float32, copy=False).tobytes(),
            )
        )
        self._waiting.append(body + hashlib.blake2b(body, digest_size=_DIGEST).digest())
        if time.monotonic() - self._written >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits, if a row is among it."""
        if any(len(record) != _KEY + 16 for record in self._waiting):
            disk.append_bytes(self.path, b"".join(self._waiting))
            self._waiting.clear()
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forget the rows: their part is finished."""
        self._waiting.clear()
        disk.remove_file(self.path)


def _record(
    content: bytes, start: int, width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int] | None:
    """Rows, values [rows, width] and end of the record at ``start``; None if it is not whole."""
    if start + 8 > len(content):
        return None
    count = int(np.frombuffer(content, np.int64, 1, start)[0])
    end = start + 8 + count * 8 + count * width * 4
    if count < 0 or end + _DIGEST > len(content):
        return None
    body = content[start:end]
    if hashlib.blake2b(body, digest_size=_DIGEST).digest() != content[end : end + _DIGEST]:
        return None
    rows = np.frombuffer(body, np.int64, count, 8)
    values = np.frombuffer(body, np.float32, count * width, 8 + count * 8)
    return rows, values.reshape(count, width), end + _DIGEST
