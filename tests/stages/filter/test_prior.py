"""``filter --by p_prior`` through the command line: every kind of table, and what is told of it.

The oracle counts with Python's own arithmetic, from ``prior.json`` and the rows that were given.
"""

from __future__ import annotations

import json
import math
import statistics
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.learning import prior
from negmine.table import artifacts
from tests.conftest import Invoke
from tests.stages.filter.test_filter import Rows, collection
from tests.tables import make_scored

SOURCES = ("bm25", "minilm")


def written(folder: Path) -> Rows:
    """The rows of a ledger, as any reader of Parquet sees them."""
    parts = sorted(folder.glob("part-*.parquet"))
    rows: Rows = pa.concat_tables(pq.read_table(part) for part in parts).to_pylist()
    return rows


def given(row: dict[str, Any], source: str, ranks_alone: bool) -> float:
    rank = row[f"rank_{source}"]
    return -math.log1p(rank) if ranks_alone else row[f"score_{source}"]


def standing(rows: Rows, scores: list[float]) -> list[float]:
    """The z-score of each row among those of its query."""
    found = []
    for row, score in zip(rows, scores, strict=True):
        mine = [s for r, s in zip(rows, scores, strict=True) if r["qid"] == row["qid"]]
        found.append((score - statistics.fmean(mine)) / statistics.pstdev(mine))
    return found


def log_places(rows: Rows, scores: list[float]) -> list[float]:
    """The logarithm of each row's place among those of its query; no two score the same."""
    return [
        math.log(
            1 + sum(s > score for r, s in zip(rows, scores, strict=True) if r["qid"] == row["qid"])
        )
        for row, score in zip(rows, scores, strict=True)
    ]


def expected(rows: Rows, scorer: bool, ranks_alone: bool) -> list[float]:
    """``p_prior`` of rows that every source found and every scorer saw."""
    model = json.loads((files("negmine.learning") / "prior.json").read_text())["models"]
    model = model["scored" if scorer else "searched"]
    by_source = [[given(row, name, ranks_alone) for row in rows] for name in SOURCES]
    z_sources = [
        statistics.fmean(z) for z in zip(*(standing(rows, s) for s in by_source), strict=True)
    ]
    anchor = statistics.fmean(z for row, z in zip(rows, z_sources, strict=True) if row["label"])
    read: dict[str, list[float]] = {"z_sources": z_sources, "z_positives": [anchor] * len(rows)}
    known = [sum(r["label"] for r in rows if r["qid"] == row["qid"]) for row in rows]
    among = [sum(r["qid"] == row["qid"] for r in rows) for row in rows]
    read["log_positives"] = [
        math.log1p(min(k, max(1.0, 0.05 * n))) for k, n in zip(known, among, strict=True)
    ]
    places = zip(*(log_places(rows, scores) for scores in by_source), strict=True)
    read["log_place_sources"] = [statistics.fmean(place) for place in places]
    if scorer:
        ce = [row["score_ce"] for row in rows]
        read |= {"z_scorers": standing(rows, ce), "log_place_scorers": log_places(rows, ce)}
    logits = [
        model["bias"] + sum(weight * read[name][n] for name, weight in model["weights"].items())
        for n in range(len(rows))
    ]
    return [1 / (1 + math.exp(-logit)) for logit in logits]


@pytest.mark.parametrize("queries", [1, 12])
@pytest.mark.parametrize("ranks_alone", [False, True], ids=["scores", "ranks alone"])
@pytest.mark.parametrize("scorer", [True, False], ids=["scorer", "no scorer"])
def test_the_ledger_and_the_training_set_hold_what_it_promises(
    tmp_path: Path, invoke: Invoke, queries: int, ranks_alone: bool, scorer: bool
) -> None:
    rows = collection(queries, 1)
    if ranks_alone:
        rows = [[{**row, "score_bm25": None, "score_minilm": None} for row in rows[0]]]
    scored = make_scored(tmp_path / "in", rows, scorers=("ce",) if scorer else ())
    options = ("--by", "p_prior", "--max-score", 0.5, "--sampler", "rank")
    made = invoke("filter", scored, *options, "-o", tmp_path / "ledger")
    assert made.exit_code == 0, made.output
    found = written(tmp_path / "ledger")
    told = {row["docid"]: row["score_p_prior"] for row in found}
    wanted = expected(rows[0], scorer, ranks_alone)
    for row, probability in zip(rows[0], wanted, strict=True):
        assert told[row["docid"]] == pytest.approx(probability, abs=1e-5)
    likely = {row["docid"] for row in found if row["dropped_by"] == "max_score"}
    assert likely == {
        row["docid"]
        for row, probability in zip(rows[0], wanted, strict=True)
        if probability > 0.5 and not row["label"]
    }
    assert likely
    # The user reads which of the two models it was, and what by.
    reads = [*(["ce"] if scorer else []), *SOURCES]
    assert f"p_prior reads {', '.join(reads)}" in made.stderr
    assert ("no scorer: by retrieval alone" in made.stderr) is not scorer
    manifest = artifacts.open_artifact(tmp_path / "ledger").manifest["p_prior"]
    assert [*manifest["scorers"], *manifest["sources"]] == reads
    train = tmp_path / "train.parquet"
    made = invoke("export", tmp_path / "ledger", "--format", "triplet", "-o", train)
    assert made.exit_code == 0, made.output
    texts = {f"a{docid}" for docid in likely}
    negatives = pq.read_table(train).column("negative").to_pylist()
    assert negatives
    assert not texts & {text.split()[0] for text in negatives}


