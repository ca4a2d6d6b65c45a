"""What people and machines read of a dry run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negmine.commands.estimate import report
from negmine.commands.estimate.cost import Cost
from negmine.log import duration


def costs() -> list[Cost]:
    index = Cost(
        "index", Path("work/index"), documents=5183, disk_bytes=8_000_000, tokens=1_234_567
    )
    index.add("encode", 200.0)
    index.add("encode", 30.0)
    index.add("start", 0.4)
    index.memory_bytes = 1_500_000_000
    done = Cost("retrieve", Path("work/candidates"), state="up to date", queries=809, rows=137_631)
    export = Cost("export", Path("x\x1b[31m"), memory_bytes=7, guesses=["rows: half"], disk_bytes=9)
    export.add("examples", 1.25)
    return [index, done, export]


def test_the_table() -> None:
    lines = report.as_table(costs()).splitlines()
    assert lines[0].split() == [
        *("stage", "documents", "queries", "pairs", "tokens", "disk", "memory", "time", "state"),
    ]
    assert lines[1].split("  ")[0] == "index"
    assert "1,234,567" in lines[1]
    assert "3 min 50 s" in lines[1]
    assert "1.5 GB" in lines[1]
    assert lines[2].split()[-3:] == ["up", "to", "date"]
    assert lines[4].split() == ["all", "8", "MB", "1.5", "GB", "3", "min", "52", "s"]
    assert "index: encode 3 min 50 s, start 0.4 s" in lines
    assert lines[-1] == "guessed: rows: half"
    assert all(line == line.rstrip() for line in lines)


def test_the_json() -> None:
    told = json.loads(report.as_json(costs()))
    assert [stage["stage"] for stage in told["stages"]] == ["index", "retrieve", "export"]
    assert told["stages"][0]["breakdown"] == {"encode": 230.0, "start": 0.4}
    assert told["seconds"] == pytest.approx(231.65)
    assert told["disk_bytes"] == 8_000_009
    assert told["memory_bytes"] == 1_500_000_000
    assert "\x1b" not in report.as_json(costs())


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7321, "2 h 2 min")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "-"), (999, "999 B"), (1_000, "1 kB"), (2.5e9, "2.5 GB")]
)
def test_sizes(count: float, shown: str) -> None:
    assert report.size(count) == shown
