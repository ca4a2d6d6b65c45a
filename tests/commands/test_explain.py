"""``negmine explain``: one query's candidates with the reason of each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Invoke
from tests.tables import make_scored


def candidate(qid: str, docid: str, label: int, ce: float | None, rank: int) -> dict[str, Any]:
    return {
        "qid": qid,
        "docid": docid,
        "label": label,
        "grade": 3 if label else None,
        "rank_bm25": rank,
        "score_bm25": 20.0 - rank,
        "score_ce": ce,
    }


@pytest.fixture
def ledger(tmp_path: Path, invoke: Invoke) -> Path:
    first = [
        candidate("q1", "pos", 1, 8.0, 1),
        candidate("q1", "near", 0, 7.9, 2),
        candidate("q1", "evil", 0, 3.0, 3),
        candidate("q1", "far", 0, -2.0, 4),
        candidate("q1", "unseen", 0, None, 5),
    ]
    second = [candidate("q2", "pos", 1, -4.0, 1), candidate("q2", "far", 0, -4.1, 2)]
    scored = make_scored(
        tmp_path,
        [first, second],
        sources=("bm25",),
        doc_texts={"evil": "clear\x1b[2Jthe\nscreen " + "x" * 300},
        query_texts={"q1": "which \x07 one"},
    )
    out = tmp_path / "ledger"
    options = ["--by", "ce", "--relative-margin", 0.05, "--num-negatives", 1]
    result = invoke("filter", scored, *options, "-o", out)
    assert result.exit_code == 0, result.stderr
    return out


def test_every_candidate_has_its_fate(ledger: Path, invoke: Invoke) -> None:
    report = json.loads(invoke("explain", ledger, "q1", "--json").stdout)
    assert report["qid"] == "q1"
    assert report["query"] == "which \x07 one"
    assert report["positives"] == ["pos"]
    assert report["thresholds"]["positive (min)"] == 8.0
    assert report["thresholds"]["relative_margin"] == 7.6
    assert {c["docid"]: c["fate"] for c in report["candidates"]} == {
        "pos": "known positive",
        "near": "dropped: relative_margin",
        "evil": "negative 1",
        "far": "survived",
        "unseen": "dropped: unscored",
    }
    assert [c["docid"] for c in report["candidates"]][-1] == "unseen"
    assert report["candidates"][0]["ranks"] == {"bm25": 1}
    assert report["candidates"][0]["scores"] == {"bm25": 19.0, "ce": 8.0}
    assert sum(report["counts"].values()) == 5
    assert report["rules"] == {"relative-margin": 0.05, "num-negatives": 1}


def test_a_negative_positive_score_keeps_the_margin_below_it(ledger: Path, invoke: Invoke) -> None:
    report = json.loads(invoke("explain", ledger, "q2", "--json").stdout)
    assert report["thresholds"]["relative_margin"] == pytest.approx(-4.2)
    assert [c["fate"] for c in report["candidates"]] == [
        "known positive",
        "dropped: relative_margin",
    ]


def test_the_table_is_readable_and_texts_cannot_drive_the_terminal(
    ledger: Path, invoke: Invoke
) -> None:
    result = invoke("explain", ledger, "q1")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    assert "clear\\x1b[2Jthe screen" in result.stdout
    assert "dropped: relative_margin" in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 200
    assert "relative_margin: 7.6" in result.stdout


def test_fewer_rows_say_how_many_are_left_out(ledger: Path, invoke: Invoke) -> None:
    assert "... and 3 more" in invoke("explain", ledger, "q1", "--rows", 2).stdout
    report = json.loads(invoke("explain", ledger, "q1", "--rows", 2, "--json").stdout)
    assert (len(report["candidates"]), report["candidates_left_out"]) == (2, 3)


def test_an_unknown_query_is_told_with_the_nearest(ledger: Path, invoke: Invoke) -> None:
    result = invoke("explain", ledger, "q11")
    assert result.exit_code == 4
    assert "no query 'q11'" in result.stderr
    assert "'q1'" in result.stderr
    assert result.stdout == ""


def test_only_a_ledger_can_be_explained(ledger: Path, invoke: Invoke) -> None:
    result = invoke("explain", ledger.parent / "scored", "q1")
    assert result.exit_code == 2
    assert "negmine filter" in result.stderr


def test_a_calibrated_threshold_is_told(tmp_path: Path, invoke: Invoke) -> None:
    rows = [
        row
        for q in range(20)
        for row in (
            candidate(f"q{q:02d}", f"p{q}", 1, float(q), 1),
            candidate(f"q{q:02d}", f"n{q}", 0, q - 2.0, 2),
        )
    ]
    scored = make_scored(tmp_path, [rows], sources=("bm25",))
    out = tmp_path / "ledger"
    options = ["--by", "ce", "--max-fn-rate", 0.2, "--transform", "sigmoid", "-o", out]
    result = invoke("filter", scored, *options)
    assert result.exit_code == 0, result.stderr
    report = json.loads(invoke("explain", out, "q19", "--json").stdout)
    # floor(0.2 * 21) = 4: the fourth-smallest positive scores 3.
    assert report["thresholds"]["max_fn_rate"] == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-6)
    assert report["thresholds"]["positive (min)"] == pytest.approx(1.0, abs=1e-6)
    assert report["transform"] == "sigmoid"
    assert report["rules"]["calibration"]["queries"] == 20
    assert "after sigmoid" in invoke("explain", out, "q19").stdout


def test_what_was_learned_is_told_in_words(ledger: Path, invoke: Invoke) -> None:
    scored, out = ledger.parent / "scored", ledger.parent / "prior"
    made = invoke("filter", scored, "--by", "p_prior", "--max-score", 0.18, "-o", out)
    assert made.exit_code == 0, made.output
    (line,) = [
        one
        for one in invoke("explain", out, "q1").stdout.splitlines()
        if one.startswith("  p_prior:")
    ]
    assert "fitted to cacm, cranfield" in line
    assert not set("{}[]'") & set(line)


def test_an_audit_of_a_ledger_names_what_it_was_made_from(ledger: Path, invoke: Invoke) -> None:
    result = invoke("audit", ledger, "-o", ledger.parent / "audit")
    assert result.exit_code == 2
    assert f"It was made from {ledger.parent / 'scored'}: give that." in result.stderr
