"""The order of other engines' runs, through the command line, as trec_eval's readers take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from negmine.sources.run_order import order
from tests.conftest import Invoke, write_jsonl

QUERY = "301"
DOCUMENTS = [f"FT911-{i}" for i in range(1, 7)]
#: In none of the orders that ids or a search would give.
WANTED = ["FT911-4", "FT911-6", "FT911-2", "FT911-5"]
SCORES = [12.5, 11.25, 3.0, -1.5]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from typer.testing import CliRunner

    from negmine.cli import app

    folder = tmp_path_factory.mktemp("runs")
    write_jsonl(
        folder / "corpus.jsonl",
        [{"_id": d, "text": f"about {d} and topic"} for d in DOCUMENTS],
    )
    write_jsonl(folder / "queries.jsonl", [{"_id": QUERY, "text": "topic"}])
    (folder / "qrels.txt").write_text(f"{QUERY} 0 FT911-1 1\n")
    made = CliRunner().invoke(
        app, ["index", "--corpus", str(folder), "--no-bm25", "-o", str(folder / "index")]
    )
    assert made.exit_code == 0, made.output
    return folder


def retrieve(invoke: Invoke, data: Path, run: Path, *more: Any) -> Any:
    return invoke(
        *("retrieve", data / "index", "--queries", data, "--qrels", data / "qrels.txt"),
        *("--run", f"theirs={run}", "-o", run.with_suffix(".out"), *more),
    )


def read(invoke: Invoke, data: Path, run: Path, *more: Any) -> tuple[list[tuple[Any, Any]], str]:
    """(document, score) of what was found, by rank; and stderr."""
    result = retrieve(invoke, data, run, *more)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(run.with_suffix(".out")).to_pylist()
    found = sorted(
        (row["rank_theirs"], row["docid"], row["score_theirs"])
        for row in rows
        if row["rank_theirs"] is not None
    )
    assert [rank for rank, _, _ in found] == list(range(1, len(found) + 1))
    return [(docid, score) for _, docid, score in found], result.stderr


def lines(form: str, scores: list[Any] | None = None, first: int = 1) -> str:
    """A line for each document, in an order that is none."""
    given = [
        form.format(q=QUERY, d=docid, r=rank, s=score)
        for rank, (docid, score) in enumerate(zip(WANTED, scores or SCORES, strict=True), first)
    ]
    return "".join(f"{line}\n" for line in given)


@pytest.mark.parametrize(
    "form",
    [
        "{q} Q0 {d} {r} {s} anserini",
        "{q}\tQ0\t{d}\t{r}\t{s}\tanserini\t",
        "{q} Q0 {d} {r} {s} anserini \t",
        "{q}\t0\t{d}\t0\t{s}\tconstant-rank",
        "  {q}   Q0  {d}   {r}   {s}e0   t",
    ],
)
def test_a_run_is_read_as_pytrec_eval_reads_it(
    invoke: Invoke, data: Path, tmp_path: Path, form: str
) -> None:
    run = tmp_path / "run.trec"
    run.write_text(lines(form))
    theirs = pytrec_eval.parse_run(run.open())[QUERY]
    found, told = read(invoke, data, run)
    assert dict(found) == theirs
    assert [docid for docid, _ in found] == sorted(theirs, key=theirs.__getitem__, reverse=True)
    assert "believed" not in told


@pytest.mark.parametrize(
    "form",
    [
        "{q} Q0 {d} {r} {s} my bm25 run",
        "{q}\tQ0\t{d}\t{r}\t{s}\tmy bm25 run",
        "{q} Q0 {d} {r} {s}",
        "{q}\tQ0\t{d}\t{r}\t{s}\t",
        "{q}\t{d}\t{r}\t{s}",
        "{q} {d} {s}",
    ],
)
def test_tags_may_have_blanks_or_be_left_out(
    invoke: Invoke, data: Path, tmp_path: Path, form: str
) -> None:
    run = tmp_path / "run.trec"
    run.write_text(lines(form))
    assert read(invoke, data, run)[0] == list(zip(WANTED, SCORES, strict=True))


@pytest.mark.parametrize("name", ["run.tsv", "run.txt"])
@pytest.mark.parametrize("first", [0, 1])
def test_ranks_without_scores(
    invoke: Invoke, data: Path, tmp_path: Path, name: str, first: int
) -> None:
    run = tmp_path / name
    run.write_text(lines("{q}\t{d}\t{r}", first=first))
    assert read(invoke, data, run)[0] == [(docid, None) for docid in WANTED]


def test_a_table_of_ranks(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    for number, (header, more) in enumerate(
        [
            ("qid\tdocid\trank", []),
            ("topic\tdocno\tplace", ["--column", "run.rank=place"]),
            ("qid\tdocid\tplace", ["--column", "rank=place"]),
            ("qid\tdocid\tplace", ["--column", "theirs.rank=place"]),
        ]
    ):
        run = tmp_path / f"{number}.tsv"
        # In the file the best is the last.
        rows = lines("{q}\t{d}\t{r}").splitlines()[::-1]
        run.write_text("\n".join([header, *rows]) + "\n")
        assert read(invoke, data, run, *more)[0] == [(docid, None) for docid in WANTED]
    no_header = tmp_path / "fields.tsv"
    no_header.write_text(lines("{r}\t{d}\t{q}"))
    named = [f"run.{field}=#{at}" for at, field in enumerate(("rank", "docid", "qid"), 1)]
    more = [word for entry in named for word in ("--column", entry)]
    assert [d for d, _ in read(invoke, data, no_header, *more)[0]] == WANTED


def test_scores_that_order_nothing_are_left_out(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.trec"
    run.write_text(lines("{q} Q0 {d} {r} 0 mysys"))
    found, told = read(invoke, data, run)
    assert found == [(docid, None) for docid in WANTED]
    assert "--run theirs: its scores are all the same: its ranks are believed" in told
    table = tmp_path / "same.csv"
    table.write_text("qid,docid,score\n" + lines("{q},{d},1.0"))
    found, told = read(invoke, data, table)
    assert found == [(docid, None) for docid in WANTED]
    assert "the order of the lines counts" in told


def test_distances(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    distances = [0.11, 0.25, 0.31, 1.92]
    run = tmp_path / "run.trec"
    run.write_text(lines("{q} Q0 {d} {r} {s} faiss-l2", distances))
    found, told = read(invoke, data, run)
    assert found == [(docid, None) for docid in WANTED]
    assert "rise from rank to rank" in told
    assert "--distance NAME" in told
    found, told = read(invoke, data, run, "--distance", "theirs", "--force")
    nearer = [float(np.float32(-d)) for d in distances]
    assert found == list(zip(WANTED, nearer, strict=True))
    assert "believed" not in told
    table = tmp_path / "hits.csv"
    table.write_text("qid,docid,distance\n" + lines("{q},{d},{s}", distances))
    refused = retrieve(invoke, data, table)
    assert refused.exit_code == 5
    assert "--distance NAME where lower is" in refused.stderr
    refused = retrieve(invoke, data, table, "--column", "score=distance")
    assert refused.exit_code == 2
    assert "the lowest is the best" in refused.stderr
    named = ["--column", "score=distance", "--distance", "theirs"]
    assert read(invoke, data, table, *named)[0] == found
    assert retrieve(invoke, data, table, "--distance", "other").exit_code == 2


def test_a_rank_that_a_score_contradicts_is_believed_and_told(
    invoke: Invoke, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.trec"
    run.write_text(lines("{q} Q0 {d} {r} {s} fused", [9.0, 7.0, 8.0, 1.0]))
    found, told = read(invoke, data, run)
    assert found == list(zip(WANTED, [9.0, 7.0, 8.0, 1.0], strict=True))
    assert "do not fall from rank to rank in 1 of 1 queries: its ranks are believed" in told


def test_what_is_left_out_is_counted(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.trec"
    run.write_text(
        "301 Q0 FT911-1 1 12.893000 Anserini\n"
        "301 Q0 FT911-1 2 12.892999 Anserini\n"
        "301 Q0 ZZ-1 3 12.8 Anserini\n"
        "302 Q0 FT911-6 1 4 Anserini\n"
        "301 Q0 FT911-3 5 11 Anserini\n"
    )
    found, told = read(invoke, data, run)
    assert found == [("FT911-1", float(np.float32(12.893))), ("FT911-3", 11.0)]
    for what in ("1 rows repeat a pair", "1 rows name a document", "1 rows are of queries"):
        assert f"--run theirs: {what}" in told


@pytest.mark.parametrize(
    ("bad", "hint"),
    [("nan", "--ignore run.score"), ("-inf", "--on-error skip"), ("11,5", "Write 11.5")],
)
def test_a_score_that_is_no_number(
    invoke: Invoke, data: Path, tmp_path: Path, bad: str, hint: str
) -> None:
    run = tmp_path / "run.trec"
    run.write_text(lines("{q} Q0 {d} {r} {s} t", [12.5, bad, 3.0, 1.0]))
    refused = retrieve(invoke, data, run)
    assert refused.exit_code == 5
    assert "run.trec:2: field 'score' must be a finite number" in refused.stderr
    assert hint in refused.stderr
    found, told = read(invoke, data, run, "--on-error", "skip")
    assert [docid for docid, _ in found] == [WANTED[0], *WANTED[2:]]
    assert "1 bad records were skipped" in told
    found, _ = read(invoke, data, run, "--ignore", "run.score", "--force")
    assert found == [(docid, None) for docid in WANTED]


def test_whole_numbers_may_be_ranks_or_scores(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.tsv"
    run.write_text("301\tFT911-4\t7\n301\tFT911-6\t9\n")
    refused = retrieve(invoke, data, run)
    assert refused.exit_code == 5
    assert "--column run.qid=#1" in refused.stderr
    run.write_text("301\tFT911-4\t1\n301\tFT911-6\t1\n")
    refused = retrieve(invoke, data, run)
    assert refused.exit_code == 5
    assert "nothing orders the documents" in refused.stderr


def test_ties_go_by_rank_and_equal_ranks_by_score() -> None:
    query = np.array([0, 0, 0, 0, 1, 1])
    rank = np.array([4.0, 1, 2, 3, 1, 1])
    score = np.array([1.0, 5, 5, 5, 2, 3])
    found = order(query, rank, score, np.array([0, 3, 2, 1, 0, 1]))
    assert found.rows.tolist() == [1, 2, 3, 0, 5, 4]
    assert found.scored
    assert found.told is None
    with pytest.raises(ValueError, match="neither"):
        order(query, None, None, query)
