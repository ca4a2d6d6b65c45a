"""Another engine's run as a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.errors import InvalidDataError
from negmine.sources.base import Asked
from negmine.sources.run_file import open_run
from negmine.table.documents import Documents
from tests.conftest import Invoke, write_jsonl
from tests.tables import make_scored

RUN = """\
q2 Q0 d3 1 7.5 theirs
q1 Q0 d2 2 3.0 theirs
q1 Q0 d1 1 4.5e0 theirs
q1 Q0 gone 3 2.0 theirs
q1 Q0 d3 4 4.5 theirs
q1 Q0 d2 5 -1 theirs
q9 Q0 d1 1 1.0 theirs
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Documents:
    row = {"qid": "q1", "label": 0, "rank_bm25": 1, "score_bm25": 1.0}
    make_scored(
        tmp_path, [[{**row, "docid": f"d{i}"} for i in range(1, 5)]], sources=("bm25",), scorers=()
    )
    from negmine.table.artifacts import open_artifact

    return Documents(open_artifact(tmp_path / "documents"))


def test_ranks_are_believed_and_counted_anew(corpus: Documents, tmp_path: Path) -> None:
    path = tmp_path / "their.trec"
    path.write_text(RUN)
    run = open_run(str(path), pa.array(["q1", "q2", "q3"]), corpus)
    hits = run.search(Asked.by_id(["q3", "q1", "q2"]), 2)
    assert hits.query.tolist() == [1, 1, 2]
    assert hits.docid.to_pylist() == ["d1", "d2", "d3"]
    assert hits.score.tolist() == [4.5, 3.0, 7.5]
    assert run.search(Asked.by_id(["q1"]), 9).docid.to_pylist() == ["d1", "d2", "d3"]
    assert run.search(Asked.by_id([]), 9).docid.to_pylist() == []
    assert run.counts == {
        "rows_read": 7,
        "rows_of_other_queries": 1,
        "documents_unknown": 1,
        "rows_duplicate": 1,
        "queries_missing": 1,
        "bad_records_skipped": 0,
    }
    assert len(run.warnings) == 5
    assert "do not fall from rank to rank in 1 of 2 queries" in run.warnings[0]


def test_a_pair_that_the_run_lacks_has_no_score(corpus: Documents, tmp_path: Path) -> None:
    path = tmp_path / "their.run"
    path.write_text(RUN.replace(" ", "\t"))
    run = open_run(str(path), pa.array(["q1", "q2", "q3"]), corpus)
    query, docids = np.array([0, 0, 1, 0, 2]), pa.array(["d2", "d4", "d3", "gone", "d1"])
    scores = run.score(Asked.by_id(["q1", "q2", "q3"]), query, docids)
    np.testing.assert_array_equal(scores, [3.0, np.nan, 7.5, np.nan, np.nan])


@pytest.mark.parametrize("name", ["run.jsonl", "run.tsv", "run.parquet"])
def test_a_table_is_a_run_too(corpus: Documents, tmp_path: Path, name: str) -> None:
    rows = [{"qid": "q1", "docid": "d1", "score": 2}, {"qid": "q1", "docid": "d2", "score": 0.5}]
    path = tmp_path / name
    if name.endswith(".jsonl"):
        write_jsonl(path, rows)
    elif name.endswith(".tsv"):
        path.write_text("qid\tdocid\tscore\nq1\td1\t2\nq1\td2\t.5\n")
    else:
        pq.write_table(
            pa.Table.from_pylist([{**row, "score": float(row["score"])} for row in rows]), path
        )
    hits = open_run(str(path), pa.array(["q1"]), corpus).search(Asked.by_id(["q1"]), 5)
    assert hits.docid.to_pylist() == ["d1", "d2"]
    assert hits.score.tolist() == [2.0, 0.5]


@pytest.mark.parametrize("score", ["nan", "inf", "high", "1e99"])
def test_a_score_must_be_a_finite_number(corpus: Documents, tmp_path: Path, score: str) -> None:
    path = tmp_path / "bad.trec"
    path.write_text(f"q1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 {score} x\n")
    with pytest.raises(InvalidDataError, match=r"bad.trec:2: .*finite number"):
        open_run(str(path), pa.array(["q1"]), corpus)


def test_a_run_of_other_ids_is_refused(corpus: Documents, tmp_path: Path) -> None:
    path = tmp_path / "other.trec"
    path.write_text("x Q0 y 1 2.0 t\n")
    with pytest.raises(InvalidDataError, match="none of its 1 rows"):
        open_run(str(path), pa.array(["q1"]), corpus)


def test_retrieve_takes_a_run_beside_no_other_source(tmp_path: Path, invoke: Invoke) -> None:
    write_jsonl(
        tmp_path / "corpus.jsonl", [{"_id": f"d{i}", "text": f"text {i}"} for i in range(1, 5)]
    )
    write_jsonl(
        tmp_path / "queries.jsonl", [{"_id": "q1", "text": "a"}, {"_id": "q2", "text": "b"}]
    )
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td4\t1\nq2\td3\t1\n")
    (tmp_path / "their.trec").write_text(RUN)
    result = invoke("index", "--corpus", tmp_path, "-o", tmp_path / "index")
    assert result.exit_code == 0, result.output
    result = invoke(
        *("retrieve", tmp_path / "index", "--queries", tmp_path, "--qrels", tmp_path),
        *("--run", f"vespa={tmp_path / 'their.trec'}", "--source", "vespa"),
        *("-o", tmp_path / "candidates"),
    )
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "candidates").to_pylist()
    assert [
        (r["qid"], r["docid"], r["label"], r["rank_vespa"], r["score_vespa"]) for r in rows
    ] == [
        ("q1", "d1", 0, 1, 4.5),
        ("q1", "d2", 0, 2, 3.0),
        ("q1", "d3", 0, 3, 4.5),
        # The run lacks this positive: its score is not known, and not guessed.
        ("q1", "d4", 1, None, None),
        ("q2", "d3", 1, 1, 7.5),
    ]
    (tmp_path / "their.trec").write_text(RUN.replace("3.0", "3.5"))
    again = invoke(
        *("retrieve", tmp_path / "index", "--queries", tmp_path, "--qrels", tmp_path),
        *("--run", f"vespa={tmp_path / 'their.trec'}", "--source", "vespa"),
        *("-o", tmp_path / "candidates"),
    )
    assert again.exit_code == 6
    assert "run vespa changed" in again.stderr
