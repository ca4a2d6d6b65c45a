"""``retrieve --keep``: columns of the queries beside their texts, from every input they come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negmine.params.retrieve import RetrieveParams
from negmine.stages.retrieve.task import read_task
from negmine.table import artifacts, schemas
from negmine.table.documents import ByContent
from tests.chains import make_data
from tests.conftest import Invoke, write_jsonl

DOCIDS = [f"d{n}" for n in range(4)]


class Corpus:
    """Four documents, told by their ids alone."""

    added_from = len(DOCIDS)

    def rows(self, docids: pa.Array) -> Any:
        return np.array([DOCIDS.index(d) if d in DOCIDS else -1 for d in docids.to_pylist()])

    def empty(self) -> pa.Array:
        return pa.array([], pa.string())

    def find_contents(self, contents: pa.Array, *, untitled: bool = True) -> Any:
        return ByContent(pa.nulls(len(contents), pa.string()))


def task(folder: Path, *, keep: tuple[str, ...], **inputs: str) -> Any:
    paths = {name: (str(folder / path),) for name, path in inputs.items()}
    return read_task(RetrieveParams(keep=keep, **paths), Corpus())


def qrels(folder: Path, rows: list[tuple[str, str]]) -> None:
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in rows)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")


def test_values_follow_the_queries_that_are_mined(tmp_path: Path) -> None:
    values = [("q0", 2001), ("q1", None), ("q2", 2003.5), ("q3", "x"), ("q0", 2001)]
    rows = [{"_id": q, "text": f"text of {q}", "year": v, "kind": "a"} for q, v in values]
    rows[1].pop("kind")
    write_jsonl(tmp_path / "queries.jsonl", rows)
    # q1 has no positive, and is left out.
    qrels(tmp_path, [("q3", "d0"), ("q0", "d1"), ("q2", "d2")])
    found = task(tmp_path, keep=("year", "kind"), queries="queries.jsonl", qrels="qrels.tsv")
    assert found.qids.to_pylist() == ["q0", "q2", "q3"]
    kept = {name: column.to_pylist() for name, column in found.kept.items()}
    assert kept == {"year": ["2001", "2003.5", "x"], "kind": ["a"] * 3}
    assert found.counts["queries_of_several_kept_values"] == 0
    assert found.asked.record()["queries"][0]["taken"]["meta_year"] == "year"


def test_records_of_one_query_that_differ_are_told(tmp_path: Path) -> None:
    rows = [{"_id": q, "text": q, "year": v} for q, v in [("q", None), ("q", 1), ("q", 2)]]
    write_jsonl(tmp_path / "queries.jsonl", rows)
    qrels(tmp_path, [("q", "d0")])
    found = task(tmp_path, keep=("year",), queries="queries.jsonl", qrels="qrels.tsv")
    assert found.kept["year"].to_pylist() == ["1"]
    assert found.counts["queries_of_several_kept_values"] == 1
    assert any("different values in a kept column" in told for told in found.warnings)


def test_of_pairs_of_any_layout(tmp_path: Path) -> None:
    pairs = [
        {"query": "one", "positive": "a", "era": "old"},
        {"query": "two", "positive": ["b", "c"], "era": None},
        {"query": "one", "positive": "d", "era": "old"},
    ]
    triplets = [
        {"anchor": "one", "positive": "a", "negative": "b", "era": 7},
        {"anchor": "two", "positive": "c", "negative": "d", "era": True},
    ]
    lists = [{"query": "one", "pos": ["a"], "neg": ["b", "c"], "era": "old"}]
    by_text = {}
    for name, rows in (("pairs", pairs), ("triplets", triplets), ("lists", lists)):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
        params = RetrieveParams(
            pairs=(str(tmp_path / f"{name}.jsonl"),), keep=("era",), keep_unlabelled=True
        )
        found = read_task(params, Corpus())
        by_text[name] = dict(
            zip(found.texts.to_pylist(), found.kept["era"].to_pylist(), strict=True)
        )
        # What is kept changes nothing of what is read beside it.
        plain = read_task(RetrieveParams(pairs=params.pairs, keep_unlabelled=True), Corpus())
        assert found.qids.equals(plain.qids)
        assert plain.kept == {}
    assert by_text["pairs"] == {"one": "old", "two": None}
    assert by_text["triplets"] == {"one": "7", "two": "true"}
    assert by_text["lists"] == {"one": "old"}


def test_pairs_of_ids_take_them_from_the_queries(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "7", "text": "asked", "era": "old"}])
    write_jsonl(tmp_path / "ids.jsonl", [{"query_id": "7", "positive_ids": ["d0"]}])
    params = RetrieveParams(
        pairs=(str(tmp_path / "ids.jsonl"),),
        queries=(str(tmp_path / "queries.jsonl"),),
        column=("pairs.qid=query_id", "pairs.positive_id=positive_ids"),
        keep=("era",),
    )
    assert read_task(params, Corpus()).kept["era"].to_pylist() == ["old"]


def test_topics_keep_their_other_fields(tmp_path: Path) -> None:
    topics = "<top>\n<num> q\n<title> asked\n<year> 1999\n</top>\n"
    (tmp_path / "topics.trec").write_text(topics)
    qrels(tmp_path, [("q", "d0")])
    found = task(tmp_path, keep=("year",), queries="topics.trec", qrels="qrels.tsv")
    assert found.kept["year"].to_pylist() == ["1999"]


def test_from_the_queries_to_explain(tmp_path: Path, invoke: Invoke) -> None:
    data, work = make_data(tmp_path / "data"), tmp_path / "work"
    rows = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
    write_jsonl(data / "queries.jsonl", [{**r, "era": r["_id"][-1]} for r in rows])
    asked = ["retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv", "-k", 5]
    asked += ["-o", work / "candidates"]
    done = invoke("index", "--corpus", data, "-o", work / "index")
    assert done.exit_code == 0, done.output
    missing = invoke(*asked, "--keep", "eras")
    assert missing.exit_code == 5, missing.output
    told = " ".join(missing.stderr.split())
    assert "no column 'eras' to keep" in told
    assert "Columns of the file: _id, text, era" in told
    assert invoke(*asked, "--keep", "era", "--keep", "era").exit_code == 2
    plain = invoke(*asked)
    assert plain.exit_code == 0, plain.output
    before = artifacts.open_artifact(work / "candidates")
    assert "keep" not in before.params
    assert before.read(f"_queries/{before.parts[0]}").schema.equals(schemas.QUERIES)
    # What is kept is another table.
    assert invoke(*asked, "--keep", "era").exit_code == 6
    done = invoke(*asked, "--keep", "era", "--force")
    assert done.exit_code == 0, done.output
    found = artifacts.open_artifact(work / "candidates")
    assert found.params["keep"] == ["era"]
    kept = {
        row["qid"]: row["meta_era"]
        for path in (work / "candidates" / "_queries").glob("part-*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    assert kept == {row["_id"]: row["_id"][-1] for row in rows}
    assert invoke("filter", work / "candidates", "-o", work / "ledger").exit_code == 0
    report = json.loads(invoke("explain", work / "ledger", "q3", "--json").stdout)
    assert report["query_kept"] == {"era": "3"}
    assert "  era: 3" in invoke("explain", work / "ledger", "q3").stdout.splitlines()
    dry = invoke(*asked, "--keep", "era", "--dry-run", "--json")
    assert json.loads(dry.stdout)["stages"][0]["state"] == "up to date"
