"""An input in several files: read one after another, recorded one by one, as one file of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine.api import mine
from negmine.inputs import origin
from negmine.inputs.sampling import sample
from negmine.params import IndexParams
from negmine.pipeline import _spooled
from tests.conftest import Invoke, write_jsonl

DOCUMENTS = [
    {"_id": f"d{n}", "title": f"T{n}", "text": f"document {n} about cats and topic{n}"}
    for n in range(6)
]
QUERIES = [{"_id": f"q{n}", "text": f"cats and topic{n}"} for n in range(4)]
QRELS = [f"q{n}\td{n}\t1\n" for n in range(4)]
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One collection twice: whole, and in parts of other formats and columns."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    write_jsonl(folder / "queries.jsonl", QUERIES)
    (folder / "qrels.tsv").write_text(HEADER + "".join(QRELS))
    write_jsonl(folder / "a.jsonl", DOCUMENTS[:2])
    rows = [f"{d['_id']},{d['title']},{d['text']}\n" for d in DOCUMENTS[2:]]
    (folder / "b.csv").write_text("docid,title,contents\n" + "".join(rows))
    write_jsonl(folder / "q1.jsonl", QUERIES[:1])
    write_jsonl(folder / "q2.jsonl", QUERIES[1:])
    (folder / "r1.tsv").write_text(HEADER + "".join(QRELS[:2]))
    (folder / "r2.trec").write_text("".join(f"q{n} 0 d{n} 1\n" for n in (2, 3)))
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder, partitioning=None).to_pylist()


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_manifest.json").read_text())
    return found


def ok(result: Any) -> None:
    assert result.exit_code == 0, result.output


def test_parts_make_what_the_whole_makes(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ok(invoke("index", "--corpus", data / "corpus.jsonl", "-o", whole / "index"))
    given = ("--queries", data / "queries.jsonl", "--qrels", data / "qrels.tsv")
    ok(invoke("retrieve", whole / "index", *given, "-o", whole / "candidates"))
    corpus = ("--corpus", data / "a.jsonl", "--corpus", data / "b.csv")
    ok(invoke("index", *corpus, "-o", parts / "index"))
    queries = ("--queries", data / "q1.jsonl", "--queries", data / "q2.jsonl")
    qrels = ("--qrels", data / "r1.tsv", "--qrels", data / "r2.trec")
    ok(invoke("retrieve", parts / "index", *queries, *qrels, "-o", parts / "candidates"))
    assert len(records(whole / "candidates")) > len(QUERIES)
    for folder in ("index/documents", "candidates"):
        assert records(parts / folder) == records(whole / folder), folder
    told = manifest(parts / "index" / "documents")["inputs"]["corpus"]
    assert list(told["files"]) == [str(data / "a.jsonl"), str(data / "b.csv")]
    assert all(one["digest"] and one["bytes"] for one in told["files"].values())
    # Of one file the record is what it always was.
    alone = manifest(whole / "index" / "documents")["inputs"]["corpus"]
    assert set(alone) == {"path", "bytes", "mtime_ns", "inode", "digest"}


def test_what_changes_in_one_of_them_is_noticed(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    given = ("index", "--corpus", data / "a.jsonl", "--corpus", data / "b.csv")
    out = ("-o", tmp_path / "index", "--no-bm25", "--no-signatures")
    ok(invoke(*given, *out))
    assert "up to date" in invoke(*given, *out).stderr
    turned = invoke("index", "--corpus", data / "b.csv", "--corpus", data / "a.jsonl", *out)
    assert turned.exit_code == 6
    write_jsonl(data / "a.jsonl", DOCUMENTS[:1])
    assert invoke(*given, *out).exit_code == 6


def test_a_new_file_of_a_pattern_is_noticed(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    given = ("index", "--corpus", data / "[ab].*", "-o", tmp_path / "index", "--no-signatures")
    ok(invoke(*given, "--no-bm25"))
    assert "up to date" in invoke(*given, "--no-bm25").stderr
    write_jsonl(data / "b.jsonl", [{"_id": "new", "text": "another"}])
    assert invoke(*given, "--no-bm25").exit_code == 6
    ok(invoke(*given, "--no-bm25", "--force"))
    assert len(records(tmp_path / "index" / "documents")) == len(DOCUMENTS) + 1


def test_pairs_in_several_files_through_a_recipe(
    data: Path, tmp_path: Path, invoke: Invoke
) -> None:
    pairs = [{"query": q["text"], "positive": d["text"]} for q, d in zip(QUERIES, DOCUMENTS)]  # noqa: B905
    one = write_jsonl(tmp_path / "one.jsonl", pairs[:1])
    two = write_jsonl(tmp_path / "two.jsonl", pairs[1:])
    recipe = tmp_path / "r.toml"
    named = json.dumps([str(one), str(two)])
    recipe.write_text(
        f"[index]\npairs = {named}\n[retrieve]\npairs = {named}\n[filter]\nnum-negatives = 1\n"
    )
    ok(invoke("run", recipe, "-o", tmp_path / "by-recipe"))
    # One file in the recipe, and both on the command line in its place.
    recipe.write_text(f"[index]\npairs = {json.dumps(str(one))}\n[filter]\nnum-negatives = 1\n")
    ok(invoke("run", recipe, "--pairs", one, "--pairs", two, "-o", tmp_path / "by-flag"))
    mined = mine([one, two], num_negatives=1, work_dir=tmp_path / "by-call")
    found = pq.read_table(tmp_path / "by-recipe" / "train.parquet").to_pylist()
    assert [row["anchor"] for row in found] == [pair["query"] for pair in pairs]
    assert pq.read_table(tmp_path / "by-flag" / "train.parquet").to_pylist() == found
    assert {row["query"] for row in mined} == {pair["query"] for pair in pairs}


def test_a_corpus_in_several_files_from_a_notebook(data: Path, tmp_path: Path) -> None:
    pairs = [(query["text"], f"the answer to {query['text']}") for query in QUERIES]
    mined = mine(pairs, corpus=[data / "a.jsonl", data / "b.csv"], num_negatives=9)
    taken = " ".join(row["negative"] for row in mined)
    assert "about cats and topic0" in taken
    assert "about cats and topic5" in taken


def test_an_estimate_reads_all_of_them(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    given = ("--corpus", data / "a.jsonl", "--corpus", data / "b.csv", "--no-bm25")
    result = invoke("index", *given, "--dry-run", "--json", "-o", tmp_path / "index")
    ok(result)
    assert json.loads(result.stdout)["stages"][0]["documents"] == len(DOCUMENTS)


def test_a_sample_of_many_files_is_of_a_known_share(tmp_path: Path) -> None:
    for number in range(20):
        rows = ({"_id": f"{number}-{n}", "text": "x" * 100} for n in range(200))
        write_jsonl(tmp_path / f"c{number:02}.jsonl", rows)
    specs = [str(path) for path in sorted(tmp_path.glob("c*.jsonl"))]
    (tmp_path / "cut").mkdir()
    found = sample(specs, "corpus", tmp_path / "cut", 80_000)
    lines = sum(len(Path(spec).read_text().splitlines()) for spec in found.specs)
    assert len(found.specs) == 8
    assert lines / found.share == pytest.approx(4_000, rel=0.03)
    assert sample(specs, "corpus", tmp_path / "cut").specs == tuple(specs)


def test_a_file_named_twice_is_refused(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "link.jsonl").symlink_to(data / "a.jsonl")
    for again in (data / "a.jsonl", data / ".." / "data" / "a.jsonl", tmp_path / "link.jsonl"):
        given = ("--corpus", data / "a.jsonl", "--corpus", data / "b.csv", "--corpus", again)
        result = invoke("index", *given, "-o", tmp_path / "index")
        assert result.exit_code == 2, result.output
        assert "twice" in result.stderr
        assert not (tmp_path / "index").exists()


def test_a_missing_one_is_named(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    given = ("--corpus", data / "a.jsonl", "--corpus", data / "none.jsonl")
    result = invoke("index", *given, "-o", tmp_path / "index")
    assert result.exit_code == 4
    assert "none.jsonl: no such file" in result.stderr


def test_a_bad_record_names_its_file(data: Path, tmp_path: Path, invoke: Invoke) -> None:
    (data / "b.csv").write_text("docid,contents\nd9,\x00\nd10\n")
    given = ("--corpus", data / "a.jsonl", "--corpus", data / "b.csv")
    result = invoke("index", *given, "-o", tmp_path / "index")
    assert result.exit_code == 5
    assert f"{data / 'b.csv'}:" in result.stderr


def test_standard_input_is_one_of_them(data: Path, tmp_path: Path) -> None:
    given = ["--corpus", str(data / "a.jsonl"), "--corpus", "-", "--no-bm25", "-o"]
    result = subprocess.run(
        [sys.executable, "-m", "negmine", "index", *given, str(tmp_path / "index")],
        input=(data / "b.csv").read_bytes(),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(records(tmp_path / "index" / "documents")) == len(DOCUMENTS)


def test_standard_input_cannot_be_two_of_them(tmp_path: Path, invoke: Invoke) -> None:
    result = invoke("index", "--corpus", "-", "--corpus", "-", "-o", tmp_path / "index")
    assert result.exit_code == 2
    assert "names '-' twice" in result.stderr
    result = invoke("index", "--corpus", "-", "--pairs", "-", "-o", tmp_path / "index")
    assert result.exit_code == 2
    assert "cannot both read standard input" in result.stderr
    recipe = tmp_path / "r.toml"
    recipe.write_text('work = "w"\n')
    result = invoke("run", recipe, "--pairs", "-", "--pairs", "-")
    assert result.exit_code == 2
    assert "standard input" in result.stderr


def test_a_file_with_an_equals_sign_is_a_file() -> None:
    params = IndexParams(corpus=("a=-", "b"))
    assert _spooled(params) == params


def test_digests_of_several_inputs(data: Path) -> None:
    one, two = str(data / "a.jsonl"), str(data / "b.csv")
    alone = origin(one, "corpus").record
    assert origin([one], "corpus").record == alone
    both = origin([one, two], "corpus")
    assert both.record["files"][one] == alone
    assert both.again() == both.record["digest"] == origin((one, two), "corpus").record["digest"]
    assert origin([two, one], "corpus").record["digest"] != both.record["digest"]
