"""``negmine inspect``: one screen, and whether all is whole."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from negmine.table import artifacts
from negmine.table.ids import content_ids
from tests.conftest import Invoke
from tests.tables import make_scored

QUERIES = [f"question number {n} about apples" for n in range(5)]
QIDS = content_ids(pa.array(QUERIES)).to_pylist()


def rows(qid: str) -> list[dict[str, Any]]:
    def one(docid: str, label: int, ce: float, rank: int) -> dict[str, Any]:
        return {
            "qid": qid,
            "docid": docid,
            "label": label,
            "grade": 1 if label else None,
            "rank_bm25": rank,
            "score_bm25": 20.0 - rank,
            "score_ce": ce,
        }

    return [one("pos", 1, 8.0, 1), one("near", 0, 7.9, 2), one("far", 0, 3.0, 3)]


@pytest.fixture
def work(tmp_path: Path, invoke: Invoke) -> Path:
    scored = make_scored(
        tmp_path,
        [[row for qid in QIDS for row in rows(qid)]],
        sources=("bm25",),
        doc_texts={"near": "almost the answer", "far": "something else " + "y" * 400},
        query_texts=dict(zip(QIDS, QUERIES, strict=True)),
    )
    made = [
        ("filter", scored, "--by", "ce", "--relative-margin", 0.05, "--num-negatives", 2),
        ("export", tmp_path / "ledger", "--format", "triplet"),
        ("export", tmp_path / "ledger", "--format", "flagembedding"),
    ]
    for command, out in zip(made, ("ledger", "train.parquet", "train.jsonl"), strict=True):
        result = invoke(*command, "-o", tmp_path / out)
        assert result.exit_code == 0, result.stderr
    return tmp_path


def test_a_ledger_on_one_screen(work: Path, invoke: Invoke) -> None:
    shown = invoke("inspect", work / "ledger").stdout
    lines = shown.splitlines()
    assert len(lines) <= 30
    assert shown.count("\nquery ") == 3
    told = lines[lines.index(f"query {QIDS[0][:12]}: {QUERIES[0]}") :]
    assert max(map(len, told[:4])) <= 100
    assert told[1].split()[:2] == ["positive", "pos"]
    assert told[2].split()[:3] == ["negative", "1", "far"]
    assert "…" in told[2]
    assert "dropped: relative_margin (7.9 > 7.6)" in told[3]
    assert "almost the answer" in told[3]
    assert f"negmine explain {work / 'ledger'} {QIDS[0][:12]}" in shown
    assert "5 queries with fewer than 2 negatives, 0 with none" in shown
    assert not any(qid in shown for qid in QIDS)
    assert invoke("inspect", work / "ledger", "--rows", 1).stdout.count("\nquery ") == 1


def test_the_manifest_is_behind_verbose_and_json(work: Path, invoke: Invoke) -> None:
    assert "lineage" not in invoke("inspect", work / "ledger").stdout.splitlines()[0]
    whole = invoke("inspect", work / "ledger", "-v").stdout
    assert "lineage:" in whole
    assert "schema:" in whole
    assert "params:" in whole
    report = json.loads(invoke("inspect", work / "ledger", "--json").stdout)
    assert len(report["rows"]) == 3
    assert report["rows"][0]["qid"] == QIDS[0]


def test_a_table_shows_its_best_candidates(work: Path, invoke: Invoke) -> None:
    shown = invoke("inspect", work / "scored").stdout
    told = shown.split("\nquery ")[1].splitlines()
    assert [line.split()[0] for line in told[1:4]] == ["positive", "candidate", "candidate"]
    assert "near" in told[2]
    assert "bm25 2" in told[2]
    assert shown.count("\nquery ") == 3


@pytest.mark.parametrize(
    ("name", "field"), [("train.parquet", "anchor: "), ("train.jsonl", "query: ")]
)
def test_a_training_file_shows_its_rows(work: Path, invoke: Invoke, name: str, field: str) -> None:
    shown = invoke("inspect", work / name).stdout
    assert field + QUERIES[0] in shown
    assert "something else" in shown
    assert shown.count(f"{name}, row ") == 3
    assert max(map(len, shown.splitlines())) <= 200


def test_warnings_that_are_not_shown_are_counted(work: Path, invoke: Invoke) -> None:
    manifest = work / "_train.parquet.manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, "warnings": [f"warned {n}" for n in range(5)]}))
    shown = invoke("inspect", work / "train.parquet").stdout
    assert [f"warning: warned {n}" in shown for n in range(5)] == [True] * 3 + [False] * 2
    assert "... and 2 other warnings" in shown


def test_verifying_tells_each_artifact_and_a_verdict(work: Path, invoke: Invoke) -> None:
    result = invoke("inspect", work, "--verify")
    assert result.exit_code == 0, result.output
    *each, verdict = result.stdout.splitlines()
    assert all(line.startswith("ok ") for line in each)
    names = {Path(line.split(":")[0].split()[-1]).name for line in each}
    assert {"ledger", "train.parquet", "train.jsonl", "scored"} <= names
    assert verdict.startswith("verdict: everything is as it was written")
    part = next((work / "ledger").glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    broken = invoke("inspect", work, "--verify")
    assert broken.exit_code == 5
    *each, verdict = broken.stdout.splitlines()
    assert [line.split()[0] for line in each].count("BROKEN") == 1
    assert any(line.startswith("BROKEN") and part.name in line for line in each)
    assert verdict.startswith("verdict: 1 of ")
    assert part.name in broken.stderr


def test_a_work_folder_is_told_in_lines(
    work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long paths wrap lines.
    monkeypatch.chdir(work.parent)
    shown = invoke("inspect", work.name).stdout
    said = " ".join(shown.split())
    assert f"{work.name}/ledger: filter" in said
    # Nothing is cut, however little room a name leaves: not the last of the counts either.
    counts = artifacts.open_artifact(work / "ledger").counts
    whole = [(name, n) for name, n in counts.items() if type(n) is int and n][:5]
    for name, number in whole:
        assert f"{name.replace('_', ' ')} {number:,}" in said
    assert "…" not in shown
    assert len(shown.splitlines()) < 24


def test_a_query_is_found_by_words_and_by_the_beginning_of_its_id(
    work: Path, invoke: Invoke
) -> None:
    for words in (QIDS[3], QIDS[3][:12], QIDS[3][:8].upper(), "NUMBER 3", "apples 3"):
        result = invoke("explain", work / "ledger", words, "--json")
        assert result.exit_code == 0, (words, result.stderr)
        assert json.loads(result.stdout)["qid"] == QIDS[3]
    shown = invoke("explain", work / "ledger", "number 3").stdout
    assert shown.startswith(f"query {QIDS[3][:12]}: {QUERIES[3]}\n")
    several = invoke("explain", work / "ledger", "about apples")
    assert several.exit_code == 2
    assert several.stdout == ""
    assert all(qid[:12] in several.stderr and qid not in several.stderr for qid in QIDS)
    nothing = invoke("explain", work / "ledger", "pears")
    assert nothing.exit_code == 4
    assert "--random" in nothing.stderr


def test_a_query_by_chance(work: Path, invoke: Invoke) -> None:
    seen = set()
    for seed in range(12):
        result = invoke("explain", work / "ledger", "--random", "--seed", seed, "--json")
        again = invoke("explain", work / "ledger", "--random", "--seed", seed, "--json")
        assert f"--seed {seed}" in result.stderr
        assert "of 5" in result.stderr
        assert result.stdout == again.stdout
        seen.add(json.loads(result.stdout)["qid"])
    assert len(seen) > 2
    neither = invoke("explain", work / "ledger")
    assert neither.exit_code == 2
    assert "--random" in neither.stderr
    assert invoke("explain", work / "ledger", QIDS[0], "--random").exit_code == 2


def test_the_command_that_is_told_runs_whatever_the_ids_are(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    rows = [
        {"qid": "what is 'it'", "docid": f"d{number}", "label": int(number == 0), "grade": None}
        | {"rank_bm25": number + 1, "score_bm25": 9.0 - number, "score_ce": 1.0 - number}
        for number in range(3)
    ]
    scored = make_scored(folder, [rows], sources=("bm25",), scorers=("ce",))
    assert invoke("filter", scored, "-o", folder / "ledger").exit_code == 0
    shown = invoke("inspect", folder / "ledger").stdout
    command = next(line for line in shown.splitlines() if "negmine explain" in line)
    _, *words = shlex.split(command.partition(": ")[2])
    told = invoke(*words)
    assert told.exit_code == 0, told.output
    assert "what is 'it'" in told.stdout
