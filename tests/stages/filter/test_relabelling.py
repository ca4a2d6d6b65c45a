"""``--promote``, ``--demote`` and ``--drop-query``: labels that the filter changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.params import FilterParams
from negmine.stages.filter.accounts import check_ledger
from negmine.stages.filter.deciding import judge
from negmine.stages.filter.options import Columns
from negmine.table import artifacts
from tests.conftest import Invoke
from tests.tables import make_scored
from tests.training_sets import command

Row = dict[str, Any]


def row(qid: str, docid: str, label: int, ce: float | None, rank: int = 1, **more: Any) -> Row:
    """A scored pair; what is known has a grade."""
    known = {"grade": 1} if label else {}
    return {
        **{"qid": qid, "docid": docid, "label": label, "score_ce": ce},
        **{"rank_bm25": rank, "score_bm25": 20.0 - rank, **known, **more},
    }


def scored(folder: Path, rows: list[Row], **more: Any) -> Path:
    return make_scored(folder, [rows], sources=("bm25",), scorers=("ce",), **more)


def ledger(folder: Path) -> dict[tuple[str, str], Row]:
    artifact = artifacts.open_artifact(folder)
    rows = [one for part in artifact.parts for one in artifact.read(part).to_pylist()]
    return {(one["qid"], one["docid"]): one for one in rows}


def filtered(path: Path, *options: Any) -> dict[tuple[str, str], Row]:
    command("filter", path, *options, "-o", path.parent / "ledger")
    return ledger(path.parent / "ledger")


def fates(found: dict[tuple[str, str], Row], qid: str = "q") -> dict[str, str]:
    return {
        docid: one["dropped_by"] or ("selected" if one["selected"] else "left")
        for (of, docid), one in found.items()
        if of == qid
    }


SOME = [
    row("q", "p", 1, 0.5, 3),
    row("q", "sure", 0, 0.95, 1),
    row("q", "near", 0, 0.6, 2),
    row("q", "far", 0, 0.1, 4),
]


def test_a_promoted_candidate_is_a_positive_and_says_why(tmp_path: Path) -> None:
    found = filtered(scored(tmp_path, SOME), "--promote", "ce > 0.9")
    assert fates(found) == {
        **{"p": "positive", "sure": "promoted"},
        **{"near": "selected", "far": "selected"},
    }
    assert [one["label"] for one in found.values()] == [1, 1, 0, 0]
    told = {docid: one["relabelled_by"] for (_, docid), one in found.items()}
    assert told == {"p": None, "sure": "--promote ce > 0.9", "near": None, "far": None}
    counts = artifacts.open_artifact(tmp_path / "ledger").counts
    assert counts["relabelled"] == {"--promote ce > 0.9": 1}
    assert counts["dropped"]["promoted"] == 1


def test_a_condition_that_is_given_twice_is_one(tmp_path: Path, invoke: Invoke) -> None:
    twice = ["--promote", "ce > 0.9", "--promote", "score_ce>.9", "--promote", "ce>  9e-1"]
    done = invoke("filter", scored(tmp_path, SOME), *twice, "-o", tmp_path / "ledger")
    assert done.exit_code == 0, done.output
    counts = artifacts.open_artifact(tmp_path / "ledger").counts
    assert counts["relabelled"]["--promote ce > 0.9"] == 1
    assert "--promote ce > 0.9: fulfilled by none" not in done.stderr


def test_without_these_options_no_column_is_added(tmp_path: Path) -> None:
    found = filtered(scored(tmp_path, SOME))
    assert "relabelled_by" not in found["q", "p"]


def test_a_promotion_moves_no_limit(tmp_path: Path) -> None:
    """Margins are told from the known positive's 0.5, whatever is promoted above it."""
    path = scored(tmp_path, SOME)
    margin = ("--absolute-margin", "-0.05")
    before = fates(filtered(path, *margin))
    assert before["near"] == "absolute_margin"
    command("filter", path, "--force", *margin, "--promote", "ce > 0.9", "-o", tmp_path / "ledger")
    after = fates(ledger(tmp_path / "ledger"))
    assert after == {**before, "sure": "promoted"}


