"""Examples in the order of a number, batches of one data set, and what is told of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine.errors import UsageError
from negmine.params import ExportParams
from negmine.stages import export
from tests.chains import make_data
from tests.conftest import Invoke, write_jsonl
from tests.formats.conftest import make_ledger


def manifest(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.with_name(f"_{out.name}.manifest.json").read_text())
    return found


# --- in order ---------------------------------------------------------------------------------


def difficulties(path: Path) -> list[float]:
    return [row["difficulty"][1] for row in pq.read_table(path).to_pylist()]


def test_examples_go_up_or_down_whatever_part_they_come_from(
    tmp_path: Path, invoke: Invoke
) -> None:
    ledger = make_ledger(tmp_path, queries=12, parts=3, difficulty=True)
    for order, sign in (("difficulty", 1), ("-difficulty", -1)):
        arguments = ["export", ledger, "--extra", "difficulty", "--order-by", order]
        done = invoke(*arguments, "-o", tmp_path / f"{sign}.parquet")
        assert done.exit_code == 0, done.output
        found = np.array(difficulties(tmp_path / f"{sign}.parquet")) * sign
        assert (np.diff(found) >= 0).all()
        assert len(set(found)) > 2
    parts = invoke(*arguments[:-2], "--order-by", "difficulty", "-o", tmp_path / "parts")
    assert parts.exit_code == 0, parts.output
    assert difficulties(tmp_path / "parts") == difficulties(tmp_path / "1.parquet")


def test_examples_without_the_number_come_last_and_are_told(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, queries=6)
    # What a pair scored is known of all; a grade of the judged alone, and no negative is judged.
    out = tmp_path / "train.parquet"
    outcome = export.run(ExportParams(order_by="grade"), ledger, out)
    assert outcome.counts["examples_without_order"] == outcome.counts["examples"]
    assert any("have no grade to be ordered by" in told for told in outcome.warnings)
    plain = tmp_path / "plain.parquet"
    export.run(ExportParams(), ledger, plain)
    assert pq.read_table(out).equals(pq.read_table(plain))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order_by": "difficult"}, "--order-by: 'difficult' is not in the ledger"),
        ({"order_by": "dropped_by"}, "--order-by: 'dropped_by' holds text"),
        ({"order_by": "promoted"}, "--order-by: 'promoted' is not in the ledger"),
        ({"order_by": "grade", "shuffle": 1}, "--shuffle would undo --order-by"),
        ({"order_by": "grade", "batcher": "ngame"}, "--batcher would undo --order-by"),
        ({"group_by": "set"}, "the index keeps no column 'set'"),
        ({"group_by": "set", "batcher": "b3"}, "the index keeps no column 'set'"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        export.run(ExportParams(**options), make_ledger(tmp_path), tmp_path / "a.parquet")


# --- what the ledger has and the file has not ---------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ["the ledger's tau_plus and filled are not in the training set: add --extra tau_plus "
              "--extra filled"]),
        ({"extra": ("tau_plus", "filled")}, []),
        ({"extra": ("filled",)}, ["the ledger's tau_plus is not in the training set: add --extra "
                                  "tau_plus"]),
        ({"format": "colbert-triples"}, ["the ledger's tau_plus and filled are not in the training "
                                 "set: colbert-triples has no place for further columns"]),
        ({"format": "trec-run"}, []),
    ],
)  # fmt: skip
def test_columns_that_stay_behind_are_told(
    tmp_path: Path, options: dict[str, str], told: list[str]
) -> None:
    ledger = make_ledger(tmp_path, tau_plus=0.1, fill_beyond=3)
    outcome = export.run(ExportParams(**options), ledger, tmp_path / "out")
    assert [warning for warning in outcome.warnings if "ledger's" in warning] == told


# --- batches of one data set ------------------------------------------------------------------

SETS = ["news", "law", None, "tiny"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path) -> Path:
    """A chain over a corpus of several data sets, made once."""
    from tests.chains import call

    folder = tmp_path_factory.mktemp("sets")
    data = make_data(folder / "data")
    corpus = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    for number, row in enumerate(corpus):
        # Two large data sets, some documents without one, and one that fills no batch.
        row["set"] = "tiny" if number == 0 else SETS[number % 3]
    write_jsonl(data / "corpus.jsonl", corpus)
    for arguments in (
        ["index", "--corpus", data, "--keep", "set", "--no-bm25", "--encoder", f"m={tiny_bi}"],
        ["retrieve", folder / "index", "--queries", data, "--qrels", data / "qrels.tsv"],
        ["filter", folder / "candidates", "--num-negatives", 2],
    ):
        out = {"index": "index", "retrieve": "candidates", "filter": "ledger"}[str(arguments[0])]
        code, told = call(*arguments, "-o", folder / out)
        assert code == 0, told
    return folder


@pytest.mark.real
@pytest.mark.parametrize("batcher", ["b3", "ngame", "tas-balanced"])
@pytest.mark.parametrize("name", ["triplet", "flagembedding"])
def test_a_batch_holds_one_data_set(
    work: Path, tmp_path: Path, invoke: Invoke, batcher: str, name: str
) -> None:
    of = {
        row["text"]: row["set"]
        for row in map(json.loads, (work / "data" / "corpus.jsonl").read_text().splitlines())
    }
    out = tmp_path / "train.parquet"
    arguments = ["export", work / "ledger", "--format", name, "--batcher", batcher]
    done = invoke(*arguments, "--batch-size", 3, "--group-by", "set", "-o", out)
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out).to_pylist()
    batches: dict[int, list[str | None]] = {}
    for row in rows:
        positive = row["pos"][0] if name == "flagembedding" else row["positive"]
        batches.setdefault(row["batch"], []).append(of[positive])
    assert len(batches) > 2
    assert all(len(sets) == 3 and len(set(sets)) == 1 for sets in batches.values())
    assert {"news", "law", None} >= {sets[0] for sets in batches.values()}
    told = " ".join(manifest(out)["warnings"])
    assert "documents without a set make a group of their own" in told
    if batcher == "b3":
        assert "best-ranked positives are left out and not 30" in told
        assert "other groups" in told
    if batcher == "tas-balanced":
        assert "make one cluster" in told
        assert "--clusters N makes more" in told
    # Without the option a batch mixes them.
    mixed = invoke(*arguments, "--batch-size", 3, "-o", tmp_path / "mixed.parquet")
    assert mixed.exit_code == 0, mixed.output
    kinds: dict[int, set[str | None]] = {}
    for row in pq.read_table(tmp_path / "mixed.parquet").to_pylist():
        positive = row["pos"][0] if name == "flagembedding" else row["positive"]
        kinds.setdefault(row["batch"], set()).add(of[positive])
    assert any(len(sets) > 1 for sets in kinds.values())


@pytest.mark.real
def test_the_batchers_encoder_takes_the_threads(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    import torch

    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    arguments = ["export", work / "ledger", "--batcher", "ngame", "--batch-size", 3]
    for threads in (1, 3):
        out = tmp_path / f"{threads}.parquet"
        done = invoke(*arguments, "--device", "cpu", "--threads", threads, "-o", out)
        assert done.exit_code == 0, done.output
        assert taken.pop() == threads
        assert manifest(out)["run"]["threads"] == threads
    assert manifest(tmp_path / "1.parquet")["fingerprint"] == manifest(out)["fingerprint"]
    assert (tmp_path / "1.parquet").read_bytes() == out.read_bytes()


@pytest.mark.real
def test_a_data_set_that_fills_no_batch_is_named(work: Path, tmp_path: Path) -> None:
    params = ExportParams(batcher="ngame", batch_size=12, group_by="set", allow_empty=True)
    outcome = export.run(params, work / "ledger", tmp_path / "train.parquet")
    groups, empty = outcome.counts["batch_groups"], outcome.counts["batch_groups_left_out"]
    assert groups >= 3
    assert any(told.startswith(f"{empty} of {groups} groups of set") for told in outcome.warnings)


@pytest.mark.real
def test_clusters_that_are_asked_for_are_no_news(work: Path, tmp_path: Path) -> None:
    params = ExportParams(batcher="tas-balanced", batch_size=3, clusters=3)
    outcome = export.run(params, work / "ledger", tmp_path / "train.parquet")
    assert not any("one cluster" in told for told in outcome.warnings)
