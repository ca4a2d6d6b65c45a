"""What a model has made of an unfinished part is there after a kill, and nobody else's."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negmine.engine.shares import Shard
from negmine.models.checkpoint import resumed
from negmine.table import artifacts
from negmine.table.artifacts import Plan, shards
from negmine.table.artifacts.checkpoint import Checkpoint

ROWS, WIDTH = 12, 3
EXPECTED = np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)
BATCHES = [np.array(rows) for rows in ([3, 1, 7], [0, 2], [4, 5, 6, 8], [11, 10, 9])]


def make(path: Path, made_of: str, stop_after: int) -> tuple[np.ndarray, int]:
    """Make the rows, at most so many batches of them; what came out, and rows that were made."""
    out = np.full((ROWS, WIDTH), np.nan, dtype=np.float32)
    made = 0
    kept = Checkpoint(path, {"model": made_of})

    def work(rows: np.ndarray) -> None:
        nonlocal made
        out[rows] = EXPECTED[rows]
        made += len(rows)

    batches, run = resumed(BATCHES, work, out, kept)
    for rows in batches[:stop_after]:
        run(rows)
    kept.flush()
    return out, made


@pytest.mark.parametrize("first", range(5))
def test_what_was_made_is_not_made_again(tmp_path: Path, first: int) -> None:
    path = tmp_path / ".part.checkpoint"
    _, made = make(path, "a", first)
    out, rest = make(path, "a", len(BATCHES))
    assert made + rest == ROWS
    np.testing.assert_array_equal(out, EXPECTED)


def test_another_model_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / ".part.checkpoint"
    make(path, "a", 2)
    out, made = make(path, "b", len(BATCHES))
    assert made == ROWS
    np.testing.assert_array_equal(out, EXPECTED)
    assert make(path, "a", len(BATCHES))[1] == ROWS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(0, 400), byte=st.integers(0, 400))
def test_a_torn_or_broken_file_costs_work_and_no_row_is_wrong(
    tmp_path: Path, cut: int, byte: int
) -> None:
    path = tmp_path / ".part.checkpoint"
    path.unlink(missing_ok=True)
    make(path, "a", 3)
    content = bytearray(path.read_bytes()[: len(path.read_bytes()) - cut % 200])
    if content and byte < len(content):
        content[byte] ^= 1
    path.write_bytes(content)
    out, _ = make(path, "a", len(BATCHES))
    np.testing.assert_array_equal(out, EXPECTED)
    # And what was added behind it counts.
    assert make(path, "a", len(BATCHES))[1] == 0


def test_a_batch_of_which_a_row_is_missing_is_made_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / ".part.checkpoint"
    kept = Checkpoint(path, {"model": "a"})
    kept.restore(EXPECTED.copy())
    kept.add(BATCHES[2][:2])
    kept.flush()
    out, made = make(path, "a", len(BATCHES))
    assert made == ROWS
    np.testing.assert_array_equal(out, EXPECTED)


@pytest.fixture
def plan() -> Plan:
    return Plan("index.vectors", 1, {"n": 1})


def die_in_the_first_part(folder: Path, plan: Plan) -> None:
    writer = artifacts.begin(folder, plan)
    assert writer is not None
    with writer:
        kept = writer.checkpoint("part-00000.npy", {"model": "a"})
        kept.restore(EXPECTED.copy())
        kept.add(BATCHES[0])
        raise KeyboardInterrupt


def test_a_run_that_dies_in_its_first_part_leaves_it_and_a_finished_one_does_not(
    tmp_path: Path, plan: Plan
) -> None:
    folder = tmp_path / "vectors"
    with pytest.raises(KeyboardInterrupt):
        die_in_the_first_part(folder, plan)
    assert [path.name for path in folder.glob(".*.checkpoint")] == [".part-00000.npy.checkpoint"]
    writer = artifacts.begin(folder, plan)
    assert writer is not None
    with writer:
        out = np.empty((ROWS, WIDTH), dtype=np.float32)
        kept = writer.checkpoint("part-00000.npy", {"model": "a"})
        done = kept.restore(out)
        assert sorted(np.flatnonzero(done)) == sorted(BATCHES[0])
        writer.add_array("part-00000.npy", EXPECTED)
        writer.commit({"vectors": ROWS})
    assert sorted(path.name for path in folder.iterdir()) == ["_manifest.json", "part-00000.npy"]


@pytest.mark.parametrize("state", ["unreadable", "of-others", "gone"])
def test_a_shard_s_unfinished_rows_stay_while_they_are_of_use(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """A disk that fails ends a shard, and must not cost what it has paid for."""
    folder = tmp_path / "vectors"
    said, real = folder / "_shards" / "_plan.json", shards.load_json

    def meanwhile(path: Path, **how: Any) -> dict[str, Any] | None:
        if state == "unreadable" and path == said:
            return None
        return real(path, **how)

    writer = artifacts.begin(folder, plan, share=Shard(0, 2))
    assert writer is not None
    kept = writer.checkpoint("part-00000.npy", {"model": "a"})
    kept.restore(EXPECTED.copy())
    kept.add(BATCHES[0])
    if state == "gone":
        said.unlink()
    elif state == "of-others":
        said.write_text(json.dumps({"fingerprint": "another", "shards": 2}))
    monkeypatch.setattr(shards, "load_json", meanwhile)
    writer.__exit__(None, OSError(errno.EIO, os.strerror(errno.EIO)))
    left = list(folder.glob("_shards/.part-00000.npy.checkpoint.*"))
    assert bool(left) is (state != "gone")
    # Another one's rows, of other settings, are in nobody's way.
    monkeypatch.undo()
    other = Plan("index.vectors", 1, {"n": 2})
    for restored in (0, len(BATCHES[1])):
        said.unlink(missing_ok=True)
        again = artifacts.begin(folder, other, share=Shard(0, 2))
        assert again is not None
        kept = again.checkpoint("part-00000.npy", {"model": "a"})
        assert kept.restore(np.empty((ROWS, WIDTH), dtype=np.float32)).sum() == restored
        if not restored:
            kept.add(BATCHES[1])
        # And it is killed.
        kept.flush()


def test_other_settings_take_the_place_of_unfinished_rows(tmp_path: Path, plan: Plan) -> None:
    folder = tmp_path / "vectors"
    with pytest.raises(KeyboardInterrupt):
        die_in_the_first_part(folder, plan)
    writer = artifacts.begin(folder, Plan("index.vectors", 1, {"n": 2}))
    assert writer is not None
    assert list(folder.glob(".*.checkpoint")) == []
    with writer:
        writer.add_table("part-00000.parquet", pa.table({"n": [1]}), pa.schema([("n", pa.int64())]))
        writer.commit({"rows": 1})
