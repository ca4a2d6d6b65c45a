"""Consensus, limits of a query's own candidates, answers and numbers, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.table import artifacts
from tests.conftest import ROOT, Invoke, write_jsonl
from tests.tables import make_scored
from tests.training_sets import command

Row = dict[str, Any]
OFF = ("--no-repeated-texts", "--no-near-duplicates", "--no-duplicate-queries")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores in eighths, so that some are equal; a few rows that one scorer did not see."""
    pytest.importorskip("rensa")
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for q in range(10):
        for d in range(16):
            row: Row = {"qid": f"q{q}", "docid": f"d{q}x{d}", "label": int(d < 2)}
            row |= {"rank_bm25": d + 1, "rank_near": 17 - d}
            for name in ("bm25", "near", "ce", "judge"):
                level = rng.integers(0, 8) / 8 + (0.5 if d < 2 else 0)
                row[f"score_{name}"] = None if name == "judge" and d == 9 else float(level)
            rows.append(row)
    return make_scored(
        tmp_path_factory.mktemp("rules"),
        [rows[:64], rows[64:]],
        sources=("bm25", "near"),
        scorers=("ce", "judge"),
    )


def fates(invoke: Invoke, scored: Path, out: Path, *options: object) -> tuple[list[Row], Any]:
    done = invoke("filter", scored, *OFF, *options, "-o", out)
    assert done.exit_code == 0, done.output
    made = artifacts.open_artifact(out)
    return [row for name in made.parts for row in made.read(name).to_pylist()], made


@pytest.mark.parametrize(
    ("options", "names", "against"),
    [
        (("--consensus", "bm25", "--consensus", "ce"), ("bm25", "ce"), min),
        (("--consensus", "score_judge", "--against", "max"), ("judge",), max),
        (("--consensus", "all"), ("bm25", "near", "ce", "judge"), min),
    ],
)
def test_every_score_must_agree(
    scored: Path, tmp_path: Path, invoke: Invoke, options: Any, names: Any, against: Any
) -> None:
    rows, made = fates(invoke, scored, tmp_path / "l", *options, "--by", "ce")
    assert made.params["consensus"] == list(names)
    for row in rows:
        if row["label"]:
            continue
        known = [r for r in rows if r["qid"] == row["qid"] and r["label"]]
        scores = [row[f"score_{name}"] for name in names]
        limits = [against(r[f"score_{name}"] for r in known) for name in names]
        wanted = None
        if None in scores:
            wanted = "unscored_consensus"
        elif not all(score < limit for score, limit in zip(scores, limits, strict=True)):
            wanted = "consensus"
        assert row["dropped_by"] == wanted
    assert made.counts["dropped"]["consensus"]
    shown = json.loads(invoke("explain", tmp_path / "l", "q3", "--json").stdout)
    assert {f"positive of {name}" for name in names} <= set(shown["thresholds"])
    page = tmp_path / "page.html"
    assert invoke("report", tmp_path / "l", "-o", page).exit_code == 0
    assert "not below the positive for every score" in page.read_text("utf-8")
    audit = ("audit", scored, *OFF, *options, "-o", tmp_path / "audit.json")
    assert invoke(*audit).exit_code == 0


@pytest.mark.parametrize("k", [-0.5, 0.0, 1.0])
def test_a_limit_of_the_querys_own_candidates(
    scored: Path, tmp_path: Path, invoke: Invoke, k: float
) -> None:
    rows, made = fates(invoke, scored, tmp_path / "l", "--by", "judge", "--adaptive-threshold", k)
    for qid in {row["qid"] for row in rows}:
        mine = [r for r in rows if r["qid"] == qid and not r["label"]]
        scores = np.array([r["score_judge"] for r in mine if r["score_judge"] is not None])
        limit = scores.mean() + k * scores.std()
        for row in mine:
            score = row["score_judge"]
            if score is None:
                assert row["dropped_by"] == "unscored"
            elif abs(score - limit) > 1e-9:
                assert (row["dropped_by"] == "adaptive_threshold") == (score > limit)
    assert made.counts["dropped"]["adaptive_threshold"]


def test_equal_scores_are_not_above_their_mean(tmp_path: Path, invoke: Invoke) -> None:
    rows = [
        {"qid": "q", "docid": f"d{d}", "label": int(d == 0), "rank_a": d + 1, "score_a": 0.1}
        for d in range(8)
    ]
    scored = make_scored(tmp_path, [rows], sources=("a",), scorers=())
    found, _ = fates(invoke, scored, tmp_path / "l", "--adaptive-threshold", 0)
    assert sum(row["dropped_by"] == "adaptive_threshold" for row in found) == 0


