"""A chain by workers, some of which are killed: the bytes of a single process."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest

from tests.chains import call, make_data
from tests.small_workers import (
    TWO,
    begun,
    children,
    contents,
    copied,
    ended,
    is_there,
    killed_one_after_the_other,
    leftovers,
    made_here,
    markers,
    scorers_path,
    until,
    without_models,
    write_recipe,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where Python looks for modules."""
    return scorers_path(tmp_path_factory.mktemp("path"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_models(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def whole(data: Path, path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It by one process."""
    folder = copied(data, tmp_path_factory.mktemp("whole") / "data")
    ended(begun(folder, path=path))
    return folder / "work"


def test_two_workers_with_models_make_the_bytes_of_one_process(
    path: str, tmp_path: Path, tiny_bi: Path, tiny_cross: Path
) -> None:
    data = make_data(tmp_path / "data")
    write_recipe(data, tiny_bi, str(tiny_cross))
    alone, folder = copied(data, tmp_path / "alone"), copied(data, tmp_path / "two")
    whole = made_here(alone)
    said = ended(begun(folder, *TWO, path=path))
    assert contents(folder / "work") == whole
    assert leftovers(folder / "work") == []
    parts = len(list((alone / "work" / "scored").glob("part-*")))
    assert f"rerank: {parts} of {parts} parts are made by 2 processes of this machine" in said
    # Of each stage one line says that it begins, one that it is there: as of one process.
    assert said.count("stage 3 of 5, rerank") == 1
    assert said.count("rerank: wrote work/scored") == 1
    # Nothing is left to do, and nobody is begun for it.
    again = ended(begun(folder, *TWO, path=path))
    assert again.count("is up to date") == 5
    assert "are made by" not in again


def test_workers_and_then_the_driver_are_killed_and_nothing_is_lost(
    data: Path, whole: Path, path: str, tmp_path: Path
) -> None:
    """A worker by SIGKILL: its parts go to others. The driver by SIGKILL: its workers end by
    themselves, and the same command goes on."""
    folder = copied(data, tmp_path / "data")
    driver = begun(folder, *TWO, path=path, env={"SLOW_PARTS": "2"})
    work = folder / "work"
    workers = killed_one_after_the_other(driver, partial(markers, work))
    until(lambda: not any(map(is_there, workers)))
    kept = markers(work, "scored")
    assert kept
    said = ended(begun(folder, *TWO, path=path))
    parts = len(list((whole / "scored").glob("part-*")))
    assert f"rerank: {parts - len(kept)} of {parts} parts are made by" in said
    assert contents(work) == contents(whole)
    assert leftovers(work) == []


def test_a_part_that_ends_every_worker_is_named_and_what_was_made_stays(
    data: Path, whole: Path, path: str, tmp_path: Path
) -> None:
    folder = copied(data, tmp_path / "data")
    bad = "part-00002.parquet"
    said = ended(begun(folder, *TWO, path=path, env={"KILLED_PART": bad}), 7)
    assert f"error: work/scored: {bad} ended 3 workers (the last one: killed by SIGKILL)" in said
    assert "Traceback" not in said
    parts = {one.name for one in (whole / "scored").glob("part-*")}
    made = {one.name.removesuffix(".json") for one in markers(folder / "work", "scored")}
    assert made == parts - {bad}
    # It is not for collect to make a whole of it.
    code, said = call("filter", folder / "work" / "scored", "-o", folder / "ledger")
    assert code == 4
    assert "unfinished: the run that makes it was interrupted" in said
    # Without workers the same recipe takes over what they have made.
    ended(begun(folder, path=path))
    assert contents(folder / "work") == contents(whole)


def test_what_a_stage_refuses_in_a_worker_stops_the_run_as_it_would_here(
    data: Path, path: str, tmp_path: Path
) -> None:
    folder = copied(data, tmp_path / "data")
    # Only a worker comes to read the texts that the scorer cannot log.
    (folder / "asked.log").mkdir()
    said = ended(begun(folder, *TWO, path=path), 7)
    assert "Traceback" not in said
    assert "error: asked.log: Is a directory" in said


def test_queries_that_are_scored_first_are_one_workers_and_come_first(
    data: Path, path: str, tmp_path: Path
) -> None:
    """``--enough`` under a limit that is learned: others may score when that is known."""
    alone, folder = copied(data, tmp_path / "alone"), copied(data, tmp_path / "two")
    for one in (alone, folder):
        (one / "recipe.toml").unlink()
        more = 'enough = 3\nuntil = ["percentile=0.9", "fit-sample=10", "sampler=rank"]'
        write_recipe(one, None, "plugin:hashed/asked.log", more)
    ended(begun(alone, path=path))
    ended(begun(folder, *TWO, path=path))
    assert contents(folder / "work") == contents(alone / "work")


def test_ctrl_c_ends_the_workers_too(data: Path, whole: Path, path: str, tmp_path: Path) -> None:
    folder = copied(data, tmp_path / "data")
    driver = begun(folder, *TWO, path=path, env={"SLOW_PARTS": "2"})
    until(lambda: markers(folder / "work", "candidates") or driver.poll() is not None)
    workers = children(driver.pid)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=600)
    assert driver.returncode == 130, said
    assert "interrupted: run the same command again to continue" in said
    assert "Traceback" not in said
    assert not any(map(is_there, workers))
