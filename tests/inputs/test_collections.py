"""Collections as others lay them out, through the command line: the same training set from each."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, Invoke, write_jsonl
from tests.inputs.test_folders import shards
from tests.inputs.test_inputs import Hub

DOCUMENTS = [
    {"_id": f"d{n}", "title": f"T{n}", "text": f"document {n} about cats and dogs and topic{n}"}
    for n in range(8)
]
QUERIES = [{"_id": f"q{n}", "text": f"dogs and topic{n}"} for n in range(4)]
QRELS = [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in range(4)]
Given = dict[str, list[str]]


#: A recipe of init's without the models that it found.
BM25_ALONE = (
    *("--set", "index.encoder={}", "--set", "rerank.scorer={}"),
    *("--set", "filter.by=bm25", "--set", "filter.rank-by=bm25"),
)


def qrels_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join("\t".join(map(str, row.values())) + "\n" for row in rows)
    path.write_text("query-id\tcorpus-id\tscore\n" + lines)
    return path


def plain(folder: Path) -> Given:
    write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    write_jsonl(folder / "queries.jsonl", QUERIES)
    qrels_file(folder / "qrels" / "train.tsv", QRELS)
    return {role: [str(folder)] for role in ("corpus", "queries", "qrels")}


def mteb(folder: Path) -> Given:
    for name, rows in (("corpus", DOCUMENTS), ("queries", QUERIES), ("qrels", QRELS)):
        shards(folder / name, "test", rows, 1)
    return {role: [str(folder)] for role in ("corpus", "queries", "qrels")}


def coir(folder: Path) -> Given:
    shards(folder / "corpus", "corpus", DOCUMENTS, 2)
    shards(folder / "queries", "queries", QUERIES, 1)
    shards(folder / "data", "train", QRELS, 1)
    shards(folder / "data", "test", [{"query-id": "q0", "corpus-id": "d7", "score": 1}], 1)
    return {"corpus": [str(folder)], "queries": [str(folder)], "qrels": [f"{folder}:train"]}


def gpl(folder: Path) -> Given:
    write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    write_jsonl(folder / "qgen-queries.jsonl", QUERIES)
    qrels_file(folder / "qgen-qrels" / "train.tsv", QRELS)
    return {role: [str(folder)] for role in ("corpus", "queries", "qrels")}


def parts(folder: Path) -> Given:
    for number, document in enumerate(DOCUMENTS):
        write_jsonl(folder / f"docs-{number + 3}.jsonl", [document])
    write_jsonl(folder / "q.jsonl", QUERIES)
    for split, rows in (("a", QRELS[:1]), ("b", QRELS[1:])):
        qrels_file(folder / f"{split}.tsv", rows)
    return {
        "corpus": [str(folder / "docs-*.jsonl")],
        "queries": [str(folder / "q.jsonl")],
        "qrels": [str(folder / "a.tsv"), str(folder / "b.tsv")],
    }


def forums(folder: Path) -> Given:
    """As CQADupStack's, but with ids of their own."""
    for name, at in (("android", slice(0, 2)), ("english", slice(2, 4))):
        (folder / name).mkdir()
        documents = DOCUMENTS[at] + (DOCUMENTS[4:] if name == "english" else [])
        write_jsonl(folder / name / "corpus.jsonl", documents)
        write_jsonl(folder / name / "queries.jsonl", QUERIES[at])
        qrels_file(folder / name / "qrels" / "test.tsv", QRELS[at])
    return {role: [str(folder / "*")] for role in ("corpus", "queries", "qrels")}


RECIPE = (
    "[retrieve]\nk = 5\n[filter]\nnum-negatives = 2\n"
    '[export]\nformat = "labeled-list"\nids = true\n'
)


def trained(invoke: Invoke, folder: Path, given: Given) -> list[dict[str, Any]]:
    """The training set of a collection."""
    recipe = folder.parent / "recipe.toml"
    recipe.write_text(RECIPE)
    flags = [
        part for role, specs in given.items() for spec in specs for part in (f"--{role}", spec)
    ]
    result = invoke("run", recipe, *flags, "-o", folder.parent / f"work-{folder.name}")
    assert result.exit_code == 0, result.output
    return pq.read_table(result.stdout.strip()).to_pylist()


@pytest.mark.parametrize("layout", [mteb, coir, gpl, parts, forums])
def test_the_same_from_every_layout(
    layout: Callable[[Path], Given], tmp_path: Path, invoke: Invoke
) -> None:
    found = {}
    for make in (plain, layout):
        folder = tmp_path / make.__name__
        folder.mkdir()
        found[make] = trained(invoke, folder, make(folder))
    assert len(found[plain]) == len(QUERIES)
    assert found[layout] == found[plain]


def test_forums_whose_ids_mean_different_things(tmp_path: Path, invoke: Invoke) -> None:
    for name in ("android", "english"):
        (tmp_path / name).mkdir()
        documents = [{**row, "text": f"{name}: {row['text']}"} for row in DOCUMENTS]
        write_jsonl(tmp_path / name / "corpus.jsonl", documents)
        write_jsonl(tmp_path / name / "queries.jsonl", QUERIES)
    result = invoke("index", "--corpus", tmp_path, "-o", tmp_path / "index")
    assert result.exit_code == 2
    assert "their ids may be the same: android, english" in result.stderr
    assert f"'{tmp_path}/*'" in result.stderr
    result = invoke("index", "--corpus", tmp_path / "[ae]*", "-o", tmp_path / "index")
    assert result.exit_code == 5
    assert "'d0' appears twice with different texts" in result.stderr


