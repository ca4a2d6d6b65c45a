"""``negmine run --round N``: a checkpoint is encoded and mined, and nothing else is made again."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from negmine import recipe, rounds
from negmine.table.artifacts.writing import Writer
from tests import promises
from tests.chains import call, cranfield_slice, make_data, parts, run_recipe, small_parts
from tests.conftest import ROOT, Invoke

pytestmark = pytest.mark.real  # a model encodes

RECIPE = """work = "work"
[index]
corpus = "data"
encoder = {{ student = "{first}", other = "{first}" }}
runtime = "torch"
[retrieve]
queries = "data"
qrels = "data/qrels.tsv"
source = ["student", "bm25", "previous"]
k = 10
[filter]
by = "student"
num-negatives = 3
replace-solved = "previous"
[export]
beir = "eval"
split = 0.25
"""
SHARED = ("documents", "bm25", "signatures", "other")


def run(*arguments: object) -> tuple[int, str]:
    with small_parts():
        return call("run", "mine.toml", *arguments)


def second(checkpoint: Path) -> tuple[object, ...]:
    return ("--round", 2, "--encoder", f"student={checkpoint}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path, tiny_body: Path) -> Path:
    """Data, a recipe, and two rounds of it."""
    folder = tmp_path_factory.mktemp("rounds")
    make_data(folder / "data")
    (folder / "mine.toml").write_text(RECIPE.format(first=tiny_bi))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, output = run()
        assert code == 0, output
        assert "previous: no round before this one" in output
        assert "next: negmine run mine.toml --round 2 --encoder NAME=CHECKPOINT" in output
        (folder / "stats.json").write_text(json.dumps(stats(folder / "work")))
        code, output = run(*second(tiny_body))
    assert code == 0, output
    assert f"taken from {Path('work/index')}" in output
    assert "next: negmine report work/ledger work/round-2/ledger" in output
    assert "--round 3" in output
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current folder."""
    shutil.copytree(made, tmp_path / "here", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def stats(work: Path) -> dict[str, list[int]]:
    """Inode and time of every file of the first round."""
    files = [p for p in work.rglob("*") if p.is_file() and "round-" not in str(p)]
    return {str(p): [p.stat().st_ino, p.stat().st_mtime_ns] for p in files}


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "_manifest.json").read_text())
    return found


def wrote(output: str) -> list[str]:
    lines = [line for line in output.splitlines() if ": wrote " in line]
    return list(dict.fromkeys(line.partition(":")[0] for line in lines))


def test_only_the_checkpoint_is_encoded(made: Path) -> None:
    before = json.loads((made / "stats.json").read_text())
    assert stats(made / "work") == before
    index = made / "work" / "round-2" / "index"
    assert {p.relative_to(index).as_posix() for p in index.glob("*/*")} == {"vectors/student"}
    mine, theirs = manifest(index)["inputs"], manifest(made / "work" / "index")["inputs"]
    for role in SHARED:
        folder = "vectors/other" if role == "other" else role
        assert mine[role]["path"] == f"../../index/{folder}"
        assert mine[role]["fingerprint"] == theirs[role]["fingerprint"]
    assert mine["student"]["fingerprint"] != theirs["student"]["fingerprint"]
    names = {path.name for path in (made / "work" / "round-2").iterdir()}
    assert {"index", "candidates", "ledger", "train.parquet"} <= names
    # What stands beside the work folder has the round in its name.
    assert (made / "eval").is_dir()
    assert (made / "eval-round-2").is_dir()


def test_the_round_before_is_a_source_and_lineage_says_which(made: Path) -> None:
    candidates = manifest(made / "work" / "round-2" / "candidates")
    role = candidates["inputs"]["previous"]
    assert role["path"] == "../../ledger"
    assert role["fingerprint"] == manifest(made / "work" / "ledger")["fingerprint"]
    chosen = manifest(made / "work" / "ledger")["counts"]["selected"]
    assert candidates["counts"]["hits_previous"] == chosen
    assert 0 < candidates["counts"]["found_again_previous"] <= chosen
    counts = manifest(made / "work" / "round-2" / "ledger")["counts"]
    assert counts["earlier"] == chosen


