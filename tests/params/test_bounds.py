"""Numbers out of range are refused: every option's, with the range and what was probably meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from negmine.params import AuditParams, FilterParams, ReportParams
from negmine.stages import filter as filtering
from negmine.stages.stage import STAGES
from tests.conftest import Invoke, write_jsonl
from tests.tables import make_scored

COMMANDS = {name: stage.params for name, stage in STAGES.items()}
COMMANDS |= {"audit": AuditParams, "report": ReportParams}
#: Options whose numbers have no end on a side: scores and margins in units of a score, grades.
ENDLESS = {
    ("write", "min_grade"),
    ("write", "positive_above"),
    *(("filter", name) for name in ("min_score", "max_score", "absolute_margin", "margin_pos")),
    *(("filter", name) for name in ("guide_margin", "simans_b", "pseudo_positive")),
    ("filter", "adaptive_threshold"),
    ("audit", "judge_cut"),
    *(("retrieve", name) for name in ("min_grade", "negative_grade", "positive_above")),
}


def numeric() -> Iterator[tuple[str, dataclasses.Field[Any], type]]:
    """(command, field, int or float) of every option that takes a number."""
    for command, params_class in COMMANDS.items():
        hints = get_type_hints(params_class)
        for field in dataclasses.fields(params_class):
            kinds = get_args(hints[field.name]) or (hints[field.name],)
            for kind in (int, float):
                if kind in kinds:
                    yield command, field, kind


def outside(field: dataclasses.Field[Any], kind: type) -> list[float]:
    """Values beyond each end of the option's range."""
    data = field.metadata
    found = [
        data[end] - (1 if kind is int else 1e-6) for end in ("minimum",) if data[end] is not None
    ]
    found += [
        data[end] + (1 if kind is int else 1e-6) for end in ("maximum",) if data[end] is not None
    ]
    found += [data[end] for end in ("above", "below") if data[end] is not None]
    if kind is int:
        found.append(10**12)
    if data["maximum"] == 1 or data["below"] == 1:
        found += [1.5, 95]
    return [int(value) if kind is int else value for value in found]


def flag(field: dataclasses.Field[Any]) -> str:
    return (field.metadata["flags"] or (f"--{field.name.replace('_', '-')}",))[-1]


CASES = [
    (command, flag(field), value)
    for command, field, kind in numeric()
    for value in outside(field, kind)
]


@pytest.mark.parametrize(("command", "option", "value"), CASES)
def test_every_number_out_of_range_is_refused(
    invoke: Invoke, tmp_path: Path, command: str, option: str, value: float
) -> None:
    start = [command] if command == "index" else [command, tmp_path / "none"]
    result = invoke(*start, option, value, "-o", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert f"{option} must be " in result.stderr
    assert f"not {value:g}" in result.stderr
    assert not (tmp_path / "out").exists()


def test_every_number_has_a_range_or_is_known_to_have_none() -> None:
    ends = ("minimum", "maximum", "above", "below")
    found = {
        (command, field.name)
        for command, field, _ in numeric()
        if all(field.metadata[end] is None for end in ends)
    }
    assert found == ENDLESS


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--relative-margin", "1.5", ("at most 1", "--absolute-margin")),
        ("--perc-pos", "1.5", ("above 0 and at most 1", "--relative-margin -0.05")),
        ("--perc-pos", "95", ("If 95 percent is meant, write 0.95.",)),
        ("--percentile", "95", ("write 0.95",)),
        ("--max-fn-rate", "5", ("above 0 and below 1", "write 0.05")),
        ("--near-duplicate-at", "80", ("write 0.8", "--no-near-duplicates")),
        ("--duplicate-query-at", "0", ("--no-duplicate-queries",)),
        ("--near-duplicate-cosine", "minilm=97", ("at least -1 and at most 1", "write 0.97")),
        ("--tau-plus", "2", ("at least 0 and below 1",)),
        ("--weight-above", "90", ("write 0.9",)),
        ("--weight-temperature", "0", ("above 0",)),
        ("--weight-sigma", "-0.17", ("above 0",)),
        ("--seed", "-1", ("at least 0",)),
    ],
)
def test_what_was_meant_is_told(
    invoke: Invoke, tmp_path: Path, option: str, value: str, words: tuple[str, ...]
) -> None:
    for command in ("filter", "audit"):
        result = invoke(command, tmp_path / "none", option, value, "-o", tmp_path / "out")
        assert result.exit_code == 2, result.output
        for word in words:
            assert word in " ".join(result.stderr.split())


