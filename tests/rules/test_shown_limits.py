"""For every rule with a number ``explain`` and ``report`` show the limit that dropped a row."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine import plugins, rules
from negmine.rules.base import Border, View, comparing, constant
from negmine.table import artifacts
from tests.conftest import Invoke
from tests.tables import make_scored

Row = dict[str, Any]

#: Per rule with a limit, settings under which it drops something of :func:`scored`.
SETTINGS: dict[str, list[tuple[Any, ...]]] = {
    "query_min_rank": [("--query-min-rank", 2)],
    "range_min": [("--range-min", 3)],
    "range_max": [("--range-max", 6)],
    "shift": [("--shift", 2)],
    "min_score": [("--min-score", 0.3)],
    "max_score": [("--max-score", 0.5)],
    "absolute_margin": [("--absolute-margin", 0.125), ("--absolute-margin", -0.125)],
    "relative_margin": [("--relative-margin", 0.25, "--against", "mean")],
    "margin_pos": [("--margin-pos", 0.125)],
    "perc_pos": [("--perc-pos", 0.75), ("--perc-pos", 0.75, "--transform", "sigmoid")],
    "percentile": [("--percentile", 0.5), ("--percentile", 0, "--percentile-floor", 0.4)],
    "guide": [
        ("--guide", "g"),
        ("--guide", "g", "--guide-margin", 0.25, "--guide-margin-form", "relative"),
    ],
    "adaptive_threshold": [("--adaptive-threshold", 0.5), ("--adaptive-threshold", -0.25)],
    "max_fn_rate": [
        ("--max-fn-rate", 0.3, "--fn-form", "score"),
        ("--max-fn-rate", 0.3, "--fn-form", "margin"),
        ("--max-fn-rate", 0.5, "--fn-form", "score", "--calibrate-by", "rank_bm25"),
        ("--max-fn-rate", 0.4, "--fn-form", "score", "--calibrate-by", "kind"),
    ],
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores are eighths, so that some rows lie exactly on a limit."""
    rng = np.random.default_rng(7)
    rows: list[Row] = []
    for q in range(16):
        ranks = rng.permutation(np.arange(1, 13))
        for d in range(12):
            # Of every fourth query the positives score lower than the others.
            level = 0.4 + (0 if d > 1 else -0.3 if q % 4 == 3 else 0.3)
            rows.append(
                {
                    "qid": f"q{q:02d}",
                    "docid": f"q{q}d{d}",
                    "label": int(d < 2),
                    "rank_bm25": int(ranks[d]),
                    "score_bm25": float(20 - ranks[d]),
                    "score_ce": float(np.clip(rng.normal(level, 0.2), 0, 1) * 8 // 1) / 8,
                    "score_g": float(rng.integers(0, 8)) / 8,
                }
            )
    kinds = {row["docid"]: ("even", "odd")[n % 2] for n, row in enumerate(rows)}
    return make_scored(
        tmp_path_factory.mktemp("limits"),
        [rows[: 12 * 9], rows[12 * 9 :]],
        sources=("bm25",),
        scorers=("ce", "g"),
        kept={"kind": kinds},
    )


def test_every_rule_with_a_limit_is_tried() -> None:
    assert sorted(SETTINGS) == sorted(rule.name for rule in rules.RULES if rule.limit is not None)


def test_every_rule_of_a_number_has_a_limit() -> None:
    """A number whose rule has none is counted, drawn or compared where no part's arrays are."""
    from negmine.params import FilterParams

    elsewhere = {"pseudo_positive", "skip_survivors", "max_reuse"}
    numbers = {
        reason.name
        for reason in rules.REASONS
        if "int" in str(FilterParams.__annotations__.get(reason.name))
        or "float" in str(FilterParams.__annotations__.get(reason.name))
    }
    with_limit = {rule.name for rule in rules.RULES if rule.limit is not None}
    assert numbers - with_limit <= elsewhere


def compared(report: Row, unit: str) -> dict[str, float | None]:
    """What a limit of a unit is compared with, worked out from the rows that are told."""
    candidates = report["candidates"]
    positive = [c for c in candidates if c["label"] == 1]

    def score(candidate: Row) -> float | None:
        value = candidate["scores"]["ce"]
        return 1 / (1 + math.exp(-value)) if report["transform"] == "sigmoid" else value

    ranked = [c for c in candidates if c["label"] == 0]
    places = {
        c["docid"]: float(n)
        for n, c in enumerate(sorted(ranked, key=lambda c: c["ranks"]["bm25"]), 1)
    }
    values: dict[str, Any] = {
        "score": score,
        "guide": lambda c: c["scores"]["g"],
        "rank": lambda c: c["ranks"]["bm25"],
        "place": lambda c: places.get(c["docid"]),
        "positive": lambda c: max(c["scores"]["ce"] for c in positive),
    }
    return {c["docid"]: values[unit](c) for c in candidates}


def beyond(value: float | None, drops: str, limit: float | None) -> bool | None:
    """Which side of a limit a value lies on; None where rounding cannot tell."""
    if value is None or limit is None:
        return False
    if value != limit and abs(value - limit) < 2e-6:
        return None
    return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}[
        drops
    ]


