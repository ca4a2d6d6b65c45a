"""What was asked of a server and what was answered: on the disk before anybody can kill it.

A line is one write to a file that is only appended to: what was written stays when the process is
killed (SIGKILL; not a power cut). A server that begins with such a file goes on counting where the
last one stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """Something that happened.

    Attributes:
        event: ``asked``: the request has arrived; ``answered``: an answer has gone out whole, odd
            though it may be; ``failed``: something else went out; ``gone``: nobody was there to
            take the answer.
        number: of the request, from 1.
        key: hash of path and body.
        attempt: how many requests with the key came before.
        fault: the kind of the fault that was sent.
        in_flight: requests being worked on, this one included.
        when: seconds since the epoch.
    """

    event: str
    number: int
    key: str
    attempt: int
    fault: str | None
    in_flight: int
    when: float


def key_of(path: str, body: bytes) -> str:
    """Of a request: the same for the same JSON, however it is spaced and ordered."""
    try:
        plain = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    except ValueError:
        plain = body
    return hashlib.blake2b(path.encode() + b"\0" + plain, digest_size=20).hexdigest()


class Journal:
    """Counts requests, and writes what becomes of them if it has a file."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = (
            None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        )
        self._lock = threading.Lock()
        self.entries: list[Entry] = read(path) if path is not None else []
        before = [entry for entry in self.entries if entry.event == "asked"]
        self._attempts = Counter(entry.key for entry in before)
        self._number = max((entry.number for entry in before), default=0)
        # Numbers of those that are worked on, and of those of which the end is not written down.
        self._working: set[int] = set()
        self._open: set[int] = set()

    @property
    def in_flight(self) -> int:
        """How many requests are being worked on."""
        return len(self._working)

    def asked(self, key: str) -> Entry:
        """A request has arrived."""
        with self._lock:
            self._number += 1
            self._working.add(self._number)
            self._open.add(self._number)
            attempt = self._attempts[key]
            self._attempts[key] += 1
            entry = Entry("asked", self._number, key, attempt, None, self.in_flight, time.time())
            self._write(entry)
            return entry

    def answering(self, asked: Entry) -> None:
        """Its work is done, and the answer goes out: who has that may ask again at once."""
        with self._lock:
            self._working.discard(asked.number)

    def ended(self, asked: Entry, event: str, fault: str | None = None) -> None:
        """What became of it."""
        with self._lock:
            told = {**asdict(asked), "event": event, "fault": fault}
            self._write(Entry(**{**told, "in_flight": self.in_flight, "when": time.time()}))
            self._working.discard(asked.number)
            self._open.discard(asked.number)

    def _write(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self._file is not None:
            os.write(self._file, json.dumps(asdict(entry)).encode() + b"\n")

    def settle(self, patience: float = 5.0) -> None:
        """Wait until all is written down: who is answered knows it before it is.

        Args:
            patience: seconds; requests that hang are not waited for beyond.
        """
        until = time.monotonic() + patience
        while self._open and time.monotonic() < until:
            time.sleep(0.005)

    def count(self, event: str) -> int:
        """How often something happened, when all is written down."""
        self.settle()
        return self.so_far(event)

    def so_far(self, event: str) -> int:
        """How often something happened, as far as it is written down."""
        with self._lock:
            return sum(entry.event == event for entry in self.entries)

    def close(self) -> None:
        """Nothing is written afterwards."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


def read(path: Path) -> list[Entry]:
    """What a file of a journal holds."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    fields: list[Mapping[str, Any]] = [json.loads(line) for line in lines]
    return [Entry(**values) for values in fields]


def asked_again(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Requests that came after an answer to the same one had gone out: (answer, request)."""
    answers: dict[str, Entry] = {}
    again: list[tuple[Entry, Entry]] = []
    for entry in entries:
        if entry.event == "answered":
            answers[entry.key] = entry
        elif entry.event == "asked" and entry.key in answers:
            again.append((answers[entry.key], entry))
    return again
