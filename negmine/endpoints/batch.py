"""What is to be asked as OpenAI batch files, and answers from the files that come back.

Source: OpenAI's Batch API reference (input, output and error file), as ``vllm run-batch`` reads and
writes them. Nothing here opens a connection.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negmine import log
from negmine.endpoints.budget import Budget, worst_of
from negmine.endpoints.request import (
    Answer,
    Failure,
    Problem,
    Request,
    answer_of,
    canonical,
    parsed,
)
from negmine.endpoints.store import Store
from negmine.endpoints.transport import refused
from negmine.errors import AwaitedError, UsageError
from negmine.table.artifacts import disk

#: Most requests and bytes of a file: below what hosted services take.
MOST_REQUESTS, MOST_BYTES = 50_000, 50 << 20

_OURS = re.compile(r"requests-(\d{5,})\.jsonl")
#: The version of the API that the paths of batch files are below.
_VERSION = "/v1"


@dataclass
class _Read:
    """What new files from the server held.

    Attributes:
        files: how many.
        answers: new ones.
        failures: requests that fail for good.
        again: requests that are to be asked again, by the reason.
        unknown: custom_ids that nobody here asked for.
        same: answers that were there already.
        other: answers to what has another answer already: the first one stays.
        torn: places of lines that are no result.
    """

    files: int = 0
    answers: int = 0
    failures: int = 0
    again: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    same: int = 0
    other: int = 0
    torn: list[str] = field(default_factory=list)

    def tell(self, name: str) -> None:
        """Say it: what is as it should be as a message, all else as warnings."""
        if not self.files:
            return
        again = ", ".join(f"{count:,} {why}" for why, count in sorted(self.again.items()))
        log.event(
            f"batch of '{name}': {self.files} files read, {self.answers:,} answers, "
            f"{self.failures:,} failed for good"
            + (f", to be asked again: {again}" if again else "")
            + (f", {self.same:,} answers once more" if self.same else "")
        )
        told = []
        if self.other:
            told.append(f"{self.other:,} requests have another answer already: the first is kept")
        if self.unknown:
            told.append(
                f"{len(self.unknown):,} custom_ids are of no request here, such as "
                f"'{self.unknown[0]}': left out"
            )
        if self.torn:
            told.append(f"{len(self.torn):,} lines are no results, the first: {self.torn[0]}")
        log.warn(f"batch of '{name}': {one}" for one in told)


class Batch:
    """The batch files of one model.

    Attributes:
        folder: ours are ``requests-00001.jsonl``, ...; all other ``*.jsonl`` there are results.
        identity: of the model, where it is known: what another gave answers nothing here.
    """

    def __init__(
        self, name: str, folder: Path, store: Store, budget: Budget, identity: str = ""
    ) -> None:
        self.name = name
        self.folder = folder
        self.identity = identity
        self._store = store
        self._budget = budget
        self._lines: list[bytes] = []
        self._keys: list[str] = []
        self._size = 0
        self._waiting: set[str] = set()
        self._over = 0
        self._written: set[str] = set()

    # --- reading --------------------------------------------------------------------------------

    def read(self, problem: Problem | None = None) -> None:
        """Store what files say that were not read before, and tell what was in them.

        Args:
            problem: says what is wrong with an answer: such a one is a failure.
        """
        if not disk.is_folder(self.folder):
            return
        found = _Read()
        for file in (self.folder / name for name in disk.names_in(self.folder)):
            if not file.name.endswith(".jsonl") or _OURS.fullmatch(file.name):
                continue
            # By its name, too: what expires twice may be told in the same bytes.
            digest = f"{disk.digest(file)} {file.name}"
            if self._store.read("SELECT 1 FROM read_files WHERE digest = ?", digest):
                continue
            found.files += 1
            self._take(file, problem, found)
            self._store.write(
                "INSERT OR IGNORE INTO read_files VALUES (?, ?)", [(digest, file.name)]
            )
        found.tell(self.name)

    def _take(self, file: Path, problem: Problem | None, found: _Read) -> None:
        """What one file says."""
        lines = list(_results(file, found))
        parts = self._store.parts_of({key for key, _ in lines}, f"{self.name}/")
        answers: dict[str, Answer] = {}
        failures: dict[str, Failure] = {}
        for key, line in lines:
            if key not in parts:
                found.unknown.append(key)
                continue
            outcome = _outcome(line, problem)
            if isinstance(outcome, str):
                found.again[outcome] += 1
            elif isinstance(outcome, Failure):
                failures.setdefault(key, outcome)
            elif key not in answers:
                answers[key] = outcome
            else:
                _again(answers[key], outcome, found)
        there = self._store.get(answers, self.identity)
        for key, answer in there.items():
            _again(answer, answers.pop(key), found)
        self._store.put(answers.items(), via="batch")
        self._store.put_failures(failures)
        back = [(part,) for part in sorted(set(parts.values()))]
        self._store.write("INSERT OR IGNORE INTO parts_back VALUES (?)", back)
        found.answers += len(answers)
        found.failures += len(failures)

    # --- writing --------------------------------------------------------------------------------

    def add(self, requests: Iterable[Request]) -> None:
        """Write what is neither answered nor awaited, as far as the budget goes.

        Raises:
            UsageError: a limit on the cost without prices.
        """
        if self._budget.limits.cost is not None and self._budget.prices is None:
            raise UsageError(
                "--max-cost does not know what a batch costs",
                hint="Give --price IN,OUT, what a million tokens cost, read and written.",
            )
        asked = {request.key: request for request in requests}
        awaited = self._awaited(asked)
        for key, request in asked.items():
            if key in awaited:
                self._waiting.add(key)
            elif key not in self._written:
                self._add(key, request)

    def _awaited(self, keys: Iterable[str]) -> set[str]:
        """Those whose file is there, and nothing of it has come back."""
        parts = self._store.parts_of(keys, f"{self.name}/")
        back = {part for (part,) in self._store.read("SELECT part FROM parts_back")}
        files = set(disk.names_in(self.folder)) if disk.is_folder(self.folder) else set()
        gone = {part for part in parts.values() if part.rpartition("/")[2] not in files}
        return {key for key, part in parts.items() if part not in back and part not in gone}

    def _add(self, key: str, request: Request) -> None:
        worst = worst_of(request)
        if self._over or self._budget.asks(worst) != "go":
            self._over += 1
            return
        self._budget.hold(worst)
        line = canonical_line(key, request)
        if self._lines and (
            len(self._lines) >= MOST_REQUESTS or self._size + len(line) > MOST_BYTES
        ):
            self._flush()
        self._lines.append(line)
        self._keys.append(key)
        self._size += len(line)
        self._written.add(key)

    def _flush(self) -> None:
        """Write the file that is full, or the last one."""
        if not self._lines:
            return
        disk.make_folder(self.folder)
        # Of one number there is one file, and what all shards ask (an examination) is asked once.
        with disk.alone_in(self.folder):
            awaited = self._awaited(self._keys)
            asked = dict(zip(self._keys, self._lines, strict=True))
            self._write({key: line for key, line in asked.items() if key not in awaited})
        self._waiting |= awaited
        self._written -= awaited
        self._lines, self._keys, self._size = [], [], 0

    def _write(self, lines: Mapping[str, bytes]) -> None:
        """Write a file of requests, by their keys."""
        if not lines:
            return
        file = self.folder / f"requests-{self._next():05d}.jsonl"
        part = f"{self.name}/{file.name}"
        # The file last: what is told of one that is not there does not count.
        self._store.write("DELETE FROM asked WHERE part = ?", [(part,)])
        self._store.write("DELETE FROM parts_back WHERE part = ?", [(part,)])
        self._store.write("INSERT INTO asked VALUES (?, ?)", [(key, part) for key in lines])
        disk.write_whole(file, lines.values())
        log.event(f"{len(lines):,} requests written to {file}")

    def _next(self) -> int:
        """The number of the next file: beyond all that are there, or were."""
        told = self._store.read("SELECT DISTINCT part FROM asked")
        names = [part.rpartition("/")[2] for (part,) in told if part.startswith(f"{self.name}/")]
        names += disk.names_in(self.folder)
        numbers = [int(found[1]) for name in names if (found := _OURS.fullmatch(name))]
        return max(numbers, default=0) + 1

    def close(self) -> None:
        """Write the last file."""
        self._flush()

    def awaited(self) -> AwaitedError:
        """That answers are awaited, for people."""
        over = f"; {self._over:,} more are left for the limit" if self._over else ""
        return AwaitedError(
            f"{len(self._waiting | self._written):,} requests of '{self.name}' wait for their "
            f"answers, {len(self._written):,} of them new{over}",
            where=str(self.folder),
            hint="Send each requests-*.jsonl whose answers are not there (a hosted batch, or vllm "
            "run-batch -i requests-00001.jsonl -o output-00001.jsonl --model MODEL), put output "
            "and error files into the same folder, and run the same command again.",
        )


def canonical_line(key: str, request: Request) -> bytes:
    """A request as a line of a batch file."""
    head = canonical({"custom_id": key, "method": "POST", "url": _VERSION + request.path})
    return head[:-1] + b',"body":' + request.content + b"}\n"


def _results(file: Path, found: _Read) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a file that are results, with their custom_id."""
    with disk.opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = parsed(line)
            except ValueError:
                row = None
            if isinstance(row, dict) and isinstance(row.get("custom_id"), str):
                yield row["custom_id"], row
            else:
                found.torn.append(f"{file}:{number}")


def _outcome(line: Mapping[str, Any], problem: Problem | None) -> Answer | Failure | str:
    """What a result says: an answer, a failure for good, or why it is to be asked again."""
    response, error = line.get("response"), line.get("error")
    body = response.get("body") if isinstance(response, Mapping) else None
    if not isinstance(response, Mapping) or not isinstance(body, Mapping):
        code = error.get("code") if isinstance(error, Mapping) else None
        return str(code or "without an answer")
    status = response.get("status_code")
    if status == 200 and not isinstance(body.get("error"), Mapping):
        wrong = problem(body) if problem is not None else None
        return answer_of(body) if wrong is None else Failure("garbled", wrong)
    said = json.dumps(body).encode()
    trouble = refused(status if isinstance(status, int) and status != 200 else 502, {}, said)
    if trouble.blame == "request":
        return Failure(trouble.kind, trouble.message)
    return trouble.kind


def _again(first: Answer, other: Answer, found: _Read) -> None:
    """A second answer to one request."""
    if first.body == other.body:
        found.same += 1
    else:
        found.other += 1