def test_a_query_without_known_positives_is_compared_with_its_promoted_ones(
    tmp_path: Path,
) -> None:
    rows = [row("q", "a", 0, 0.95, 1), row("q", "b", 0, 0.9, 2), row("q", "c", 0, 0.1, 3)]
    found = fates(filtered(scored(tmp_path, rows), "--promote", "ce > 0.94", "--margin-pos", 0.1))
    assert found == {"a": "promoted", "b": "margin_pos", "c": "selected"}


def test_conditions_see_the_labels_as_they_came(tmp_path: Path) -> None:
    """The limit of a promotion is that of the known positive, though it is demoted itself."""
    options = ("--promote", "ce >= positive + 0.2", "--demote", "ce < 0.55")
    found = filtered(scored(tmp_path, SOME), *options)
    assert fates(found) == {
        **{"p": "demoted", "sure": "promoted"},
        **{"near": "selected", "far": "selected"},
    }
    assert found["q", "p"]["label"] == 0
    assert found["q", "p"]["relabelled_by"] == "--demote ce < 0.55"


def test_a_query_that_loses_all_its_positives_is_told(tmp_path: Path, invoke: Invoke) -> None:
    rows = [*SOME, row("r", "p", 1, 0.1), row("r", "far", 0, 0.05, 2)]
    path = scored(tmp_path, rows)
    done = invoke("filter", path, "--demote", "ce < 0.2", "-o", tmp_path / "ledger")
    assert "1 queries lost all their known positives to --demote" in done.stderr
    counts = artifacts.open_artifact(tmp_path / "ledger").counts
    assert (counts["queries_all_demoted"], counts["queries_replaced"]) == (1, 0)
    assert ledger(tmp_path / "ledger")["r", "p"]["dropped_by"] == "demoted"
    options = ("--demote", "ce < 0.2", "--drop-query", "positives = 0", "--force")
    done = invoke("filter", path, *options, "-o", tmp_path / "ledger")
    assert "lost all their known positives" not in done.stderr
    found = ledger(tmp_path / "ledger")
    assert fates(found, "r") == {"p": "dropped_positive", "far": "dropped_query"}
    assert fates(found)["p"] == "positive"


def test_a_promoted_text_is_nowhere_a_negative(tmp_path: Path) -> None:
    """Copies and near-copies of what is promoted go as those of a known positive do."""
    text = "the quick brown fox jumps over the lazy dog while seven wizards watch from afar"
    rows = [
        row("q", "p", 1, 0.5, 3),
        row("q", "sure", 0, 0.95, 1),
        row("q", "copy", 0, 0.3, 2),
        row("q", "near", 0, 0.2, 4),
        row("q", "twin", 0, 0.96, 5),
        row("q", "far", 0, 0.1, 6),
    ]
    texts = {"sure": text, "copy": f"{text.upper()}!", "near": f"{text} again", "twin": text}
    found = fates(filtered(scored(tmp_path, rows, doc_texts=texts), "--promote", "ce > 0.9"))
    assert found == {
        **{"p": "positive", "sure": "promoted", "copy": "same_text", "near": "near_duplicate"},
        # Of two that may be promoted with one text the better-ranked is.
        **{"twin": "same_text", "far": "selected"},
    }


def test_what_may_be_no_positive_is_not_promoted(tmp_path: Path, invoke: Invoke) -> None:
    rows = [
        row("q", "p", 1, 0.5, 1),
        row("q", "again", 0, 0.95, 2),
        row("q", "asked", 0, 0.95, 3),
        row("q", "judged", 0, 0.95, 4, grade=0),
        row("q", "listed", 0, 0.95, 5),
        row("q", "sure", 0, 0.95, 6),
    ]
    texts = {"p": "what stands there", "again": "What stands there.", "asked": "ask q"}
    path = scored(tmp_path, rows, doc_texts=texts)
    (tmp_path / "no.txt").write_text("listed\n")
    options = ["--promote", "ce > 0.9", "--exclude", tmp_path / "no.txt"]
    done = invoke("filter", path, *options, "-o", tmp_path / "ledger")
    expected = {
        **{"p": "positive", "again": "same_text", "asked": "query_text"},
        **{"judged": "selected", "listed": "excluded", "sure": "promoted"},
    }
    assert fates(ledger(tmp_path / "ledger")) == expected
    assert "1 candidates fulfil --promote and were judged not relevant" in done.stderr
    invoke("filter", path, *options, "--promote-judged", "--force", "-o", tmp_path / "ledger")
    assert fates(ledger(tmp_path / "ledger")) == {**expected, "judged": "promoted"}


