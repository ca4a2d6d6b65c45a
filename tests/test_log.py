"""Progress: bars on a terminal, events in JSON logs, nothing elsewhere."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from negmine import log
from tests.chains import DOCUMENTS, QUERIES, call, commands, make_data, small_parts

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


@pytest.fixture(autouse=True)
def logger_as_before() -> Iterator[None]:
    handlers, level = list(log.logger.handlers), log.logger.level
    yield
    log.logger.handlers[:] = handlers
    log.logger.setLevel(level)


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
def test_nothing_where_there_is_no_terminal(quiet: list[str]) -> None:
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
