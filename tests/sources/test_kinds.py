"""Kinds of source: what a kind needs, no stage knows."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine.errors import UsageError
from negmine.params.index import IndexParams
from negmine.params.retrieve import RetrieveParams
from negmine.sources import kinds
from negmine.sources.kind import Kind
from negmine.table import schemas
from tests.chains import DOCUMENTS, QUERIES, make_data
from tests.conftest import ROOT, Invoke
from tests.test_plugins import install

K = 8
SCORER = """
import numpy as np

class Length:
    def score(self, queries, documents, pairs, progress=None):
        lengths = np.array([len(text) for text in documents], dtype=np.float32)
        return lengths[pairs[:, 1]]

    def describe(self):
        return {"kind": "length"}

def load(argument, params, prompts):
    return Length()
"""


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in the registry; the module is the one new file."""
    monkeypatch.setitem(kinds.KINDS, "third", "tests.sources.third:THIRD")


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_manifest.json").read_text())
    return found


def test_a_new_kind_goes_through_every_stage(
    third: None, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data")
    point = {"negmine.scorers": {"length": "their_scorer:load"}}
    project = {"name": "theirs", "version": "1", "entry-points": point}
    install(tmp_path / "site", monkeypatch, project, {"their_scorer": SCORER})
    work = tmp_path / "work"
    commands = [
        ["index", "--corpus", data, "--no-bm25", "-o", work / "index"],
        [
            *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
            *("-k", K, "-o", work / "candidates"),
        ],
        ["rerank", work / "candidates", "--scorer", "n=plugin:length", "-o", work / "scored"],
        ["filter", work / "scored", "--num-negatives", 3, "-o", work / "ledger"],
        ["export", work / "ledger", "--ids", "-o", work / "train.jsonl"],
    ]
    for command in commands:
        dry = invoke(*command, "--dry-run", "--json")
        assert dry.exit_code == 0, dry.output
        (stage,) = json.loads(dry.stdout)["stages"]
        assert stage["state"] == "to do"
        if command[0] == "index":
            assert "third" in stage["breakdown"]
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    again = invoke(*commands[0], "--dry-run", "--json")
    assert json.loads(again.stdout)["stages"][0]["state"] == "up to date"

    index = manifest(work / "index")
    assert list(index["inputs"]) == ["documents", "third", "signatures"]
    assert index["counts"]["third"] == ["third"]
    assert list(manifest(work / "candidates")["inputs"])[:2] == ["documents", "third"]
    rows = pq.read_table(work / "ledger").to_pylist()
    found = [row for row in rows if row["rank_third"] is not None]
    best = {row["docid"] for row in found}
    # The corpus is in the order of its file, and positives among them do not count for k.
    assert best <= {f"d{n}" for n in range(0, DOCUMENTS, 3)}
    others = [sum(r["qid"] == f"q{q}" and not r["label"] for r in found) for q in range(QUERIES)]
    assert others == [K] * QUERIES
    # It scores nothing that it did not find.
    assert all((row["score_third"] is None) == (row["rank_third"] is None) for row in rows)
    assert all(row["score_n"] > 0 for row in rows)
    assert sum(row["selected"] is not None for row in rows) == 3 * QUERIES


def test_a_recipe_from_nothing_is_tried_with_a_new_kind(
    third: None, tmp_path: Path, invoke: Invoke
) -> None:
    data = make_data(tmp_path / "data")
    path = tmp_path / "mine.toml"
    path.write_text(
        f'work = "{tmp_path / "work"}"\n[index]\ncorpus = "{data}"\nbm25 = false\n'
        f'[retrieve]\nqueries = "{data}"\nqrels = "{data / "qrels.tsv"}"\nk = {K}\n'
        "[filter]\nnum-negatives = 3\n"
    )
    result = invoke("run", path, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    stages = {stage["stage"]: stage for stage in json.loads(result.stdout)["stages"]}
    assert stages["retrieve"]["rows"] >= K * QUERIES
    assert not (tmp_path / "work").exists()


def test_what_does_not_search_ranks_nothing(
    third: None, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its places are in the table, and no stage takes them for a ranking of the corpus."""
    monkeypatch.setitem(kinds.KINDS, "aside", "tests.sources.third:ASIDE")
    point = {"negmine.scorers": {"length": "their_scorer:load"}}
    project = {"name": "theirs", "version": "1", "entry-points": point}
    install(tmp_path / "site", monkeypatch, project, {"their_scorer": SCORER})
    data, work = make_data(tmp_path / "data"), tmp_path / "work"
    asked = ["retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv", "-k", K]
    asked += ["--source", "third", "--seed", 7, "-o", work / "candidates"]
    commands = [
        ["index", "--corpus", data, "--no-bm25", "-o", work / "index"],
        [*asked, "--source", "last=aside:4"],
        ["rerank", work / "candidates", "--scorer", "n=plugin:length", "-o", work / "scored"],
        ["filter", work / "scored", "--range-max", 3, "-o", work / "ledger"],
        ["filter", work / "scored", "--rank-by", "last", "--range-max", 3, "-o", work / "last"],
    ]
    for command in commands:
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    for artifact in ("candidates", "scored", "ledger"):
        schema = pq.read_schema(next((work / artifact).glob("part-*.parquet")))
        assert schemas.searched_names(schema) == ["third"]
        assert schemas.not_searched_names(schema) == ["last"]
    assert manifest(work / "candidates")["params"]["specs"] == {"last": "4"}
    chosen = [r for r in pq.read_table(work / "ledger").to_pylist() if r["selected"] is not None]
    assert chosen
    assert all(row["rank_third"] is not None and row["rank_third"] <= 3 for row in chosen)
    by_last = [r for r in pq.read_table(work / "last").to_pylist() if r["selected"] is not None]
    assert by_last
    assert all(row["rank_last"] is not None and row["rank_last"] <= 3 for row in by_last)
    assert {row["score_last"] for row in chosen + by_last} <= {1007.0, None}
    other = invoke(*asked, "--source", "last=aside:5")
    assert other.exit_code == 6, other.output
    unknown = invoke(*asked, "--source", "last=beside:5")
    assert unknown.exit_code == 2
    told = " ".join(unknown.stderr.split())
    assert "plugin:SOURCE, aside:COUNT" in told


def test_the_name_of_what_there_is_one_of_is_taken(third: None) -> None:
    for name in ("bm25", "third"):
        with pytest.raises(UsageError, match=f"the name '{name}' is reserved"):
            kinds.check_names([name], "--encoder")
    kinds.check_names(["dense", "run", "minilm"], "--encoder")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["index", "--corpus", "corpus.jsonl", "--encoder", "bm25=model"], "--encoder"),
        (
            ["init", "corpus.jsonl", "queries.jsonl", "qrels.tsv", "--encoder", "bm25=m"],
            "--encoder",
        ),
    ],
)
def test_it_is_refused_where_it_is_given(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], option: str
) -> None:
    monkeypatch.chdir(make_data(tmp_path / "data"))
    result = invoke(*command, "-o", "out")
    assert result.exit_code == 2
    assert f"{option}: the name 'bm25' is reserved" in result.stderr


def test_roles_are_told_by_their_stage(third: None) -> None:
    stages = ["documents", "bm25", "vectors", "ann", "signatures", "third"]
    every = [f"index.{stage}" for stage in stages] + ["retrieve"]
    named = {stage: kind.name for stage in every if (kind := kinds.of_stage(stage)) is not None}
    assert named == {"index.bm25": "bm25", "index.vectors": "dense", "index.third": "third"}
    assert kinds.of_stage("index.sparse") is kinds.load("sparse")


@pytest.mark.parametrize("name", kinds.KINDS)
def test_a_kind_reads_the_options_that_it_says(name: str) -> None:
    kind = kinds.load(name)
    params = {"index": IndexParams, "retrieve": RetrieveParams}
    assert kind.name == name
    for stage, options in kind.reads.items():
        assert set(options) <= {field.name for field in dataclasses.fields(params[stage])}


SPARSE_CONFIG = '{"model_type": "SparseEncoder"}'


class Noted:
    """Options that note which of them are read."""

    def __init__(self, params: IndexParams) -> None:
        self.read: set[str] = set()
        self._params = params

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._params, name)


@pytest.mark.parametrize("kind", [k for k in kinds.every() if k.places], ids=lambda k: k.name)
def test_what_an_index_makes_depends_on_these_options_alone(kind: Kind, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.onnx").write_bytes(b"")
    (model / "tokenizer.json").write_text("{}")
    sparse = tmp_path / "sparse"
    sparse.mkdir()
    told = {"modules.json": "[]", "config_sentence_transformers.json": SPARSE_CONFIG}
    for name, content in {**told, "model.safetensors": ""}.items():
        (sparse / name).write_text(content)
    encoders = (f"a={model}", f"b={sparse}")
    params = Noted(IndexParams(encoder=encoders, ann="Flat", clusters=3))
    made = kind.children(params)  # type: ignore[arg-type]
    assert made
    assert params.read <= set(kind.reads.get("index", ()))


def test_no_stage_knows_a_kind_by_its_name() -> None:
    """Stages and the dry run go by the registry; words of messages and examples aside."""
    rooms = ("stages/index", "stages/retrieve", "commands/estimate")
    for path in (path for room in rooms for path in (ROOT / "negmine" / room).rglob("*.py")):
        code = path.read_text()
        assert not re.search(r'["\'](bm25|dense|ann |index\.(bm25|vectors|ann))["\']', code), path
        assert not re.search(r"sources(\.| import )(bm25|dense|ann|ivf)\b", code), path


def test_the_registry_imports_nothing_of_the_kinds() -> None:
    code = (
        "import sys; import negmine.sources, negmine.sources.kinds as kinds\n"
        "loaded = {v.partition(':')[0] for v in kinds.KINDS.values()} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "kinds.every()\n"
        "heavy = {'torch', 'faiss', 'jnius', 'transformers', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
