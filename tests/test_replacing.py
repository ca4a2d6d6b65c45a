"""What a second command does with what the first one left: nothing, what differs, or everything."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.chains import call, commands, make_data
from tests.conftest import Invoke

STAGES = ["index", "retrieve", "rerank", "filter", "export"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_cross: Path) -> Path:
    """A folder with data, a recipe with a reranker, and its finished work folder."""
    folder = tmp_path_factory.mktemp("replacing")
    make_data(folder / "data")
    (folder / "mine.toml").write_text(
        f"""work = "work"
[index]
corpus = "data"
[retrieve]
queries = "data"
qrels = "data/qrels.tsv"
k = 10
[rerank]
scorer = {{ ce = "{tiny_cross}" }}
[filter]
by = "bm25"
num-negatives = 3
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, output = call("run", "mine.toml")
    assert code == 0, output
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current folder."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def ran(result: Any) -> list[str]:
    """The stages that made something."""
    assert result.exit_code == 0, result.output
    same = re.findall(r"^(\w+): \S+ is up to date", result.stderr, re.MULTILINE)
    wrote = re.findall(r"^(\w+): wrote", result.stderr, re.MULTILINE)
    assert sorted([*same, *wrote]) == sorted(STAGES)
    return wrote


def setting(folder: Path, name: str) -> Any:
    return json.loads((folder / "_manifest.json").read_text())["params"][name]


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


# --- run --------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_changed_number_makes_what_depends_on_it(here: Path, invoke: Invoke) -> None:
    changed = invoke("run", "mine.toml", "--set", "filter.num-negatives=2")
    assert ran(changed) == ["filter", "export"]
    assert "replacing work/ledger (num-negatives: 3 -> 2)" in changed.stderr
    assert setting(here / "work" / "ledger", "num_negatives") == 2
    assert ran(invoke("run", "mine.toml", "--set", "filter.num-negatives=2")) == []
    assert ran(invoke("run", "mine.toml", "--set", "filter.num-negatives=2", "--force")) == []
    assert ran(invoke("run", "mine.toml", "--force")) == ["filter", "export"]


@pytest.mark.real
def test_rebuild_makes_everything_anew(here: Path, made: Path, invoke: Invoke) -> None:
    work = here / "work"
    assert ran(invoke("run", "mine.toml", "--rebuild")) == STAGES
    for name in ("candidates", "scored", "ledger"):
        assert parts(work / name) == parts(made / "work" / name)
    assert sorted(path.name for path in work.iterdir()) == sorted(
        path.name for path in (made / "work").iterdir()
    )


@pytest.mark.real
def test_what_is_not_negmines_or_was_changed_needs_force(here: Path, invoke: Invoke) -> None:
    out = here / "work" / "train.parquet"
    changes = ("--set", "filter.num-negatives=2")
    as_long = b"edited by hand".ljust(out.stat().st_size)
    for content, arguments in ((as_long, changes), (b"edited by hand", changes), (b"edited", ())):
        out.write_bytes(content)
        refused = invoke("run", "mine.toml", *arguments)
        assert refused.exit_code == 5
        assert "--force" in refused.stderr
        assert out.read_bytes() == content
    (here / "work" / "_train.parquet.manifest.json").unlink()
    for arguments in ((), changes):
        refused = invoke("run", "mine.toml", *arguments)
        assert refused.exit_code == 6
        assert "--force" in refused.stderr
        assert out.read_bytes() == b"edited"
    assert ran(invoke("run", "mine.toml", *changes, "--force")) == ["export"]
    assert out.read_bytes().startswith(b"PAR1")


@pytest.mark.real
def test_a_folder_changed_by_hand_is_not_replaced(here: Path, invoke: Invoke) -> None:
    (here / "mine.toml").write_text(f'output = "train"\n{(here / "mine.toml").read_text()}')
    assert ran(invoke("run", "mine.toml")) == ["export"]
    part = next((here / "work" / "train").glob("part-*"))
    edited = part.read_bytes()[:-9] + b"as long !"
    part.write_bytes(edited)
    refused = invoke("run", "mine.toml", "--set", "filter.num-negatives=2")
    assert refused.exit_code == 5
    assert "--force" in refused.stderr
    assert part.read_bytes() == edited


