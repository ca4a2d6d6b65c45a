"""The command line's manners: one message, the documented exit code, nothing left behind."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.table import artifacts, schemas
from negmine.table.artifacts import Plan
from tests.conftest import Invoke, run_cli, write_jsonl

DOCUMENTS = [
    {"_id": "d1", "title": "Red", "text": "a red apple on the table"},
    {"_id": "d2", "title": "", "text": "a green pear in the garden"},
    {"_id": "d3", "title": "", "text": "an apple and a pear"},
]
QUERIES = [{"_id": "q1", "text": "red apple"}, {"_id": "q2", "text": "pear"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    write_jsonl(folder / "queries.jsonl", QUERIES)
    (folder / "qrels.tsv").write_text(QRELS)
    return folder


@pytest.fixture
def index(data: Path, tmp_path: Path, invoke: Invoke) -> Path:
    result = invoke("index", "--corpus", data, "-o", tmp_path / "index")
    assert result.exit_code == 0, result.output
    return tmp_path / "index"


def retrieve(invoke: Invoke, index: Path, data: Path, out: Path, *more: object) -> Any:
    return invoke(*("retrieve", index, "--queries", data, "--qrels", data, "-o", out), *more)


def refused(result: Any, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    for word in words:
        assert word in result.stderr, result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def nothing_at(path: Path) -> None:
    """No output was left behind."""
    assert not path.exists()


# --- bad input --------------------------------------------------------------------------------


def test_an_unknown_option_value(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("filter", tmp_path, "--sampler", "best", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "'top', 'random'" in result.stderr


def test_an_unknown_option(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("filter", tmp_path, "--relative-magrin", "1", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "--relative-margin" in result.stderr


def test_a_missing_file(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("index", "--corpus", tmp_path / "none.jsonl", "-o", tmp_path / "out")
    refused(result, 4, "none.jsonl", "no such file")
    nothing_at(tmp_path / "out")


def test_a_missing_column_lists_the_columns(invoke: Invoke, tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"_id": "a", "txt": "x", "lang": "en"}])
    result = invoke("index", "--corpus", corpus, "-o", tmp_path / "out")
    refused(result, 5, "c.jsonl", "text", "txt", "lang")
    nothing_at(tmp_path / "out")
    mapped = invoke("index", "--corpus", corpus, "--column", "text=txt", "-o", tmp_path / "out")
    assert mapped.exit_code == 0, mapped.output


def test_a_malformed_line_is_named(invoke: Invoke, tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"_id": "a", "text": "x"}\n{"_id": "b", "text": \n')
    result = invoke("index", "--corpus", corpus, "-o", tmp_path / "out")
    refused(result, 5, "c.jsonl:2")
    nothing_at(tmp_path / "out")
    skipped = invoke("index", "--corpus", corpus, "--on-error", "skip", "-o", tmp_path / "skip")
    assert skipped.exit_code == 0
    manifest = json.loads((tmp_path / "skip" / "documents" / "_manifest.json").read_text())
    assert manifest["counts"]["bad_records_skipped"] == 1
    assert "c.jsonl:2" in manifest["skipped"][0]


def test_one_id_with_two_texts(invoke: Invoke, tmp_path: Path) -> None:
    corpus = write_jsonl(
        tmp_path / "c.jsonl", [{"_id": "a", "text": "x"}, {"_id": "a", "text": "y"}]
    )
    result = invoke("index", "--corpus", corpus, "-o", tmp_path / "out")
    refused(result, 5, "'a' appears twice with different texts")
    nothing_at(tmp_path / "out")


def test_an_empty_corpus(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("")
    result = invoke("index", "--corpus", tmp_path / "c.jsonl", "-o", tmp_path / "out")
    refused(result, 5, "the corpus is empty")
    nothing_at(tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "code", "word"),
    [
        ("./no/such/folder", 4, "no/such/folder"),
        ("pkg:no_such_package_here/model", 3, "pip install"),
    ],
)
def test_an_unknown_model(
    invoke: Invoke, data: Path, tmp_path: Path, model: str, code: int, word: str
) -> None:
    result = invoke("index", "--corpus", data, "--encoder", f"m={model}", "-o", tmp_path / "out")
    refused(result, code, word)
    assert not (tmp_path / "out").exists()


def scored(folder: Path, scores: list[float | None]) -> Path:
    """A scored artifact of one query with a positive and some candidates."""
    schema = schemas.with_scores(schemas.candidates(["bm25"]), ["ce"])
    rows = len(scores)
    table = pa.table(
        {
            "qid": ["q"] * rows,
            "docid": [f"d{i}" for i in range(rows)],
            "label": pa.array([1] + [0] * (rows - 1), pa.int8()),
            "grade": pa.array([1] + [None] * (rows - 1), pa.float64()),
            "rank_bm25": pa.array(range(1, rows + 1), pa.int32()),
            "score_bm25": pa.array([float(rows - i) for i in range(rows)], pa.float32()),
            "score_ce": pa.array(scores, pa.float32()),
        }
    )
    writer = artifacts.begin(folder, Plan("rerank", 1, {}))
    assert writer is not None
    with writer:
        writer.add_table("part-00000.parquet", table, schema)
        writer.commit({"candidates": rows})
    return folder


def test_a_nan_score(invoke: Invoke, tmp_path: Path) -> None:
    folder = scored(tmp_path / "scored", [1.0, 0.5])
    part = folder / "part-00000.parquet"
    table = pq.read_table(part)
    bad = table.set_column(
        table.schema.get_field_index("score_ce"),
        "score_ce",
        pa.array([1.0, float("nan")], pa.float32()),
    )
    pq.write_table(bad, part)
    # As if a model had written it: the manifest knows the bytes.
    manifest = json.loads((folder / "_manifest.json").read_text())
    manifest["files"]["part-00000.parquet"] |= {
        "bytes": part.stat().st_size,
        "digest": artifacts.digest(part),
    }
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    # Without the guard, which would want the texts that this artifact has none of.
    guard = ("same-text", "query-text", "near-duplicates", "duplicate-queries", "repeated-texts")
    off = [*(f"--no-{name}" for name in (*guard, "empty-texts")), "--own-document", "off"]
    result = invoke("filter", folder, *off, "-o", tmp_path / "ledger")
    refused(result, 5, "'score_ce' holds a NaN", "part-00000.parquet")
    nothing_at(tmp_path / "ledger")


def test_an_artifact_of_another_schema_version(invoke: Invoke, tmp_path: Path) -> None:
    folder = scored(tmp_path / "scored", [1.0, 0.5])
    manifest = json.loads((folder / "_manifest.json").read_text())
    (folder / "_manifest.json").write_text(json.dumps({**manifest, "schema": 0}))
    result = invoke("filter", folder, "-o", tmp_path / "ledger")
    refused(result, 5, "schema version 0")
    assert not (tmp_path / "ledger").exists()


def test_a_tampered_part(invoke: Invoke, tmp_path: Path) -> None:
    folder = scored(tmp_path / "scored", [1.0, 0.5])
    part = folder / "part-00000.parquet"
    pq.write_table(pq.read_table(part).slice(0, 1), part)
    result = invoke("filter", folder, "-o", tmp_path / "ledger")
    refused(result, 5, "part-00000.parquet", "checksum")
    nothing_at(tmp_path / "ledger")


def test_the_wrong_artifact(invoke: Invoke, index: Path, tmp_path: Path) -> None:
    result = invoke("filter", index, "-o", tmp_path / "ledger")
    refused(result, 2, "made by 'index'", "negmine rerank")


def test_an_unknown_source_or_score_suggests(
    invoke: Invoke, index: Path, data: Path, tmp_path: Path
) -> None:
    refused(
        retrieve(invoke, index, data, tmp_path / "c", "--source", "bm52"), 2, "Did you mean 'bm25'"
    )
    folder = scored(tmp_path / "scored", [1.0, 0.5])
    refused(invoke("filter", folder, "--by", "bm", "-o", tmp_path / "l"), 2, "Known: bm25, ce")


# --- defined behaviour ------------------------------------------------------------------------


@pytest.mark.real
def test_losses_are_counted_and_told(
    invoke: Invoke, index: Path, data: Path, tmp_path: Path
) -> None:
    write_jsonl(
        data / "queries.jsonl",
        [*QUERIES, {"_id": "q3", "text": "no judgement"}, {"_id": "q4", "text": "  "}],
    )
    (data / "qrels.tsv").write_text(QRELS + "q2\tgone\t1\nqX\td1\t1\nq4\td1\t1\nq1\td3\t0\n")
    result = retrieve(invoke, index, data, tmp_path / "candidates", "-k", 1000)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "candidates")
    for words in (
        "1 queries are empty",
        "1 queries have no positive",
        "1 positives are not in the corpus, e.g. 'gone' (query 'q2')",
        "1 judgements are of queries that are not among the queries",
    ):
        assert words in result.stderr
    counts = json.loads((tmp_path / "candidates" / "_manifest.json").read_text())["counts"]
    assert counts["queries"] == 2
    rows = pq.read_table(tmp_path / "candidates").to_pylist()
    assert {row["qid"] for row in rows} == {"q1", "q2"}
    judged = {(row["qid"], row["docid"]): (row["label"], row["grade"]) for row in rows}
    assert judged["q1", "d1"] == (1, 1)
    assert judged["q1", "d3"] == (0, 0)
    assert judged["q2", "d2"] == (1, 2)


@pytest.mark.real
def test_no_query_left_is_an_error(invoke: Invoke, index: Path, data: Path, tmp_path: Path) -> None:
    (data / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nother\td1\t1\n")
    result = retrieve(invoke, index, data, tmp_path / "candidates")
    refused(result, 5, "no query is left to mine", "ids")
    assert "Read were 2 queries (2 without a positive in the corpus) and 1 judgements" in (
        " ".join(result.stderr.split())
    )
    assert "{" not in result.stderr
    nothing_at(tmp_path / "candidates")


@pytest.mark.real
def test_pairs_need_neither_ids_nor_corpus(invoke: Invoke, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl.gz"
    rows = [
        {"query": "red apple", "positive": "a red apple on the table"},
        {"query": "pear", "positive": "a green pear in the garden"},
        {"query": "pear", "positive": "an apple and a pear"},
        {"query": "fruit", "positive": "an apple and a pear"},
    ]
    with gzip.open(pairs, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    work = tmp_path / "work"
    for command in (
        ("index", "--pairs", pairs, "-o", work / "index"),
        ("retrieve", work / "index", "--pairs", pairs, "-k", 3, "-o", work / "candidates"),
        ("filter", work / "candidates", "-o", work / "ledger"),
        ("export", work / "ledger", "-o", work / "train.jsonl"),
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    counts = json.loads((work / "candidates" / "_manifest.json").read_text())["counts"]
    assert counts["queries"] == 3
    assert counts["positives"] == 4
    train = [json.loads(line) for line in (work / "train.jsonl").open()]
    known = {(row["query"], row["positive"]) for row in rows}
    assert train
    for row in train:
        assert (row["anchor"], row["positive"]) in known
        assert (row["anchor"], row["negative"]) not in known


@pytest.mark.real
def test_pairs_beside_a_corpus_find_their_documents(
    invoke: Invoke, data: Path, tmp_path: Path
) -> None:
    pairs = write_jsonl(
        tmp_path / "pairs.jsonl",
        [
            # The full text of d1, and a text that the corpus does not hold.
            {"query": "apple", "positive": "Red a red apple on the table"},
            {"query": "pear", "positive": "a pear from elsewhere"},
        ],
    )
    work = tmp_path / "work"
    index = invoke("index", "--corpus", data, "--pairs", pairs, "-o", work / "index")
    assert index.exit_code == 0, index.output
    found = invoke("retrieve", work / "index", "--pairs", pairs, "-o", work / "candidates")
    assert found.exit_code == 0, found.output
    rows = pq.read_table(work / "candidates").to_pylist()
    positives = [row["docid"] for row in rows if row["label"] == 1]
    assert "d1" in positives
    documents = pq.read_table(work / "index" / "documents").to_pylist()
    assert len(documents) == 4
    assert {row["docid"] for row in documents} > {"d1", "d2", "d3"}


@pytest.mark.real
def test_an_index_grows_without_being_remade(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    assert invoke("index", "--corpus", data, "-o", out).exit_code == 0
    parts = [p for p in out.rglob("*") if p.is_file() and p.name != "_manifest.json"]
    before = {p: p.stat().st_mtime_ns for p in parts}
    again = invoke("index", "--corpus", data, "-o", out)
    assert "up to date" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in parts} == before
    write_jsonl(data / "corpus.jsonl", DOCUMENTS[:2])
    changed = invoke("index", "--corpus", data, "-o", out)
    refused(changed, 6, "corpus changed", "--force")
    forced = invoke("index", "--corpus", data, "-o", out, "--force")
    assert forced.exit_code == 0
    assert json.loads((out / "_manifest.json").read_text())["counts"]["documents"] == 2


@pytest.mark.real
def test_stdout_carries_the_result_only(data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    index = run_cli("index", "--corpus", data, "-o", work / "index")
    assert index.stdout == f"{work / 'index'}\n", index.stderr
    retrieved = run_cli(
        *("retrieve", work / "index", "--queries", data, "--qrels", data, "-o", work / "c")
    )
    assert retrieved.stdout == f"{work / 'c'}\n", retrieved.stderr
    filtered = run_cli("filter", work / "c", "-q", "--num-negatives", 1, "-o", work / "l")
    assert filtered.stderr == ""
    exported = run_cli("export", work / "l", "-o", "-")
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    assert rows
    assert set(rows[0]) == {"anchor", "positive", "negative"}
    logged = run_cli("filter", work / "c", "--log-format", "json", "-o", work / "l2")
    events = [json.loads(line) for line in logged.stderr.splitlines()]
    assert {"time", "level", "message"} <= set(events[-1])


@pytest.mark.real
def test_run_inspect_and_standard_input(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[filter]\nnum-negatives = 1\n[export]\nformat = "labeled-pair"\n')
    arguments = (
        *("run", recipe, "--corpus", data, "--queries", data, "--qrels", data),
        *("-o", tmp_path / "w", "--set", "retrieve.k=2"),
    )
    first = invoke(*arguments)
    assert first.exit_code == 0, first.output
    assert first.stdout.strip() == str(tmp_path / "w" / "train.parquet")
    second = invoke(*arguments)
    assert second.stderr.count("up to date") == 4
    assert pq.read_schema(tmp_path / "w" / "train.parquet").names == ["anchor", "document", "label"]
    shown = invoke("inspect", tmp_path / "w" / "ledger", "--rows", 1)
    assert "red apple" in shown.stdout
    assert "lineage" in invoke("inspect", tmp_path / "w" / "ledger", "-v").stdout
    whole = invoke("inspect", tmp_path / "w", "--verify", "--json", "--rows", 0)
    assert {report["stage"] for report in json.loads(whole.stdout)} >= {
        "index",
        "retrieve",
        "filter",
        "export",
    }
    refused(
        invoke("run", recipe, "-o", tmp_path / "x", "--set", "filter.nun-negatives=1"),
        2,
        "Did you mean",
    )


def test_inspect_of_nothing(invoke: Invoke, tmp_path: Path) -> None:
    refused(invoke("inspect", tmp_path), 4, "holds no negmine artifact")


def test_doctor_tells_what_is_there(invoke: Invoke) -> None:
    result = invoke("doctor", "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == (3 if facts["problems"] else 0)
    assert facts["packages"]["pyarrow"] == pa.__version__


def test_version(invoke: Invoke) -> None:
    from negmine import __version__

    assert invoke("--version").stdout == f"negmine {__version__}\n"


@pytest.mark.parametrize(
    "arguments", ["", "--help", "-h", "--version", "filter --help", "run -h", "fliter", "-- filter"]
)
def test_the_way_in_says_what_the_whole_app_says(arguments: str) -> None:
    """For one command the options of the others are not read, for the root's help none."""
    told = []
    for way in ("main()", "app(prog_name='negmine')"):
        code = f"import sys; sys.argv[0] = 'negmine'; from negmine.cli import app, main; {way}"
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments.split()],
            capture_output=True,
            text=True,
            check=False,
        )
        told.append((ended.returncode, ended.stdout, ended.stderr))
    assert told[0] == told[1]
    assert "negmine" in told[0][1] + told[0][2]


def test_the_way_in_completes_for_a_shell() -> None:
    asked = {"_NEGMINE_COMPLETE": "complete_bash", "COMP_WORDS": "negmine fil", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'negmine'; from negmine.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **asked},
    )
    assert ended.stdout.split() == ["filter"]
