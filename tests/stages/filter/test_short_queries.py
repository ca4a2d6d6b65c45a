"""Queries with too few negatives: the rule that took them is told, and an option that mends it.

The oracle of every number is another run: the option that is proposed is followed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.stages.filter import short_advice
from negmine.table import artifacts
from tests.chains import DOCUMENTS, QUERIES, call, make_data
from tests.conftest import Invoke
from tests.tables import make_scored

pytest.importorskip("rensa")

Row = dict[str, Any]
GUARD = [f"--no-{name}" for name in ("same-text", "query-text", "near-duplicates", "empty-texts")]
OFF = [*GUARD, "--no-duplicate-queries", "--no-repeated-texts", "--own-document", "off"]


def collection(queries: int = 52, positives: int = 6, candidates: int = 20) -> list[list[Row]]:
    """Many positives of very different scores, among which the candidates' lie."""
    rng = np.random.default_rng(3)
    parts: list[list[Row]] = [[], []]
    for q in range(queries):
        for d in range(positives + candidates):
            label = int(d < positives)
            score = rng.uniform(0.05, 1.0) if label else rng.uniform(0.2, 0.7)
            parts[q * 2 // queries].append(
                {
                    "qid": f"q{q:02d}",
                    "docid": f"d{q}x{d}",
                    "label": label,
                    "grade": label or None,
                    "rank_bm25": d + 1,
                    "score_bm25": 30.0 - d,
                    "score_ce": float(score),
                }
            )
    return parts


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scored(
        tmp_path_factory.mktemp("many"), collection(), sources=("bm25",), scorers=("ce",)
    )


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of documents alone, and two runs over it."""
    folder = tmp_path_factory.mktemp("ranked")
    for name, step in (("one", 7), ("two", 11)):
        lines = [
            f"q{q} Q0 d{(q + n * step) % DOCUMENTS} {n + 1} {100 - n} {name}\n"
            for q in range(QUERIES)
            for n in range(20)
        ]
        (folder / f"{name}.trec").write_text("".join(lines))
    data = make_data(folder / "data")
    code, said = call("index", "--corpus", data, "--no-bm25", "-o", folder / "index")
    assert code == 0, said
    return folder


def run(invoke: Invoke, scored: Path, out: Path, *options: object) -> tuple[str, dict[str, Any]]:
    """The warnings of a filter, and its counts."""
    result = invoke("filter", scored, *OFF, "-o", out, "--force", *options)
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    return "\n".join(told), dict(artifacts.open_artifact(out).counts)


def by_hand(out: Path, asked: int) -> tuple[Counter[str], Counter[str], int]:
    """What left queries short, what dropped their candidates, and how many those are."""
    rows: list[Row] = pa.concat_tables(
        pq.read_table(part) for part in sorted(out.glob("part-*"))
    ).to_pylist()
    by: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    total = 0
    for qid in dict.fromkeys(row["qid"] for row in rows):
        mine = [row for row in rows if row["qid"] == qid and row["dropped_by"] != "positive"]
        if sum(row["selected"] is not None for row in mine) >= asked:
            continue
        taken = Counter(row["dropped_by"] for row in mine if row["dropped_by"])
        by["retrieval" if len(mine) < asked else taken.most_common(1)[0][0]] += 1
        lost += taken
        total += len(mine)
    return by, lost, total


def told(warnings: str) -> dict[str, int]:
    """The options that are proposed, and how many short queries each would leave."""
    return {
        option: int(left)
        for option, left in re.findall(r"(--[\w-]+(?: [\w.]+)?) would leave (\d+)", warnings)
    }


def test_many_positives_and_the_worst_of_them(invoke: Invoke, scored: Path, tmp_path: Path) -> None:
    warnings, counts = run(invoke, scored, tmp_path / "l", "--relative-margin", 0.05)
    by, lost, total = by_hand(tmp_path / "l", 8)
    assert counts["short_by"] == by
    assert counts["short_lost"] == lost
    assert counts["short_candidates"] == total
    assert counts["queries_short"] == sum(by.values()) > 40
    assert f"{counts['queries_short']} of 52 queries have fewer than 8 negatives" in warnings
    most = f"relative_margin took the most of their candidates ({lost['relative_margin']:,} of"
    assert most in warnings
    found = told(warnings)
    assert next(iter(found)) == "--against max", "the best first"
    assert set(found) >= {"--against max", "--against mean"}
    for option, left in found.items():
        again = run(invoke, scored, tmp_path / "l", "--relative-margin", 0.05, *option.split())
        assert again[1]["queries_short"] == left < counts["queries_short"], option
    # The ledger keeps what was told.
    run(invoke, scored, tmp_path / "l", "--relative-margin", 0.05)
    manifest = json.loads((tmp_path / "l" / "_manifest.json").read_text())
    assert "--against max would leave" in manifest["warnings"][0]


@pytest.mark.parametrize(
    ("options", "rule", "option"),
    [
        (
            ("--absolute-margin", "0.2", "--against", "max"),
            "absolute_margin",
            "--absolute-margin 0.1",
        ),
        (("--margin-pos", "0.3", "--against", "max"), "margin_pos", "--margin-pos 0.15"),
        (("--perc-pos", "0.5", "--against", "max"), "perc_pos", "--perc-pos 0.75"),
        (("--max-score", "0.25"), "max_score", "--max-score"),
        (("--min-score", "0.68"), "min_score", "--min-score"),
        (("--by", "bm25", "--range-min", "22"), "range_min", "--range-min"),
        (("--range-max", "9"), "range_max", "--range-max"),
        (("--shift", "18"), "shift", "--shift"),
        (("--skip-survivors", "17"), "skip_survivors", "--skip-survivors"),
        (("--guide", "bm25", "--against", "max"), None, None),
        (("--percentile", "0.05", "--against", "max"), "percentile", "--percentile"),
    ],
)
def test_the_option_that_is_proposed_leaves_as_many_as_it_says(
    invoke: Invoke,
    scored: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    rule: str | None,
    option: str | None,
) -> None:
    warnings, counts = run(invoke, scored, tmp_path / "l", *options)
    by, _, _ = by_hand(tmp_path / "l", 8)
    assert counts.get("short_by", {}) == by
    if rule is None or option is None:
        assert not counts["queries_short"]
        assert "fewer than" not in warnings
        return
    assert f"{rule} took the most" in warnings
    left = told(warnings)[option]
    name, _, value = option.partition(" ")
    given = [*options]
    at = given.index(name)
    given[at : at + 2] = [name, value] if value else []
    assert run(invoke, scored, tmp_path / "l", *given)[1]["queries_short"] == left


def test_too_few_candidates_are_retrieval_s(invoke: Invoke, tmp_path: Path) -> None:
    rows = [part[:9] for part in collection(2, 3, 6)]
    scored = make_scored(tmp_path / "in", rows, sources=("bm25",), scorers=("ce",))
    warnings, counts = run(invoke, scored, tmp_path / "l")
    assert counts["short_by"] == {"retrieval": 2}
    assert "2 of 2 queries have fewer than 8 negatives (0 have none)" in warnings
    assert "2 queries had fewer than 8 candidates beside their positives" in warnings
    assert "retrieve with a larger -k" in warnings


@pytest.mark.parametrize(
    ("k", "bands", "advice"),
    [
        (5, (), "retrieve with a larger -k (5 now), or"),
        (5, ("one=2:4",), "a larger -k (5 now) or a wider --band (one=2:4 now), or"),
        (5, ("one=2:4", "two=0:3"), "retrieve with a wider --band (one=2:4, two=0:3 now), or"),
        (DOCUMENTS, ("one=2:4",), "retrieve with a wider --band (one=2:4 now), or"),
        (DOCUMENTS, (), f"the corpus has {DOCUMENTS} documents, and -k {DOCUMENTS} takes all"),
    ],
)
def test_a_band_is_widened_where_it_cuts(
    ranked: Path, invoke: Invoke, tmp_path: Path, k: int, bands: tuple[str, ...], advice: str
) -> None:
    """-k cuts no band, so that a larger one would change nothing there."""
    data = ranked / "data"
    runs = [word for one in ("one", "two") for word in ("--run", f"{one}={ranked / one}.trec")]
    done = invoke(
        *("retrieve", ranked / "index", "--queries", data, "--qrels", data / "qrels.tsv", *runs),
        *("-k", k, *(f"--band={band}" for band in bands), "-o", tmp_path / "c"),
    )
    assert done.exit_code == 0, done.output
    done = invoke("filter", tmp_path / "c", "--num-negatives", 50, "-o", tmp_path / "l")
    assert done.exit_code == 0, done.output
    told = " ".join(done.stderr.split())
    assert advice in told
    assert ("larger -k" in told) == ("larger -k" in advice)


def test_of_too_few_candidates_a_rule_may_take_what_there_is(
    invoke: Invoke, tmp_path: Path
) -> None:
    rows = collection(2, 2, 5)
    scored = make_scored(tmp_path / "in", rows, sources=("bm25",), scorers=("ce",))
    options = ("--max-score", 0.1)
    warnings, counts = run(invoke, scored, tmp_path / "l", *options)
    assert counts["short_by"] == {"retrieval": 2}
    assert "max_score took the most of their candidates (10 of 10)" in warnings
    (more,) = re.findall(r"leaving out --max-score would choose (\d+) more", warnings)
    assert "2 queries had fewer than 8 candidates" in warnings
    _, without = run(invoke, scored, tmp_path / "l")
    assert int(more) == without["selected"] - counts["selected"] == 10


def test_identity_takes_them_and_more_candidates_help(invoke: Invoke, tmp_path: Path) -> None:
    """Switching off a rule that finds the positives themselves is never proposed."""
    rows = collection(1, 1, 8)[0]
    texts = {row["docid"]: "one and the same sentence about apples and pears" for row in rows}
    scored = make_scored(
        tmp_path / "in", [rows], sources=("bm25",), scorers=("ce",), doc_texts=texts
    )
    result = invoke("filter", scored, "-o", tmp_path / "l")
    assert result.exit_code == 0, result.output
    assert "same_text took the most of their candidates (8 of 8)" in result.stderr
    assert "retrieve with a larger -k" in result.stderr
    assert "--no-same-text" not in result.stderr


def test_near_duplicates_propose_their_switch(invoke: Invoke, tmp_path: Path) -> None:
    rows = collection(1, 1, 8)[0]
    words = " ".join(f"w{i}" for i in range(60))
    texts = {row["docid"]: f"{words} {row['docid']}" for row in rows}
    scored = make_scored(
        tmp_path / "in", [rows], sources=("bm25",), scorers=("ce",), doc_texts=texts
    )
    options = ("--no-repeated-texts", "--num-negatives", 4)
    result = invoke("filter", scored, *options, "-o", tmp_path / "l")
    assert "near_duplicate took the most" in result.stderr
    assert "--no-near-duplicates would leave 0" in " ".join(result.stderr.split())
    again = invoke("filter", scored, *options, "--no-near-duplicates", "-o", tmp_path / "m")
    assert "fewer than" not in again.stderr


def test_rows_without_a_score_are_told_apart(invoke: Invoke, tmp_path: Path) -> None:
    rows = collection(1, 1, 12)[0]
    for row in rows[4:]:
        row["score_ce"] = None
    scored = make_scored(tmp_path / "in", [rows], sources=("bm25",), scorers=("ce",))
    warnings, counts = run(invoke, scored, tmp_path / "l")
    assert counts["short_by"] == {"unscored": 1}
    assert "rerank without --top" in warnings


def test_a_calibrated_rate_names_itself(invoke: Invoke, scored: Path, tmp_path: Path) -> None:
    warnings, counts = run(
        invoke, scored, tmp_path / "l", "--max-fn-rate", 0.02, "--fn-form", "score"
    )
    assert set(counts["short_by"]) == {"max_fn_rate"}
    assert "a --max-fn-rate above 0.02 keeps more" in warnings


def test_a_part_of_many_short_queries_is_told_as_about(
    invoke: Invoke, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_advice, "_OF_A_PART", 10)
    warnings, _ = run(invoke, scored, tmp_path / "l", "--relative-margin", 0.05)
    (about,) = re.findall(r"--against max would leave about (\d+)", warnings)
    _, counts = run(invoke, scored, tmp_path / "l", "--relative-margin", 0.05, "--against", "max")
    assert abs(int(about) - counts["queries_short"]) < 15


def test_a_full_set_is_not_talked_about(invoke: Invoke, scored: Path, tmp_path: Path) -> None:
    warnings, counts = run(invoke, scored, tmp_path / "l")
    assert warnings == ""
    assert "short_by" not in counts


def test_without_its_limit_a_probability_keeps_nothing_out(invoke: Invoke, tmp_path: Path) -> None:
    """Of p_prior a laxer limit is proposed, never none; following it gives what was told."""
    scored = make_scored(tmp_path / "in", collection(), sources=("bm25",), scorers=("ce",))
    options = ("--by", "p_prior", "--sampler", "rank", "--max-score")
    warnings, counts = run(invoke, scored, tmp_path / "l", *options, 0.05)
    assert counts["queries_short"]
    assert "leaving out --max-score" not in warnings
    (left,) = re.findall(r"--max-score 0.1 would leave (\d+)", warnings)
    _, followed = run(invoke, scored, tmp_path / "l", *options, 0.1)
    assert int(left) == followed["queries_short"] < counts["queries_short"]


def test_a_learned_score_that_no_rule_reads_is_told(invoke: Invoke, tmp_path: Path) -> None:
    scored = make_scored(tmp_path / "in", collection(2), sources=("bm25",), scorers=("ce",))
    told = "no rule reads p_prior"
    warnings, _ = run(invoke, scored, tmp_path / "l", "--by", "p_prior")
    assert told in warnings
    for more in (("--max-score", 0.18), ("--sampler", "rank")):
        warnings, _ = run(invoke, scored, tmp_path / "l", "--by", "p_prior", *more)
        assert told not in warnings


def test_p_prior_tells_that_no_source_found_a_positive(invoke: Invoke, tmp_path: Path) -> None:
    rows = collection(2)
    told = "p_prior: no source found a known positive"
    options = ("--by", "p_prior", "--max-score", 0.5)
    found = make_scored(tmp_path / "found", rows, sources=("bm25",), scorers=("ce",))
    assert told not in run(invoke, found, tmp_path / "l", *options)[0]
    for part in rows:
        for row in part:
            row["rank_bm25"] = None if row["label"] else row["rank_bm25"]
    scored = make_scored(tmp_path / "in", rows, sources=("bm25",), scorers=("ce",))
    assert told in run(invoke, scored, tmp_path / "none", *options)[0]
