"""Progress: bars on a terminal, events in JSON logs, a line now and then elsewhere."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from negmine import log
from tests.chains import DOCUMENTS, QUERIES, call, commands, make_data, small_parts

pytestmark = pytest.mark.usefixtures("logger_as_before")

WORK = """
import sys
from negmine import log
log._DELAY = 0
log.setup(quiet="quiet" in sys.argv, log_format="json" if "json" in sys.argv else "text")
with log.progress("working", 10, " docs") as bar:
    for number in range(1, 4):
        bar.part(number, 3)
        bar.update(3)
"""


def on_a_terminal(*arguments: str) -> str:
    """What a terminal gets on stderr."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, *arguments],
            stderr=slave,
            # Draw every update, however soon it comes after the last one.
            env={**os.environ, "TQDM_MININTERVAL": "0", "TERM": "xterm"},
        )
        os.close(slave)
        shown = b""
        # Reading a terminal that nobody writes to any more is an error on Linux.
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:
                break
            if not block:
                break
            shown += block
        assert process.wait() == 0
    finally:
        os.close(master)
    return shown.decode()


def test_a_bar_on_a_terminal() -> None:
    shown = on_a_terminal()
    assert "working:" in shown
    assert "90%" in shown
    assert "9.00/10.0" in shown
    assert "part 3/3" in shown
    # Time taken, time left, rate.
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d, .*docs/s", shown)


def test_quiet_on_a_terminal() -> None:
    assert on_a_terminal("quiet") == ""


def test_json_on_a_terminal() -> None:
    events = [json.loads(line) for line in on_a_terminal("json").splitlines()]
    assert {event["event"] for event in events} == {"progress"}


@pytest.mark.parametrize("quiet", [[], ["quiet"]])
def test_nothing_of_what_is_short_where_there_is_no_terminal(quiet: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WORK, *quiet], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""


def test_events(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.setup(log_format="json")

    def told() -> list[dict[str, Any]]:
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    with log.progress("working", 100, " docs") as bar:
        now[0] += 0.5
        bar.update(10)
        assert told() == []
        now[0] += 1.5
        bar.part(1, 2)
        bar.update(10)
        now[0] += 4
        bar.update(10)
        assert len(told()) == 1
        now[0] += 4
        # As an audit silences the stages that it runs.
        log.logger.setLevel(logging.WARNING)
        bar.part(2, 2)
        bar.update(70)
    first, second, last = told()
    assert first["message"] == "working"
    assert first["event"] == "progress"
    assert (first["done"], first["total"], first["unit"]) == (20, 100, "docs")
    assert (first["rate"], first["eta"]) == (10.0, 8.0)
    assert (first["part"], first["parts"]) == (1, 2)
    assert (second["done"], second["eta"], second["part"]) == (100, 0.0, 2)
    assert last["done"] == 100


class Clock:
    """A clock that goes when it is told to, and what is written to stderr meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.stream = io.StringIO()
        monkeypatch.setattr(log.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(sys, "stderr", self.stream)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def test_a_line_every_half_minute_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    log.setup()
    with log.progress("retrieving", 1200, " queries") as bar:
        for _ in range(9):
            clock.now += 10
            bar.update(100)
            bar.part(1, 2)
        clock.now += 29
        bar.update(0)
    rest = "10 queries/s"
    assert clock.lines() == [
        f"retrieving: 300 of 1,200 queries, part 1 of 2, {rest}, 1 min 30 s left",
        f"retrieving: 600 of 1,200 queries, part 1 of 2, {rest}, 1 min 0 s left",
        f"retrieving: 900 of 1,200 queries, part 1 of 2, {rest}, 30 s left",
    ]


def test_one_line_tells_all_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    log.setup()
    place = log.Place("retrieve", "work/candidates", 2, 5)
    with log.working_on(place), log.progress("retrieving", 10, " queries") as bar:
        # Short waits one after the other do not put the line off.
        for _ in range(3):
            clock.now += 5
            with log.waiting("starting Java"):
                clock.now += 10
                bar.update(0)
    assert clock.lines() == [
        "stage 2 of 5, retrieve: work/candidates",
        "stage 2 of 5, retrieve: retrieving: 0 of 10 queries; starting Java: for 10 s",
    ]


def test_quiet_tells_nothing_of_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    log.setup(quiet=True)
    with log.waiting("starting Java"), log.progress("retrieving", 10, " queries") as bar:
        clock.now += 1000
        bar.update(1)
    assert clock.lines() == []


def test_a_wait_is_told_without_anything_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_DELAY", 0.01)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.setup(log_format="json")
    with log.working_on(log.Place("rerank", "scored")), log.waiting("loading ce"):
        until = time.monotonic() + 10
        while not stream.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
        event = json.loads(stream.getvalue().splitlines()[0])
    assert (event["message"], event["event"], event["total"]) == ("loading ce", "progress", None)
    assert (event["stage"], event["output"]) == ("rerank", "scored")
    assert "stages" not in event


def test_what_was_there_says_nothing_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    log.setup(log_format="json")
    with log.progress("encoding", 1000, " docs") as bar:
        bar.there(800)
        clock.now += 10
        bar.update(100)
    event = json.loads(clock.lines()[-1])
    assert (event["done"], event["rate"], event["eta"]) == (900, 10.0, 10.0)


def test_without_a_total_nothing_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_DELAY", 0)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.setup(log_format="json")
    with log.progress("reading", None, " docs") as bar:
        bar.update(3)
    for line in stream.getvalue().splitlines():
        event = json.loads(line)
        assert (event["done"], event["total"], event["eta"]) == (3, None, None)


def test_every_stage_counts_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_DELAY", 0)
    monkeypatch.setattr(log, "_EVERY", 0)
    data = make_data(tmp_path / "data")
    table = commands(data, tmp_path / "work")
    table["filter"] += ["--difficulty", "--by", "bm25"]
    candidates = tmp_path / "work" / "candidates"
    table["audit"] = ["audit", str(candidates), "--seeds", "1", "-o", str(tmp_path / "audit")]
    last: dict[str, dict[str, Any]] = {}
    with small_parts():
        for command in table.values():
            code, output = call(*command, "--log-format", "json")
            assert code == 0, output
            for line in output.splitlines():
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("event") == "progress":
                    last[event["message"]] = event
    assert last["reading the corpus"]["done"] == DOCUMENTS
    assert last["indexing for BM25"]["total"] == DOCUMENTS
    assert last["retrieving"]["total"] == QUERIES
    assert {"describing texts", "reading queries", "learning from the table"} <= last.keys()
    assert {"filtering", "exporting", "auditing"} <= last.keys()
    for what, event in last.items():
        assert event["total"] in (None, event["done"]), what
    assert last["filtering"]["part"] == last["filtering"]["parts"] > 1


def test_where_no_thread_can_be_started_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen under a limit on the address space: the bar ended the run with a traceback."""

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    log.setup()
    with log.progress("working", 2, " docs") as bar:
        bar.update(2)
    assert bar.done == 2
