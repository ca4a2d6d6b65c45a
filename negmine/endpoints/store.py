"""Answers as they arrive, kept by what was asked: nothing that was answered is asked again.

One SQLite file in a folder beside the artifacts. No run removes from it: neither ``--force`` nor
other rules, prompts or models make an answer less true. An answer belongs to a request and to the
identity of the model that gave it; where the identity is not known (a batch), to whatever is
called so.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from negmine.addresses import kept_here
from negmine.endpoints.request import Answer, Failure, Request, Usage
from negmine.errors import InvalidDataError, MachineError
from negmine.table.artifacts import disk

#: The folder beside a stage's result, and the file in it.
FOLDER, FILE = "answers", "answers.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
  key TEXT NOT NULL, identity TEXT NOT NULL, path TEXT NOT NULL, body TEXT NOT NULL,
  model TEXT NOT NULL, prompt INTEGER, completion INTEGER, cost REAL,
  via TEXT NOT NULL, arrived REAL NOT NULL, PRIMARY KEY (key, identity)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
  key TEXT PRIMARY KEY, kind TEXT NOT NULL, message TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identities (
  url TEXT NOT NULL, model TEXT NOT NULL, identity TEXT NOT NULL, told TEXT NOT NULL,
  PRIMARY KEY (url, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (what TEXT PRIMARY KEY, how TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read_files (digest TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (
  key TEXT NOT NULL, part TEXT NOT NULL, PRIMARY KEY (key, part)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts_back (part TEXT PRIMARY KEY) WITHOUT ROWID;
"""
#: Keys in one question to SQLite, which takes no more than so many values.
_AT_ONCE = 500
#: Seconds to wait for another process that writes.
_PATIENCE = 60.0
#: Seconds between two attempts to open the file where SQLite does not wait by itself.
_AGAIN = 0.01

T = TypeVar("T")


