"""Options of the filter that change nothing are told, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from negmine import recipe
from negmine.params import FilterParams, values
from negmine.stages.filter import idle_options
from negmine.stages.filter.idle_options import warnings
from tests.conftest import Invoke
from tests.tables import make_scored

SIMANS_CODE = ("--sampler", "simans-code")
IDLE = [
    ("--against", "max", "a rule that compares with positives", ("--perc-pos", "0.9")),
    ("--rank-by", "bm25", "a rule or a sampler that reads ranks", ("--sampler", "rank")),
    ("--fit-sample", "1", "a limit or a score that is learned", ("--percentile", "0.5")),
    ("--prior-pool", "8", "a score p_prior", ("--by", "p_prior")),
    ("--percentile-floor", "0.01", "--percentile", ("--percentile", "0.5")),
    ("--guide-margin", "0.1", "--guide", ("--guide", "bm25")),
    ("--guide-margin-form", "relative", "--guide", ("--guide", "bm25")),
    ("--near-duplicate-at", "0.7", "--near-duplicates or --repeated-texts", ()),
    ("--duplicate-query-at", "0.8", "--duplicate-queries", ()),
    ("--simans-a", "1", "--sampler simans, simans-code or simans-abs", ("--sampler", "simans")),
    ("--simans-b", "1", "--sampler simans or simans-code", SIMANS_CODE),
    ("--simans-scale", "none", "--sampler simans, simans-code or simans-abs", SIMANS_CODE),
    ("--stride", "2", "--sampler stride", ("--sampler", "stride")),
    ("--diverse-by", "bm25", "--sampler diverse", ("--sampler", "diverse")),
    (
        *("--mmr-lambda", "0.2", "--sampler diverse and --diverse-by with vectors"),
        ("--sampler", "diverse", "--diverse-by", "bm25"),
    ),
    ("--solved-factor", "2", "--replace-solved", ("--replace-solved", "prev")),
    ("--solved-below", "0.5", "--replace-solved", ("--replace-solved", "prev")),
    ("--promote-judged", "", "--promote", ("--promote", "ce > 9")),
    ("--fn-form", "score", "--max-fn-rate", ("--max-fn-rate", "0.9")),
    ("--bias-from", "bm25", "--max-fn-rate", ("--max-fn-rate", "0.9")),
    ("--weight-by", "bm25", "--weight dclr or gcse", ("--weight", "dclr")),
    ("--weight-above", "0.5", "--weight dclr", ("--weight", "dclr")),
    ("--weight-student", "bm25", "--weight gcse", ("--weight", "gcse")),
    ("--weight-sigma", "0.2", "--weight gcse", ("--weight", "gcse")),
    ("--weight-temperature", "0.1", "--weight gcse", ("--weight", "gcse")),
]
OFF = ("--no-empty-texts", "--no-near-duplicates", "--no-repeated-texts", "--no-duplicate-queries")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"qid": "q", "docid": f"d{n}", "label": int(n == 0), "rank_bm25": n + 1}
        | {"score_bm25": 0.9 - n / 10, "score_ce": 0.8 - n / 10, "rank_prev": None}
        for n in range(6)
    ]
    folder = tmp_path_factory.mktemp("in")
    return make_scored(
        *(folder, [rows]), sources=("bm25", "prev"), vectors=("bm25",), not_searched=("prev",)
    )


@pytest.mark.parametrize(("option", "value", "needs", "partner"), IDLE)
def test_an_option_without_its_partner(
    invoke: Invoke,
    scored: Path,
    tmp_path: Path,
    option: str,
    value: str,
    needs: str,
    partner: tuple[str, ...],
) -> None:
    pytest.importorskip("rensa")
    command = ("filter", scored, option, *([value] if value else []), "--num-negatives", 1)
    told = f"warning: {option} has no effect without {needs}"
    alone = invoke(*command, *(() if partner else OFF), "-o", tmp_path / "alone")
    assert alone.exit_code == 0, alone.output
    assert told in alone.stderr.splitlines()
    both = invoke(*command, *(partner or ()), "-o", tmp_path / "both")
    # Of so few rows no bias can be learned, nor weights.
    if "--weight" not in partner and option != "--bias-from":
        assert both.exit_code == 0, both.output
    assert "has no effect" not in both.stderr


def test_every_option_that_needs_another_is_tried() -> None:
    assert {option[2:].replace("-", "_") for option, *_ in IDLE} == set(idle_options._NEEDS)


def test_defaults_and_recipes_have_none() -> None:
    assert warnings(FilterParams()) == []
    for name, path in recipe.shipped().items():
        tables = recipe.load(str(path)).tables
        params = values.build(FilterParams, tables.get("filter", {}), {})
        # Nobody scores what is written: ranks stand for such a source's score.
        by_ranks = f"{params.by}=written:" in tables.get("retrieve", {}).get("source", ())
        assert warnings(params, by_ranks) == [], name