@pytest.mark.real
def test_of_what_is_linked_into_a_result_only_the_link_goes(here: Path, invoke: Invoke) -> None:
    elsewhere, lucene = here / "elsewhere", here / "work" / "index" / "bm25" / "lucene"
    (here / "work" / "ledger" / "mine").symlink_to(elsewhere)
    lucene.rename(elsewhere)
    lucene.symlink_to(elsewhere)
    (elsewhere / ".notes.tmp").write_text("notes")
    before = sorted(elsewhere.iterdir())
    assert ran(invoke("run", "mine.toml", "--rebuild")) == STAGES
    assert sorted(elsewhere.iterdir()) == before
    assert not lucene.is_symlink()


@pytest.mark.real
def test_force_mends_what_is_damaged_and_nothing_else(
    here: Path, made: Path, invoke: Invoke
) -> None:
    part = next((here / "work" / "candidates").glob("part-*"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-9] + bytes(9))
    told = invoke("run", "mine.toml", "--force")
    assert ran(told) == ["retrieve"]
    assert "replacing work/candidates (it is damaged)" in told.stderr
    assert part.read_bytes() == whole
    train = here / "work" / "train.parquet"
    assert train.read_bytes() == (made / "work" / "train.parquet").read_bytes()


# --- scores are kept --------------------------------------------------------------------------


@pytest.mark.real
def test_scores_of_other_settings_step_aside_and_come_back(
    here: Path, made: Path, invoke: Invoke
) -> None:
    work, top = here / "work", ("--set", "rerank.top=5")
    first = parts(work / "scored")
    dry = invoke("run", "mine.toml", *top, "--dry-run", "--json")
    states = {one["stage"]: one["state"] for one in json.loads(dry.stdout)["stages"]}
    assert states["rerank"].startswith("to do; what is there is kept as work/scored-")
    changed = invoke("run", "mine.toml", *top)
    assert ran(changed) == ["rerank", "filter", "export"]
    (aside,) = work.glob("scored-*")
    assert f"kept as work/{aside.name}" in changed.stderr
    assert parts(aside) == first != parts(work / "scored")
    second = parts(work / "scored")
    dry = invoke("run", "mine.toml", "--dry-run", "--json")
    states = {one["stage"]: one["state"] for one in json.loads(dry.stdout)["stages"]}
    assert (states["rerank"], states["filter"]) == ("up to date", "to do")
    back = invoke("run", "mine.toml")
    assert ran(back) == ["filter", "export"]
    assert f"taken back from work/{aside.name}" in back.stderr
    assert parts(work / "scored") == first
    (other,) = work.glob("scored-*")
    assert parts(other) == second
    assert invoke("inspect", "work", "--verify").exit_code == 0
    shutil.rmtree(work / "scored")
    dry = invoke("run", "mine.toml", *top, "--dry-run", "--json")
    states = {one["stage"]: one["state"] for one in json.loads(dry.stdout)["stages"]}
    assert states["rerank"] == "up to date", "it would be taken back"
    assert ran(invoke("run", "mine.toml", *top)) == ["filter", "export"]
    assert parts(work / "scored") == second
    assert ran(invoke("run", "mine.toml", "--force")) == ["rerank", "filter", "export"]
    train = work / "train.parquet"
    assert train.read_bytes() == (made / "work" / "train.parquet").read_bytes()
    assert ran(invoke("run", "mine.toml", *top, "--rebuild")) == STAGES
    assert len(list(work.glob("scored-*"))) == 1, "not kept"


