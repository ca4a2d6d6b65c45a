"""The benchmark of sources over stored vectors, its short form: peaks stay below the ceiling."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.conftest import run_script

DOCUMENTS, QUERIES, CEILING = 6000, 40, 1000


def test_sources_over_stored_vectors_stay_below_a_small_ceiling(
    tmp_path: Path, tiny_bi: Path
) -> None:
    given = [tmp_path / "made", "--documents", DOCUMENTS, "--queries", QUERIES]
    given += ["--memory", f"{CEILING}MB", "--model", tiny_bi, "--dimension", 32]
    printed = run_script("bench_sources.py", *given)
    rows = re.findall(r"^\| `(.*?)` \| \d+ \| \d+ \| (\d+) \|$", printed, re.MULTILINE)
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
