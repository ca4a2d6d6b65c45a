"""``audit`` measures what the filter's changed labels are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Invoke
from tests.tables import make_scored


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 queries with two positives and eight others; the score is right about most of them."""
    rng = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for q in range(40):
        for d in range(10):
            known = d < 2
            rows.append(
                {
                    **{"qid": f"q{q:02d}", "docid": f"q{q}d{d}", "label": int(known)},
                    **{"grade": 1.0 if known else None, "rank_bm25": d + 1},
                    **{"score_bm25": 20.0 - d, "score_ce": float(rng.normal(2.0 * known, 1))},
                }
            )
    folder = tmp_path_factory.mktemp("audited")
    return make_scored(folder, [rows[:200], rows[200:]], sources=("bm25",), scorers=("ce",))


OPTIONS = ["--promote", "ce > 1.5", "--demote", "ce < 0.5", "--drop-query", "promoted > 3"]


def test_recall_and_known_precision_of_promotion(
    scored: Path, invoke: Invoke, tmp_path: Path
) -> None:
    """Hiding the worst-ranked positive is no chance: the numbers follow from the table alone."""
    bias = ("--bias", "bm25", "--seeds", 1)
    done = invoke("audit", scored, *OPTIONS, *bias, "-o", tmp_path / "a")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "a" / "audit.json").read_text())
    (row,) = [one for one in report["rows"] if one["hidden"] == "biased:bm25"]
    from negmine.table import artifacts

    artifact = artifacts.open_artifact(scored)
    queries: dict[str, list[dict[str, Any]]] = {}
    for part in artifact.parts:
        for one in artifact.read(part).to_pylist():
            queries.setdefault(one["qid"], []).append(one)
    promoted = back = demoted = given_up = 0
    for rows in queries.values():
        # The second positive is the worse-ranked one, and is hidden.
        hits = [r for r in rows if r["rank_bm25"] != 1 and r["score_ce"] > 1.5]
        if len(hits) > 3:
            given_up += 1
            continue
        promoted += len(hits)
        back += sum(r["rank_bm25"] == 2 for r in hits)
        demoted += rows[0]["score_ce"] < 0.5
    told = row["relabelled"]
    assert (told["promoted"], told["brought_back"]) == (promoted, back)
    assert told["recall"]["value"] == pytest.approx(back / 40, abs=1e-6)
    assert told["known_right"]["value"] == pytest.approx(back / promoted, abs=1e-6)
    assert told["demoted"]["value"] == pytest.approx(demoted / 40, abs=1e-6)
    assert told["queries_given_up"]["value"] == pytest.approx(given_up / 40, abs=1e-6)
    for name in ("recall", "known_right"):
        assert 0 < told[name]["low"] < told[name]["value"] < told[name]["high"] < 1
    table = (tmp_path / "a" / "audit.txt").read_text()
    assert "brought back" in table
    assert "known right" in table


def test_without_changed_labels_nothing_is_told_of_them(
    scored: Path, invoke: Invoke, tmp_path: Path
) -> None:
    done = invoke("audit", scored, "--max-score", 1, "--seeds", 1, "-o", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "a.json").read_text())
    assert all("relabelled" not in row for row in report["rows"])


def test_conditions_are_swept_and_a_report_shows_them(
    scored: Path, invoke: Invoke, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    sweep = ("--sweep", "promote=ce > 1,ce > 2", "--seeds", 1)
    done = invoke("audit", scored, *sweep, "-o", work / "audit")
    assert done.exit_code == 0, done.output
    report = json.loads((work / "audit" / "audit.json").read_text())
    told = {
        row["setting"]: row["relabelled"]["recall"]["value"]
        for row in report["rows"]
        if row["hidden"] == "random" and "relabelled" in row
    }
    assert set(told) == {"promote=ce > 1", "promote=ce > 2"}
    first, second = told.values()
    assert first > second
    done = invoke("filter", scored, "--promote", "ce > 1", "-o", work / "ledger")
    assert done.exit_code == 0, done.output
    done = invoke("report", work / "ledger", "-o", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text()
    assert "brought back" in page
    assert "Known right: promoted candidates" in page


@pytest.mark.parametrize(
    ("condition", "told"),
    [("positives < 2", True), ("positives = 0", False), ("demoted > 1", False)],
)
def test_a_count_of_positives_that_hiding_changes_is_told(
    scored: Path, invoke: Invoke, tmp_path: Path, condition: str, told: bool
) -> None:
    """The filter gives up none of these queries: it is the audit that leaves each one positive."""
    options = ("--demote", "ce < -99", "--drop-query", condition)
    work = tmp_path / "ledger"
    assert invoke("filter", scored, *options, "-o", work).exit_code == 0
    counts = json.loads((work / "_manifest.json").read_text())["counts"]
    assert counts["relabelled"][f"--drop-query {condition}"] == 0
    done = invoke("audit", scored, *options, "--seeds", 1, "-o", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "a.json").read_text())
    hidden = {row["hidden"] for row in report["rows"]}
    about = [one for one in report["warnings"] if f"--drop-query '{condition}'" in one]
    assert len(about) == (len(hidden) if told else 0)
    assert all("100% of the queries are given up" in one for one in about)
    assert all(one in " ".join(done.stderr.split()) for one in about)
