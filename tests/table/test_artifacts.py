"""The artifact contract: atomic parts, resumption, fingerprints, locks, checksums."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.errors import ConflictError, InvalidDataError, MissingInputError, UsageError
from negmine.table import artifacts
from negmine.table.artifacts import JOURNAL, MANIFEST, Plan, writing

SCHEMA = pa.schema([pa.field("qid", pa.string(), nullable=False)])


def plan(**params: Any) -> Plan:
    return Plan("retrieve", 1, params or {"k": 10})


def part(*qids: str) -> pa.Table:
    return pa.table({"qid": pa.array(qids, pa.string())}, schema=SCHEMA)


def make(folder: Path, made: Plan | None = None) -> artifacts.Artifact:
    writer = artifacts.begin(folder, made or plan())
    assert writer is not None
    with writer:
        writer.add_table("part-00000.parquet", part("a", "b"), SCHEMA, {"rows": 2})
        writer.add_table("part-00001.parquet", part("c"), SCHEMA, {"rows": 1})
        return writer.commit({"rows": 3})


def test_a_finished_artifact_holds_its_parts_and_a_manifest_and_nothing_else(
    tmp_path: Path,
) -> None:
    made = make(tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        MANIFEST,
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    opened = artifacts.open_artifact(tmp_path / "a", ["retrieve"])
    assert opened.fingerprint == made.fingerprint
    assert opened.parts == ["part-00000.parquet", "part-00001.parquet"]
    assert opened.read("part-00000.parquet").column("qid").to_pylist() == ["a", "b"]
    assert opened.manifest["run"]["versions"]["pyarrow"] == pa.__version__
    assert 0 <= opened.manifest["run"]["cpu_seconds"] < time.process_time()


def test_the_same_plan_is_up_to_date_and_another_one_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    assert artifacts.begin(tmp_path / "a", plan()) is None
    with pytest.raises(ConflictError, match="k: 10 -> 20") as caught:
        artifacts.begin(tmp_path / "a", plan(k=20))
    assert caught.value.exit_code == 6
    assert "--force" in str(caught.value)


def test_force_replaces_what_negmine_wrote_and_leaves_other_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    make(folder)
    (folder / "notes.txt").write_text("mine")
    writer = artifacts.begin(folder, plan(k=20), replacing=artifacts.Replace.DAMAGED)
    assert writer is not None
    with writer:
        assert not (folder / MANIFEST).exists()
        assert not list(folder.glob("part-*"))
        writer.add_table("part-00000.parquet", part("z"), SCHEMA)
        writer.commit({})
    assert (folder / "notes.txt").read_text() == "mine"
    assert artifacts.open_artifact(folder).manifest["params"] == {"k": 20}


def test_a_folder_with_other_things_in_it_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for replacing in artifacts.Replace:
        with pytest.raises(ConflictError, match="not a negmine artifact"):
            artifacts.begin(tmp_path, plan(), replacing=replacing)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def interrupted(folder: Path, made: Plan | None = None) -> None:
    """A run that dies after its first part."""
    writer = artifacts.begin(folder, made or plan())
    assert writer is not None
    with writer:
        writer.add_table("part-00000.parquet", part("a", "b"), SCHEMA, {"rows": 2})


def test_an_interrupted_run_is_resumed_with_its_counts(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    interrupted(folder)
    with pytest.raises(MissingInputError, match="unfinished"):
        artifacts.open_artifact(folder)
    before = (folder / "part-00000.parquet").stat().st_mtime_ns
    writer = artifacts.begin(folder, plan())
    assert writer is not None
    with writer:
        assert writer.has("part-00000.parquet")
        assert writer.stats("part-00000.parquet") == {"rows": 2}
        assert not writer.has("part-00001.parquet")
        writer.add_table("part-00001.parquet", part("c"), SCHEMA, {"rows": 1})
        resumed = writer.commit({"rows": 3})
    assert (folder / "part-00000.parquet").stat().st_mtime_ns == before
    assert resumed.manifest["run"]["resumed_files"] == 1
    straight = make(tmp_path / "b")
    assert resumed.manifest["files"] == straight.manifest["files"]
    assert not (folder / JOURNAL).exists()


def test_an_unfinished_run_of_other_settings_is_not_mixed_in(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    interrupted(folder)
    with pytest.raises(ConflictError, match="unfinished run with other settings"):
        artifacts.begin(folder, plan(k=20))
    writer = artifacts.begin(folder, plan(k=20), replacing=artifacts.Replace.DAMAGED)
    assert writer is not None
    with writer:
        assert not writer.has("part-00000.parquet")
        assert not (folder / "part-00000.parquet").exists()


def test_a_part_that_was_damaged_before_resuming_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    interrupted(folder)
    damage(folder / "part-00000.parquet")
    writer = artifacts.begin(folder, plan())
    assert writer is not None
    with writer:
        assert not writer.has("part-00000.parquet")


def test_a_torn_journal_line_loses_one_part_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    interrupted(folder)
    with (folder / JOURNAL).open("a") as journal:
        journal.write('{"name": "part-00001.parq')
    (folder / ".part-00001.parquet.tmp").write_bytes(b"half")
    writer = artifacts.begin(folder, plan())
    assert writer is not None
    with writer:
        assert writer.has("part-00000.parquet")
        assert not writer.has("part-00001.parquet")
        assert not (folder / ".part-00001.parquet.tmp").exists()
    header, *lines = (folder / JOURNAL).read_text().splitlines()
    assert json.loads(header)["stage"] == "retrieve"
    records = [json.loads(line) for line in lines]
    assert [r["name"] for r in records if "name" in r] == ["part-00000.parquet"]


def test_a_crash_between_manifest_and_journal_counts_as_finished(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    make(folder)
    (folder / JOURNAL).write_text("{}\n")
    assert artifacts.begin(folder, plan()) is None
    assert not (folder / JOURNAL).exists()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_flipped_bit_is_noticed_on_reading(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    damage(tmp_path / "a" / "part-00001.parquet")
    assert made.read("part-00000.parquet").num_rows == 2
    with pytest.raises(InvalidDataError, match="checksum") as caught:
        made.read("part-00001.parquet")
    assert "part-00001.parquet" in str(caught.value)
    with pytest.raises(InvalidDataError, match="checksum"):
        made.verify()


def test_a_truncated_or_missing_part_is_not_up_to_date(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    make(folder)
    part_file = folder / "part-00001.parquet"
    part_file.write_bytes(part_file.read_bytes()[:-1])
    with pytest.raises(InvalidDataError, match="changed"):
        artifacts.begin(folder, plan())
    part_file.unlink()
    with pytest.raises(InvalidDataError, match="missing"):
        artifacts.begin(folder, plan())


def test_an_artifact_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    make(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["schema"] = 999
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InvalidDataError, match="schema version 999"):
        artifacts.open_artifact(folder)


def test_an_artifact_of_another_stage_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(UsageError, match="made by 'retrieve'"):
        artifacts.open_artifact(tmp_path / "a", ["filter"])


def _hold(folder: Path, ready: Any) -> None:
    writer = artifacts.begin(folder, plan())
    assert writer is not None
    with writer:
        ready.set()
        time.sleep(30)


def test_a_second_process_is_told_who_writes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "a", ready))
    holder.start()
    try:
        assert ready.wait(10)
        with pytest.raises(ConflictError, match=f"pid {holder.pid}"):
            artifacts.begin(tmp_path / "a", plan())
    finally:
        holder.kill()
        holder.join()
    # The lock died with its holder.
    writer = artifacts.begin(tmp_path / "a", plan())
    assert writer is not None
    writer.__exit__()


def test_parts_are_byte_identical_between_runs(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    for name in first.parts:
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_a_failing_write_leaves_no_part(tmp_path: Path) -> None:
    writer = artifacts.begin(tmp_path / "a", plan())
    assert writer is not None

    def broken() -> Any:
        yield part("a")
        raise RuntimeError("model died")

    with writer:
        with pytest.raises(RuntimeError, match="model died"):
            writer.add_tables("part-00000.parquet", broken(), SCHEMA)
        assert not (tmp_path / "a" / "part-00000.parquet").exists()
        assert not writer.has("part-00000.parquet")


def test_parts_that_come_quickly_are_recorded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun() -> artifacts.Writer:
        writer = artifacts.begin(tmp_path / "a", plan())
        assert writer is not None
        return writer

    def named() -> list[str]:
        return sorted(path.name for path in (tmp_path / "a").glob("part-*"))

    # Killed: nothing is closed or flushed any more.
    writer = begun()
    writer.add_table("part-00000.parquet", part("a", "b"), SCHEMA, {"rows": 2})
    writer.add_table("part-00001.parquet", part("c"), SCHEMA, {"rows": 1})
    assert writer.has("part-00001.parquet")
    assert named() == []
    writer._book.leave()

    monkeypatch.setattr(writing, "_SETTLE_SECONDS", 0.0)
    writer = begun()
    assert not writer.has("part-00000.parquet")
    writer.add_table("part-00000.parquet", part("a", "b"), SCHEMA, {"rows": 2})
    assert named() == ["part-00000.parquet"]
    monkeypatch.setattr(writing, "_SETTLE_SECONDS", 3600.0)
    monkeypatch.setattr(writing, "_SETTLE_BYTES", 1)
    writer.add_table("part-00001.parquet", part("c"), SCHEMA, {"rows": 1})
    assert named() == ["part-00000.parquet", "part-00001.parquet"]
    writer._book.leave()

    with begun() as writer:
        assert writer.resumed == 2
        assert (
            writer.commit({"rows": 3}).manifest["files"] == make(tmp_path / "b").manifest["files"]
        )


def test_parts_that_could_not_be_flushed_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = artifacts.begin(tmp_path / "a", plan())
    assert writer is not None

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    writer.add_table("part-00000.parquet", part("a", "b"), SCHEMA, {"rows": 2})
    monkeypatch.setattr(writing, "flush_to_disk", full)
    with pytest.raises(OSError, match="No space left"), writer:
        writer.commit({"rows": 2})
    assert not writer.has("part-00000.parquet")
    assert not (tmp_path / "a").exists()


def test_a_nan_score_is_never_written(tmp_path: Path) -> None:
    writer = artifacts.begin(tmp_path / "a", plan())
    assert writer is not None
    schema = pa.schema([("score_ce", pa.float32())])
    table = pa.table({"score_ce": pa.array(np.array([0.5, np.nan], dtype=np.float32))})
    with writer, pytest.raises(InvalidDataError, match="'score_ce' holds a NaN"):
        writer.add_table("part-00000.parquet", table, schema)


def test_a_remade_input_is_noticed(tmp_path: Path) -> None:
    make(tmp_path / "a")
    child = Plan("rerank", 1, {}, artifacts={"candidates": artifacts.open_artifact(tmp_path / "a")})
    made = make(tmp_path / "b", child)
    assert made.input("candidates").path.resolve() == (tmp_path / "a").resolve()
    writer = artifacts.begin(tmp_path / "a", plan(k=20), replacing=artifacts.Replace.DAMAGED)
    assert writer is not None
    with writer:
        writer.commit({})
    with pytest.raises(ConflictError, match="remade with other settings"):
        made.input("candidates")


def test_a_work_folder_can_be_moved(tmp_path: Path) -> None:
    make(tmp_path / "old" / "a")
    origin = artifacts.open_artifact(tmp_path / "old" / "a")
    make(tmp_path / "old" / "b", Plan("rerank", 1, {}, artifacts={"candidates": origin}))
    os.rename(tmp_path / "old", tmp_path / "new")
    moved = artifacts.open_artifact(tmp_path / "new" / "b")
    assert moved.ancestor("retrieve").fingerprint == origin.fingerprint


@pytest.mark.parametrize("first", ["candidates", "previous"])
def test_lineage_follows_the_named_role(tmp_path: Path, first: str) -> None:
    """A second artifact as input, as of a round before this one, is no ancestor."""
    before = make(tmp_path / "before", plan(k=5))
    scored_before = make(
        tmp_path / "scored_before", Plan("rerank", 1, {}, artifacts={"candidates": before})
    )
    origin = make(tmp_path / "origin", plan(k=10))
    roles = {"candidates": origin, "previous": scored_before}
    inputs = {role: roles[role] for role in sorted(roles, key=lambda role: role != first)}
    assert next(iter(inputs)) == first
    made = make(tmp_path / "made", Plan("rerank", 1, {"round": 2}, artifacts=inputs))
    read = artifacts.open_artifact(made.path)
    assert list(read.inputs) == list(inputs)
    assert read.ancestor("retrieve").fingerprint == origin.fingerprint
    ledger = make(tmp_path / "ledger", Plan("filter", 1, {}, artifacts={"scored": read}))
    assert ledger.ancestor("retrieve").fingerprint == origin.fingerprint
    assert ledger.ancestor("rerank").fingerprint == read.fingerprint


def test_what_is_no_descendant_says_so(tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    made = make(tmp_path / "made", Plan("filter", 1, {}, artifacts={"previous": other}))
    with pytest.raises(InvalidDataError, match="does not descend from a retrieve artifact"):
        made.ancestor("retrieve")


def test_an_external_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("one")
    first = artifacts.external_input(path, None)
    # Known and untouched: the digest is taken over, so a wrong one shows that nothing was read.
    assert artifacts.external_input(path, {**first, "digest": "x"})["digest"] == "x"
    path.write_text("two")
    assert artifacts.external_input(path, first)["digest"] != first["digest"]
    with pytest.raises(MissingInputError):
        artifacts.external_input(tmp_path / "missing", None)


def test_an_exported_file_has_its_manifest_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    for _ in range(2):
        writer = artifacts.begin_file(out, plan())
        if writer is None:
            break
        with writer:
            writer.hidden.write_text("{}\n")
            assert not out.exists()
            writer.commit({"examples": 1})
    else:
        pytest.fail("the second run was not up to date")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "_train.jsonl.manifest.json",
        "train.jsonl",
    ]
    with pytest.raises(ConflictError, match="other settings"):
        artifacts.begin_file(out, plan(k=20))
    out.write_text("edited by hand")
    with pytest.raises(InvalidDataError, match="changed"):
        artifacts.begin_file(out, plan())
    other = tmp_path / "mine.jsonl"
    other.write_text("not negmine's")
    with pytest.raises(ConflictError, match="not made by negmine"):
        artifacts.begin_file(other, plan())
