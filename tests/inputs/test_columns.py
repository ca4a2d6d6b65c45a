"""Every column is read, ignored by name, or refused where it may matter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from negmine.errors import InvalidDataError
from negmine.inputs import (
    Columns,
    Problems,
    read_corpus,
    read_examples,
    read_pairs,
    read_qrels,
    read_queries,
)

Read = Callable[[str, Mapping[str, str], Problems], Iterator[pa.RecordBatch]]
READERS: dict[str, Read] = {
    "corpus": read_corpus,
    "queries": read_queries,
    "qrels": read_qrels,
    "pairs": read_pairs,
}
PLAIN: dict[str, dict[str, Any]] = {
    "corpus": {"_id": "d1", "title": "t", "text": "some text"},
    "queries": {"_id": "q1", "text": "a question"},
    "qrels": {"query-id": "q1", "corpus-id": "d1", "score": 1},
    "pairs": {"query": "a question", "positive": "some text"},
}


def written(folder: Path, format: str, rows: list[dict[str, Any]]) -> Path:
    """Rows in one of the formats."""
    path = folder / f"data.{format}"
    table = pa.Table.from_pylist(rows)
    if format == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif format == "parquet":
        pq.write_table(table, path)
    elif format == "arrow":
        feather.write_feather(table, path, compression="uncompressed")
    else:
        between = "\t" if format == "tsv" else ","
        lines = [list(rows[0]), *(row.values() for row in rows)]
        path.write_text("".join(between.join(map(str, line)) + "\n" for line in lines))
    return path


def read(kind: str, path: Path, columns: Columns) -> list[dict[str, Any]]:
    batches = READERS[kind](str(path), columns, Problems("fail"))
    return [row for batch in batches for row in batch.to_pylist()]


def refusal(kind: str, path: Path, columns: Columns | None = None) -> str:
    with pytest.raises(InvalidDataError) as caught:
        read(kind, path, columns or Columns())
    assert caught.value.where == str(path)
    return str(caught.value)


NAMES = [
    *("neg", "hard_negatives", "negative_1", "hardNegatives", "neg_doc", "HN"),
    *("is_relevant", "judgement", "gold-label", "relevanceGrade", "is_duplicate"),
    *("instruction", "query_prompt", "lang", "query_language", "answers", "short_answer"),
    *("bm25_score", "similarity", "scores"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_matter(tmp_path: Path, name: str) -> None:
    for kind in ("pairs", "queries", "qrels"):
        path = written(tmp_path, "jsonl", [{**PLAIN[kind], name: "x"}] * 3)
        told = refusal(kind, path)
        assert f"'{name}'" in told
        assert f"--ignore {kind}.{name}" in told
        assert len(read(kind, path, Columns(ignored=frozenset({name})))) == 3


@pytest.mark.parametrize("name", ["url", "lang", "score", "year", "metadata", "label", "answer"])
def test_of_a_corpus_metadata_is_only_told(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, "jsonl", [{**PLAIN["corpus"], name: 1}])
    columns = Columns()
    assert len(read("corpus", path, columns)) == 1
    assert columns.account.lines() == [
        f"{path}: docid from '_id', title, text; ignored: '{name}'",
    ]
    assert columns.account.record() == [
        {
            "files": 1,
            "first": str(path),
            "taken": {"docid": "_id", "title": "title", "text": "text"},
            "ignored": [name],
        }
    ]


def test_a_corpus_has_no_negatives(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", [{**PLAIN["corpus"], "negatives": ["x"]}])
    assert "--ignore corpus.negatives" in refusal("corpus", path)


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv", "parquet", "arrow"])
@pytest.mark.parametrize(
    ("values", "role"),
    [
        ([1, 0, 1], "a label or grade"),
        ([3, 1, 2], "a label or grade"),
        ([True, False, True], "a label or grade"),
        ([0.25, 0.5, 1.0], "a score"),
        ([0, 1], "a label or grade"),
        ([0], "a label or grade"),
        ([1, 2, 3], None),
        ([2019, 2020, 2020], None),
        (["fr", "de", "it"], None),
    ],
)
def test_values_beside_a_pair(
    tmp_path: Path, format: str, values: list[Any], role: str | None
) -> None:
    rows = [{**PLAIN["pairs"], "extra": value} for value in values]
    path = written(tmp_path, format, rows)
    if role is None:
        assert len(read("pairs", path, Columns())) == len(values)
    else:
        told = refusal("pairs", path)
        assert f"'extra': {role}, by its values" in told
        assert f"--column pairs.{'label' if role == 'a label or grade' else 'score'}=extra" in told


def test_a_list_beside_a_pair(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet", [{**PLAIN["pairs"], "hard": ["x", "y"]}])
    told = refusal("pairs", path)
    assert "'hard': a list: negatives?" in told
    assert "--column pairs.negative=hard" in told
    named = Columns({"negative": "hard"})
    rows = [r for b in read_examples(str(path), named, Problems("fail")) for r in b.to_pylist()]
    assert [(row["text"], row["given"]) for row in rows] == [
        ("some text", None),
        ("x", 1),
        ("y", 2),
    ]


def test_a_field_that_comes_late(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", [PLAIN["pairs"], {**PLAIN["pairs"], "negative": "x"}])
    assert "negative" in refusal("pairs", path)
    columns = Columns()
    path = written(tmp_path, "jsonl", [PLAIN["pairs"], {**PLAIN["pairs"], "url": "x"}])
    assert len(read("pairs", path, columns)) == 2
    assert columns.account.layouts[0].ignored == ["url"]


def test_a_run_is_no_judgements(tmp_path: Path) -> None:
    path = written(tmp_path, "tsv", [{"qid": "q1", "docid": "d1", "rank": 1}])
    assert "--ignore qrels.rank" in refusal("qrels", path)


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_judgements_without_a_grade(tmp_path: Path, format: str) -> None:
    plain = {"query-id": "q1", "corpus-id": "d1"}
    path = written(tmp_path, format, [{**plain, "usefulness": 0}])
    told = refusal("qrels", path)
    assert "--column qrels.grade=usefulness" in told
    assert "--ignore qrels.usefulness" in told
    assert read("qrels", path, Columns({"grade": "usefulness"}))[0]["grade"] == 0
    assert read("qrels", path, Columns(ignored=frozenset({"usefulness"})))[0]["grade"] == 1
    path = written(tmp_path, format, [{**plain, "iteration": 0}])
    assert read("qrels", path, Columns())[0]["grade"] == 1


def test_two_columns_for_one_grade(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", [{**PLAIN["qrels"], "label": 0}])
    assert "('grade' is read from 'score'.)" in refusal("qrels", path)
    assert read("qrels", path, Columns({"grade": "label"}))[0]["grade"] == 0
    assert read("qrels", path, Columns(ignored=frozenset({"score"})))[0]["grade"] == 0


def test_two_names_of_a_passage(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", [{"question": "q", "response": "a", "context": "b"}])
    assert "--column pairs.positive=context" in refusal("pairs", path)
    assert read("pairs", path, Columns({"positive": "context"}))[0]["positive"] == "b"


def test_names_but_for_case_and_hyphens(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", [{"Query-ID": "q1", "Doc ID": "d1", "Relevance": 2}])
    assert list(read("qrels", path, Columns())[0].values()) == ["q1", "d1", 2]


def test_files_with_the_same_columns_are_one_line(tmp_path: Path) -> None:
    columns = Columns()
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        read("queries", written(tmp_path / name, "jsonl", [PLAIN["queries"]]), columns)
    (line,) = columns.account.lines()
    assert line == (f"{tmp_path}/a/data.jsonl and 1 more: qid from '_id', text; ignored: none")
