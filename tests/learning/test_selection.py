"""The bound where a ranking selected the labels, and how it shows that one did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.errors import UsageError
from negmine.learning import assumption, selection
from negmine.table import artifacts
from tests.conftest import Invoke
from tests.tables import make_scored

QUERIES, PER_QUERY, POSITIVES = 120, 20, 4
ALPHA = 0.1


def collection(known: str, seed: int = 0, keep: int = 2) -> tuple[list[list[dict[str, Any]]], set]:
    """Rows in two parts, four positives a query, and the pairs whose label is left out.

    Args:
        known: ``top`` keeps the labels of the positives that BM25 ranks best, ``random`` any.
        seed: of everything.
        keep: labels a query keeps.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[dict[str, Any]]] = [[], []]
    left_out = set()
    for q in range(QUERIES):
        positive = np.arange(PER_QUERY) < POSITIVES
        relevance = np.where(positive, rng.normal(2.0, 1.5, PER_QUERY), rng.normal(0, 1, PER_QUERY))
        ce = relevance + rng.normal(0, 0.7, PER_QUERY)
        seen = {name: relevance + rng.normal(0, 1.0, PER_QUERY) for name in ("bm25", "minilm")}
        ranks = {name: np.argsort(np.argsort(-score)) + 1 for name, score in seen.items()}
        key = ranks["bm25"] if known == "top" else rng.permutation(PER_QUERY)
        order = np.argsort(np.where(positive, key, PER_QUERY + 1))
        labelled = np.isin(np.arange(PER_QUERY), order[:keep])
        for d in range(PER_QUERY):
            if positive[d] and not labelled[d]:
                left_out.add((f"q{q:03d}", f"d{q}_{d}"))
            parts[q * 2 // QUERIES].append(
                {
                    "qid": f"q{q:03d}",
                    "docid": f"d{q}_{d}",
                    "label": int(labelled[d]),
                    "score_ce": float(ce[d]),
                    **{f"rank_{name}": int(rank[d]) for name, rank in ranks.items()},
                    **{f"score_{name}": float(score[d]) for name, score in seen.items()},
                }
            )
    return parts, left_out


def passed(ledger: Path, pairs: set) -> float:
    """Share of the pairs that no rule dropped."""
    found = artifacts.open_artifact(ledger)
    kept = dropped = 0
    for name in found.parts:
        table = found.read(name, ["qid", "docid", "dropped_by"])
        for row in table.to_pylist():
            if (row["qid"], row["docid"]) in pairs:
                kept += row["dropped_by"] is None
                dropped += row["dropped_by"] is not None
    assert kept + dropped == len(pairs)
    return kept / len(pairs)


def filtered(scored: Path, out: Path, invoke: Invoke, *options: str) -> tuple[dict, str]:
    command = ["filter", scored, "--by", "ce", "--max-fn-rate", ALPHA, "--fn-form", "score"]
    result = invoke(*command, "--no-repeated-texts", *options, "-o", out)
    assert result.exit_code == 0, result.stderr
    return json.loads((out / "_manifest.json").read_text()), result.stderr


@pytest.mark.parametrize("keep", [1, 2])
def test_bias_from_keeps_the_bound_where_a_ranking_selected_the_labels(
    tmp_path: Path, invoke: Invoke, keep: int
) -> None:
    parts, left_out = collection("top", keep=keep)
    scored = make_scored(tmp_path, parts)
    _, told = filtered(scored, tmp_path / "plain", invoke)
    assert passed(tmp_path / "plain", left_out) > 2 * ALPHA
    assert "warning: --max-fn-rate: labels look selected by bm25 (" in told
    assert "--bias-from bm25 corrects it" in told
    corrected = tmp_path / "corrected"
    manifest, told = filtered(scored, corrected, invoke, "--bias-from", "bm25")
    assert 0 < passed(corrected, left_out) <= 1.25 * ALPHA
    facts = manifest["calibration"]
    assert facts["bias_from"] == ["bm25"]
    assert facts["threshold"] < facts["threshold_uncorrected"]
    assert "labels look selected" not in told
    assert "is corrected for labels selected by bm25" in told


def test_labels_missing_at_random_give_no_warning(tmp_path: Path, invoke: Invoke) -> None:
    parts, left_out = collection("random")
    scored = make_scored(tmp_path, parts)
    manifest, told = filtered(scored, tmp_path / "ledger", invoke)
    assert passed(tmp_path / "ledger", left_out) <= 1.5 * ALPHA
    assert "labels look selected" not in told
    assert "bias_from" not in manifest["params"], "an option at its default is in no fingerprint"
    found = manifest["calibration"]["selection"]
    assert found["queries_with_several"] == QUERIES
    for name in ("bm25", "minilm"):
        assert 0.4 < found["sources"][name]["above"] < 0.7
        times = found["sources"][name]["times"]
        assert times > 1.2
        assert f"if {name} selected them ({times:.1f} times)" in told
    _, told_of_needless = filtered(scored, tmp_path / "needless", invoke, "--bias-from", "bm25")
    assert "warning: --bias-from bm25: labels do not look selected so" in told_of_needless
    # Where the limit is told, it is told what it rests on.
    explained = invoke("explain", tmp_path / "ledger", "q001").stdout
    line = next(line for line in told.splitlines() if "holds if labels are missing" in line)
    assert line in explained
    inspected = " ".join(invoke("inspect", tmp_path / "ledger").stdout.split())
    assert line in inspected
    page = tmp_path / "page.html"
    assert invoke("report", tmp_path / "ledger", "-o", page).exit_code == 0
    assert "holds if labels are missing at random" in page.read_text()