def test_a_copy_of_a_demoted_positive_is_no_negative(tmp_path: Path) -> None:
    rows = [row("q", "p", 1, 0.9), row("q", "bad", 1, 0.1), row("q", "copy", 0, 0.1, 2)]
    path = scored(tmp_path, rows, doc_texts={"bad": "some words here", "copy": "Some words here"})
    assert fates(filtered(path, "--demote", "ce < 0.5")) == {
        **{"p": "positive", "bad": "demoted", "copy": "same_text"},
    }


@pytest.mark.parametrize(
    ("conditions", "gone"),
    [
        (["promoted > 1"], {"two"}),
        (["promoted > 0"], {"one", "two"}),
        (["positive ce < 0.2"], {"low"}),
        (["positive_ce < 0.2", "promoted >= 2"], {"low", "two"}),
        (["promoted > 0 and positive ce > 0.7"], {"two"}),
    ],
)
def test_queries_are_given_up_by_what_is_counted_of_them(
    tmp_path: Path, conditions: list[str], gone: set[str]
) -> None:
    rows = []
    for qid, positive, others in (
        ("none", 0.5, (0.1, 0.1, None)),
        ("one", 0.5, (0.95, 0.1, 0.1)),
        ("two", 0.8, (0.95, 0.93, 0.1)),
        ("low", 0.1, (0.05, 0.2, 0.3)),
        ("unscored", None, (0.2, 0.2, 0.2)),
    ):
        rows += [row(qid, f"{qid}p", 1, positive)]
        rows += [row(qid, f"{qid}{n}", 0, score, n + 2) for n, score in enumerate(others)]
    options = [part for one in conditions for part in ("--drop-query", one)]
    found = filtered(scored(tmp_path, rows), "--promote", "ce > 0.9", *options)
    dropped = {qid for (qid, _), one in found.items() if one["dropped_by"] == "dropped_query"}
    assert dropped == gone
    for (qid, docid), one in found.items():
        if qid in gone:
            assert one["label"] == 0
            assert one["selected"] is None
            assert one["dropped_by"] == (
                "dropped_positive" if docid.endswith("p") else "dropped_query"
            )
            assert one["relabelled_by"].startswith("--drop-query ")
    counts = artifacts.open_artifact(tmp_path / "ledger").counts
    assert counts["queries_given_up"] == len(gone)
    # An unscored positive compares with nothing, and a query that is given up needs none.
    assert counts["queries_without_positive_score"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--promote", "judge > 0.9"], "--promote: the table has no 'judge'"),
        (["--demote", "ce is low"], "--demote: 'ce is low' is no condition"),
        (["--promote", "p_prior > 15"], "--promote must lie between 0 and 1, not 15"),
        (["--drop-query", "promoted > 8"], "nothing is promoted without --promote"),
        (["--drop-query", "demoted > 1"], "nothing is demoted without --demote"),
        (["--drop-query", "ce > 1"], "--drop-query: the table has no 'ce'"),
        (["--promote", "ce > 1", "--promote", "ce > 1"], "--promote names 'ce > 1' twice"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, invoke: Invoke, options: list[str], said: str
) -> None:
    done = invoke("filter", scored(tmp_path, SOME), *options, "-o", tmp_path / "ledger")
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "ledger").exists()


def test_conditions_that_nothing_fulfils_are_told(tmp_path: Path, invoke: Invoke) -> None:
    options = ["--promote", "ce > 2", "--promote", "ce > 0.9", "--demote", "bm25 < -1"]
    done = invoke("filter", scored(tmp_path, SOME), *options, "-o", tmp_path / "ledger")
    assert "--promote ce > 2: fulfilled by none" in done.stderr
    assert "--demote bm25 < -1: fulfilled by none" in done.stderr
    assert "--promote ce > 0.9: fulfilled" not in done.stderr
    done = invoke(
        "filter", scored(tmp_path / "b", SOME), "--promote-judged", "-o", tmp_path / "b/l"
    )
    assert "--promote-judged has no effect without --promote" in done.stderr
    options = ["--promote", "ce >= positive + 0.3", "--against", "max"]
    done = invoke("filter", scored(tmp_path / "c", SOME), *options, "-o", tmp_path / "c/l")
    assert "--against has no effect" not in done.stderr


