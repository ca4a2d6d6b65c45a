"""What goes wrong with shards: each fault has its message and exit code, and nothing is mixed."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from negmine import log
from negmine.stages.filter import fitting
from negmine.table.artifacts import disk, journal, shards, writing
from tests.chains import SMALL_PARTS, call, make_data, small_parts
from tests.conftest import ROOT, Invoke
from tests.crash.sharded import COUNT, FILTER, Here, contents, copied

LEDGER = Path("work/ledger")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of several parts, and the ledger that one process makes of them."""
    folder = make_data(tmp_path_factory.mktemp("whole") / "data")
    asked = ("--queries", "queries.jsonl", "--qrels", "qrels.tsv", "-k", 10)
    with pytest.MonkeyPatch.context() as patch, small_parts():
        patch.chdir(folder)
        for words in (
            ("index", "--corpus", "corpus.jsonl", "-o", "work/index"),
            ("retrieve", "work/index", *asked, "-o", "work/candidates"),
            FILTER,
        ):
            code, said = call(*words)
            assert code == 0, said
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The same candidates, and no ledger."""
    folder = copied(whole, tmp_path / "data")
    shutil.rmtree(folder / LEDGER)
    return folder


def shard(index: int, count: int = COUNT) -> tuple[str, ...]:
    return (*FILTER, "--shard", f"{index}/{count}")


def make(here: Here, folder: Path, *indices: int) -> None:
    for index in indices:
        here.done(*shard(index), cwd=folder)


def collected(here: Here, folder: Path, whole: Path) -> None:
    """What is there is collected, and is what one process makes."""
    here.done("collect", LEDGER, cwd=folder)
    assert contents(folder / LEDGER) == contents(whole / LEDGER)


def marker(folder: Path, part: int) -> Path:
    return folder / LEDGER / "_shards" / f"part-{part:05d}.parquet.json"


def change(path: Path, **told: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))


def beside(*words: object) -> None:
    """A command that comes between what another one in this process does."""
    handlers = list(log.logger.handlers)
    code, said = call(*words)
    assert code == 0, said
    log.logger.handlers[:] = handlers


# --- two of them -------------------------------------------------------------------------------


def test_of_two_shards_of_one_number_one_wins(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one, a process of its own, runs when this one has made its parts."""
    real = shards.Shelf.publish
    other: list[subprocess.CompletedProcess[str]] = []

    def late(self: shards.Shelf, files: Any) -> None:
        if files and not other:
            words = [sys.executable, "-c", SMALL_PARTS + "cli.main()", *shard(0)]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            other.append(
                subprocess.run(
                    words, cwd=folder, env=env, check=False, capture_output=True, text=True
                )
            )
        real(self, files)

    monkeypatch.setattr(shards.Shelf, "publish", late)
    said = here.ends(6, *shard(0), cwd=folder)
    assert other[0].returncode == 0, other[0].stderr
    assert "another process finished part-00000.parquet first (0/3, pid" in said
    assert "Nothing is mixed" in said
    monkeypatch.undo()
    # Only the winner's parts are there.
    left = [path.name for path in (folder / LEDGER / "_shards").glob("part-*")]
    assert len(left) == 2 * len(list((folder / LEDGER / "_shards").glob("part-*.json")))
    make(here, folder, 1, 2)
    collected(here, folder, whole)


