"""Runs and judgements as other tools write them, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.training_sets import command, lines

Table = dict[str, list[tuple[str, float | None]]]
RUN = {"q1": {"7": 3.5, "2": 2.0, "12": 1.25}, "q2": {"4": 9.0, "1": 8.5, "7": -1.0}}
ROWS = [(q, d, r, s) for q, ds in RUN.items() for r, (d, s) in enumerate(ds.items())]
TRUTH: Table = {q: list(ds.items()) for q, ds in RUN.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    texts = [{"docid": f"{n}", "text": f"{chr(97 + n) * 4} is a word"} for n in range(15)]
    corpus = lines(folder / "corpus.jsonl", texts)
    lines(folder / "queries.jsonl", [{"qid": q, "text": f"what is {q}"} for q in RUN])
    (folder / "qrels.tsv").write_text("qid\tdocid\tgrade\nq1\t9\t1\nq2\t10\t1\n")
    result = command("index", "--corpus", corpus, "--no-bm25", "-o", folder / "index")
    assert result.exit_code == 0, result.output
    return folder


def retrieve(place: Path, out: Path, run: Path, *options: object, qrels: object = None) -> Any:
    judged = place / "qrels.tsv" if qrels is None else qrels
    inputs = ("--queries", place / "queries.jsonl", "--qrels", judged)
    return command("retrieve", place / "index", *inputs, "--run", f"r={run}", *options, "-o", out)


def found(out: Path) -> Table:
    table: Table = {}
    for row in pq.read_table(out / "part-00000.parquet").sort_by("rank_r").to_pylist():
        if row["rank_r"] is not None:
            table.setdefault(row["qid"], []).append((row["docid"], row["score_r"]))
    return table


def pyterrier(path: Path) -> Path:
    # Its docid is a number of the index, and here each is also the id of another document.
    rows = [f"{q},{14 - int(d)},{d},{r},{s},what is {q}\n" for q, d, r, s in ROWS]
    path = path.with_suffix(".csv")
    path.write_text("qid,docid,docno,rank,score,query\n" + "".join(rows))
    return path


def terrier(path: Path) -> Path:
    path = path.with_suffix(".res")
    path.write_text("".join(f"{q} Q0 {d} {r} {s} DPH\n" for q, d, r, s in ROWS))
    return path


def dictionary(path: Path) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(RUN))
    return path


def indented(path: Path) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(RUN, indent=4))
    return path


def line_per_query(path: Path) -> Path:
    return lines(path.with_suffix(".jsonl"), [{q: ds} for q, ds in RUN.items()])


@pytest.mark.parametrize("write", [pyterrier, terrier, dictionary, indented, line_per_query])
def test_a_run_is_read(place: Path, tmp_path: Path, write: Callable[[Path], Path]) -> None:
    result = retrieve(place, tmp_path / "out", write(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert found(tmp_path / "out") == TRUTH


def test_judgements_as_a_dictionary(place: Path, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.json"
    qrels.write_text(json.dumps({"q1": {"9": 2, "3": 0}, "q2": {"10": 1}}))
    run = dictionary(tmp_path / "run")
    result = retrieve(place, tmp_path / "out", run, qrels=qrels)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    graded = {
        (r["qid"], r["docid"]): (r["label"], r["grade"]) for r in rows if r["grade"] is not None
    }
    assert graded == {("q1", "9"): (1, 2.0), ("q1", "3"): (0, 0.0), ("q2", "10"): (1, 1.0)}


def test_columns_of_numbers_are_no_dictionary_of_queries(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    columns = {"qid": {"0": 1, "1": 1}, "docid": {"0": 7, "1": 2}, "score": {"0": 2.5, "1": 0.5}}
    run.write_text(json.dumps(columns))
    queries = lines(tmp_path / "q.jsonl", [{"qid": "1", "text": "what is it"}])
    (tmp_path / "qrels.tsv").write_text("qid\tdocid\tgrade\n1\t9\t1\n")
    inputs = ("--queries", queries, "--qrels", tmp_path / "qrels.tsv", "--run", f"r={run}")
    result = command("retrieve", place / "index", *inputs, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert found(tmp_path / "out") == {"1": [("7", 2.5), ("2", 0.5)]}


def test_what_is_advised_for_a_column_reaches_the_run(place: Path, tmp_path: Path) -> None:
    """Elasticsearch's names, one hit a line: each message is followed to the letter."""
    rows = [{"query": {"id": q}, "topic": q, "_id": d, "_score": s} for q, d, _, s in ROWS]
    run = lines(tmp_path / "run.jsonl", [{**row, "query": "a"} for row in rows])
    result = retrieve(place, tmp_path / "out", run)
    assert result.exit_code == 5
    assert "--column run.docid=" in result.stderr
    result = retrieve(place, tmp_path / "out", run, "--column", "run.docid=_id")
    assert result.exit_code == 5
    assert "--column run.score=" in result.stderr
    named = ("--column", "run.docid=_id", "--column", "run.score=_score")
    result = retrieve(place, tmp_path / "out", run, *named)
    assert result.exit_code == 0, result.output
    assert found(tmp_path / "out") == TRUTH


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"took": 3, "hits": {"total": 1, "hits": [{"_id": "7", "_score": 1.5}]}}, "hits"),
        ({"id": "q1", "results": [{"id": "7", "score": 1.5}]}, "results"),
        ({"question": "what is q1", "ctxs": [{"id": "7", "score": "1.5"}]}, "ctxs"),
        ({"qid": "q1", "docids": ["7", "2"], "scores": [1.5, 1.0]}, "docids"),
    ],
)
def test_lists_of_hits_are_told(place: Path, tmp_path: Path, record: Any, name: str) -> None:
    result = retrieve(place, tmp_path / "out", lines(tmp_path / "run.jsonl", [record]))
    assert result.exit_code == 5, result.output
    assert f"'{name}' holds several things: write one record for each" in result.stderr


