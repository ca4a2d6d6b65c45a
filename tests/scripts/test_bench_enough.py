"""Negatives with a cross-encoder until there are enough, against the peer: the short form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.chains import make_data
from tests.conftest import ROOT

SIDES = ("peer", "p_prior, --enough")


def test_its_short_form_tells_all_sides(tmp_path: Path, tiny_bi: Path, tiny_cross: Path) -> None:
    make_data(tmp_path / "data")
    script = [sys.executable, str(ROOT / "scripts" / "bench_enough.py"), str(tmp_path / "data")]
    script += [str(tiny_cross), "--qrels", str(tmp_path / "data" / "qrels.tsv")]
    script += ["--encoder", str(tiny_bi), "--queries", "6", "--positives", "2", "-k", "20"]
    script += ["--num-negatives", "2"]
    script += [word for side in SIDES for word in ("--side", side)]
    ended = subprocess.run(
        script,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = [line.split("|") for line in ended.stdout.splitlines() if line.startswith("|")]
    told = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines}
    peer, own = told["mine_hard_negatives"], told[f"negmine, {SIDES[1]}"]
    # CPU seconds, times the peer's, pairs, false ones and how many there are per query.
    assert float(peer[2]) == 1.0
    assert float(own[2]) > 0
    # The peer scores every candidate and the positive that it is shown.
    assert 6 * 8 < int(own[3]) <= int(peer[3]) + 6