def test_what_cannot_be_tested_is_said_once(tmp_path: Path, invoke: Invoke) -> None:
    parts, _ = collection("random", keep=1)
    scored = make_scored(tmp_path, parts)
    _, told = filtered(scored, tmp_path / "ledger", invoke)
    assert told.count("cannot be tested: 0 queries have several positives, 20 are needed") == 1


def test_two_sources_are_a_pool(tmp_path: Path, invoke: Invoke) -> None:
    parts, _ = collection("top")
    scored = make_scored(tmp_path, parts)
    both = ["--bias-from", "bm25", "--bias-from", "rank_minilm"]
    manifest, _ = filtered(scored, tmp_path / "pool", invoke, *both)
    assert manifest["calibration"]["bias_from"] == ["bm25", "minilm"]


def test_the_corrected_bound_holds_within_groups(tmp_path: Path, invoke: Invoke) -> None:
    parts, _ = collection("top")
    scored = make_scored(tmp_path, parts)
    options = ["--bias-from", "bm25", "--calibrate-by", "rank_minilm"]
    result = invoke(
        "filter", scored, "--by", "ce", "--max-fn-rate", 0.4, *options, "-o", tmp_path / "x"
    )
    assert result.exit_code == 0, result.stderr
    groups = json.loads((tmp_path / "x" / "_manifest.json").read_text())["calibration"]["groups"]
    assert set(groups) == {"up to 1", "up to 10", "up to 100"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-fn-rate", 0.1, "--bias-from", "bm26"], "Did you mean 'bm25'?"),
        (["--max-fn-rate", 0.1, "--bias-from", "bm25", "--fn-form", "margin"], "on the score"),
        (["--max-fn-rate", 0.001, "--bias-from", "bm25"], "Allow a higher rate"),
    ],
)
def test_mistakes_are_refused(
    tmp_path: Path, invoke: Invoke, options: list[Any], message: str
) -> None:
    scored = make_scored(tmp_path, collection("top")[0])
    result = invoke("filter", scored, "--by", "ce", *options, "-o", tmp_path / "ledger")
    assert result.exit_code == 2
    assert message in result.stderr


def test_bias_from_without_a_bound_is_idle(tmp_path: Path, invoke: Invoke) -> None:
    scored = make_scored(tmp_path, collection("top")[0])
    result = invoke(
        "filter", scored, "--by", "ce", "--bias-from", "bm25", "-o", tmp_path / "ledger"
    )
    assert "--bias-from has no effect without --max-fn-rate" in result.stderr


def test_nothing_above_the_labels_is_nothing_to_learn_from() -> None:
    n = 30
    pool = selection.Pool(
        query=np.repeat(np.arange(n), 2),
        score=np.tile([2.0, 1.0], n),
        depth=np.tile([1, 2], n),
        positive=np.tile([True, False], n),
        judged=np.zeros(2 * n, dtype=bool),
        group=np.zeros(2 * n, dtype=np.int64),
    )
    with pytest.raises(UsageError, match="not 30 and 0"):
        selection.unlabelled_positives(pool, "bm25")


@pytest.mark.parametrize("seed", range(5))
def test_the_corrected_threshold_is_the_formulas(seed: int) -> None:
    """The largest score t with sum_q v_q L_q(t) + 1 <= alpha (sum_q v_q + 1), tried one by one."""
    rng = np.random.default_rng(seed)
    query = np.sort(rng.integers(0, 30, 200))
    score = rng.integers(0, 40, 200).astype(float)
    probability = rng.random(200) * (rng.random(200) < 0.7)
    best = None
    for t in sorted(set(score)):
        loss = total = 0.0
        for q in set(query):
            mine = query == q
            expected = probability[mine].sum()
            if expected > 0:
                weight = expected / (expected + 0.5)
                loss += weight * probability[mine & (score < t)].sum() / expected
                total += weight
        if loss + 1 <= 0.2 * (total + 1) + 1e-9:
            best = t
    found, _ = selection.corrected(score, probability, query, 0.2)
    assert found is not None
    assert found.value == best


@pytest.mark.parametrize("seed", range(5))
def test_what_stands_above_is_counted_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = np.sort(rng.integers(0, 8, 60))
    teacher = rng.integers(0, 6, 60).astype(float)
    depth = rng.permutation(60)
    labelled = rng.random(60) < 0.3
    unlabelled = ~labelled & (rng.random(60) < 0.8)
    expected = []
    for q in sorted(set(query)):
        shares = []
        for i in np.flatnonzero(labelled & (query == q)):
            others = np.flatnonzero(unlabelled & (query == q) & (teacher >= teacher[i]))
            if len(others):
                shares.append(np.mean(depth[others] < depth[i]))
        if shares:
            expected.append(np.mean(shares))
    found = assumption.standing_above(query, teacher, depth, labelled, unlabelled)
    assert found == pytest.approx(np.array(expected))


def test_what_would_pass_by_hand() -> None:
    """20 queries: better halves score 1 to 20, worse halves 5 less."""
    better = np.arange(1.0, 21.0)
    value = np.concatenate([better, better - 5])
    query = np.tile(np.arange(20), 2)
    depth = np.repeat([1, 2], 20)
    # k = floor(0.2 * 21) = 4: the limit is 4; of the worse halves -4 ... 3 lie below it, 8 of 20.
    assert assumption.passing(value, query, depth, 0.2) == 0.4
    assert assumption.passing(value[:-1], query[:-1], depth[:-1], 0.2) is None
