"""Reranking: which rows are scored, in which column, from which texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import memory
from negmine.models.devices import Placement
from negmine.stages.rerank import setup
from negmine.stages.retrieve import mining
from tests.conftest import Invoke, write_jsonl

pytestmark = pytest.mark.real  # Lucene finds the candidates


class LengthScorer:
    """Scores a pair by its texts alone, so that every cell can be checked."""

    def describe(self) -> dict[str, Any]:
        return {"kind": "test"}

    def score(
        self, queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, progress: Any
    ) -> np.ndarray:
        progress(len(pairs))
        return np.array(
            [len(queries[q]) + len(documents[d]) / 1000 for q, d in pairs], dtype=np.float32
        )


@pytest.fixture
def candidates(tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six queries over a small corpus, two queries to a part."""
    words = ["apple", "pear", "plum", "fig", "date", "lime"]
    corpus = [
        {"_id": f"{word}{i}", "title": "", "text": f"{word} " + "x" * i}
        for word in words
        for i in range(1, 6)
    ]
    data = tmp_path / "data"
    data.mkdir()
    write_jsonl(data / "corpus.jsonl", corpus)
    write_jsonl(
        data / "queries.jsonl",
        [{"_id": f"q{i}", "text": word + " " * i} for i, word in enumerate(words)],
    )
    (data / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\t{w}5\t1\n" for i, w in enumerate(words))
    )
    monkeypatch.setattr(mining, "PART_ROWS", 8)
    for arguments in (
        ("index", "--corpus", data, "-o", tmp_path / "index"),
        (
            *("retrieve", tmp_path / "index", "--queries", data, "--qrels", data),
            *("-k", 4, "-o", tmp_path / "candidates"),
        ),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "candidates").glob("part-*"))) == 3
    return tmp_path / "candidates"


@pytest.fixture(autouse=True)
def scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "load_scorer", lambda *_: LengthScorer())


def model(tmp_path: Path) -> str:
    """A folder that resolves as a model; what it computes is LengthScorer's."""
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["XForSequenceClassification"]})
    )
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return str(folder)


def expected(tmp_path: Path, row: dict[str, Any]) -> float:
    data = tmp_path / "data"
    queries = {r["_id"]: r["text"] for r in map(json.loads, (data / "queries.jsonl").open())}
    corpus = {r["_id"]: r["text"] for r in map(json.loads, (data / "corpus.jsonl").open())}
    return len(queries[row["qid"]]) + len(corpus[row["docid"]]) / 1000


@pytest.mark.parametrize("group_bytes", [1, 1 << 20])
def test_every_row_is_scored_from_its_own_texts(
    tmp_path: Path,
    candidates: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    group_bytes: int,
) -> None:
    monkeypatch.setattr(memory.Budget, "texts", group_bytes)
    result = invoke("rerank", candidates, "--scorer", f"ce={model(tmp_path)}", "-o", tmp_path / "s")
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "s").to_pylist()
    assert len(rows) == pq.read_table(candidates).num_rows
    for row in rows:
        assert row["score_ce"] == pytest.approx(expected(tmp_path, row), abs=1e-5)


def test_top_scores_the_best_and_the_positives(
    tmp_path: Path, candidates: Path, invoke: Invoke
) -> None:
    result = invoke(
        *("rerank", candidates, "--scorer", f"ce={model(tmp_path)}", "--top", 2),
        *("-o", tmp_path / "s"),
    )
    assert result.exit_code == 0, result.output
    assert "left unscored" in result.stderr
    rows = pq.read_table(tmp_path / "s").to_pylist()
    for row in rows:
        best = row["rank_bm25"] is not None and row["rank_bm25"] <= 2
        assert (row["score_ce"] is not None) == (best or row["label"] == 1)
    counts = json.loads((tmp_path / "s" / "_manifest.json").read_text())["counts"]
    assert counts["scored"] == sum(row["score_ce"] is not None for row in rows)
    assert counts["scored"] + counts["unscored"] == len(rows)


def test_limit_scores_the_first_queries(tmp_path: Path, candidates: Path, invoke: Invoke) -> None:
    result = invoke(
        *("rerank", candidates, "--scorer", f"ce={model(tmp_path)}", "--limit", 3),
        *("-o", tmp_path / "s"),
    )
    assert result.exit_code == 0, result.output
    assert {row["qid"] for row in pq.read_table(tmp_path / "s").to_pylist()} == {"q0", "q1", "q2"}


def test_a_second_scorer_is_a_second_column(
    tmp_path: Path, candidates: Path, invoke: Invoke
) -> None:
    invoke("rerank", candidates, "--scorer", f"ce={model(tmp_path)}", "-o", tmp_path / "s")
    again = invoke(
        "rerank", tmp_path / "s", "--scorer", f"ce={model(tmp_path)}", "-o", tmp_path / "t"
    )
    assert again.exit_code == 2
    assert "has a score 'ce' already" in again.stderr
    more = invoke(
        "rerank", tmp_path / "s", "--scorer", f"guide={model(tmp_path)}", "-o", tmp_path / "t"
    )
    assert more.exit_code == 0, more.output
    assert pq.read_schema(tmp_path / "t" / "part-00000.parquet").names[-2:] == [
        "score_ce",
        "score_guide",
    ]


def test_several_gpus_write_what_one_writes(
    tmp_path: Path, candidates: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a scorer of its own, loaded for its device; here they stand on the CPU."""
    loaded: list[str] = []

    class OnGpu(LengthScorer):
        placement = Placement("cuda", "float32", "test")

    def load(reference: Any, loading: Any, *_: Any) -> OnGpu:
        loaded.append(loading.params.device)
        return OnGpu()

    monkeypatch.setattr(setup, "load_scorer", load)
    written = []
    for number, count in enumerate((1, 3)):
        monkeypatch.setattr("torch.cuda.device_count", lambda count=count: count)
        out = tmp_path / f"s{number}"
        result = invoke("rerank", candidates, "--scorer", f"ce={model(tmp_path)}", "-o", out)
        assert result.exit_code == 0, result.output
        written.append({path.name: path.read_bytes() for path in out.glob("part-*")})
    assert loaded == ["auto", "auto", "cuda:1", "cuda:2"]
    assert written[0] == written[1]
    assert len(written[0]) == 3


def test_a_scorer_of_which_nothing_is_known_is_there_once(
    tmp_path: Path, candidates: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)

    def load(reference: Any, loading: Any, *_: Any) -> LengthScorer:
        loaded.append(loading.params.device)
        return LengthScorer()

    monkeypatch.setattr(setup, "load_scorer", load)
    result = invoke("rerank", candidates, "--scorer", f"ce={model(tmp_path)}", "-o", tmp_path / "s")
    assert result.exit_code == 0, result.output
    assert loaded == ["auto"]
