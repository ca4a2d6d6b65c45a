"""The plan of a chain: sums by hand, what more machines do, and tables that are fresh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.sources import ann
from tests.conftest import ROOT, run_script

sys.path.insert(0, str(ROOT / "scripts"))
import _plan

#: Costs of no machine, all different, so that each shows where it belongs.
UNITS: dict[str, Any] = {
    "machine": {"processor": "none", "cores": 2, "memory_gib": 8, "load": [0.0, 0.0]},
    "versions": {"negmine": "0"},
    "collection": {
        "text_bytes_per_document": 1_000.0,
        "rows_per_query_and_source": 101.0,
        "examples_per_query": 4.0,
    },
    "units": {
        "documents": {"seconds_per_text_byte": 1.1e-8, "documents_per_second": 90_000.0},
        "bm25_index": {"seconds_per_text_byte": 2.3e-7, "start_seconds": 5.0},
        "signatures": {"seconds_per_text_byte": 9e-8},
        "encode": {
            "seconds_per_token": 4e-4,
            "tokens_per_second": 2_500.0,
            "tokens_per_document": 200.0,
            "start_seconds": 14.0,
            "peak_bytes": 1.2e9,
        },
        "search_bm25": {
            "seconds_per_query": 2e-3,
            "seconds_per_query_and_document": 2.1e-8,
            "start_seconds": 4.0,
            "peak_bytes": 4e8,
        },
        "search_exact": {
            "seconds_per_query": 3e-3,
            "seconds_per_query_and_document": 2.5e-8,
            "start_seconds": 11.0,
            "peak_bytes": 7e8,
        },
        "search_ann": {
            "seconds_per_query": 3.1e-3,
            "seconds_per_query_and_document": 1e-9,
            "start_seconds": 12.0,
            "peak_bytes": 7e8,
        },
        "ann_build": {
            "lists": 512,
            "probes": 16,
            "seconds_per_vector": 5e-5,
            "training_seconds": 15.0,
        },
        "rerank": {
            "seconds_per_pair": 0.2,
            "pairs_per_second": 5.0,
            "start_seconds": 2.4,
            "peak_bytes": 4e8,
        },
        "filter": {"seconds_per_row": 6e-6, "start_seconds": 2.1},
        "export": {"seconds_per_example": 1.8e-5, "start_seconds": 1.8},
        "verify": {"seconds_per_byte": 1e-9},
    },
    "bytes": {
        "documents_per_text_byte": 0.3,
        "lucene_per_text_byte": 0.13,
        "signatures_per_document": 276.0,
        "vectors_float16_per_document": 768.0,
        "vectors_float32_per_document": 1_536.0,
        "ann_per_document": 57.0,
        "candidates_per_row": 4.6,
        "queries_per_query": 30.0,
        "scored_per_row": 7.4,
        "ledger_per_row": 4.8,
        "train_per_example": 330.0,
    },
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("units") / "units.json"
    path.write_text(json.dumps(UNITS))
    return path


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def plan_of(printed: str) -> dict[str, list[str]]:
    """The rows of a printed plan, by stage."""
    rows = [cells(line) for line in printed.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}


def test_a_page_gets_its_tables_and_a_stale_one_is_told(file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Plan\n\n<!-- plan: work -->\n<!-- /plan -->\n\nAnd more.\n")
    words = [sys.executable, str(ROOT / "scripts" / "plan_scale.py"), str(file)]
    words += ["--page", str(page)]

    def called(*more: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run([*words, *more], capture_output=True, text=True, env=env, check=False)

    assert called("--check").returncode == 1
    assert called().returncode == 0
    made = page.read_text()
    assert made.startswith("# Plan\n\n<!-- plan: work -->\n\n| core hours |")
    assert made.endswith("<!-- /plan -->\n\nAnd more.\n")
    assert called("--check").returncode == 0
    page.write_text(made.replace("| rerank |", "| rerank | 7 |"))
    assert "is stale" in called("--check").stderr


def test_hours_are_units_times_their_cost(file: Path) -> None:
    """A plan of one core by hand: counts times seconds, and nothing is divided."""
    given = ["--documents", 2_000_000, "--queries", 50_000, "-k", 40, "--reranked", 20]
    printed = run_script("plan_scale.py", file, *given, "--cores", 1, "--search", "exact")
    told = plan_of(printed)
    units, collection = UNITS["units"], UNITS["collection"]
    text = 2_000_000 * collection["text_bytes_per_document"]
    exact, lexical = units["search_exact"], units["search_bm25"]
    by_hand = {
        "documents": text * units["documents"]["seconds_per_text_byte"],
        "index: BM25": text * units["bm25_index"]["seconds_per_text_byte"],
        "index: vectors": 2_000_000
        * units["encode"]["tokens_per_document"]
        * units["encode"]["seconds_per_token"],
        "retrieve: exact": 50_000
        * (exact["seconds_per_query"] + 2_000_000 * exact["seconds_per_query_and_document"]),
        "retrieve: BM25": 50_000
        * (lexical["seconds_per_query"] + 2_000_000 * lexical["seconds_per_query_and_document"]),
        "rerank": 50_000 * 21 * units["rerank"]["seconds_per_pair"],
        "filter": 50_000 * 81 * units["filter"]["seconds_per_row"],
    }
    for stage, seconds in by_hand.items():
        hours = seconds / 3600
        shown = f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
        assert told[stage][2] == shown, stage


def test_a_gpu_is_told_as_unmeasured(file: Path) -> None:
    given = ["--documents", 1_000_000, "--gpu-tokens-per-second", 1e6]
    told = plan_of(run_script("plan_scale.py", file, *given))
    assert "unmeasured" in told["index: vectors"][2]
    assert "unmeasured" not in told["rerank"][2]


@given(
    documents=st.integers(1, 2_000_000_000),
    machines=st.integers(1, 64),
    cores=st.integers(1, 128),
    search=st.sampled_from(["auto", "exact", "ann"]),
)
def test_more_machines_are_never_slower_and_never_less_work(
    documents: int, machines: int, cores: int, search: str
) -> None:
    units = _plan.Units(UNITS)
    alone = units.task(documents, search=search, machines=1, cores=1)
    many = units.task(documents, search=search, machines=machines, cores=cores)
    steps = list(zip(_plan.planned(units, alone), _plan.planned(units, many), strict=True))
    for one, other in steps:
        assert one.name == other.name
        assert one.seconds == other.seconds >= 0
        # Nothing is faster than all shares of it at once, and what cannot be shared stays.
        assert other.wall(many) <= one.wall(alone) * (1 + 1e-9)
        assert other.wall(many) >= one.seconds / (machines * cores) * (1 - 1e-9)
        if other.how == "one":
            assert other.wall(many) == one.wall(alone)


def test_what_an_approximate_index_learns_from_is_negmines() -> None:
    assert (_plan.TRAINED_ON, _plan.PER_LIST) == (ann._TRAINED_ON, ann._PER_LIST)
    assert _plan.RECALL_QUERIES == ann.RECALL_QUERIES


def test_exact_search_gives_way_where_it_is_dear() -> None:
    units = _plan.Units(UNITS)
    names = {
        size: [step.name for step in _plan.planned(units, units.task(size))]
        for size in (100_000, 1_000_000_000)
    }
    assert "retrieve: exact" in names[100_000]
    assert "index: IVF-PQ" in names[1_000_000_000]


@pytest.mark.parametrize("documents", [1_000_000, 100_000_000, 1_000_000_000])
def test_from_so_many_queries_on_and_not_from_fewer(documents: int) -> None:
    units = _plan.Units(UNITS)
    turns = _plan.dear_from(units, replace(units.task(documents), pairs=0.0))
    assert turns < float("inf")
    for queries, there in ((turns, True), (0.97 * turns, False)):
        task = replace(units.task(documents, queries=round(queries)), pairs=0.0)
        names = {step.name for step in _plan.planned(units, task)}
        assert ("index: IVF-PQ" in names) == there


def test_exact_search_that_is_never_dear_is_told() -> None:
    slow = {**UNITS["units"], "rerank": {**UNITS["units"]["rerank"], "seconds_per_pair": 9.0}}
    units = _plan.Units({**UNITS, "units": slow})
    assert _plan.dear_from(units, units.task(1_000_000)) == float("inf")


@given(
    documents=st.integers(1, 2_000_000_000),
    queries=st.integers(1, 10_000_000),
    machines=st.integers(1, 64),
    cores=st.integers(1, 128),
    reranker=st.none() | st.floats(10, 1e6),
)
def test_a_shard_has_a_part_and_ten_minutes(
    documents: int, queries: int, machines: int, cores: int, reranker: float | None
) -> None:
    units = _plan.Units(UNITS)
    task = units.task(documents, queries=queries, machines=machines, cores=cores, reranker=reranker)
    plan = _plan.planned(units, task)
    for command, shards in _plan.shards_of(plan, task).items():
        own = [step for step in plan if step.name in _plan.SHARED[command]]
        assert own
        assert 1 <= shards <= min(task.shards, max(step.units for step in own))
        work = sum(step.seconds if step.gpu is None else step.gpu for step in own)
        assert shards == 1 or work > 600 * (shards - 1)
        if command == "rerank" and reranker:
            assert shards <= machines


def test_options_by_hand(file: Path) -> None:
    """Rerank: 50,000 queries, 21 pairs each of .2 s: 350 shards of ten minutes."""
    given = ["--documents", 2_000_000, "--queries", 50_000, "-k", 40, "--reranked", 20]
    told = run_script("plan_scale.py", file, *given, "--cores", 500, "--search", "ann")
    (line,) = (line for line in told.splitlines() if line.startswith("Options: "))
    assert "`rerank --shard I/350`" in line
    # 50,000 rows of 81 take 24 s to filter: one process.
    assert "`filter --shard" not in line
    assert "`index --ann IVF4096,PQ48np`, `retrieve --ann nprobe=64`" in line
    assert "`--threads 1` and a `--memory` of 1/500 of a machine's" in line
    alone = run_script("plan_scale.py", file, "--documents", 1_000, "--cores", 1)
    assert "Options: none." in alone


def test_what_was_not_measured_is_in_no_plan() -> None:
    known = {name: one for name, one in UNITS["units"].items() if "ann" not in name}
    units = _plan.Units({**UNITS, "units": known})
    names = [step.name for step in _plan.planned(units, units.task(1_000_000_000))]
    assert "retrieve: exact" in names
    assert not [name for name in names if "IVF" in name or "approximate" in name]


def test_what_shards_of_filter_tell_each_other(file: Path) -> None:
    """A part is put once, and read by every shard but its own; all that is told, by every shard."""
    # A query has 8,192 // 201 = 40 in a part.
    given = ["--documents", 20_000_000, "--queries", 1_000, "--machines", 2, "--cores", 2]
    said = run_script("plan_scale.py", file, *given)
    (line,) = (line for line in said.splitlines() if line.startswith("Shards of filter"))
    parts, shards = -(-1_000 // _plan.queries_per_part(_plan.Units(UNITS).task(1_000).extent)), 4
    assert f"each of {shards} reads " in line
    assert f"{parts} PUTs and {(parts - parts // shards) * shards} GETs" in line
    assert f"{1_000 * _plan.TOLD_QUERY / 1e9:.2g} GB of summaries" in line
    assert f"holds {1_000 * _plan.HELD_QUERY / 1e9:.2g} GB" in line


def test_what_is_told_of_a_query_is_what_is_planned(tmp_path: Path) -> None:
    found = json.loads(run_script("bench_summaries.py", tmp_path / "told", "--queries", 400))
    assert found["told"] == pytest.approx(_plan.TOLD_QUERY, rel=0.1)
    assert found["queries"] == 400


@given(queries=st.integers(1, 1_000_000), shards=st.integers(1, 4096))
def test_more_shards_read_more_and_one_reads_nothing(queries: int, shards: int) -> None:
    units = _plan.Units(UNITS)
    found = _plan.learned(units.task(10**9, queries=queries, machines=shards, cores=1))
    assert 1 <= found.shards <= min(shards, found.parts)
    assert 0 <= found.gets < found.parts
    assert (found.gets == 0) == (found.shards == 1)


def test_the_page_has_the_tables_that_the_script_makes() -> None:
    page, units = (ROOT / "docs" / name for name in ("scale.md", "units.json"))
    run_script("plan_scale.py", units, "--page", page, "--check")