def test_who_loses_one_part_keeps_the_others(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shard 0/1, all parts of which are published at once, when shard 0/3 has made two of them."""
    real = shards.Shelf.publish

    def late(self: shards.Shelf, files: Any) -> None:
        monkeypatch.setattr(shards.Shelf, "publish", real)
        if files:
            beside(*shard(0))
        real(self, files)

    monkeypatch.setattr(shards.Shelf, "publish", late)
    here.ends(6, *shard(0, 1), cwd=folder)
    collected(here, folder, whole)


def test_who_begins_at_once_with_another_leaves_the_plan_that_is_there(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one says what is made right behind the first look for it: in its absence the other
    would find that what it makes is not wanted any more."""
    looks, made, remove = shards.load_json, shards.Shelf.__init__, disk.remove_file
    removed: list[str] = []

    def first(path: Path, **how: bool) -> dict[str, Any] | None:
        found = looks(path, **how)
        if path.name == "_plan.json":
            monkeypatch.setattr(shards, "load_json", looks)
            assert found is None
            beside(*shard(1))
        return found

    def beginning(self: shards.Shelf, *given: Any, **how: Any) -> None:
        monkeypatch.setattr(shards.Shelf, "__init__", made)
        monkeypatch.setattr(shards, "load_json", first)
        made(self, *given, **how)

    def removing(path: Path) -> None:
        removed.append(path.name)
        remove(path)

    monkeypatch.setattr(disk, "remove_file", removing)
    monkeypatch.setattr(shards.Shelf, "__init__", beginning)
    make(here, folder, 0)
    assert shards.load_json is looks
    assert "_plan.json" not in removed
    make(here, folder, 2)
    collected(here, folder, whole)


@pytest.mark.parametrize("look", ["is_folder", "exists", "names_in"])
def test_what_another_one_begins_meanwhile_is_not_foreign(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Where the folder was empty at the first look, whichever that is."""
    (folder / LEDGER).mkdir()
    refuse, looks = writing.refuse_foreign, getattr(disk, look)

    def first(path: Path) -> Any:
        found = looks(path)
        if path.name in (LEDGER.name, "_shards"):
            monkeypatch.setattr(disk, look, looks)
            beside(*shard(1))
        return found

    def refusing(path: Path) -> None:
        monkeypatch.setattr(writing, "refuse_foreign", refuse)
        monkeypatch.setattr(disk, look, first)
        refuse(path)
        monkeypatch.setattr(disk, look, looks)

    monkeypatch.setattr(writing, "refuse_foreign", refusing)
    make(here, folder, 0)
    make(here, folder, 1, 2)
    collected(here, folder, whole)


def test_a_shard_with_other_parameters_is_refused(here: Here, folder: Path, whole: Path) -> None:
    make(here, folder, 0)
    other = [word if word != "3" else "4" for word in FILTER]
    said = here.ends(6, *other, "--shard", f"1/{COUNT}", cwd=folder)
    assert "parts of shards with other settings (num-negatives: 3 -> 4)" in said
    assert "_shards" in said
    # A run of all with other settings is refused as well, and --force is what it takes.
    assert "other settings" in here.ends(6, *other, cwd=folder)
    make(here, folder, 1, 2)
    collected(here, folder, whole)
    # Beside what is finished, too; what is refused is not advised.
    said = here.ends(6, *other, "--shard", f"1/{COUNT}", cwd=folder)
    assert "remove what is there before the shards start" in said
    assert "--force" not in said


def test_nobody_waits_for_shards_that_made_nothing(here: Here, folder: Path, whole: Path) -> None:
    other = [word if word != "3" else "4" for word in FILTER]
    # There are four parts: the sixth of six shards has none of them.
    here.done(*other, "--shard", "5/6", cwd=folder)
    make(here, folder, 0, 1, 2)
    collected(here, folder, whole)


@pytest.mark.parametrize("option", ["--force", "--rebuild"])
def test_shards_replace_nothing(here: Here, folder: Path, option: str) -> None:
    said = here.ends(2, *shard(0), option, cwd=folder)
    assert "do not go with --shard" in said


def test_shards_of_another_number_join_in(here: Here, folder: Path, whole: Path) -> None:
    make(here, folder, 0)
    here.done(*shard(1, 2), cwd=folder)
    said = here.ends(4, "collect", LEDGER, cwd=folder)
    assert "part-00002.parquet" in said
    here.done(*shard(0, 2), cwd=folder)
    collected(here, folder, whole)


@pytest.mark.parametrize(
    "options",
    [
        ("--max-reuse", "2"),
        ("--max-fn-rate", "0.5"),
        ("--by", "p_prior"),
        ("--percentile", "0.6"),
    ],
)
def test_what_is_learned_from_the_whole_table_one_shard_learns(
    here: Here, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str]
) -> None:
    folder = copied(whole, tmp_path / "data")
    words = (*FILTER[:-1], "work/other", *options)
    here.done(*words, "--shard", f"1/{COUNT}", cwd=folder)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "learn", None)
        for index in (0, 2):
            here.done(*words, "--shard", f"{index}/{COUNT}", cwd=folder)
        here.done("collect", "work/other", cwd=folder)
    here.done(*words[:5], "work/alone", *options, cwd=folder)
    assert contents(folder / "work" / "other") == contents(folder / "work" / "alone")


def test_what_shards_of_other_settings_said_does_not_hold(
    here: Here, folder: Path, whole: Path
) -> None:
    """They learned, and nothing of what they made is in the way."""
    other = (*FILTER, "--percentile", "0.6")
    # Who has nothing to make learns nothing.
    here.done(*other, "--shard", "5/6", cwd=folder)
    assert not list((folder / LEDGER / "_shards").glob("_told.*"))
    here.done(*other, "--shard", "0/6", cwd=folder)
    for made in (folder / LEDGER / "_shards").glob("part-*"):
        made.unlink()
    said = {one.name for one in (folder / LEDGER / "_shards").glob("_told.*")}
    make(here, folder, 0, 1, 2)
    # Of each name there is another one of these settings; limits were not learned with them.
    now = {one.name for one in (folder / LEDGER / "_shards").glob("_told.*")}
    asked = {one.split(".", 3)[3] for one in now - said}
    assert asked == {one.split(".", 3)[3] for one in said if ".limits." not in one}
    assert "learned.json" in asked
    assert said < now
    collected(here, folder, whole)


# --- what is missing, stale or damaged ----------------------------------------------------------


def test_a_missing_shard_is_named_with_its_command(here: Here, folder: Path, whole: Path) -> None:
    make(here, folder, 2, 0)
    said = here.ends(4, "collect", LEDGER, cwd=folder)
    assert "1 of 4 parts are missing: part-00001.parquet" in said
    assert not (folder / LEDGER / "_manifest.json").exists()
    _, _, command = said.partition("Make them:\n")
    name, *words = shlex.split(command.strip())
    assert name == "negmine"
    # Of what was taken over already nothing is made again.
    first = folder / LEDGER / "part-00000.parquet"
    before = first.stat().st_ino
    here.done(*words, cwd=folder)
    collected(here, folder, whole)
    assert first.stat().st_ino == before


def test_a_stale_part_of_other_settings_is_refused(here: Here, folder: Path, whole: Path) -> None:
    make(here, folder, 0, 1, 2)
    change(marker(folder, 1), fingerprint="0" * 32)
    for words in (("collect", LEDGER), shard(1), FILTER):
        said = here.ends(6, *words, cwd=folder)
        assert f"{marker(Path(), 1)}: was made by a shard with other settings" in said
    marker(folder, 1).unlink()
    assert f"--shard 1/{COUNT}" in here.ends(4, "collect", LEDGER, cwd=folder)
    make(here, folder, 1)
    collected(here, folder, whole)


def test_a_damaged_part_is_told_and_made_again(here: Here, folder: Path, whole: Path) -> None:
    make(here, folder, 0, 1, 2)
    data = folder / LEDGER / "_shards" / json.loads(marker(folder, 2).read_text())["file"]
    data.write_bytes(data.read_bytes() + b"x")
    said = here.ends(4, "collect", LEDGER, cwd=folder)
    assert "is missing or was changed" in said
    assert f"--shard 2/{COUNT}" in said
    make(here, folder, 2)
    collected(here, folder, whole)


def test_shards_read_nothing_of_what_was_taken_over_and_damage_is_found_by_who_collects(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here, folder, 0, 1)
    here.ends(4, "collect", LEDGER, cwd=folder)
    taken = folder / LEDGER / "part-00000.parquet"
    content = taken.read_bytes()
    # Of the same size.
    taken.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "digest", None)
        make(here, folder, 2, 0)
    said = here.ends(4, "collect", LEDGER, cwd=folder)
    assert f"part-00000.parquet\nMake them:\n  negmine {' '.join(shard(0))}" in said
    make(here, folder, 0)
    collected(here, folder, whole)


def test_what_is_no_marker_is_told(here: Here, folder: Path, whole: Path) -> None:
    make(here, folder, 0, 1, 2)
    marker(folder, 3).write_text("{")
    for words in (("collect", LEDGER), shard(0)):
        said = here.ends(5, *words, cwd=folder)
        assert "is no marker of a shard's part" in said
    marker(folder, 3).unlink()
    make(here, folder, 0)
    collected(here, folder, whole)


def test_damaged_queries_are_made_again(here: Here, folder: Path, whole: Path) -> None:
    """What stands beside a part of candidates is no less a part of it."""
    shutil.rmtree(folder / "work" / "candidates")
    asked = ("--queries", "queries.jsonl", "--qrels", "qrels.tsv", "-k", 10)
    retrieve = ("retrieve", "work/index", *asked, "-o", "work/candidates")
    here.done(*retrieve, "--shard", "0/1", cwd=folder)
    place = folder / "work" / "candidates" / "_shards" / "_queries"
    told = json.loads((place / "part-00001.parquet.json").read_text())
    (place.parent / told["file"]).unlink()
    said = here.ends(4, "collect", "work/candidates", cwd=folder)
    assert "part-00001.parquet" in said
    here.done(*retrieve, "--shard", "0/1", cwd=folder)
    here.done("collect", "work/candidates", cwd=folder)
    assert contents(folder / "work" / "candidates") == contents(whole / "work" / "candidates")


# --- clocks, disks, arrays ----------------------------------------------------------------------


def test_a_clock_that_differs_means_nothing(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    for index, days in enumerate((-9000, 9000, 0)):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda days=days: now() + 86400 * days)
            here.done(*shard(index), cwd=folder)
        for path in (folder / LEDGER / "_shards").iterdir():
            stamp = now() - 86400 * days
            os.utime(path, (stamp, stamp))
    here.done(*shard(0), cwd=folder)
    collected(here, folder, whole)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file can be larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_a_shard_that_goes_on_later(
    here: Here, folder: Path, whole: Path
) -> None:
    with small_files(3000):
        said = here.ends(7, *shard(0), cwd=folder)
    assert "File too large" in said
    # What was not finished is gone.
    assert not list((folder / LEDGER / "_shards").glob("part-*"))
    make(here, folder, 0, 1, 2)
    with small_files(3000):
        here.ends(7, "collect", LEDGER, cwd=folder)
    collected(here, folder, whole)


@pytest.mark.parametrize("system", ["slurm", "kubernetes"])
def test_an_array_tells_which_shard(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    said = here.ends(2, *FILTER, "--shard", "auto", cwd=folder)
    assert "no task of a job array" in said
    for index in (1, 2, 0):
        asked = "auto"
        if system == "slurm":
            told = {"ID": index, "MIN": 0, "MAX": COUNT - 1, "COUNT": COUNT, "STEP": 1}
            for name, value in told.items():
                monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
        else:
            monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
            asked = f"auto/{COUNT}"
        said = here.done(*FILTER, f"--shard={asked}", cwd=folder)
        assert f"shard {index}/{COUNT} of work/ledger is made" in said
    collected(here, folder, whole)


# --- all made, collected, elsewhere -------------------------------------------------------------


def test_a_shard_that_finds_all_done(here: Here, folder: Path, whole: Path) -> None:
    make(here, folder, 0, 1, 2)
    before = sorted((folder / LEDGER / "_shards").iterdir())
    said = here.done(*shard(1), cwd=folder)
    assert "is made\n" in said
    assert f"negmine collect {LEDGER}" in said
    assert sorted((folder / LEDGER / "_shards").iterdir()) == before
    collected(here, folder, whole)
    assert "is up to date" in here.done(*shard(1), cwd=folder)
    # What a kill behind the last word leaves.
    (folder / LEDGER / "._shards.tmp").mkdir()
    (folder / LEDGER / "_journal.jsonl").touch()
    assert "is collected already" in here.done("collect", LEDGER, cwd=folder)
    assert contents(folder / LEDGER) == contents(whole / LEDGER)


def test_the_next_stage_asks_for_what_is_not_collected(here: Here, folder: Path) -> None:
    make(here, folder, 0, 1, 2)
    said = here.ends(4, "export", LEDGER, "-o", "work/train", cwd=folder)
    assert "its shards are not collected yet" in said
    assert f"negmine collect {LEDGER}" in said


def test_one_process_goes_on_with_what_shards_have_left(
    here: Here, folder: Path, whole: Path
) -> None:
    make(here, folder, 1)
    said = here.done(*FILTER, cwd=folder)
    assert "1 files are finished" in said
    assert contents(folder / LEDGER) == contents(whole / LEDGER)


def test_force_takes_away_shards_of_other_settings(here: Here, folder: Path, whole: Path) -> None:
    other = [word if word != "3" else "4" for word in FILTER]
    here.done(*other, "--shard", f"0/{COUNT}", cwd=folder)
    here.done(*FILTER, "--force", cwd=folder)
    assert contents(folder / LEDGER) == contents(whole / LEDGER)


def test_who_is_late_for_the_collection_is_told(
    here: Here, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is made and collected while a shard makes its parts."""
    real = shards.Shelf.publish

    def late(self: shards.Shelf, files: Any) -> None:
        monkeypatch.setattr(shards.Shelf, "publish", real)
        for words in (shard(0, 1), ("collect", LEDGER)):
            beside(*words)
        real(self, files)

    monkeypatch.setattr(shards.Shelf, "publish", late)
    said = here.ends(6, *shard(0), cwd=folder)
    assert "was collected, removed or begun anew" in said
    assert contents(folder / LEDGER) == contents(whole / LEDGER)


def test_collect_from_another_folder(here: Here, folder: Path, whole: Path, tmp_path: Path) -> None:
    make(here, folder, 0, 1, 2)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here.done("collect", folder / LEDGER, cwd=elsewhere)
    assert contents(folder / LEDGER) == contents(whole / LEDGER)
    assert not list(elsewhere.iterdir())


def test_collect_what_was_moved(here: Here, folder: Path, whole: Path, tmp_path: Path) -> None:
    make(here, folder, 0, 1, 2)
    (folder / LEDGER).rename(folder / "work" / "other")
    said = here.ends(2, "collect", "work/other", cwd=folder)
    assert "its shards were made as work/ledger" in said
    assert not (folder / LEDGER).exists()
    # All of it moved: called where the names lead to the same.
    (folder / "work" / "other").rename(folder / LEDGER)
    folder.rename(tmp_path / "moved")
    said = here.ends(2, "collect", tmp_path / "moved" / LEDGER, cwd=tmp_path)
    assert "Call collect where work/ledger leads to it" in said
    collected(here, tmp_path / "moved", whole)


def test_collect_what_two_commands_have_made(
    here: Here, whole: Path, tmp_path: Path, tiny_splade: Path
) -> None:
    """Each is called once more, with what collect was given."""
    folder = copied(whole, tmp_path / "data")
    index = ("index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", "work/other")
    encoder = ("--encoder", f"words={tiny_splade}", "--no-signatures")
    here.done(*index, "--no-signatures", cwd=folder)
    here.done(*index, "--quiet", "--shard", "0/1", cwd=folder)
    here.done(*index, *encoder, "--shard", "0/1", cwd=folder)
    said = here.done("collect", "work/other", "--quiet", "--log-format", "json", cwd=folder)
    assert all(json.loads(line)["level"] == "warning" for line in said.splitlines())
    found = json.loads((folder / "work" / "other" / "_manifest.json").read_text())
    assert found["counts"]["signatures"]
    assert not list((folder / "work").rglob("_shards"))


def test_no_secret_of_an_address_lies_beside_the_parts(here: Here, folder: Path) -> None:
    asked = ("--queries", "https://me:word@example.invalid/q.jsonl?key=1", "--qrels", "qrels.tsv")
    said = here.ends(2, "retrieve", "work/index", *asked, "-o", "x", "--shard", "0/2", cwd=folder)
    assert "https://example.invalid/q.jsonl: the address holds a password or a key" in said
    assert "word" not in said.replace("password", "")
    assert not (folder / "x").exists()


def test_collect_nothing(here: Here, folder: Path) -> None:
    assert "no such folder" in here.ends(4, "collect", "work/nothing", cwd=folder)
    (folder / "work" / "empty").mkdir()
    here.ends(4, "collect", "work/empty", cwd=folder)


def test_standard_input_is_one_process_s(here: Here, folder: Path) -> None:
    asked = ("--queries", "-", "--qrels", "qrels.tsv", "-o", "work/more")
    said = here.ends(2, "retrieve", "work/index", *asked, "--shard", "0/2", cwd=folder)
    assert "standard input" in said


# --- what comes before the parts ----------------------------------------------------------------


def test_documents_are_stored_by_one_process_first(here: Here, folder: Path) -> None:
    index = ("index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", "work/other")
    said = here.ends(4, *index, "--shard", "0/2", cwd=folder)
    assert "one process reads a corpus" in said
    assert not list((folder / "work").glob("other/*/part-*"))
    here.done(*index, "--no-signatures", cwd=folder)
    for number in (1, 0):
        here.done(*index, "--shard", f"{number}/2", cwd=folder)
    here.done("collect", "work/other", cwd=folder)
    assert contents(folder / "work" / "other" / "signatures") == contents(
        folder / "work" / "index" / "signatures"
    )


def test_what_a_source_makes_beforehand_the_first_shard_makes(
    here: Here, folder: Path, tiny_cross: Path
) -> None:
    asked = ("--queries", "queries.jsonl", "--qrels", "qrels.tsv", "-k", 5)
    source = ("--source", f"cross=cur:{tiny_cross}", "--anchors", "4:4", "--dtype", "float32")
    retrieve = ("retrieve", "work/index", *asked, *source)
    out = ("-o", "work/found/candidates")
    said = here.ends(4, *retrieve, *out, "--shard", "1/2", cwd=folder)
    assert "The first shard (0/N) does it" in said
    for number in (0, 1):
        here.done(*retrieve, *out, "--shard", f"{number}/2", cwd=folder)
    here.done("collect", "work/found/candidates", cwd=folder)
    here.done(*retrieve, "-o", "work/alone/candidates", cwd=folder)
    assert contents(folder / "work" / "found") == contents(folder / "work" / "alone")


# --- training sets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--split", "0.7"),
        ("--split", "0.7", "--shuffle", "3", "--max-shard-size", "2kB"),
        ("--order-by", "score_bm25", "--format", "n-tuple", "--ids", "--max-shard-size", "2kB"),
    ],
)
def test_a_training_set_by_shards(
    here: Here, whole: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    folder = copied(whole, tmp_path / "data")
    export = ("export", LEDGER, *options)
    for index in (2, 0):
        here.done(*export, "-o", "work/train", "--shard", f"{index}/{COUNT}", cwd=folder)
    assert "missing" in here.ends(4, "collect", "work/train", cwd=folder)
    here.done(*export, "-o", "work/train", "--shard", f"1/{COUNT}", cwd=folder)
    here.done("collect", "work/train", cwd=folder)
    here.done(*export, "-o", "work/alone", cwd=folder)
    assert contents(folder / "work" / "train") == contents(folder / "work" / "alone")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "work/train.parquet"), "Name a folder"),
        (("-o", "-"), "Name a folder"),
        (("-o", "work/train", "--beir", "work/beir", "--split", "0.5"), "a command of its own"),
    ],
)
def test_what_one_process_writes_is_refused(
    here: Here, whole: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in here.ends(2, "export", LEDGER, *options, "--shard", "0/2", cwd=whole)
    assert not (whole / "work" / "train").exists()


# --- what it would cost -------------------------------------------------------------------------


def test_a_dry_run_tells_of_the_shard_and_of_all(
    here: Here, whole: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["filter", "work/candidates", "--num-negatives", "4", "-o", "work/new"]
    here.done(*words, "--shard", "1/4", "--dry-run", cwd=whole)
    assert not (whole / "work" / "new").exists()
    told = invoke(*words, "--shard", "1/4", "--dry-run").stdout
    (line,) = (line for line in told.splitlines() if line.startswith("filter: shard 1/4 "))
    assert "; all 4 together " in line
    found = json.loads(invoke(*words, "--shard", "1/4", "--dry-run", "--json").stdout)
    (stage,) = found["stages"]
    each = stage["breakdown"]["start"] + stage["breakdown"]["learn from all parts"]
    rules = stage["seconds"] - each
    # Every process starts, and finds what comes of all parts; rules are shared, as far as there are
    # parts.
    parts = len(list((whole / "work" / "candidates").glob("part-*.parquet")))
    assert stage["units"] == parts
    most = -(-parts // 4) / parts
    assert stage["shard"]["one"] == pytest.approx(each + rules * most, abs=0.02)
    assert stage["shard"]["all"] == pytest.approx(4 * each + rules, abs=0.02)
    assert "shard" not in json.loads(invoke(*words, "--dry-run", "--json").stdout)["stages"][0]
    # A task of an array is told of its own shard and of all, too.
    for name, value in {"ID": 1, "MIN": 0, "MAX": 3, "COUNT": 4, "STEP": 1}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    (of_task,) = json.loads(invoke(*words, "--shard", "auto", "--dry-run", "--json").stdout)[
        "stages"
    ]
    # How fast the disk is gets measured each time, and the seconds hang on that.
    measured = ("one", "all")
    for told, value in stage["shard"].items():
        near = pytest.approx(value, rel=2.0) if told in measured else value
        assert of_task["shard"][told] == near, told
    assert "filter: shard 1/4 " in invoke(*words, "--shard", "auto", "--dry-run").stdout
