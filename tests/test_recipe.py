"""Recipes: flag > file > default, and a mistake is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from negmine import pipeline, recipe
from negmine.errors import InvalidDataError, MissingInputError, UsageError
from negmine.params import FilterParams, IndexParams, RetrieveParams, values
from negmine.stages.stage import STAGES


def written(folder: Path, text: str) -> Path:
    path = folder / "r.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_read_with_hyphens_and_tables(tmp_path: Path) -> None:
    loaded = recipe.load(
        written(
            tmp_path,
            'work = "w"\n[index]\nencoder = {a = "m/x", b = "n/y"}\n'
            "[filter]\nrelative-margin = 0.1\nnum_negatives = 3\n",
        )
    )
    assert loaded.work == "w"
    assert values.build(IndexParams, loaded.tables["index"], {}).encoder == ("a=m/x", "b=n/y")
    built = values.build(FilterParams, loaded.tables["filter"], {"num_negatives": 5})
    assert (built.relative_margin, built.num_negatives, built.sampler) == (0.1, 5, "top")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[filtre]\n", "unknown key 'filtre'.*\n.*Did you mean 'filter'"),
        ("[filter]\nrelativ-margin = 0.1\n", "unknown key 'relativ-margin'.*\n.*relative-margin"),
        ("[filter]\nrelative-margin = 'x'\n", "'relative-margin' must be a number or unset"),
        ("[filter]\nrelative-margin = nan\n", "finite"),
        ("[filter]\nsampler = 'best'\n", "'sampler' must be one of top, random"),
        ("[filter]\nnum-negatives = 0\n", "'num-negatives' must be at least 1"),
        ("[filter]\nnum-negatives = true\n", "must be a whole number"),
        ("[retrieve]\nk = 1.5\n", "'k' must be a whole number"),
        ("[index]\nencoder = [1]\n", "must be a string or a list of strings"),
        ("filter = 3\n", "must be a table"),
        ("work = 3\n", "'work' must be a string"),
    ],
)
def test_mistakes_are_usage_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe.load(written(tmp_path, text))
    assert __import__("re").search(message, str(caught.value))
    assert "r.toml" in str(caught.value)


def test_a_missing_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such recipe"):
        recipe.load(tmp_path / "none.toml")
    with pytest.raises(InvalidDataError, match="not a TOML file"):
        recipe.load(written(tmp_path, "[filter\n"))
    broken = tmp_path / "b.toml"
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidDataError, match="not UTF-8"):
        recipe.load(broken)


def test_a_recipe_of_negmines_is_called_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe.load("default").work == "work/default"
    (tmp_path / "default").write_text("work = 'mine'\n")
    assert recipe.load("default").work == "mine", "a file of that name goes first"
    with pytest.raises(MissingInputError) as raised:
        recipe.load("simans-cod")
    assert "Did you mean 'simans-code'" in str(raised.value)


def test_every_parameter_has_help_and_a_default() -> None:
    for params_class in (stage.params for stage in STAGES.values()):
        params = params_class()
        for field in params_class.__dataclass_fields__.values():
            assert field.metadata["help"].endswith((".", "."))
            assert hasattr(params, field.name)


def test_named_models() -> None:
    assert values.named(("a=x/y", "b=pkg:p/q"), "--encoder") == {"a": "x/y", "b": "pkg:p/q"}
    for entries, message in (
        (("x/y",), "has no name"),
        (("a=x", "a=y"), "names 'a' twice"),
        (("a b=x",), "no usable name"),
    ):
        with pytest.raises(UsageError, match=message):
            values.named(entries, "--encoder")


def test_prompts_for_all_or_for_one() -> None:
    names = {"a": "", "b": ""}
    assert values.per_name((), names, "--query-prompt") == {}
    assert values.per_name(("q: ",), names, "--query-prompt") == {"a": "q: ", "b": "q: "}
    assert values.per_name(("b=B: ", "x=1 "), names, "--p") == {"a": "x=1 ", "b": "B: "}
    with pytest.raises(UsageError, match="twice"):
        values.per_name(("one", "two"), names, "--query-prompt")


def test_a_recipe_flag_keeps_paths_out_of_the_fingerprint() -> None:
    from negmine.params import output_affecting

    settings = output_affecting(RetrieveParams(queries=("q.jsonl",), device="cuda", k=3))
    assert settings["k"] == 3
    assert "queries" not in settings
    assert "device" not in settings


def test_one_entry_of_a_table_is_changed_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('work = "w"\n[index]\nencoder = { a = "one", b = "two" }\n')

    def encoders(*changes: str) -> tuple[str, ...]:
        steps = pipeline._recipe_steps(str(path), None, {"pairs": "p"}, changes, None)
        params = steps[0].params
        assert isinstance(params, IndexParams)
        return params.encoder

    assert encoders("index.encoder.b=pkg:x/model") == ("a=one", "b=pkg:x/model")
    assert encoders("index.encoder.c=three") == ("a=one", "b=two", "c=three")
    assert encoders("index.encoder={ c = 'three' }", "index.encoder.d=four") == (
        *("c=three", "d=four"),
    )
    with pytest.raises(UsageError, match="no table of names"):
        encoders("index.encoder.b=3")
    with pytest.raises(UsageError, match="no key 'encodr'"):
        encoders("index.encodr.b=x")
    with pytest.raises(UsageError, match="'k' must be a whole number"):
        encoders("retrieve.k.b=x")