@pytest.mark.real
def test_of_damaged_scores_the_whole_parts_stay(
    here: Path, invoke: Invoke, tiny_cross: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from negmine.stages.retrieve import mining

    monkeypatch.setattr(mining, "PART_ROWS", 60)
    assert ran(invoke("run", "mine.toml", "--rebuild")) == STAGES
    first, *others = sorted((here / "work" / "scored").glob("part-*"))
    times = {path: path.stat().st_mtime_ns for path in others}
    whole = first.read_bytes()
    first.write_bytes(whole[:-9] + bytes(9))
    command = ("rerank", "work/candidates", "--scorer", f"ce={tiny_cross}", "-o", "work/scored")
    dry = invoke(*command, "--force", "--dry-run", "--json")
    (told,) = json.loads(dry.stdout)["stages"]
    assert told["state"] == f"{len(others)} files are there"
    mended = invoke(*command, "--force")
    assert mended.exit_code == 0, mended.output
    assert "is damaged: what is whole of it stays" in mended.stderr
    assert first.read_bytes() == whole
    assert {path: path.stat().st_mtime_ns for path in others} == times
    assert not list((here / "work").glob("scored-*"))


# --- tags -------------------------------------------------------------------------------------


@pytest.mark.real
def test_ledgers_of_several_tags_live_side_by_side(here: Path, invoke: Invoke) -> None:
    work = here / "work"
    before = (work / "train.parquet").read_bytes()
    tagged = invoke("run", "mine.toml", "--tag", "two", "--set", "filter.num-negatives=2")
    assert ran(tagged) == ["filter", "export"]
    assert tagged.stdout.strip() == "work/train-two.parquet"
    assert setting(work / "ledger-two", "num_negatives") == 2
    assert setting(work / "ledger", "num_negatives") == 3
    assert (work / "train.parquet").read_bytes() == before
    assert ran(invoke("run", "mine.toml")) == []
    recipe = (here / "mine.toml").read_text().replace("num-negatives = 3", "num-negatives = 2")
    (here / "mine.toml").write_text(f'tag = "two"\noutput = "train.parquet"\n{recipe}')
    assert ran(invoke("run", "mine.toml")) == []
    assert invoke("explain", "work/ledger-two", "q0").exit_code == 0


def test_a_tag_is_a_name(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "mine.toml").write_text('work = "w"\n')
    for tag in ("../x", "", "a.b", "a/b"):
        refused = invoke("run", tmp_path / "mine.toml", "--tag", tag)
        assert refused.exit_code == 2
        assert "is not a name" in refused.stderr


# --- a stage alone ----------------------------------------------------------------------------


@pytest.mark.real
def test_rerank_alone_says_that_force_keeps_the_scores(
    here: Path, invoke: Invoke, tiny_cross: Path
) -> None:
    work = here / "work"
    first = parts(work / "scored")
    command = ["rerank", "work/candidates", "--scorer", f"ce={tiny_cross}", "--top", "5"]
    command += ["-o", "work/scored"]
    kept = "add --force: it is kept beside the new one"
    assert kept in invoke(*command, "--dry-run").output
    refused = invoke(*command)
    assert refused.exit_code == 6
    assert kept in refused.stderr
    assert invoke(*command, "--force").exit_code == 0
    (aside,) = work.glob("scored-*")
    assert parts(aside) == first
    shutil.rmtree(work / "scored")
    again = [*command[:-4], "-o", "work/scored"]
    dry = invoke(*again, "--dry-run", "--json")
    assert json.loads(dry.stdout)["stages"][0]["state"] == "up to date"
    assert "taken back from" in invoke(*again).stderr
    assert parts(work / "scored") == first
    assert not list(work.glob("scored-*"))
    assert invoke(*command, "--rebuild").exit_code == 0
    told = invoke(*again, "--rebuild").stderr
    assert "replacing work/scored (top: 5 -> not set)" in told


@pytest.mark.real
def test_a_stage_alone_refuses_forces_and_rebuilds(here: Path, invoke: Invoke) -> None:
    command = commands(here / "data", here / "work")["filter"]
    command[command.index("--num-negatives") + 1] = "1"
    command[1] = str(here / "work" / "scored")
    command += ["--by", "bm25"]
    refused = invoke(*command)
    assert refused.exit_code == 6
    assert "num-negatives: 3 -> 1" in refused.stderr
    assert "filter: wrote" in invoke(*command, "--force").stderr
    assert "is up to date" in invoke(*command, "--force").stderr
    assert "filter: wrote" in invoke(*command, "--rebuild").stderr