def test_scores_that_the_filter_learns_may_be_asked(tmp_path: Path) -> None:
    rows = []
    for q in range(12):
        rows += [row(f"q{q}", f"p{q}", 1, 3.0, 1), row(f"q{q}", f"o{q}", 1, 2.5, 2)]
        rows += [row(f"q{q}", f"d{q}x{n}", 0, 1.0 - n, n + 3) for n in range(8)]
    found = filtered(scored(tmp_path, rows), "--promote", "p_prior > 0.01 and rank_bm25 < 4")
    promoted = {key for key, one in found.items() if one["dropped_by"] == "promoted"}
    wanted = {
        key
        for key, one in found.items()
        if one["label"] == 1 and one["grade"] is None and one["score_p_prior"] > 0.01
    }
    assert promoted == wanted
    assert all(key[1].endswith("x0") for key in promoted)


# --- whatever the table ------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    sizes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    n = sum(sizes)

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    label = column(st.sampled_from([0, 0, 1]))
    score = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    return pa.table(
        {
            "qid": [f"q{i}" for i, size in enumerate(sizes) for _ in range(size)],
            "docid": [f"d{j}" for size in sizes for j in draw(st.permutations(range(size)))],
            "label": pa.array(label, pa.int8()),
            "grade": pa.array([one or draw(st.sampled_from([None, 0])) for one in label]),
            "rank_bm25": pa.array([j for size in sizes for j in range(1, size + 1)], pa.int32()),
            "score_bm25": pa.array(np.linspace(9, 1, n), pa.float32()),
            "score_ce": pa.array(column(score), pa.float32()),
            "score_judge": pa.array(column(score), pa.float32()),
        }
    )


OPTIONS: list[dict[str, Any]] = [
    {"promote": ("judge > 0.6",)},
    {"promote": ("judge >= positive + 0.25", "ce > 0.8"), "demote": ("ce < 0.2",)},
    {"promote": ("judge > 0.6",), "drop_query": ("promoted > 1", "positive judge < 0.3")},
    {"demote": ("judge < 0.4",), "pseudo_positive": 0.6, "promote": ("judge > 0.9",)},
    {"demote": ("judge < 0.4",), "drop_query": ("positives = 0",), "promote_judged": True},
]


@settings(deadline=None, max_examples=80)
@given(table=tables(), options=st.sampled_from(OPTIONS), margin=st.booleans())
def test_the_accounts_hold_and_rows_have_one_reason(
    table: pa.Table, options: dict[str, Any], margin: bool
) -> None:
    more = {"absolute_margin": 0.0} if margin else {}
    params = FilterParams(num_negatives=2, **options, **more)
    found, stats = judge(table, params, Columns("ce", "ce", None))
    check_ledger(table, found, 2, stats)
    before = table.column("label").to_pylist()
    for was, one in zip(before, found.to_pylist(), strict=True):
        reason, told = one["dropped_by"], one["relabelled_by"]
        assert (told is not None) == (
            reason
            in ("promoted", "pseudo_positive", "demoted", "dropped_positive", "dropped_query")
        )
        assert one["label"] == (reason in ("positive", "promoted", "pseudo_positive"))
        assert (was == 1) == (reason in ("positive", "demoted", "dropped_positive"))


@settings(deadline=None, max_examples=40)
@given(table=tables())
def test_the_order_of_conditions_changes_no_label(table: pa.Table) -> None:
    one = FilterParams(promote=("judge > 0.6", "ce > 0.8"), demote=("ce < 0.2",))
    other = FilterParams(promote=("ce > 0.8", "judge > 0.6"), demote=("ce < 0.2",))
    first, second = (judge(table, params, Columns("ce", "ce", None))[0] for params in (one, other))
    for name in ("label", "dropped_by", "selected"):
        assert first.column(name).equals(second.column(name))


