"""Recipes: flag > file > default, and a mistake is named with its place."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest

from negmine import pipeline, recipe
from negmine.errors import InvalidDataError, MissingDependencyError, MissingInputError, UsageError
from negmine.params import FilterParams, IndexParams, RetrieveParams, values
from negmine.stages.stage import STAGES
from tests.chains import make_data
from tests.conftest import Invoke, write_jsonl
from tests.small_workers import write_recipe


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
    assert loaded.work == str(tmp_path / "w")
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
        for field in dataclasses.fields(params_class):
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
        steps, _ = pipeline._recipe_steps(str(path), None, {"pairs": "p"}, changes, None)
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


def test_paths_are_relative_to_the_recipes_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sub/data", "sub/models/mine"):
        Path(name).mkdir(parents=True)
    Path("sub/data/c.jsonl").touch()
    text = (
        'work = "w"\n[index]\ncorpus = ["data/c.jsonl", "/a/c.jsonl", "hf://datasets/x"]\n'
        'encoder = { a = "models/mine", b = "org/name", c = "pkg:p/m" }\n'
        '[retrieve]\nrun = { other = "r.trec" }\nqueries = "-"\nqrels = "ir_datasets:x"\n'
        '[filter]\nexclude = "gone.txt"\n'
    )
    loaded = recipe.load(written(tmp_path / "sub", text).relative_to(tmp_path))
    assert loaded.work == "sub/w"
    assert loaded.tables["index"] == {
        "corpus": ["sub/data/c.jsonl", "/a/c.jsonl", "hf://datasets/x"],
        "encoder": {"a": "sub/models/mine", "b": "org/name", "c": "pkg:p/m"},
    }
    assert loaded.tables["retrieve"] == {
        "run": {"other": "sub/r.trec"},
        "queries": "-",
        "qrels": "ir_datasets:x",
    }
    assert loaded.tables["filter"] == {"exclude": "sub/gone.txt"}
    monkeypatch.chdir("sub")
    assert recipe.load("r.toml").tables["filter"] == {"exclude": "gone.txt"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert recipe.load("-").work == "w", "from standard input: the current folder"


def test_a_shipped_recipe_means_the_current_folder_by_name_and_by_file() -> None:
    shipped = recipe.shipped()["demo"]
    for name in ("demo", shipped):
        loaded = recipe.load(name)
        assert loaded.work == "work/demo"
        assert loaded.tables["index"]["corpus"] == "work/verses/corpus.jsonl"


@pytest.mark.parametrize("there", ["data.jsonl", "data-*.jsonl"])
def test_an_input_that_is_in_the_current_folder_alone_is_refused_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, there: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path(there.replace("*", "1")).touch()
    Path("w").mkdir()
    written(tmp_path / "sub", f'work = "w"\n[index]\npairs = "{there}"\n')
    for command in (["run"], ["index", "-o", "i", "-c"]):
        result = invoke(*command, "sub/r.toml")
        assert result.exit_code == MissingInputError.exit_code, result.output
        assert f"no '{there}' beside the recipe" in result.stderr
        assert f'Write "../{there}" in it' in result.stderr
    # What stands in its place is not looked for; results of before are named.
    steps, _ = pipeline._recipe_steps("sub/r.toml", None, {"pairs": ["x"]}, [], None)
    assert steps[0].out == Path("sub/w/index")
    result = invoke("run", "sub/r.toml", "--pairs", "none.jsonl")
    assert "warning: the results go to sub/w, beside the recipe" in result.stderr
    assert "-o w goes on with them" in result.stderr


@pytest.mark.parametrize("name", ["pairs.jsonl", "my pairs.csv.gz", "pairs.parquet", "folder"])
def test_data_in_the_place_of_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "folder":
        Path(name).mkdir()
    else:
        Path(name).write_bytes(b"\xff" if "parquet" in name else b'{"query": "a"}\n')
    result = invoke("run", name)
    assert result.exit_code in (MissingInputError.exit_code, InvalidDataError.exit_code)
    word = f"'{name}'" if " " in name else name
    assert f"Did you mean: negmine init {word}" in result.stderr
    assert "TOML file:" not in result.stderr
    assert "Did you mean" not in str(invoke("run", "no.toml").stderr)


def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    from negmine.models import devices

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "_gpu_count", lambda backend: 0)
    write_jsonl(Path("p.jsonl"), [{"query": "a", "positive": "b"}])
    written(tmp_path, 'work = "w"\n[index]\nencoder = { a = "m/x" }\n[retrieve]\ndevice = "cuda"\n')
    for command in (
        ["run", "r.toml", "--pairs", "p.jsonl"],
        ["index", "--pairs", "p.jsonl", "--device", "cuda", "-o", "w"],
        ["run", "r.toml", "--pairs", "p.jsonl", "--dry-run"],
    ):
        result = invoke(*command)
        assert result.exit_code == MissingDependencyError.exit_code, result.output
        assert "no usable GPU was found" in result.stderr
        assert not Path("w").exists()
    monkeypatch.setattr(devices, "_gpu_count", lambda backend: int(backend == "torch"))
    assert invoke("index", "--pairs", "p.jsonl", "--device", "cuda:1", "-o", "w").exit_code == 2
    assert not Path("w").exists()
    # A GPU that only onnxruntime drives: the model says whether it can use it.
    monkeypatch.setattr(devices, "_gpu_count", lambda backend: int(backend == "onnx"))
    devices.require("cuda")


def test_prompts_and_judges_lie_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "model").mkdir(parents=True)
    (tmp_path / "sub" / "mine.toml").write_text("")
    text = (
        '[rerank]\nscorer = { a = "causal:model", b = "llm:m@http://localhost:1", '
        'c = "causal:o/m" }\n'
        'prompt-file = { a = "mine.toml", b = "de" }\n'
    )
    (tmp_path / "sub" / "recipe.toml").write_text(text)
    found = recipe.load("sub/recipe.toml").tables["rerank"]
    assert found["scorer"] == {
        "a": "causal:sub/model",
        "b": "llm:m@http://localhost:1",
        "c": "causal:o/m",
    }
    assert found["prompt-file"] == {"a": "sub/mine.toml", "b": "de"}


NAMES_NOBODY = {
    "by = 'bm52'": "--by: the table has no score 'bm52'",
    "sample-by = 'tinny'": "--sample-by: the table has no score 'tinny'",
    "by = 'p_relevnt'\nmax-score = 0.5": "--by: the table has no score 'p_relevnt'",
    "consensus = ['bm25', 'cross']": "--consensus: the table has no score 'cross'",
    "rank-by = 'ce'\nrange-min = 1": "--rank-by: no source 'ce'",
    "max-fn-rate = 0.1\nbias-from = ['bm52']": "--bias-from: no source 'bm52'",
}
NAMES_THERE = (
    "by = 'p_prior'",
    "sample-by = 'ce'",
    "consensus = ['all']",
    "consensus = ['bm25', 'tiny', 'ce']\nrank-by = 'tiny'\nrange-min = 1",
    "by = 'score_tiny'",
)


@pytest.mark.parametrize("text", [*NAMES_NOBODY, *NAMES_THERE])
def test_a_score_that_no_stage_makes_is_told_before_the_first_begins(
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    tiny_bi: Path,
    tiny_cross: Path,
    text: str,
) -> None:
    """Behind `index` and `rerank` it would be told when these have been paid for."""
    monkeypatch.chdir(make_data(tmp_path / "data"))
    path = write_recipe(Path(), encoder=tiny_bi, scorer=str(tiny_cross))
    whole = path.read_text()
    own = 'by = "ce"\n'
    assert own in whole
    path.write_text(whole.replace(own, f"{text}\n"))
    found = invoke("run", path, "--allow-empty")
    if text in NAMES_THERE:
        assert found.exit_code == 0, found.stderr
        return
    assert found.exit_code == 2
    assert NAMES_NOBODY[text] in found.stderr
    assert not Path("work").exists()
