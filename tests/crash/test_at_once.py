"""Commands that begin, or end, at the same moment with one artifact: nobody fails for another one.

What the other one does comes where it would hurt: between two looks of the first.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from negmine import log
from negmine.table import artifacts, writers
from negmine.table.artifacts import aside, disk, journal, reading, shards
from tests.chains import SMALL_PARTS, call, make_data
from tests.conftest import ROOT
from tests.crash.sharded import FILTER, Here, contents
from tests.crash.test_shard_faults import (  # noqa: F401 (fixtures)
    LEDGER,
    beside,
    collected,
    folder,
    make,
    shard,
    whole,
)
from tests.hashed_scorer import hashed  # noqa: F401 (a fixture)

COLLECTING = (*FILTER, "--shard", "collect")
# The package has a function of this module's name.
filtering = importlib.import_module("negmine.stages.filter.run")


def once(
    patch: pytest.MonkeyPatch, place: Any, name: str, meanwhile: Callable[[], object]
) -> Callable[[], bool]:
    """Have something happen right before the next call of a function; whether it has happened."""
    real, done = getattr(place, name), []

    def called(*given: Any, **how: Any) -> Any:
        patch.setattr(place, name, real)
        done.append(True)
        meanwhile()
        return real(*given, **how)

    patch.setattr(place, name, called)
    return lambda: bool(done)


def refused(code: int, *words: object) -> None:
    """Another command in this process, which ends with this exit code."""
    handlers = list(log.logger.handlers)
    found, said = call(*words)
    assert found == code, said
    log.logger.handlers[:] = handlers


# --- who begins, and who collects ----------------------------------------------------------------


def test_an_early_collection_ends_no_shard_that_begins(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes when the shard has its folder, and has not said what it makes."""
    early = once(monkeypatch, disk, "create", lambda: refused(4, *COLLECTING))
    make(here, folder, 0)
    assert early()
    make(here, folder, 1, 2)
    collected(here, folder, whole)