class Store:
    """The answers in a folder. Several threads and processes may use it."""

    def __init__(self, folder: Path) -> None:
        # A data base is no object.
        self.folder = kept_here(folder)
        self.file = folder / FILE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store can be used again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def get(self, keys: Iterable[str], identity: str = "") -> dict[str, Answer]:
        """The answers that are there, by key.

        Args:
            keys: of requests.
            identity: of the model; its own answers and those of a model whose identity was not
                known are taken. Empty: all are, of several the one that came first.
        """
        found: dict[str, Answer] = {}
        rows = self._rows(
            "SELECT key, body, prompt, completion, cost, model, identity FROM answers "
            "WHERE key IN ({keys}) ORDER BY arrived, identity",
            keys,
        )
        for key, body, prompt, completion, cost, model, whose in rows:
            if key not in found and (not identity or whose in ("", identity)):
                found[key] = Answer(json.loads(body), Usage(prompt, completion, cost), model)
        return found

    def known(self, keys: Iterable[str], identity: str = "") -> int:
        """How many of the requests are answered already; for ``--dry-run``."""
        rows = self._rows("SELECT key, identity FROM answers WHERE key IN ({keys})", keys)
        return len({key for key, whose in rows if not identity or whose in ("", identity)})

    def put(
        self,
        answers: Iterable[tuple[Request | str, Answer]],
        identity: str = "",
        via: str = "http",
        path: str = "",
    ) -> None:
        """Keep answers; they are on the disk when this returns. The first of a request stays."""
        rows = [
            (
                asked if isinstance(asked, str) else asked.key,
                identity,
                path if isinstance(asked, str) else asked.path,
                json.dumps(answer.body, separators=(",", ":")),
                answer.model,
                answer.usage.prompt,
                answer.usage.completion,
                answer.usage.cost,
                via,
                time.time(),
            )
            for asked, answer in answers
        ]
        self.write(
            "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def put_failures(self, failures: Mapping[str, Failure]) -> None:
        """Keep what a batch says cannot be answered: it would be written again otherwise."""
        self.write(
            "INSERT OR REPLACE INTO failures VALUES (?, ?, ?)",
            [(key, failure.kind, failure.message) for key, failure in failures.items()],
        )

    def failures(self, keys: Iterable[str]) -> dict[str, Failure]:
        """The failures of batches, by key."""
        rows = self._rows("SELECT key, kind, message FROM failures WHERE key IN ({keys})", keys)
        return {key: Failure(kind, message) for key, kind, message in rows}

    def parts_of(self, keys: Iterable[str], prefix: str) -> dict[str, str]:
        """The batch file, of those that begin so, in which each key was written last."""
        rows = self._rows("SELECT key, part FROM asked WHERE key IN ({keys}) ORDER BY part", keys)
        return {key: part for key, part in rows if part.startswith(prefix)}

    def remember(self, url: str, model: str, identity: str, told: Mapping[str, Any]) -> None:
        """Keep what a server told of a model."""
        told_text = json.dumps(told, sort_keys=True)
        self.write(
            "INSERT OR REPLACE INTO identities VALUES (?, ?, ?, ?)",
            [(url, model, identity, told_text)],
        )

    def remembered(self, url: str, model: str) -> tuple[str, dict[str, Any]] | None:
        """The identity that a server told of a model last, and all that it told."""
        rows = self.read(
            "SELECT identity, told FROM identities WHERE url = ? AND model = ?", url, model
        )
        return (rows[0][0], json.loads(rows[0][1])) if rows else None

    def settle(self, what: str, how: str) -> None:
        """Keep what was found out once, so that a later run does not find something else."""
        self.write("INSERT OR IGNORE INTO settled VALUES (?, ?)", [(what, how)])

    def settled(self, what: str) -> str | None:
        """What was found out; None = nothing yet."""
        rows = self.read("SELECT how FROM settled WHERE what = ?", what)
        return rows[0][0] if rows else None

    def write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows in one transaction.

        Raises:
            NegmineError: the file cannot be written.
        """

        def run(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany(statement, rows)

        self._do(run, create=True)

    def read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a question; none where nothing was ever kept.

        Raises:
            NegmineError: the file cannot be read.
        """
        return self._do(lambda one: one.execute(statement, values).fetchall(), create=False) or []

    def _rows(self, statement: str, keys: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """Rows of a statement that asks for ``{keys}``, some keys at a time."""
        asked = list(keys)
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            yield from self.read(statement.format(keys=", ".join("?" * len(some))), *some)

    def _do(self, work: Callable[[sqlite3.Connection], T], *, create: bool) -> T | None:
        with self._lock, self._in_words():
            if self._connection is None:
                if not create and not disk.is_file(self.file):
                    return None
                self._connection = self._opened()
            return work(self._connection)

    def _opened(self) -> sqlite3.Connection:
        disk.make_folder(self.folder)
        until = time.monotonic() + _PATIENCE
        while True:
            connection = sqlite3.connect(self.file, timeout=_PATIENCE, check_same_thread=False)
            try:
                # Readers do not wait for a writer, and a commit is one flush.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_SCHEMA)
            except sqlite3.OperationalError as error:
                connection.close()
                # SQLite waits for nobody where it changes the mode of a file that another process
                # has just made, too: shards and workers begin at the same moment.
                if not _is_held(error) or time.monotonic() > until:
                    raise
                time.sleep(_AGAIN)
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """SQLite's errors, as a user meets them."""
        try:
            yield
        except sqlite3.OperationalError as error:
            mend = "Free space or check the permissions"
            if _is_held(error):
                mend = f"Another program has held it for {_PATIENCE:g} s: let it end or stop it"
            raise MachineError(
                f"the stored answers cannot be read or written: {error}",
                where=str(self.file),
                hint=f"{mend}, then run the same command again: what is stored stays.",
            ) from None
        except sqlite3.DatabaseError as error:
            raise InvalidDataError(
                f"the stored answers are damaged: {error}",
                where=str(self.file),
                hint="Move the file away (sqlite3 FILE .recover may save what is in it), then run "
                "the same command again: what is lost is asked again.",
            ) from None


def _is_held(error: sqlite3.Error) -> bool:
    """Whether somebody else has the file; the low byte is the kind, the others say more."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


class Nothing(Store):
    """No answers: others keep them."""

    def __init__(self) -> None:
        super().__init__(Path())

    def write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Nothing."""

    def read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Nothing."""
        return []


class Unwritten(Store):
    """Answers that are read; what a trial learns is not kept."""

    def write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Nothing."""