@pytest.mark.parametrize(
    ("rule", "options"),
    [(rule, options) for rule, every in SETTINGS.items() for options in every],
    ids=lambda given: given if isinstance(given, str) else " ".join(map(str, given)),
)
def test_the_limit_that_dropped_a_row_is_shown(
    scored: Path, tmp_path: Path, invoke: Invoke, rule: str, options: tuple[Any, ...]
) -> None:
    ledger = tmp_path / "ledger"
    off = ("--no-repeated-texts", "--no-near-duplicates", "--no-duplicate-queries")
    result = invoke("filter", scored, "--by", "ce", *off, *options, "-o", ledger)
    assert result.exit_code == 0, result.stderr
    dropped = kept = 0
    for number in range(16):
        report = json.loads(invoke("explain", ledger, f"q{number:02d}", "--json").stdout)
        lines = {line["name"]: line for line in report["limits"]}
        assert lines, "no limit is shown"
        assert all(name == rule or name.startswith(f"{rule} (") for name in lines)
        assert all(report["thresholds"][name] == line["limit"] for name, line in lines.items())
        values = compared(report, next(iter(lines.values()))["unit"])
        for candidate in report["candidates"]:
            if candidate["label"] == 1:
                continue
            sides = {
                beyond(values[candidate["docid"]], line["drops"], line["limit"])
                for line in lines.values()
            }
            if candidate["dropped_by"] == rule:
                dropped += 1
                assert sides & {True, None}, candidate
                told = candidate["compared"]
                assert told["limit"] in {line["limit"] for line in lines.values()}
                assert told["value"] == pytest.approx(values[candidate["docid"]], abs=1e-6)
            elif candidate["dropped_by"] is None:
                kept += 1
                assert sides & {False, None}, candidate
                assert "compared" not in candidate
    counts = artifacts.open_artifact(ledger).counts
    assert (dropped, kept) == (counts["dropped"][rule], counts["survivors"])
    assert dropped
    assert kept
    readable = invoke("explain", ledger, "q00").stdout
    assert re.search(rf"^  {rule}( \(.*\))?: (none|-?[0-9.e-]+ \(drops )", readable, re.MULTILINE)
    page = tmp_path / "page.html"
    result = invoke("report", ledger, "-o", page)
    assert result.exit_code == 0, result.stderr
    text = page.read_text("utf-8")
    assert f">{rule}: just dropped</h3>" in text
    assert "against the limit" in text
    unit = next(iter(lines.values()))["unit"]
    if unit in ("score", "guide"):
        # Beside its name in the picture of the distribution.
        assert re.search(rf">{rule}\b", text)


def test_a_rule_of_another_package_has_the_same_door(
    scored: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says a name and a limit; all else has a default."""

    def limit(view: View, params: Any) -> Border:
        return Border(view.score, constant(view, 0.5))

    class Plugin:
        identity, value = "other 1.0", "other:rule"

        @staticmethod
        def load() -> Any:
            return lambda value: comparing("half", rules.base.always, limit)

    monkeypatch.setattr(plugins, "find", lambda kind, name, option: Plugin)
    ledger = tmp_path / "ledger"
    result = invoke("filter", scored, "--by", "ce", "--rule", "half", "-o", ledger)
    assert result.exit_code == 0, result.stderr
    report = json.loads(invoke("explain", ledger, "q01", "--json").stdout)
    assert report["thresholds"]["half"] == 0.5
    candidates = [c for c in report["candidates"] if c["label"] == 0]
    assert {c["docid"] for c in candidates if c["dropped_by"] == "half"} == {
        c["docid"] for c in candidates if c["scores"]["ce"] > 0.5
    }
    assert artifacts.open_artifact(ledger).counts["dropped"]["half"]
    rules._made.cache_clear()
    page = tmp_path / "page.html"
    assert invoke("report", ledger, "-o", page).exit_code == 0
    assert "dropped by this rule" in page.read_text("utf-8")


def test_every_reason_has_its_words() -> None:
    default = rules.Reason.words
    assert all(reason.words and reason.words != default for reason in rules.REASONS)