def test_a_sweep_tries_it(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "audit.json"
    options = ("--by", "ce", "--sweep", "adaptive-threshold=0,1", "--seeds", 1)
    done = invoke("audit", scored, *OFF, *options, "-o", out)
    assert done.exit_code == 0, done.output
    told = {row["setting"] for row in json.loads(out.read_text())["rows"]}
    assert told == {"as given", "adaptive-threshold=0", "adaptive-threshold=1"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--consensus", "cee"), "--consensus: the table has no score 'cee'"),
        (("--answers", "answers"), "keep no column 'answers' of the queries"),
    ],
)
def test_what_is_refused(
    scored: Path, tmp_path: Path, invoke: Invoke, options: Any, told: str
) -> None:
    done = invoke("filter", scored, *options, "-o", tmp_path / "l")
    assert done.exit_code == 2, done.output
    assert told in done.stderr


# --- what texts hold --------------------------------------------------------------------------

DOCUMENTS = {
    "pos": "The tower of the city was finished in 1889 by Eiffel's company.",
    "answer": "Many things about the tower: it stands in Paris, France.",
    "inside": "A comparison of towers of the city, and their parts.",
    "year": "The tower of another city was finished in 1932.",
    "plain": "A tower is a tall building in a city.",
}
QUESTIONS = [
    {"_id": "where", "text": "where is the tower of the city", "answers": ["PARIS", "Lutetia"]},
    {"_id": "many", "text": "how many towers are in a city", "answers": None},
]


def mined(folder: Path, questions: Path) -> Path:
    lines = ["query-id\tcorpus-id\tscore", "where\tpos\t1", "many\tpos\t1"]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    write_jsonl(folder / "corpus.jsonl", [{"_id": d, "text": t} for d, t in DOCUMENTS.items()])
    for words in (
        ("index", "--corpus", folder / "corpus.jsonl", "--no-bm25", "-o", folder / "index"),
        (
            *("retrieve", folder / "index", "--queries", questions),
            *("--qrels", folder / "qrels.tsv", "--source", "easy=random:10"),
            *("--keep", "answers", "-o", folder / "candidates"),
        ),
    ):
        done = command(*words)
        assert done.exit_code == 0, done.output
    return folder / "candidates"


def dropped(invoke: Invoke, candidates: Path, out: Path, *options: object) -> Any:
    rows, made = fates(invoke, candidates, out, *options)
    found = {(row["qid"], row["docid"]): row["dropped_by"] for row in rows if not row["label"]}
    assert len(found) == 8
    return {pair: reason for pair, reason in found.items() if reason}, made


@pytest.mark.parametrize("layout", ["jsonl", "parquet", "csv"])
def test_candidates_that_hold_an_answer(tmp_path: Path, invoke: Invoke, layout: str) -> None:
    questions = tmp_path / f"queries.{layout}"
    if layout == "jsonl":
        write_jsonl(questions, QUESTIONS)
    elif layout == "parquet":
        pq.write_table(pa.Table.from_pylist(QUESTIONS), questions)
    else:
        lines = [f'{q["_id"]},{q["text"]},"{q["answers"] or ""}"' for q in QUESTIONS]
        questions.write_text("\n".join(["_id,text,answers", *lines]) + "\n")
    candidates = mined(tmp_path, questions)
    found, made = dropped(invoke, candidates, tmp_path / "l", "--answers", "answers")
    assert found == {("where", "answer"): "answer"}
    assert made.warnings.count("--answers: 1 of 2 queries have no answers") == 1
    found, _ = dropped(invoke, candidates, tmp_path / "n", "--require-numbers", "asked")
    assert found == {("many", docid): "no_number" for docid in ("answer", "inside", "plain")}
    found, _ = dropped(invoke, candidates, tmp_path / "a", "--require-numbers", "all")
    assert len(found) == 6
    assert set(found.values()) == {"no_number"}


def test_answers_that_nobody_keeps_are_told(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "queries.jsonl", QUESTIONS)
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "pos", "text": "a"}])
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nwhere\tpos\t1\n")
    words = ("index", "--corpus", tmp_path / "corpus.jsonl", "--no-bm25")
    done = command(*words, "-o", tmp_path / "index")
    assert done.exit_code == 0, done.output
    done = command(
        *("retrieve", tmp_path / "index", "--queries", tmp_path / "queries.jsonl"),
        *("--qrels", tmp_path / "qrels.tsv", "--source", "easy=random:1"),
        *("-o", tmp_path / "candidates"),
    )
    assert done.exit_code == 5
    assert "retrieve --keep NAME takes them for filter --answers" in " ".join(done.stderr.split())


def test_the_documented_commands_run(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    page = (ROOT / "docs" / "denoising.md").read_text("utf-8")
    block = page.partition("## Further rules")[2].split("```")[1]
    write_jsonl(tmp_path / "queries.jsonl", QUESTIONS)
    answering = mined(tmp_path, tmp_path / "queries.jsonl")
    commands = [line.split() for line in block.splitlines() if line.startswith("negmine")]
    assert len(commands) == 4
    for number, words in enumerate(commands):
        table = answering if "--answers" in words else scored
        _, made = fates(invoke, table, tmp_path / f"l{number}", *words[3:-2])
        assert made.counts["survivors"] > 0