def test_of_few_positives_it_is_told_that_they_are_few(tmp_path: Path, invoke: Invoke) -> None:
    few, enough = collection(4, 1), collection(5, 1)
    told = "p_prior: where the known positives stand on average"
    for name, rows, positives in (("few", few, 8), ("enough", enough, 10)):
        scored = make_scored(tmp_path / name, rows)
        options = ("--by", "p_prior", "--max-score", 0.9, "--num-negatives", 1)
        made = invoke("filter", scored, *options, "-o", tmp_path / name / "ledger")
        assert made.exit_code == 0, made.output
        assert (told in made.stderr) is (positives < 10)
        assert f"({positives}) stand" in made.stderr


def test_a_bound_on_it_lets_no_more_of_the_known_through_than_asked(
    tmp_path: Path, invoke: Invoke
) -> None:
    scored = make_scored(tmp_path / "in", collection(40, 2, seed=3))
    options = ("--by", "p_prior", "--max-fn-rate", 0.2, "--fn-form", "score")
    made = invoke("filter", scored, *options, "-o", tmp_path / "ledger")
    assert made.exit_code == 0, made.output
    found = written(tmp_path / "ledger")
    limit = artifacts.open_artifact(tmp_path / "ledger").manifest["calibration"]["threshold"]
    by_query: dict[str, list[bool]] = {}
    for row in found:
        if row["label"]:
            by_query.setdefault(row["qid"], []).append(row["score_p_prior"] < limit)
        elif row["dropped_by"] is None:
            assert row["score_p_prior"] < limit
        else:
            assert row["dropped_by"] == "max_fn_rate"
            assert row["score_p_prior"] >= limit
    passed = [statistics.fmean(those) for those in by_query.values()]
    # floor(0.2 * 41) - 1 = 7 of 40 queries' worth may pass.
    assert 0 < sum(passed) <= 7


def test_other_weights_are_another_ledger_and_another_audit(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = make_scored(tmp_path / "in", collection(12, 1))
    rule = ("--by", "p_prior", "--max-score", 0.5)
    ledger = ("filter", scored, *rule, "-o", tmp_path / "ledger")
    audit = ("audit", scored, *rule, "--seeds", 1, "-o", tmp_path / "audit.json")
    swept = ("audit", scored, "--by", "ce", "--sweep", "by=ce,p_prior", "--max-score", 0.5)
    swept = (*swept, "--seeds", 1, "-o", tmp_path / "swept.json")
    other = ("audit", scored, "--by", "ce", "--max-score", 0.5, "--seeds", 1)
    other = (*other, "-o", tmp_path / "other.json")
    for command in (ledger, audit, swept, other):
        made = invoke(*command)
        assert made.exit_code == 0, made.output
        assert "up to date" in invoke(*command).stderr
    data = json.loads((files("negmine.learning") / "prior.json").read_text())
    (tmp_path / "prior.json").write_text(json.dumps({**data, "identity": "another"}))
    weights = prior.read(tmp_path / "prior.json")
    monkeypatch.setattr(prior, "shipped", lambda: weights)
    for command in (ledger, audit, swept):
        assert invoke(*command).exit_code == 6
    assert "up to date" in invoke(*other).stderr


def test_an_audit_with_nothing_to_be_taken_by_mistake_says_so(
    tmp_path: Path, invoke: Invoke
) -> None:
    none = {f"{kind}_{name}": None for kind in ("rank", "score") for name in SOURCES}
    rows = [[{**row, **none} if row["label"] else row for row in collection(12, 1)[0]]]
    scored = make_scored(tmp_path / "in", rows)
    out = tmp_path / "audit.json"
    made = invoke("audit", scored, "--by", "p_prior", "--max-score", 0.5, "-o", out)
    assert made.exit_code == 0, made.output
    told = "no source found a hidden positive (random, biased:bm25, biased:minilm)"
    assert told in made.stderr
    assert any(told in warning for warning in json.loads(out.read_text())["warnings"])
    found = make_scored(tmp_path / "found", collection(12, 1))
    made = invoke("audit", found, "--by", "p_prior", "--max-score", 0.5, "-o", tmp_path / "b.json")
    assert made.exit_code == 0, made.output
    assert "no source found a hidden positive" not in made.stderr
