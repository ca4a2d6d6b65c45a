"""The scripts of ``docs/training.md`` as they stand, with tiny models and two steps."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Invoke
from tests.formats.conftest import make_ledger

PAGE = (ROOT / "docs" / "training.md").read_text("utf-8")
#: What the scripts leave behind, in their order, by the heading that they stand under.
MADE = {
    "Bi-encoder": "bi-encoder",
    "Sparse encoder": "sparse-encoder",
    "Cross-encoder": "cross-encoder",
    "Multi-vector": "multi-vector",
}

#: Scripts that print what a model is worth, and the model that they load.
EVALUATING = {"A retriever": "work/bi-encoder/final", "A reranker": "work/cross-encoder/final"}


def section(heading: str) -> str:
    return re.split(rf"^#+ {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1].split("\n#")[0]


def block(heading: str, language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", section(heading), re.DOTALL)
    return str(text)


def small(text: str, **replaced: str) -> str:
    """A script that ends after two steps; what is put in the place of something stood there."""
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return re.sub(r"batch_size(=|\s)\d+", r"batch_size\g<1>4", text)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> Path:
    """The files that the page's commands write, in the current folder."""
    monkeypatch.chdir(tmp_path)
    make_ledger(tmp_path / "work")
    lines = [line for line in PAGE.splitlines() if line.startswith("negmine ")]
    commands = [shlex.split(line)[1:] for line in lines]
    assert len(commands) == 9
    for command in commands:
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    return tmp_path / "work"


@pytest.fixture(scope="session")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A masked language model, of which a sparse encoder is made."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("masked")
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertForMaskedLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)
    return folder


@pytest.mark.real
def test_the_scripts_of_sentence_transformers_train(
    work: Path, tiny_body: Path, tiny_masked: Path, tiny_cross: Path
) -> None:
    models = {"Sparse encoder": tiny_masked, "Cross-encoder": tiny_cross}
    assert PAGE.count("```python\n") == len(MADE) + len(EVALUATING)
    for heading, name in MADE.items():
        script = small(
            block(heading, "python"),
            **{
                "distilbert/distilbert-base-uncased": str(models.get(heading, tiny_body)),
                "num_train_epochs=1": "max_steps=2, use_cpu=True",
            },
        )
        exec(compile(script, heading, "exec"), {"__name__": "__main__"})
        assert (work / name / "final" / "modules.json").is_file() or heading == "Cross-encoder"
        assert list((work / name / "final").rglob("*.safetensors"))


@pytest.mark.real
@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("heading", EVALUATING)
def test_the_scripts_that_evaluate_run(
    tiny_bi: Path, tiny_cross: Path, capsys: pytest.CaptureFixture[str], heading: str
) -> None:
    model = tiny_bi if heading == "A retriever" else tiny_cross
    script = small(block(heading, "python"), **{EVALUATING[heading]: str(model)})
    exec(compile(script, heading, "exec"), {"__name__": "__main__"})
    printed = re.findall(
        r"'held-out_(\w*ndcg@10)': (?:np\.float64\()?([\d.]+)", capsys.readouterr().out
    )
    assert printed
    assert all(0 <= float(value) <= 1 for _, value in printed)


@pytest.mark.real
@pytest.mark.skipif(
    importlib.util.find_spec("FlagEmbedding") is None, reason="FlagEmbedding is not installed"
)
def test_the_command_of_flagembedding_trains(work: Path, tiny_body: Path) -> None:
    command = small(
        block("FlagEmbedding", "bash"),
        **{
            "torchrun --nproc_per_node 1": sys.executable,
            "BAAI/bge-small-en-v1.5": str(tiny_body),
            "--num_train_epochs 1": "--max_steps 2 --use_cpu",
            "--train_group_size 8": "--train_group_size 3",
        },
    )
    ended = subprocess.run(
        shlex.split(command.replace("\\\n", " ")),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (work / "bge" / "model.safetensors").is_file()


@pytest.mark.skipif(importlib.util.find_spec("nemo_automodel") is None, reason="no nemo_automodel")
def test_the_data_set_of_the_recipe_of_nemo_is_there() -> None:
    """The recipe itself wants GPUs: its names are looked for where they are defined."""
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load(block("NeMo AutoModel", "yaml"))
    found = importlib.util.find_spec("nemo_automodel")
    assert found is not None
    assert found.submodule_search_locations is not None
    package = Path(found.submodule_search_locations[0])
    settings = dict(recipe["dataset"])
    module, _, name = settings.pop("_target_").rpartition(".")
    source = package.parent.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8")
    defined = source.split(f"class {name}:")[1].split("def build")[0]
    assert all(re.search(rf"^    {key}: ", defined, re.MULTILINE) for key in settings)
    trainer = (package / "recipes" / "retrieval" / "train_bi_encoder.py").read_text("utf-8")
    assert f"class {recipe['recipe']}" in trainer
    collator = (package / "components/datasets/llm/retrieval_collator.py").read_text("utf-8")
    named = set(recipe["dataloader"]["collate_fn"]) - {"_target_"}
    assert all(f"{key}:" in collator for key in named)


def test_what_the_page_says_was_tried_is_what_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text() + (
        ROOT / "requirements-consumers.txt"
    ).read_text()
    pinned = {
        name.lower(): version for name, version in re.findall(r"^([\w-]+)==(\S+)", pins, re.M)
    }
    names = {"swift": "ms-swift", "nemo automodel": "nemo-automodel"}
    rows = re.findall(r"^\| \[([\w -]+)\]\(#[\w-]+\)[^|]*\| (\d+\.\d+\.\d+)", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for name, version in rows:
        assert pinned[names.get(name.lower(), name.lower())] == version