def test_again_it_is_up_to_date_and_a_setting_concerns_what_it_concerns(
    here: Path, tiny_body: Path
) -> None:
    code, output = run(*second(tiny_body), "--force")
    assert code == 0, output
    assert wrote(output) == []
    strict = (*second(tiny_body), "--set", "filter.num-negatives=2", "--tag", "strict")
    code, output = run(*strict)
    assert code == 0, output
    assert wrote(output) == ["filter", "export"]
    assert (here / "work" / "round-2" / "ledger-strict").is_dir()
    before = stats(here / "work")
    code, output = run(*second(tiny_body), "--rebuild")
    assert code == 0, output
    assert wrote(output) == ["index", "retrieve", "filter", "export"]
    assert stats(here / "work") == before
    assert {p.name for p in (here / "work" / "round-2" / "index").iterdir()} == {
        "vectors",
        "_manifest.json",
    }
    # Another negative set in the round before is another source of this one.
    code, output = run("--set", "filter.num-negatives=2")
    assert wrote(output) == ["filter", "export"]
    code, output = run(*second(tiny_body))
    assert wrote(output) == ["retrieve", "filter", "export"]


def test_the_ledger_before_is_the_tags_where_there_is_one(tmp_path: Path) -> None:
    this = rounds.Round(2, tmp_path, "negmine run r.toml", "strict")
    assert this.before.place("filter") == tmp_path / "ledger"
    (tmp_path / "ledger-strict").mkdir()
    (tmp_path / "ledger-strict" / "_manifest.json").write_text("{}")
    assert this.before.place("filter") == tmp_path / "ledger-strict"
    assert this.before.place("index") == tmp_path / "index"
    assert rounds.Round(3, tmp_path, "").before.folder == tmp_path / "round-2"


def test_what_is_told_to_do_next_can_be_done(
    here: Path, tiny_bi: Path, tiny_body: Path, invoke: Invoke
) -> None:
    """The round before has no ledger of this tag, and the recipe alone has not all that is said."""
    (here / "mine.toml").write_text(
        RECIPE.format(first=tiny_bi).replace('queries = "data"\n', "").replace("k = 10\n", "")
    )
    code, output = run(
        *("--queries", "data", "--set", "retrieve.k=10", "--tag", "new"), *second(tiny_body)
    )
    assert code == 0, output
    report, again = (
        line.partition("next: negmine ")[2].partition("  #")[0]
        for line in output.splitlines()
        if "next: negmine report work/ledger " in line or "--round 3" in line
    )
    done = invoke(*report.split())
    assert done.exit_code == 0, done.output
    assert (here / "work" / "round-2" / "rounds-new.html").is_file()
    words = again.replace("NAME=CHECKPOINT", f"student={tiny_bi}").split()
    assert words[:2] == ["run", "mine.toml"]
    code, output = run(*words[2:], "--dry-run")
    assert code == 0, output


def test_a_ledger_in_a_recipe_is_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[retrieve]\nsource = ["bm25", "old=previous:work/ledger", "previous"]\n')
    found = recipe.load(path).tables["retrieve"]["source"]
    ledger = tmp_path / "work" / "ledger"
    assert found == ["bm25", f"old=previous:{ledger}", "previous"]


