"""Room for copies of objects: the oldest go, and what is used or written stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.addresses import Address, located, mirrors
from negmine.buckets import copies, transport
from negmine.table import artifacts
from negmine.table.artifacts import open_artifact
from negmine.table.artifacts.plan import Plan
from tests.buckets.conftest import Bucket, forget
from tests.chains import DOCUMENTS, QUERIES, call, make_data, parts, small_parts
from tests.conftest import ROOT, Invoke


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of a run file on this machine, which asks for no model and no Java."""
    folder = tmp_path_factory.mktemp("local")
    data, work = make_data(folder / "data"), folder / "work"
    (data / "run.trec").write_text(
        "".join(
            f"q{query} Q0 d{(7 * query + 11 * rank) % DOCUMENTS} {rank} {100 - rank} mine\n"
            for query in range(QUERIES)
            for rank in range(1, 15)
        )
    )
    chain = [
        ["index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", work / "index"],
        [
            *("retrieve", work / "index", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"),
            *("--run", "mine=run.trec", "-k", "10", "-o", work / "candidates"),
        ],
        ["filter", work / "candidates", "--num-negatives", "3", "-o", work / "ledger"],
    ]
    with small_parts(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(data)
        for words in chain:
            code, said = call(*words)
            assert code == 0, said
    return work


@pytest.fixture
def stored(work: Path, bucket: Bucket) -> Bucket:
    bucket.put_folder(work)
    return bucket


def copied(cache: Path, name: str) -> list[Path]:
    """Copies of an artifact's files."""
    found = (cache / "mirrors").rglob(f"{name}/**/*")
    return sorted({one for one in found if one.is_file()})


def all_bytes(cache: Path) -> int:
    return sum(one.stat().st_size for one in (cache / "mirrors").rglob("*") if one.is_file())


def aged(paths: list[Path], hours: float) -> None:
    """Have copies be used last so many hours ago."""
    for path in paths:
        os.utime(path, (time.time() - 3600 * hours, path.stat().st_mtime))


def started(*words: object, cache: Path, size: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "negmine", *map(str, words)],
        env={
            **os.environ,
            **{"PYTHONPATH": str(ROOT), "NEGMINE_CACHE": str(cache), copies.SIZE: size},
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def reader(stored: Bucket, cache: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the candidates, and waits."""
    script = (
        "from negmine.table.artifacts import open_artifact\n"
        f"found = open_artifact('{stored.work}/ledger').input('scored')\n"
        "for name in found.parts: found.read(name)\n"
        "print('READ', flush=True)\n"
        "input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "READ"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.real
def test_a_stage_needs_no_more_room_than_what_it_holds(
    stored: Bucket,
    work: Path,
    cache: Path,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With room for next to nothing the bytes are the same, and so is what is written afar."""
    monkeypatch.setenv(copies.SIZE, "1K")
    words = ["filter", f"{stored.work}/candidates", "--num-negatives", 3]
    with small_parts():
        here = invoke(*words, "-o", tmp_path / "ledger")
        there = invoke(*words, "-o", f"{stored.work}/another")
    assert here.exit_code == there.exit_code == 0, here.stderr + there.stderr
    assert parts(tmp_path / "ledger") == parts(work / "ledger")
    assert "are removed from the cache" in here.stderr
    assert "(NEGMINE_CACHE_SIZE)" in here.stderr
    forget()
    found = open_artifact(located(f"{stored.work}/another"))
    assert found.verify() == len(found.files)
    written = stored.objects("work/another/")
    assert all(written[name] == content for name, content in parts(work / "ledger").items())
    # What is left is what it held to the end, and the last one.
    assert all_bytes(cache) < sum(map(len, stored.objects("work/").values())) / 2


@pytest.mark.real
def test_the_oldest_go_first(stored: Bucket, cache: Path) -> None:
    for name in ("index", "ledger"):
        ended = started("inspect", f"{stored.work}/{name}", "--verify", cache=cache, size="1G")
        assert ended.returncode == 0, ended.stderr
        assert "copies" not in ended.stderr
    index, ledger = copied(cache, "index"), copied(cache, "ledger")
    aged(index, 6)
    aged(ledger, 3)
    room = all_bytes(cache) + 1000
    words = ("inspect", f"{stored.work}/candidates", "--verify")
    ended = started(*words, cache=cache, size=str(room))
    assert ended.returncode == 0, ended.stderr
    assert "that were used longest ago are removed from the cache" in ended.stderr
    assert all_bytes(cache) <= room
    assert set(copied(cache, "index")) < set(index)
    assert copied(cache, "ledger") == ledger


@pytest.mark.real
def test_what_another_process_uses_stays_until_it_is_gone(
    stored: Bucket, cache: Path, reader: subprocess.Popen[str]
) -> None:
    """However it goes."""
    used = copied(cache, "candidates")
    assert used
    aged(used, 6)
    words = ("inspect", f"{stored.work}/ledger", "--verify")
    ended = started(*words, cache=cache, size="1K")
    assert ended.returncode == 0, ended.stderr
    assert "what commands read and write at this moment stays" in ended.stderr
    assert copied(cache, "candidates") == used
    reader.kill()
    reader.wait()
    shutil.rmtree(next((cache / "mirrors").rglob("ledger")))
    ended = started(*words, cache=cache, size="1K")
    assert ended.returncode == 0, ended.stderr
    assert copied(cache, "candidates") == []


@pytest.mark.real
def test_a_file_that_is_asked_for_stays(
    stored: Bucket, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a path may open it whenever it likes; of a part that was read nothing is left."""
    monkeypatch.setenv(copies.SIZE, "1K")
    found = open_artifact(located(f"{stored.work}/candidates"))
    path = found.file(found.parts[0])
    for _ in range(2):
        for name in found.parts:
            assert found.read(name).num_rows == found.rows(name)
    assert path.is_file()
    assert copied(cache, "candidates") in ([path], sorted([path, path.with_name(found.parts[-1])]))


def test_of_a_folder_nothing_is_left_of_what_lay_there_before(bucket: Bucket, cache: Path) -> None:
    """Lucene opens a folder as it is, with files that the manifest does not have."""
    made = {"segments_2": b"old", "_0.cfs": b"old"}, {"segments_1": b"new", "_0.cfs": b"new"}
    for number, files in enumerate(made):
        path = located(f"{bucket.work}/index")
        plan = Plan("index.bm25", 1, {"k": number})

        def fill(folder: Path, files: dict[str, bytes] = files) -> dict[str, object]:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            return {}

        writer = artifacts.begin(path, plan, replacing=artifacts.Replace.ALL)
        assert writer is not None
        with writer:
            writer.add_folder("lucene", fill)
            writer.commit({})
        if number == 0:
            shutil.copytree(cache, cache.parent / "elsewhere")
    shutil.rmtree(cache)
    shutil.move(cache.parent / "elsewhere", cache)
    forget()
    folder = open_artifact(path).file("lucene")
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == made[1]


def test_copies_come_into_a_folder_that_another_process_removes(
    stored: Bucket, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has replaced what lies there: what it fetched of it goes, and what others fetch comes."""
    found = open_artifact(located(f"{stored.work}/candidates"))
    fetch, removed = transport.fetch, list[Path]()

    def removed_first(file: Address, target: Path) -> None:
        if not removed:
            removed.append(target.parent)
            copies.remove_folder(target.parent)
        fetch(file, target)

    monkeypatch.setattr(transport, "fetch", removed_first)
    assert found.read(found.parts[0]).num_rows == found.rows(found.parts[0])
    assert removed


def test_a_folder_of_copies_keeps_what_comes_while_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process fetches an object into it, and yet another one has removed a copy of it."""
    folder, rmdir, unlink = tmp_path / "folder", os.rmdir, os.unlink
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).touch()

    def fetched(path: Any, **how: Any) -> None:
        (folder / "new").touch()
        rmdir(path, **how)

    def twice(path: Any, **how: Any) -> None:
        unlink(path, **how)
        unlink(path, **how)

    monkeypatch.setattr(os, "rmdir", fetched)
    monkeypatch.setattr(os, "unlink", twice)
    copies.remove_folder(folder)
    monkeypatch.undo()
    assert [one.name for one in folder.iterdir()] == ["new"]
    copies.rename(folder, tmp_path / "gone" / "folder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "full").touch()
    copies.rename(folder, tmp_path / "other")
    assert [one.name for one in folder.iterdir()] == ["new"]


def test_what_is_no_size_is_refused(stored: Bucket, cache: Path) -> None:
    ended = started("inspect", f"{stored.work}/ledger", "--verify", cache=cache, size="much")
    assert ended.returncode == 2
    assert "NEGMINE_CACHE_SIZE 'much' is no size" in ended.stderr + ended.stdout
    ended = started("doctor", cache=cache, size="much")
    assert ended.returncode == 3
    assert "problem: NEGMINE_CACHE_SIZE 'much' is no size" in ended.stdout


def test_doctor_tells_what_the_copies_take(cache: Path, invoke: Invoke) -> None:
    folder = mirrors() / "s3" / "bucket"
    folder.mkdir(parents=True)
    (folder / "part.npy").write_bytes(b"x" * (3 << 20))
    told = json.loads(invoke("doctor", "--json").stdout)["cache"]
    assert told["folder"] == str(cache)
    assert told["copies"] == "3 MiB"
    assert told["may hold"]


def test_where_nobody_says_half_of_the_free_disk_is_room(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: usage._replace(free=700))
    assert copies.limit(taken=300) == 500


def test_what_is_half_written_stays_for_a_week(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(copies.SIZE, "1")
    folder = mirrors() / "s3" / "bucket" / "work"
    names = ["part.npy", ".part.npy.tmp", ".part.npy.checkpoint", ".lucene.tmp/a", "_journal.jsonl"]
    for age, hours in (("old", 24 * 8), ("new", 24 * 6)):
        for name in names:
            path = folder / age / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 9)
            os.utime(path, (time.time() - 3600 * hours,) * 2)
    copies.make_room(1)
    left = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
    assert left == {"old/_journal.jsonl", *(f"new/{name}" for name in names[1:])}


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(
        st.tuples(st.integers(1, 50), st.integers(0, 9), st.booleans()), min_size=1, max_size=12
    ),
    size=st.integers(0, 60),
    room=st.integers(1, 400),
)
def test_no_more_goes_than_has_to_and_the_oldest_first(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[int, int, bool]],
    size: int,
    room: int,
) -> None:
    """Files of some size, age and that are held or not; so many bytes are to come."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEGMINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(copies.SIZE, str(room))
        folder = mirrors() / "s3" / "bucket"
        folder.mkdir(parents=True)
        before = {}
        for number, (length, age, kept) in enumerate(files):
            path = folder / f"{number}"
            path.write_bytes(b"x" * length)
            os.utime(path, (10**9 - 1000 * age,) * 2)
            before[path] = (length, age, kept)
            if kept:
                copies.hold(path)
        copies.make_room(size)
        left = {path: of for path, of in before.items() if path.is_file()}
        gone = {path: of for path, of in before.items() if path not in left}
        assert not any(kept for _, _, kept in gone.values())
        loose = [of for of in left.values() if not of[2]]
        taken = sum(length for length, _, _ in before.values())
        assert not gone or taken + size > room
        assert not loose or sum(length for length, _, _ in left.values()) + size <= room
        assert all(age >= other for _, age, _ in gone.values() for _, other, _ in loose)
        if gone:
            # Before the last one of them went there was too little room for the next few.
            youngest = min(age for _, age, _ in gone.values())
            last = max(length for length, age, _ in gone.values() if age == youngest)
            assert sum(length for length, _, _ in left.values()) + size + last > 0.9 * room
