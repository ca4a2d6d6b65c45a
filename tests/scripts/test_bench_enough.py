"""Negatives with a cross-encoder until there are enough, against the peer: the short form."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chains import make_data
from tests.conftest import run_script

SIDES = ("peer", "p_prior, --enough", "margin, --enough, --dtype int8")


def test_its_short_form_tells_all_sides(tmp_path: Path, tiny_bi: Path, tiny_cross: Path) -> None:
    make_data(tmp_path / "data")
    given = [tmp_path / "data", tiny_cross, "--qrels", tmp_path / "data" / "qrels.tsv"]
    given += ["--encoder", tiny_bi, "--queries", 6, "--positives", 2, "-k", 20]
    given += ["--num-negatives", 2]
    given += [word for side in SIDES for word in ("--side", side)]
    given += ["--out", tmp_path / "out"]
    printed = run_script("bench_enough.py", *given)
    lines = [line.split("|") for line in printed.splitlines() if line.startswith("|")]
    told = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines}
    peer, own = told["mine_hard_negatives"], told[f"negmine, {SIDES[1]}"]
    assert float(told[f"negmine, {SIDES[2]}"][2]) > 0
    # CPU seconds, times the peer's, pairs, false ones and how many there are per query.
    assert float(peer[2]) == 1.0
    assert float(own[2]) > 0
    # The peer scores every candidate and the positive that it is shown.
    assert 6 * 8 < int(own[3]) <= int(peer[3]) + 6
    # What is there is not run again: the index goes on as it was made.
    assert own[7].endswith("%")
    made = sorted((tmp_path / "out").glob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in made}
    assert run_script("bench_enough.py", *given) == printed
    assert {path: path.stat().st_mtime_ns for path in made if path.name != "settings.json"} == {
        path: when for path, when in before.items() if path.name != "settings.json"
    }
    side = tmp_path / "out" / "p_prior-enough" / "work"
    shared, mine = (
        json.loads((folder / "index" / "_manifest.json").read_text())["fingerprint"]
        for folder in (tmp_path / "out" / "auto", side)
    )
    assert shared == mine