def test_a_model_of_a_source_in_a_recipe_is_relative_to_it(
    tmp_path: Path, tiny_cross: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_data(tmp_path / "mine" / "data")
    (tmp_path / "mine" / "models").symlink_to(tiny_cross.parent)
    text = (
        'work = "work"\n[index]\ncorpus = "data"\nbm25 = false\n[retrieve]\nqueries = "data"\n'
        f'qrels = "data/qrels.tsv"\nsource = ["ce=cur:models/{tiny_cross.name}"]\n'
        'anchors = "4:4"\nk = 5\n[filter]\nnum-negatives = 1\n'
    )
    (tmp_path / "mine" / "r.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert recipe.load("mine/r.toml").tables["retrieve"]["source"] == [
        f"ce=cur:{Path('mine', 'models', tiny_cross.name)}"
    ]
    done = invoke("run", "mine/r.toml")
    assert done.exit_code == 0, done.output
    # A model of the hub is none of this machine's; what lies in the current folder is no recipe's.
    (tmp_path / "mine" / "hub.toml").write_text('[retrieve]\nsource = ["ce=cur:some/model"]\n')
    found = recipe.load("mine/hub.toml").tables["retrieve"]["source"]
    assert found == ["ce=cur:some/model"]
    (tmp_path / "ledger").mkdir()
    (tmp_path / "mine" / "r.toml").write_text(
        text.replace(f"ce=cur:models/{tiny_cross.name}", "b=previous:ledger")
    )
    refused = invoke("run", "mine/r.toml")
    assert refused.exit_code == 4
    assert "no 'ledger' beside the recipe, but there is one in the current folder" in refused.stderr


def test_a_killed_round_goes_on(
    here: Path, tiny_body: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = parts(here / "work" / "round-2")
    shutil.rmtree(here / "work" / "round-2")
    written: list[str] = []
    plain = Writer.add_array

    def dying(self: Writer, name: str, *rest: Any) -> None:
        if len(written) == 2:
            raise SystemExit(143)
        written.append(name)
        plain(self, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "add_array", dying)
        assert run(*second(tiny_body))[0] == 143
    left = here / "work" / "round-2" / "index" / "vectors" / "student"
    assert (left / "_journal.jsonl").is_file()
    code, output = run(*second(tiny_body))
    assert code == 0, output
    assert "2 files are finished" in output
    assert parts(here / "work" / "round-2") == whole


def test_the_folder_is_moved_as_a_whole(here: Path, tiny_body: Path, invoke: Invoke) -> None:
    shutil.move(here / "work", here / "elsewhere")
    code, output = run(*second(tiny_body), "-o", "elsewhere")
    assert code == 0, output
    assert wrote(output) == []
    told = invoke("inspect", "elsewhere", "--verify")
    assert told.exit_code == 0, told.output
    # What two rounds share is looked at once.
    assert told.stdout.count("documents: index.documents") == 1
    alone = invoke("inspect", "elsewhere/round-2", "--verify")
    assert alone.stdout.count("elsewhere/index/documents: index.documents") == 1


def test_a_dry_run_tells_of_the_new_encoding_alone(
    here: Path, tiny_bi: Path, invoke: Invoke
) -> None:
    shutil.rmtree(here / "work" / "round-2" / "index" / "vectors")
    (here / "work" / "round-2" / "index" / "_manifest.json").unlink()
    before = sorted(map(str, (here / "work").rglob("*")))
    third = ("--round", 3, "--encoder", f"student={tiny_bi}")
    with small_parts():
        refused = invoke("run", "mine.toml", *third, "--dry-run", "--json")
    assert refused.exit_code == 4
    assert "round 3 goes on from round 2, whose index is not there or not finished" in (
        refused.stderr
    )
    hint = "Make it with: negmine run mine.toml --round 2 --encoder NAME=CHECKPOINT"
    assert hint in refused.stderr
    other = here / "checkpoint"
    shutil.copytree(tiny_bi, other)
    config = json.loads((other / "config_sentence_transformers.json").read_text())
    config["prompts"]["document"] = "passage: the "
    (other / "config_sentence_transformers.json").write_text(json.dumps(config))
    with small_parts():
        dry = invoke("run", "mine.toml", *second(other), "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    index = json.loads(dry.stdout)["stages"][0]
    assert set(index["breakdown"]) - {"start"} == {"load student", "encode student"}
    assert index["state"] == "to do, " + ", ".join(
        f"{role} up to date" for role in ("documents", "bm25", "other", "signatures")
    )
    assert sorted(map(str, (here / "work").rglob("*"))) == before


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """MiniLM after some noise, as if it had trained."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.manual_seed(0)
    model = SentenceTransformer(str(minilm), device="cpu")
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.2 * weights.std() * torch.randn_like(weights))
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cranfield_slice(tmp_path_factory.mktemp("texts") / "data", 60)


@pytest.mark.parametrize("name", ["ance", "ance-tele", "conan"])
def test_a_recipe_goes_on_with_a_checkpoint(
    name: str, texts: Path, minilm: Path, checkpoint: Path
) -> None:
    """Real texts, MiniLM and what noise has made of it; each model reads the corpus once."""
    work = texts.parent / "work"
    more = ["--set", "index.runtime=torch", "--set", "index.max-length=48"]
    # Fewer than there are, so that there is a choice.
    more += ["--set", "retrieve.k=40"]
    ledger, train = run_recipe(name, texts, work, *more, "--encoder", f"student={minilm}")
    before = promises.kept(name, ledger, train)
    run_recipe(name, texts, work, *more, *second(checkpoint))
    again = work / "round-2"
    made = promises.kept(name, again / ledger.name, again / train.name)
    if name == "conan":
        assert manifest(again / "ledger-conan")["counts"]["earlier_kept"] > 0
    if name == "ance-tele":
        for qid, rows in before.queries.items():
            chosen = {row["docid"] for row in rows if row["selected"] is not None}
            now = {r["docid"]: r for r in made.queries[qid]}
            assert all(now[one]["rank_previous"] is not None for one in chosen)
            assert sum(now[one]["selected"] is not None for one in chosen) == len(chosen)


def test_the_example_mines_trains_and_mines(
    tmp_path: Path, tiny_body: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """As it stands; the command line is run in this process."""
    data = make_data(tmp_path / "data")
    folder = tmp_path / "work"

    def ran(command: list[str], **_: Any) -> Any:
        assert command[1:3] == ["-m", "negmine"]
        done = invoke(*command[3:])
        assert done.exit_code == 0, done.output
        return done

    words = ["rounds.py", "conan", "--model", tiny_body, "--work", folder, "--steps", 2]
    words += ["--device", "cpu", "--batch-size", 4, "--set", "retrieve.k=60"]
    words += ["--set", "index.runtime=torch"]
    words += [word for key in ("corpus", "queries", "qrels") for word in (f"--{key}", data)]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    monkeypatch.setattr("subprocess.run", ran)
    runpy.run_path(str(ROOT / "examples" / "rounds" / "rounds.py"), run_name="__main__")
    assert (folder / "checkpoint-2" / "final" / "modules.json").is_file()
    (model,) = manifest(folder / "round-2" / "index" / "vectors" / "student")["models"].values()
    assert model["model"] == f"{folder}/checkpoint-1/final"
    counts = manifest(folder / "round-2" / "ledger")["counts"]
    assert counts["earlier"] == manifest(folder / "ledger")["counts"]["selected"]
    assert counts["earlier_kept"] > 0


def test_what_is_meant_otherwise_is_refused(here: Path, tiny_body: Path, invoke: Invoke) -> None:
    typo = invoke("run", "mine.toml", "--round", 2, "--encoder", f"studnet={tiny_body}")
    assert typo.exit_code == 2
    assert "no encoder 'studnet'" in typo.stderr
    assert "student" in typo.stderr
    none = invoke("run", "bm25", "--corpus", "data", "--encoder", f"student={tiny_body}")
    assert none.exit_code == 2
    assert "no encoder 'student'" in none.stderr
    assert "--set index.encoder.student=MODEL adds one" in " ".join(none.stderr.split())
    twice = invoke(
        *("run", "mine.toml", *second(tiny_body), "--set", f"index.encoder.student={tiny_body}")
    )
    assert twice.exit_code == 2
    assert "set the same key" in twice.stderr
    assert invoke("run", "mine.toml", "--round", 0).exit_code == 2
    first = invoke("run", "mine.toml", "-o", "new", *second(tiny_body))
    assert first.exit_code == 4
    assert "Make it with: negmine run mine.toml -o new" in first.stderr