def test_shards_begin_while_somebody_collects(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Too early: all is not there. What it takes over meanwhile is not made again."""
    make(here, folder, 1)
    said: list[str] = []

    def look() -> None:
        for index in (0, 1):
            beside(*shard(index))
        said.extend(one.name for one in (folder / LEDGER).glob("part-*"))

    begun = once(monkeypatch, filtering, "leave_idle", look)
    said.append(here.ends(4, *COLLECTING, cwd=folder))
    assert begun()
    assert "parts are missing" in said[-1]
    assert len(said) > 1, "taken over"
    # What makes all of it is in nobody's company.
    monkeypatch.undo()
    whole_one = once(monkeypatch, filtering, "leave_idle", lambda: refused(6, *shard(2)))
    here.done(*FILTER, cwd=folder)
    assert whole_one()
    assert contents(folder / LEDGER) == contents(whole / LEDGER)


def test_a_folder_of_shards_that_goes_before_anything_is_said_is_made_again(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removed = once(monkeypatch, disk, "create", lambda: shards.remove(LEDGER))
    make(here, folder, 0)
    assert removed()
    make(here, folder, 1, 2)
    collected(here, folder, whole)


def test_a_shard_that_begins_when_all_is_collected_finds_it_made(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between its look at what is there and its plan: it has nothing to do, and leaves nothing."""
    make(here, folder, 0, 1)
    late = once(
        monkeypatch,
        shards.Shelf,
        "__init__",
        lambda: [beside(*shard(2)), beside("collect", LEDGER)],
    )
    assert "is up to date" in here.done(*shard(2), cwd=folder)
    assert late()
    assert contents(folder / LEDGER) == contents(whole / LEDGER)


def test_a_part_that_is_taken_over_while_a_shard_looks_is_there(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its marker goes between the listing of all markers and the reading of this one."""
    make(here, folder, 0)
    taken = once(monkeypatch, shards.Records, "_record", lambda: refused(4, *COLLECTING))
    said = here.done(*shard(0), cwd=folder)
    assert taken()
    assert "is made" in said
    make(here, folder, 1, 2)
    collected(here, folder, whole)


def test_who_loses_a_part_that_is_taken_over_is_told(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process of the same shard marks its parts, and they are collected at once."""
    real, others = disk.create, []

    def late(path: Path, text: str, token: str) -> bool:
        if path.name.startswith("part-") and not others:
            others.append(path)
            beside(*shard(0))
            made = real(path, text, token)
            refused(4, *COLLECTING)
            return made
        return real(path, text, token)

    monkeypatch.setattr(disk, "create", late)
    said = here.ends(6, *shard(0), cwd=folder)
    assert others
    assert "another process finished part-00000.parquet first (it is collected)" in said
    make(here, folder, 1, 2)
    collected(here, folder, whole)


def test_who_writes_a_part_when_all_is_collected_is_told_and_leaves_nothing(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The folder goes below a part that is being written."""
    make(here, folder, 1, 2)
    real = writers.write_parquet

    def late(*given: Any) -> int:
        monkeypatch.setattr(writers, "write_parquet", real)
        rows = real(*given)
        # Parts are written in a thread: the other command needs a process of its own.
        words = [sys.executable, "-c", SMALL_PARTS + "cli.main()", *FILTER]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(words, cwd=folder, env=env, check=True, capture_output=True)
        return rows

    monkeypatch.setattr(writers, "write_parquet", late)
    said = here.ends(6, *shard(0), cwd=folder)
    assert "was collected, removed or begun anew" in said
    assert contents(folder / LEDGER) == contents(whole / LEDGER)
    assert not (folder / LEDGER / "_shards").exists()


# --- locks ---------------------------------------------------------------------------------------


def test_who_looks_whether_a_file_is_locked_is_in_nobody_s_way(tmp_path: Path) -> None:
    """Several look all the time: none takes another for a writer, and whoever writes gets it."""
    file = tmp_path / "_journal.jsonl"
    file.touch()
    held, ended = threading.Event(), threading.Event()
    wrong: list[bool] = []

    def look() -> None:
        while not ended.is_set():
            # What is seen while it is held, or changes, says nothing here.
            before = held.is_set()
            if disk.is_locked(file) and not before and not held.is_set():
                wrong.append(True)

    looking = [threading.Thread(target=look) for _ in range(4)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(300):
            held.set()
            disk.open_locked(file).close()
            held.clear()
    finally:
        ended.set()
        for thread in looking:
            thread.join()
    assert not wrong


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_nobody_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Shards need none; a killed process's journal beside them is nobody's that lives."""
    file = tmp_path / "_journal.jsonl"
    file.touch()

    def refused_(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk.fcntl, "flock", refused_)
    assert not disk.is_locked(file)
    with disk.alone_in(tmp_path):
        pass
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_the_holder_of_a_lock_ends_before_it_is_named(
    here: Here,
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its journal goes with it."""
    (folder / LEDGER).mkdir()
    file = folder / LEDGER / "_journal.jsonl"
    with disk.open_locked(file):
        ends = once(monkeypatch, journal, "_holder", file.unlink)
        assert "another process is writing it" in here.ends(6, *FILTER, cwd=folder)
        assert ends()


@pytest.mark.parametrize("words", [FILTER, shard(0)], ids=["all", "shard"])
def test_a_journal_that_goes_behind_a_look_holds_nothing(
    here: Here,
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    """A run that has made nothing is ended by its user when another one reads its journal."""
    (folder / LEDGER).mkdir()
    file = folder / LEDGER / "_journal.jsonl"
    file.touch()
    gone = once(monkeypatch, disk, "whole_lines", file.unlink)
    here.done(*words, cwd=folder)
    assert gone()


@pytest.mark.parametrize("words", [FILTER, ("export", "work/ledger", "-o", "made/train.jsonl")])
def test_a_new_folder_that_another_one_removes_is_made_again(
    here: Here,
    folder: Path,  # noqa: F811
    whole: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    """Who fails before it has made anything removes what it made: another one was about to lock."""
    if words[0] == "export":
        shutil.copytree(whole / LEDGER, folder / LEDGER)
    gone = once(monkeypatch, journal, "lock_journal", lambda: (folder / words[-1]).rmdir())
    if words[0] == "export":
        gone = once(monkeypatch, journal, "lock_journal", (folder / "made").rmdir)
    here.done(*words, cwd=folder)
    assert gone()


@pytest.mark.parametrize("remove", [disk.remove, lambda path: shards.remove(path.parent)])
def test_what_several_remove_at_once_is_gone(
    tmp_path: Path, remove: Callable[[Path], None]
) -> None:
    """What a kill has left is removed by whoever comes next, and several may begin at once."""
    failed: list[BaseException] = []

    def removing(begin: threading.Barrier) -> None:
        begin.wait()
        try:
            remove(tmp_path / "_shards")
        except BaseException as error:
            failed.append(error)

    for number in range(20):
        for name in ("_shards", "._shards.tmp"):
            (tmp_path / name).mkdir()
            for file in range(30):
                (tmp_path / name / f"{number}.{file}").touch()
        begin = threading.Barrier(4)
        threads = [threading.Thread(target=removing, args=(begin,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        disk.remove(tmp_path / "._shards.tmp")
        assert not list(tmp_path.iterdir())
    assert not failed


def test_what_is_replaced_when_it_is_opened_is_unfinished(
    here: Here,
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its manifest goes first: it is no damaged one."""
    here.done(*FILTER, cwd=folder)
    real, manifest = reading.load_json, folder / LEDGER / "_manifest.json"

    def loaded(path: Path, **how: Any) -> dict[str, Any] | None:
        if path.parent.name == LEDGER.name and manifest.exists():
            manifest.unlink()
        return real(path, **how)

    monkeypatch.setattr(reading, "load_json", loaded)
    said = here.ends(4, "export", LEDGER, "-o", "work/train", cwd=folder)
    assert "not a negmine artifact (no _manifest.json)" in said


def test_what_is_finished_again_when_it_is_opened_is_whole(
    here: Here,
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its manifest is gone at the first look and there at the second: it is no damaged one."""
    here.done(*FILTER, cwd=folder)
    real, manifest = reading.load_json, folder / LEDGER / "_manifest.json"
    aside_ = manifest.rename(manifest.with_name("aside"))

    def loaded(path: Path, **how: Any) -> dict[str, Any] | None:
        found = real(path, **how)
        if path.name == manifest.name and path.parent.name == LEDGER.name and aside_.exists():
            aside_.rename(manifest)
        return found

    monkeypatch.setattr(reading, "load_json", loaded)
    here.done("export", LEDGER, "-o", "work/train", cwd=folder)


# --- an index that several commands add to --------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


INDEX = ("index", "--corpus", "corpus.jsonl", "-o", "work/index")
#: What adds BM25 to the documents, and what adds signatures.
WORDS, SIGNATURES = (*INDEX, "--no-signatures"), (*INDEX, "--no-bm25")


def children(data: Path) -> set[str]:
    return set(json.loads((data / "work/index/_manifest.json").read_text())["inputs"])


def test_of_two_commands_that_end_at_once_the_index_names_what_both_made(
    here: Here, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one ends when this one has looked what there is, and before it writes it down."""
    other = once(monkeypatch, artifacts, "write_manifest", lambda: beside(*WORDS))
    here.done(*SIGNATURES, cwd=corpus)
    assert other()
    assert children(corpus) == {"documents", "bm25", "signatures"}
    assert "is up to date" in here.done(*INDEX, cwd=corpus)


def test_a_manifest_that_two_processes_write_at_once_is_whole(tmp_path: Path) -> None:
    """Whatever they interrupt each other in: one of both is there, and nothing else."""
    path, failed = tmp_path / "index" / "_manifest.json", list[BaseException]()

    def write(number: int) -> None:
        try:
            for _ in range(60):
                artifacts.write_manifest(path, {"of": number, "more": "x" * 2000})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert json.loads(path.read_text())["of"] in range(4)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_an_index_that_another_one_begins_meanwhile_is_not_foreign(
    here: Here, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is there at the first look, and the documents' at the second."""
    (corpus / "work/index").mkdir(parents=True)
    real = artifacts.is_folder

    def looked(path: Path) -> bool:
        found = real(path)
        if path.name == "documents":
            monkeypatch.setattr(artifacts, "is_folder", real)
            beside(*SIGNATURES)
        return found

    monkeypatch.setattr(artifacts, "is_folder", looked)
    assert "is up to date" in here.done(*SIGNATURES, cwd=corpus)
    assert artifacts.is_folder is real


def test_a_child_that_is_begun_anew_is_left_out_and_ends_nobody(
    here: Here, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was whole when the index was looked through, and is made anew when it is opened."""
    here.done(*WORDS, cwd=corpus)
    gone = corpus / "work/index/bm25/_manifest.json"
    real = artifacts.open_artifact

    def opened(path: Path, *given: Any, **how: Any) -> Any:
        if path.name == "bm25" and gone.exists():
            gone.unlink()
        return real(path, *given, **how)

    monkeypatch.setattr(artifacts, "open_artifact", opened)
    said = here.done(*SIGNATURES, cwd=corpus)
    assert children(corpus) == {"documents", "signatures"}
    assert "bm25 was part of work/index, and is gone or being made anew" in said


# --- scores that step aside -----------------------------------------------------------------------


def rerank(scorer: str, *more: str) -> tuple[str, ...]:
    return (
        "rerank",
        "work/candidates",
        "--scorer",
        f"h={scorer}/asked.log",
        *more,
        "-o",
        "work/scored",
    )


def test_of_two_that_have_scores_step_aside_one_does(
    here: Here,
    folder: Path,  # noqa: F811
    hashed: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one has done so, and is through, when this one is about to."""
    here.done(*rerank(hashed, "--limit", "5"), cwd=folder)
    first, again = contents(folder / "work/scored"), rerank(hashed, "--force")
    other = once(monkeypatch, aside, "lock_journal", lambda: beside(*again))
    assert "meanwhile" in here.ends(6, *again, cwd=folder)
    assert other()
    assert "is up to date" in here.done(*again, cwd=folder)
    kept = [one for one in (folder / "work").iterdir() if one.name.startswith("scored-")]
    assert [contents(one) for one in kept] == [first]


def test_scores_that_another_one_moves_away_are_not_there_any_more(
    here: Here,
    folder: Path,  # noqa: F811
    hashed: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here.done(*rerank(hashed, "--limit", "5"), cwd=folder)
    moved = folder / "work/moved"
    gone = once(monkeypatch, aside, "lock_journal", lambda: (folder / "work/scored").rename(moved))
    assert "meanwhile" in here.ends(6, *rerank(hashed, "--force"), cwd=folder)
    assert gone()
    here.done(*rerank(hashed), cwd=folder)
