"""Batches by an encoder behind HTTP: its server, one budget for all, and nobody in a trial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chains import QUERIES, make_data
from tests.conftest import Invoke
from tests.scorers import judged
from tests.servers.chat import MODEL, ChatServer

EXACT = ("--vectors", "float32", "--no-bm25", "--no-signatures")
BATCHES = ("--batcher", "ngame", "--batch-size", 4, "--cluster-size", 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("served") / "data")


@pytest.fixture
def served(data: Path) -> Iterator[ChatServer]:
    with judged.server(data) as server:
        yield server


@pytest.fixture
def ledger(data: Path, served: ChatServer, tmp_path: Path, invoke: Invoke) -> Path:
    asked = ("--queries", data, "--qrels", data / "qrels.tsv", "-k", 5, "--batch-size", 8)
    encoder = ("--encoder", f"v=openai:{MODEL}@{served.url}", *EXACT)
    for command in (
        ("index", "--corpus", data, *encoder, "-o", tmp_path / "index"),
        ("retrieve", tmp_path / "index", *asked, "-o", tmp_path / "candidates"),
        ("filter", tmp_path / "candidates", "--num-negatives", 1, "-o", tmp_path / "ledger"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    return tmp_path / "ledger"


def spent(out: Path) -> dict[str, Any]:
    manifest = json.loads((out.parent / f"_{out.name}.manifest.json").read_text())
    found: dict[str, Any] = manifest["run"]["spent"]
    return found


def test_one_budget_for_both_sides_and_the_same_command_goes_on(
    served: ChatServer, ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    out = tmp_path / "train.parquet"
    command = ("export", ledger, *BATCHES, "--split", 0.3, "-o", out)
    before = served.journal.count("asked")
    stopped = invoke(*command, "--max-calls", 1)
    assert stopped.exit_code == 9, stopped.output
    assert "stopped at --max-calls 1" in stopped.stderr
    assert served.journal.count("asked") == before + 1
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert "batch" in judged.rows_of(out)[0]
    # The probe was answered for retrieve already, and what came before the limit is kept.
    assert spent(out)["v"]["from_store"] > 2
    asked = served.journal.count("asked")
    assert invoke(*command).exit_code == 0
    assert served.journal.count("asked") == asked


def test_a_server_that_moved_is_named(
    data: Path, served: ChatServer, ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    command = ("export", ledger, *BATCHES, "-o", tmp_path / "train.parquet")
    served.stopping.set()
    served.shutdown()
    served.server_close()
    done = invoke(*command, "--retries", 0)
    assert done.exit_code == 10, done.output
    with judged.server(data) as now:
        other = invoke(*command, "--encoder", f"w=openai:{MODEL}@{now.url}")
        assert other.exit_code == 2
        assert "--batcher compares no vectors 'w'" in " ".join(other.stderr.split())
        moved = invoke(*command, "--encoder", f"v=openai:{MODEL}@{now.url}")
        assert moved.exit_code == 0, moved.output
        assert spent(tmp_path / "train.parquet")["v"]["url"] == now.url


def test_a_dry_run_counts_calls_and_asks_nobody(
    served: ChatServer, ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    asked = served.journal.count("asked")
    command = ("export", ledger, *BATCHES, "-o", tmp_path / "train.parquet")
    planned = invoke(*command, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    assert served.journal.count("asked") == asked
    [told] = json.loads(planned.stdout)["stages"]
    assert told["calls"] == 2 + QUERIES / 8


def test_what_no_server_reads_is_told(
    data: Path, tiny_bi: Path, tmp_path: Path, invoke: Invoke
) -> None:
    asked = ("--queries", data, "--qrels", data / "qrels.tsv", "-k", 5)
    for command in (
        ("index", "--corpus", data, "--encoder", f"v={tiny_bi}", *EXACT, "-o", tmp_path / "index"),
        ("retrieve", tmp_path / "index", *asked, "-o", tmp_path / "candidates"),
        ("filter", tmp_path / "candidates", "--num-negatives", 1, "-o", tmp_path / "ledger"),
        ("export", tmp_path / "ledger", *BATCHES, "--max-calls", 3, "-o", tmp_path / "train.jsonl"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    assert "--max-calls has no effect without a model behind HTTP" in done.stderr
    elsewhere = ("--encoder", f"v=openai:{MODEL}@http://localhost:1")
    done = invoke("export", tmp_path / "ledger", *BATCHES, *elsewhere, "-o", tmp_path / "b.jsonl")
    assert done.exit_code == 2
    assert "'v' was encoded on this machine" in " ".join(done.stderr.split())
