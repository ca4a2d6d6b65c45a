"""Nothing that is given twice is half-used: not by an option, nor by a recipe's key or --set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest
import typer.main

from negmine.cli import app
from negmine.cli.given_once import SWITCH, GivenOnceCommand, takes_several
from negmine.errors import UsageError
from negmine.params import AuditParams, IndexParams, ReportParams, values
from negmine.stages.stage import STAGES
from tests.conftest import Invoke, write_jsonl

ROOT = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT.commands  # type: ignore[attr-defined]
#: Repetition is told before values are looked at, so that these do for every type.
VALUES = ("one=1", "two=2")


def options() -> Iterator[Any]:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                yield pytest.param(name, parameter, id=f"{name}{parameter.opts[0]}")


def given(option: Any) -> list[list[str]]:
    """An option twice, with different values, in the ways that it can be written."""
    if option.is_flag:
        return [[option.opts[0], other] for other in option.secondary_opts]
    one, two = VALUES
    first, last = option.opts[0], option.opts[-1]
    if (option.metavar or "").endswith(SWITCH):
        # The other name stands for a value.
        last = first
    joined = f"{first}={one}" if first.startswith("--") else first + one
    return [[first, one, last, two], [joined, last, two]]


def required(command: Any) -> list[str]:
    """Values for the arguments and options that a command cannot do without."""
    found = []
    for parameter in command.params:
        if parameter.param_type_name == "argument" and parameter.required:
            found.append("x")
    return found


@pytest.mark.parametrize(("name", "option"), list(options()))
def test_an_option_is_repeatable_or_refused(name: str, option: Any) -> None:
    command = COMMANDS[name]
    rest = required(command)
    if "out" in {parameter.name for parameter in command.params} and option.name != "out":
        rest += ["-o", "out"]
    for twice in given(option):
        if option.multiple:
            with command.make_context(name, [*rest, *twice]) as context:
                assert tuple(context.params[option.name]) == VALUES
            continue
        refused(command, name, [*rest, *twice], option.opts[-1])
    if option.is_flag and not option.secondary_opts:
        assert takes_several(option)
    elif option.is_flag:
        refused(command, name, [*rest, option.opts[0], option.opts[0]], option.opts[-1])


def refused(command: Any, name: str, arguments: list[str], flag: str) -> None:
    with pytest.raises(Exception, match=f"{flag} is given more than once") as caught:
        command.make_context(name, arguments)
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]


def test_what_the_user_sees(invoke: Invoke) -> None:
    for twice in (["--sampler", "top", "--sampler", "rank"], ["--same-text", "--no-same-text"]):
        result = invoke("filter", "x", *twice, "-o", "out")
        assert result.exit_code == 2
        assert f"{twice[0]} is given more than once" in result.stderr.replace("\n", " ")
        assert result.stdout == ""


def test_every_command_looks() -> None:
    assert len(COMMANDS) >= 11
    assert all(isinstance(command, GivenOnceCommand) for command in COMMANDS.values())


def test_a_repeatable_option_is_a_tuple_and_no_other() -> None:
    classes = {name: stage.params for name, stage in STAGES.items()}
    for name, params_class in {**classes, "audit": AuditParams, "report": ReportParams}.items():
        hints = get_type_hints(params_class)
        made = {parameter.name: parameter for parameter in COMMANDS[name].params}
        for field in fields(params_class):
            several = get_origin(hints[field.name]) is tuple or field.metadata["per_model"]
            assert made[field.name].multiple is several, field.name


def repeatable() -> Iterator[Any]:
    for stage, params_class in ((name, row.params) for name, row in STAGES.items()):
        hints = get_type_hints(params_class)
        for field in fields(params_class):
            if get_origin(hints[field.name]) is tuple:
                yield pytest.param(params_class, field, id=f"{stage}-{field.name}")


@pytest.mark.parametrize(("params_class", "field"), list(repeatable()))
def test_a_repeated_entry_is_refused(params_class: Any, field: Any) -> None:
    key = field.name.replace("_", "-")
    for entries in (["a", "a"], ["a=1", "a=1"], ["a=1", "b=2", "a=1"]):
        with pytest.raises(UsageError, match="twice"):
            values.build(params_class, {}, {field.name: entries})
        with pytest.raises(UsageError, match="twice"):
            values.build(params_class, {key: entries}, {}, where="r.toml")
    metavar = field.metadata["metavar"]
    if metavar.startswith(("NAME=", "TARGET=")):
        with pytest.raises(UsageError, match="'a' twice"):
            values.build(params_class, {key: ["a=1", "a=2"]}, {})
    else:
        built = values.build(params_class, {key: ["a=1", "a=2"]}, {})
        assert getattr(built, field.name) == ("a=1", "a=2")


def test_a_key_in_both_spellings() -> None:
    with pytest.raises(UsageError, match="'batch-size' is set twice"):
        values.build(IndexParams, {"batch-size": 1, "batch_size": 2}, {})


@pytest.mark.parametrize("text", ["by = 'a'\nby = 'b'\n", "by = 'a'\n[filter]\nseed = 1\n"])
def test_a_key_or_a_table_twice(text: str, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(f'work = "w"\n[filter]\n{text}')
    result = invoke("run", tmp_path / "r.toml")
    assert result.exit_code == 5
    assert "not a TOML file" in result.stderr


def test_a_table_is_no_list_of_files() -> None:
    with pytest.raises(UsageError, match="not a table"):
        values.build(IndexParams, {"corpus": {"a": "b"}}, {})
    built = values.build(STAGES["retrieve"].params, {"run": {"a": "b"}}, {})
    assert built.run == ("a=b",)  # type: ignore[union-attr]


def test_one_threshold_under_two_names(invoke: Invoke, tmp_path: Path) -> None:
    pairs = [{"query": f"what is {word}", "positive": f"{word} is so"} for word in ("up", "down")]
    file = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    text = f'[index]\npairs = "{file}"\n[retrieve]\npairs = "{file}"\n[filter]\n'
    (tmp_path / "r.toml").write_text(text + 'near-duplicate-cosine = ["m=0.9", "score_m=0.8"]\n')
    result = invoke("run", tmp_path / "r.toml", "-o", tmp_path / "w")
    assert result.exit_code == 2
    assert "--near-duplicate-cosine names 'm' twice" in result.stderr


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (["filter.num-negatives=4", "filter.num-negatives=5"], "undoes"),
        (["filter.num-negatives=4", "filter.num_negatives=4"], "undoes"),
        (["index.encoder.a=x", "index.encoder.a=y"], "undoes"),
        (["index.encoder.a=x", 'index.encoder={b="y"}'], "undoes"),
        (["index.memory=1GB"], "--memory"),
        (["index.corpus=c.jsonl"], "--corpus"),
        (["retrieve.queries=q.jsonl"], "--queries"),
    ],
)
def test_set_twice_for_one_key(
    changes: list[str], word: str, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text('work = "w"\n')
    flags = ("--memory", "2GB", "--corpus", "c.jsonl", "--queries", "q.jsonl", "--qrels", "r.tsv")
    sets = [part for change in changes for part in ("--set", change)]
    result = invoke("run", tmp_path / "r.toml", *flags, *sets)
    assert result.exit_code == 2
    assert word in result.stderr


def test_changes_that_add_up(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('work = "w"\n[index]\nencoder = { a = "x" }\n')
    from negmine.pipeline import _recipe_steps

    inputs = dict.fromkeys(("corpus", "queries", "qrels", "pairs"))
    changes = ['index.encoder={b="y"}', "index.encoder.c=z", "retrieve.k=5", "filter.by=c"]
    steps, _ = _recipe_steps(str(tmp_path / "r.toml"), None, inputs, changes, None)
    assert steps[0].params.encoder == ("b=y", "c=z")  # type: ignore[union-attr]
