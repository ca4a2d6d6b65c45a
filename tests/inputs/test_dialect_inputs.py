"""Dialects, ids from contents, clashing ids and empty texts, through the command line."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from negmine.cli import app
from tests.conftest import Invoke, write_jsonl

PASSAGES = ['It means "something for something".', "About 188 cm, é.", "Two; lines,\tas asked."]
LINES = "".join(
    json.dumps({"query": f"question {n}", "positive": text}) + "\n"
    for n, text in enumerate(PASSAGES)
)
QUOTED = "query\tpositive\n" + "".join(
    f'question {n}\t"{text.replace(chr(34), 2 * chr(34))}"\n' for n, text in enumerate(PASSAGES)
)
SEMICOLONS = "sep=;\r\n" + QUOTED.replace("query\t", "query;").replace('\t"', ';"')
ARRAY = json.dumps([json.loads(line) for line in LINES.splitlines()], indent=2)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documents(out: str = "i") -> list[dict[str, Any]]:
    """What an index holds."""
    return pq.read_table(f"{out}/documents/part-00000.parquet").to_pylist()


def indexed(invoke: Invoke, *arguments: object, code: int = 0) -> str:
    """Index without any model; what was said."""
    result = invoke("index", *arguments, "--no-bm25", "--no-signatures", "-o", "i", "--force")
    assert result.exit_code == code, result.stderr
    return str(result.stderr)


def member(data: str) -> bytes:
    with zipfile.ZipFile("made.zip", "w") as archive:
        archive.writestr("p.jsonl", data)
    return Path("made.zip").read_bytes()


DIALECTS: dict[str, tuple[str, Any, str]] = {
    "gzip": ("p.jsonl", lambda: gzip.compress(LINES.encode()), "gzip"),
    "zip": ("p.zip", lambda: member(LINES), "'p.jsonl' in a zip archive"),
    "utf-16": ("p.json", lambda: LINES.encode("utf-16"), "UTF-16-LE"),
    "array": ("p.json", lambda: ARRAY.encode(), "an array of JSON"),
    "quoted": ("p.tsv", lambda: QUOTED.encode(), "quoted TSV"),
    "semicolons": ("p.csv", lambda: SEMICOLONS.encode(), "fields between semicolons"),
    "cr": ("p.csv", lambda: SEMICOLONS.replace("\r", "").replace("\n", "\r").encode(), "CR"),
}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("piped", [False, True])
def test_what_is_in_the_index(invoke: Invoke, name: str, piped: bool) -> None:
    file, make, told = DIALECTS[name]
    data = make()
    if piped:
        arguments = ["index", "--pairs", "-", "--no-bm25", "--no-signatures", "-o", "i"]
        result = CliRunner().invoke(app, arguments, input=data)
        assert result.exit_code == 0, result.stderr
        said = result.stderr
    else:
        Path(file).write_bytes(data)
        said = indexed(invoke, "--pairs", file)
        manifest = json.loads(Path("i/documents/_manifest.json").read_text())
        assert told in manifest["columns"]["pairs"][0]["notes"][0]
    assert [row["text"] for row in documents()] == PASSAGES
    # Of what is piped its format is found out anyway.
    assert told in said or piped


# --- ids from contents ----------------------------------------------------------------------------


def content_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_a_pool_of_texts_alone(invoke: Invoke, kind: str) -> None:
    texts = ["adds exponents", "counts backwards", "adds exponents"]
    path = Path(f"pool.{kind}")
    if kind == "jsonl":
        write_jsonl(path, ({"text": text} for text in texts))
    elif kind == "json":
        path.write_text(json.dumps([{"text": text} for text in texts]))
    elif kind == "parquet":
        pq.write_table(pa.table({"text": texts}), path)
    else:
        path.write_text("\n".join(["text", *texts]) + "\n")
    said = indexed(invoke, "--corpus", path)
    assert "no column of ids, so ids are made from the contents" in said
    assert "1 documents repeat an id with the same text: kept once" in said
    found = [(row["docid"], row["text"]) for row in documents()]
    assert found == [(content_id(text), text) for text in texts[:2]]


def test_ids_of_titled_texts(invoke: Invoke) -> None:
    write_jsonl(Path("pool.jsonl"), [{"title": "T", "text": "a"}, {"title": None, "text": "a"}])
    indexed(invoke, "--corpus", "pool.jsonl")
    assert [row["docid"] for row in documents()] == [content_id("T a"), content_id("a")]


@pytest.mark.parametrize("name", ["key", "doc-key", "url", "sample_no", "", "7"])
def test_what_may_be_an_id_is_asked_about(invoke: Invoke, name: str) -> None:
    write_jsonl(Path("pool.jsonl"), [{name: "x1", "text": "a"}])
    said = indexed(invoke, "--corpus", "pool.jsonl", code=5)
    assert "no column for 'docid'" in said
    assert f"--ignore corpus.{name}" in said
    if name:
        indexed(invoke, "--corpus", "pool.jsonl", "--ignore", f"corpus.{name}")
        assert documents()[0]["docid"] == content_id("a")


def test_ids_are_in_all_documents_or_in_none(invoke: Invoke) -> None:
    write_jsonl(Path("pool.jsonl"), [{"text": "a"}, {"_id": "d2", "text": "b"}])
    said = indexed(invoke, "--corpus", "pool.jsonl", code=5)
    assert "pool.jsonl:2: a docid where the first record has none" in said


# --- one id, two texts ----------------------------------------------------------------------------

CLASH = [
    *({"_id": "d1", "text": "first"}, {"_id": "d2", "text": "x"}, {"_id": "d1", "text": "first"}),
    *({"_id": "d1", "text": "second"}, {"_id": 3, "text": "y"}, {"_id": "3", "text": "z"}),
]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_clashing_documents(invoke: Invoke, kind: str) -> None:
    path, first, second = Path(f"c.{kind}"), "c.{}:{}", 1 if kind == "jsonl" else 2
    rows = [{name: str(value) for name, value in row.items()} for row in CLASH]
    if kind == "jsonl":
        write_jsonl(path, CLASH)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        first, second = "c.{}: row {}", 1
    else:
        tab = "," if kind == "csv" else "\t"
        path.write_text(
            "\n".join(tab.join(row.values()) for row in [{"a": "_id", "b": "text"}, *rows])
        )
    places = [first.format(kind, second + at) for at in (0, 3)]
    said = indexed(invoke, "--corpus", path, code=5)
    assert f"{places[0]} and {places[1]}: document id 'd1' appears twice" in said
    said = indexed(invoke, "--corpus", path, "--on-error", "skip")
    assert "2 bad records were skipped" in said
    assert [(row["docid"], row["text"]) for row in documents()] == [
        *(("d1", "first"), ("d2", "x"), ("3", "y"))
    ]
    manifest = json.loads(Path("i/documents/_manifest.json").read_text())
    assert len(manifest["skipped"]) == 2
    assert manifest["skipped"][0].startswith(f"{places[0]} and {places[1]}: document id 'd1'")


def test_clashing_documents_of_two_files(invoke: Invoke) -> None:
    write_jsonl(Path("a.jsonl"), CLASH[:2])
    write_jsonl(Path("b.jsonl"), CLASH[3:4])
    said = indexed(invoke, "--corpus", "a.jsonl", "--corpus", "b.jsonl", code=5)
    assert "a.jsonl:1 and b.jsonl:1: document id 'd1'" in said


def test_empty_texts_and_clashing_queries(invoke: Invoke) -> None:
    """Nothing without a text is trained on, and every loss is counted where it happens."""
    corpus = [("d1", "tides and the moon"), ("d2", ""), ("d3", "  "), ("d4", "the moon pulls")]
    write_jsonl(Path("c.jsonl"), ({"_id": name, "text": text} for name, text in corpus))
    queries = [("q1", "what makes tides"), ("q1", "what is it?"), ("q2", "moon"), ("q3", " ")]
    write_jsonl(Path("q.jsonl"), ({"_id": name, "text": text} for name, text in queries))
    judged = [("q1", "d4"), ("q2", "d3"), ("q2", "d1"), ("q3", "d1")]
    Path("r.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t1\n" for q, d in judged)
    )
    result = invoke("index", "--corpus", "c.jsonl", "-o", "i")
    assert "2 documents are empty" in result.stderr
    asked = ["retrieve", "i", "--queries", "q.jsonl", "--qrels", "r.tsv", "-o", "c"]
    result = invoke(*asked)
    assert result.exit_code == 5
    assert "q.jsonl:1 and q.jsonl:2: query id 'q1' appears twice" in result.stderr
    result = invoke(*asked, "--on-error", "skip")
    assert result.exit_code == 0, result.stderr
    assert "1 positives are empty documents and left out" in result.stderr
    assert "1 queries are empty and left out" in result.stderr
    rows = pq.read_table("c/part-00000.parquet").to_pylist()
    assert {(row["qid"], row["docid"]) for row in rows if row["label"] == 1} == {
        *(("q1", "d4"), ("q2", "d1"))
    }
    texts = pq.read_table("c/_queries/part-00000.parquet").to_pylist()
    assert texts[0]["text"] == "what makes tides"


def test_empty_texts_of_a_training_set(invoke: Invoke) -> None:
    rows = [
        {"query": "moon tides", "pos": ["the moon pulls the tides", ""], "neg": ["", "salt", " "]},
        {"query": "salt", "pos": [" "], "neg": ["the moon"]},
    ]
    write_jsonl(Path("p.jsonl"), rows)
    assert "2 documents are empty" in invoke("index", "--pairs", "p.jsonl", "-o", "i").stderr
    result = invoke("retrieve", "i", "--pairs", "p.jsonl", "-o", "c")
    assert result.exit_code == 0, result.stderr
    assert "2 positives are empty documents and left out" in result.stderr
    assert "2 given negatives are empty documents and left out" in result.stderr
    rows = pq.read_table("c/part-00000.parquet").to_pylist()
    texts = {row["docid"]: row["text"] for row in documents()}
    assert {
        (texts[row["docid"]], row["label"]) for row in rows if row["rank_given"] or row["label"]
    } == {*(("the moon pulls the tides", 1), ("salt", 0))}


# --- init -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"query": "a", "positive": NaN}', "p.jsonl:42: field 'positive' must be a string"),
        ('{"query": "a \\ud800", "positive": "b"}', "p.jsonl:42: a lone surrogate"),
        ('{"query": "a"', "p.jsonl:42: not valid JSON"),
        ('{"query": "", "positive": null}', "p.jsonl:42: field 'positive' must be a string"),
    ],
)
def test_init_refuses_what_the_run_refuses(invoke: Invoke, bad: str, message: str) -> None:
    good = '{"query": "what is it", "positive": "a long text of some words"}\n'
    Path("p.jsonl").write_text(41 * good + bad + "\n" + good)
    result = invoke("init", "p.jsonl", "-o", "-")
    assert result.exit_code == 5
    assert message in result.stderr
    assert message in indexed(invoke, "--pairs", "p.jsonl", code=5)
