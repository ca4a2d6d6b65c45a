"""``write`` killed in the middle: it goes on, and asks nothing again that was answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Invoke
from tests.servers.chat import ChatServer, Settings
from tests.servers.journal import asked_again
from tests.stages.write.test_judged import Both, judged
from tests.stages.write.test_write import collection, run

CONCURRENCY = 4
LATENCY = 0.01
#: The command, with several parts of few queries.
CODE = """
from negmine.stages.write import cases
cases.QUERIES = 3
from negmine.cli.main import main
main()
"""


def killed(words: list[object], server: ChatServer, wanted: int) -> float:
    """Kill the command when so many answers have gone out; when that was."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while server.journal.so_far("answered") < wanted and time.monotonic() < until:
            assert process.poll() is None, "it came to its end"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        moment = time.time()
        process.wait()
    server.journal.settle()
    return moment


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the manifest, and that without what is told of the run."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    manifest: dict[str, Any] = json.loads(found.pop("_manifest.json"))
    manifest.pop("run")
    return {**found, "manifest": json.dumps(manifest, sort_keys=True).encode()}


@pytest.mark.parametrize(("kind", "moments"), [("negative", (80, 180)), ("minimal-pair", (30, 85))])
def test_a_killed_run_goes_on(
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    moments: tuple[int, ...],
) -> None:
    monkeypatch.setattr("negmine.stages.write.cases.QUERIES", 3)
    collection(tmp_path / "data")
    index = tmp_path / "index"
    run(invoke, "index", "--corpus", tmp_path / "data", "-o", index)

    def command(server: ChatServer, out: str) -> list[object]:
        words = judged(index, server, f"{out}/written", "--concurrency", CONCURRENCY)
        if kind == "minimal-pair":
            at = words.index("--writer")
            del words[at : at + 2]
            words[words.index("negative")] = kind
            words[words.index("judge < 0.5")] = "judge >= 0"
        return words

    with ChatServer(Both()) as server:
        run(invoke, *command(server, "undisturbed"))
        needed = {entry.key for entry in server.journal.entries}
    with ChatServer(Both(), Settings(latency=LATENCY)) as server:
        words = command(server, "killed")
        kills = [killed(words, server, wanted) for wanted in moments]
        run(invoke, *words)
        server.journal.settle()
        entries = list(server.journal.entries)
        run(invoke, *words)
        assert server.journal.count("asked") == sum(one.event == "asked" for one in entries)
    assert {one.key for one in entries if one.event == "asked"} == needed
    # Only what was on its way into the store when the run was killed.
    again = asked_again(entries)
    assert len(again) <= CONCURRENCY * len(kills)
    for told, repeated in again:
        between = [at for at in kills if told.when - 0.5 <= at <= repeated.when]
        assert between, (told, repeated)
        later = [one.when for one in entries if one.event == "answered" and one.when > told.when]
        assert sum(when < between[0] for when in later) < CONCURRENCY
    first, second = (contents(tmp_path / name / "written") for name in ("undisturbed", "killed"))
    assert first == second
    assert len([name for name in first if name.startswith("part-")]) == 6