def test_a_recipe_and_set_are_held_to_the_same_ranges(invoke: Invoke, tmp_path: Path) -> None:
    pairs = write_jsonl(tmp_path / "pairs.jsonl", [{"query": "a", "positive": "b"}])
    recipe = tmp_path / "r.toml"
    recipe.write_text("[filter]\nperc-pos = 95\n")
    result = invoke("run", recipe, "--pairs", pairs, "-o", tmp_path / "w")
    assert result.exit_code == 2
    assert "r.toml [filter]: 'perc-pos' must be above 0 and at most 1, not 95" in result.stderr
    result = invoke(
        "run", "bm25", "--pairs", pairs, "-o", tmp_path / "w", "--set", "export.split=1"
    )
    assert result.exit_code == 2
    assert not (tmp_path / "w").exists()


ROWS = [
    {"qid": "q", "docid": docid, "label": int(docid == "p"), "rank_bm25": rank}
    | {"score_bm25": score, "score_minilm": score, "score_ce": score, "rank_minilm": rank}
    for rank, (docid, score) in enumerate([("p", 2.0), ("a", 2.1), ("b", 1.0), ("c", -3.0)], 1)
]


@pytest.mark.parametrize(
    "options",
    [
        ("--absolute-margin", "-0.2"),
        ("--relative-margin", "-0.2"),
        ("--margin-pos", "-0.2"),
        ("--max-score", "70"),
        ("--min-score", "-40"),
        ("--guide", "ce", "--guide-margin", "-3"),
    ],
)
def test_negative_margins_and_scores_of_any_size_are_legal(
    invoke: Invoke, tmp_path: Path, options: tuple[str, ...]
) -> None:
    pytest.importorskip("rensa")
    scored = make_scored(tmp_path, [ROWS])
    result = invoke("filter", scored, *options, "-o", tmp_path / "ledger")
    assert result.exit_code == 0, result.output
    assert "3 survivors" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--transform", "sigmoid", "--max-score", "95"), "between 0 and 1, not 95"),
        (("--transform", "sigmoid", "--absolute-margin", "5"), "between -1 and 1, not 5"),
        (("--by", "p_relevant", "--min-score", "2"), "are probabilities"),
        (("--by", "minilm", "--max-score", "70"), "between -1 and 1, not 70: the scores 'minilm'"),
        (("--by", "minilm", "--min-score", "70"), "write 0.7"),
        (("--by", "minilm", "--margin-pos", "5"), "between -2 and 2, not 5"),
        (("--by", "minilm", "--pseudo-positive", "90"), "are cosines"),
        (("--guide", "minilm", "--guide-margin", "3"), "--guide-margin must lie between -2 and 2"),
        (("--min-score", "3", "--max-score", "1"), "nothing would be left"),
        (
            ("--guide", "ce", "--guide-margin", "5", "--guide-margin-form", "relative"),
            "it is a share of the positive's guide score",
        ),
    ],
)
def test_thresholds_that_no_score_can_reach(
    invoke: Invoke, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    scored = make_scored(tmp_path, [ROWS], vectors=["minilm"])
    result = invoke("filter", scored, *options, "-o", tmp_path / "ledger")
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "ledger").exists()


def test_parameters_that_were_not_made_from_flags_are_checked_too(tmp_path: Path) -> None:
    from negmine.errors import UsageError

    scored = make_scored(tmp_path, [ROWS])
    with pytest.raises(UsageError, match="--relative-margin must be at most 1"):
        filtering.run(FilterParams(relative_margin=1.5), scored, tmp_path / "ledger")
