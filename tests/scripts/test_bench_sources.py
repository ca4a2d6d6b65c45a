"""The benchmark of sources over stored vectors, its short form: peaks stay below the ceiling."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

DOCUMENTS, QUERIES, CEILING = 6000, 40, 960


def test_sources_over_stored_vectors_stay_below_a_small_ceiling(
    tmp_path: Path, tiny_bi: Path
) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "bench_sources.py"), str(tmp_path / "made")]
    script += ["--documents", str(DOCUMENTS), "--queries", str(QUERIES), "--memory", f"{CEILING}MB"]
    script += ["--model", str(tiny_bi), "--dimension", "32"]
    ended = subprocess.run(
        script,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = re.findall(r"^\| `(.*?)` \| \d+ \| \d+ \| (\d+) \|$", ended.stdout, re.MULTILINE)
    assert [name.split()[0] for name, _ in rows] == ["index", "retrieve", "retrieve"]
    assert all(0 < int(peak) < CEILING for _, peak in rows)
    # What was generated is the encoder's to every command: none made it again.
    index = json.loads((tmp_path / "made" / "index" / "_manifest.json").read_text())
    assert index["counts"]["clusters"] == ["generated"]
    for name in ("clusters", "neighbours"):
        made = json.loads((tmp_path / "made" / name / "_manifest.json").read_text())
        assert made["counts"]["queries"] == QUERIES
        assert made["counts"]["hits_x"] > QUERIES
        assert made["warnings"] == []