def test_advice_for_one_input_does_not_reach_another(place: Path, tmp_path: Path) -> None:
    (tmp_path / "qrels.csv").write_text("question,paper,grade\nq1,9,1\n")
    run = terrier(tmp_path / "run")
    result = retrieve(place, tmp_path / "out", run, qrels=tmp_path / "qrels.csv")
    assert result.exit_code == 5
    assert "--column qrels.qid=" in result.stderr
    named = ("--column", "qrels.qid=question", "--column", "qrels.docid=paper")
    result = retrieve(place, tmp_path / "out", run, *named, qrels=tmp_path / "qrels.csv")
    assert result.exit_code == 0, result.output


def test_scores_that_are_no_distances_are_told(place: Path, tmp_path: Path) -> None:
    result = retrieve(place, tmp_path / "out", terrier(tmp_path / "run"), "--distance", "r")
    assert result.exit_code == 0, result.output
    assert "they are no distances" in result.stderr
    assert "reads them as distances" not in result.stderr
    assert found(tmp_path / "out") == {q: [(d, None) for d in ds] for q, ds in RUN.items()}


def test_a_source_that_cannot_be_given_is_refused(place: Path, tmp_path: Path) -> None:
    run = terrier(tmp_path / "run")
    result = retrieve(place, tmp_path / "out", run, "--source", "given")
    assert result.exit_code == 2
    assert "--source given is for --pairs" in result.stderr
    pairs = lines(tmp_path / "pairs.jsonl", [{"query": "a", "pos": ["b c"], "neg": ["d e"]}])
    arguments = ("--pairs", pairs, "--run", f"r={run}", "--source", "given", "--no-given")
    result = command("retrieve", place / "index", *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "--source given contradicts --no-given" in result.stderr


def test_an_audit_without_bias_says_so(place: Path, tmp_path: Path) -> None:
    run = terrier(tmp_path / "run")
    assert retrieve(place, tmp_path / "out", run).exit_code == 0
    result = command("audit", tmp_path / "out", "--bias", "r", "-o", tmp_path / "audit.json")
    assert result.exit_code == 0, result.output
    assert "--bias has no effect" in result.stderr