@pytest.mark.parametrize("layout", [mteb, coir, gpl])
def test_a_recipe_for_a_folder(
    layout: Callable[[Path], Given], tmp_path: Path, invoke: Invoke
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    layout(folder)
    recipe = tmp_path / "recipe.toml"
    made = invoke("init", folder, "-o", recipe)
    assert made.exit_code == 0, made.output
    assert "qrels: " in made.stderr
    result = invoke("run", recipe, *BM25_ALONE, "-o", tmp_path / "work")
    assert result.exit_code == 0, result.output
    assert pq.read_table(result.stdout.strip()).num_rows > 0


def test_a_recipe_for_several_files(tmp_path: Path, invoke: Invoke) -> None:
    given = parts(tmp_path)
    files = [*given["corpus"], *given["queries"], *given["qrels"]]
    recipe = tmp_path / "recipe.toml"
    made = invoke("init", *files, "-o", recipe)
    assert made.exit_code == 0, made.output
    assert "corpus: 8 files" not in made.stdout
    assert "8 files" in made.stderr
    text = recipe.read_text()
    assert f"corpus = {json.dumps(given['corpus'][0])}" in text
    assert f"qrels = {json.dumps(given['qrels'])}" in text
    result = invoke("run", recipe, *BM25_ALONE, "-o", tmp_path / "work")
    assert result.exit_code == 0, result.output


def test_a_recipe_for_files_of_pairs(tmp_path: Path, invoke: Invoke) -> None:
    pairs = [
        {"query": query["text"], "positive": document["text"]}
        for query, document in zip(QUERIES, DOCUMENTS, strict=False)
    ]
    folder = tmp_path / "pairs"
    folder.mkdir()
    one = write_jsonl(tmp_path / "one.jsonl", pairs[:1])
    for number, pair in enumerate(pairs[1:]):
        pq.write_table(pa.Table.from_pylist([pair]), folder / f"part-{number:05}.parquet")
    recipe = tmp_path / "recipe.toml"
    made = invoke("init", one, folder, "-o", recipe)
    assert made.exit_code == 0, made.output
    result = invoke("run", recipe, *BM25_ALONE, "-o", tmp_path / "work")
    assert result.exit_code == 0, result.output
    anchors = pq.read_table(result.stdout.strip()).column("anchor").to_pylist()
    assert set(anchors) == {pair["query"] for pair in pairs}


def test_other_columns_are_not_joined(tmp_path: Path, invoke: Invoke) -> None:
    pairs = [{"ask": f"what is {n}", "reply": f"the answer {n}"} for n in range(4)]
    one = write_jsonl(tmp_path / "one.jsonl", [{"query": "x", "positive": "y"}])
    two = write_jsonl(tmp_path / "two.jsonl", pairs)
    column = ("--column", "query=ask", "--column", "positive=reply")
    made = invoke("init", one, two, *column, "-o", tmp_path / "recipe.toml")
    assert made.exit_code == 0, made.output
    assert f"left out: {two}" in made.stderr


def test_our_own_folder_is_read_again(tmp_path: Path, invoke: Invoke) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    trained(invoke, folder, plain(folder))
    ledger, out = tmp_path / "work-plain" / "ledger", tmp_path / "set"
    given = ("--format", "triplet", "--max-shard-size", "200B", "--split", "0.3", "-o", out)
    result = invoke("export", ledger, *given)
    assert result.exit_code == 0, result.output
    files = sorted(out.glob("part-*.parquet"))
    assert len(files) > 1
    result = invoke("index", "--pairs", out, "--no-signatures", "-o", tmp_path / "index")
    assert result.exit_code == 0, result.output
    documents = pq.read_table(tmp_path / "index" / "documents", partitioning=None)
    written = pa.concat_tables(map(pq.read_table, files))
    texts = written.column("positive").to_pylist() + written.column("negative").to_pylist()
    assert set(documents.column("text").to_pylist()) == set(texts)
    files[0].unlink()
    result = invoke("index", "--pairs", out, "-o", tmp_path / "other")
    assert result.exit_code == 4
    assert f"parts are missing: {files[0].name}" in result.stderr


def test_the_commands_to_leave_other_collections_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """Each of the table in docs/migrating.md."""
    page = (ROOT / "docs" / "migrating.md").read_text("utf-8")
    section = page.split("## From collections of BEIR, MTEB, CoIR and the hub")[1].split("\n## ")[0]
    commands = [shlex.split(line) for line in re.findall("`negmine (run [^`]*)`", section)]
    assert len(commands) == 7
    layouts = {"scifact": plain, "mteb": mteb, "cosqa": coir, "gpl": gpl, "parts": parts}
    for name, make in layouts.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name)
    (tmp_path / "cqadupstack" / "android").mkdir(parents=True)
    plain(tmp_path / "cqadupstack" / "android")
    monkeypatch.setitem(importlib.import_module("fsspec.registry")._registry, "hf", Hub)
    monkeypatch.setattr(Hub, "store", {})
    for file in sorted((tmp_path / "cosqa").rglob("*.parquet")):
        address = f"hf://datasets/OWNER/NAME/{file.relative_to(tmp_path / 'cosqa')}"
        Hub().pipe(address, file.read_bytes())
    monkeypatch.chdir(tmp_path)
    for command in commands:
        result = invoke(*command)
        assert result.exit_code == 0, (command, result.output)
        assert pq.read_table(result.stdout.strip()).num_rows > 0


def test_an_estimate_of_a_pattern(tmp_path: Path, invoke: Invoke) -> None:
    given = parts(tmp_path)
    flags = ("--corpus", given["corpus"][0], "--no-bm25", "--dry-run", "--json")
    result = invoke("index", *flags, "-o", tmp_path / "index")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["stages"][0]["documents"] == len(DOCUMENTS)