# --- beside other options ----------------------------------------------------------------------


def test_an_earlier_negative_that_is_promoted_gives_up_its_place(tmp_path: Path) -> None:
    scores = {"p": 3.0, "first": 2.9, "second": 0.5, "other": 0.4}
    rows = [
        row("q", docid, int(docid == "p"), score, n + 1, rank_prev=place, score_prev=score)
        for n, (docid, score, place) in enumerate(
            zip(scores, scores.values(), (None, 1, 2, None), strict=True)
        )
    ]
    path = make_scored(
        *(tmp_path, [rows]), sources=("bm25", "prev"), scorers=("ce",), not_searched=("prev",)
    )
    options = ("--replace-solved", "prev", "--num-negatives", 2)
    kept = filtered(path, *options)
    assert [kept["q", docid]["selected"] for docid in ("first", "second", "other")] == [1, 2, None]
    command("filter", path, *options, "--promote", "ce > 2", "--force", "-o", tmp_path / "ledger")
    found = ledger(tmp_path / "ledger")
    assert found["q", "first"]["dropped_by"] == "promoted"
    assert found["q", "second"]["selected"] == 2
    assert found["q", "other"]["selected"] == 1


def test_a_query_given_up_takes_no_place_of_a_document(tmp_path: Path) -> None:
    """``--max-reuse`` counts the claims of queries that are kept."""
    rows = []
    for qid, judged in (("a", 0.95), ("b", 0.1)):
        rows += [row(qid, f"{qid}p", 1, 0.9), row(qid, "shared", 0, 0.5, 2)]
        rows += [row(qid, f"{qid}x", 0, judged, 3)]
    options = ("--promote", "ce > 0.94", "--drop-query", "promoted > 0", "--max-reuse", 1)
    found = filtered(scored(tmp_path, rows), *options)
    assert found["a", "shared"]["dropped_by"] == "dropped_query"
    assert found["b", "shared"]["selected"] == 1


def test_samplers_measure_from_the_known_positive(tmp_path: Path) -> None:
    """SimANS's peak lies at the known positive, so a promotion changes no other draw."""
    rng = np.random.default_rng(2)
    rows = [row("q", "p", 1, 0.5, 1), row("q", "sure", 0, 5.0, 2)]
    rows += [row("q", f"d{n}", 0, float(rng.uniform(-1, 1)), n + 3) for n in range(30)]
    path = scored(tmp_path, rows)
    draw = ("--sampler", "simans", "--simans-scale", "none", "--simans-a", 20)
    before = filtered(path, *draw, "--max-score", 4)
    command("filter", path, *draw, "--promote", "ce > 4", "--force", "-o", tmp_path / "ledger")
    after = ledger(tmp_path / "ledger")
    assert after["q", "sure"]["dropped_by"] == "promoted"
    chosen = [{key for key, one in found.items() if one["selected"]} for found in (before, after)]
    assert chosen[0] == chosen[1]


def test_quantiles_that_are_shown_are_those_of_the_labels_that_came(
    tmp_path: Path, invoke: Invoke
) -> None:
    """``--percentile`` counts known positives, and ``explain`` does so of a ledger with others."""
    rows = []
    for q in range(8):
        rows += [row(f"q{q}", f"p{q}", 1, 0.2 + q / 10), row(f"q{q}", f"a{q}", 0, 0.95, 2)]
        rows += [row(f"q{q}", f"b{q}", 0, 0.45, 3)]
    path, share = scored(tmp_path, rows), ("--percentile", 0.9)
    filtered(path, *share)
    limit = json.loads(invoke("explain", tmp_path / "ledger", "q5", "--json").stdout)["limits"]
    more = ("--promote", "ce > 0.94", "--demote", "ce < 0.25", "--force")
    command("filter", path, *share, *more, "-o", tmp_path / "ledger")
    assert ledger(tmp_path / "ledger")["q5", "a5"]["label"] == 1
    again = json.loads(invoke("explain", tmp_path / "ledger", "q5", "--json").stdout)["limits"]
    assert [line for line in again if line["name"] == "percentile"] == limit
    assert limit
