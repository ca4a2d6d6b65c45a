"""The release: a wheel, installed where the repository is not, finds all that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from negmine import __version__
from tests.conftest import ROOT, write_jsonl


def run(*command: object, cwd: Path) -> str:
    """Run a command without a trace of this checkout in its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, "HF_HUB_OFFLINE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `python -m build` would make, without a download."""
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out, cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_the_recipes_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    info = f"negmine-{__version__}.dist-info/"
    assert {"negmine/py.typed", "negmine/cli/app.py", "negmine/configs/default.toml"} <= set(names)
    assert f"{info}licenses/LICENSE" in names
    assert all(name.startswith(("negmine/", info)) for name in names)
    assert not [name for name in names if "__pycache__" in name]
    recipes = {path.name for path in (ROOT / "configs").glob("*.toml")}
    tables = [Path(name) for name in names if name.endswith(".toml")]
    configs = Path("negmine", "configs")
    assert {path.name for path in tables if path.parent == configs} == recipes
    # The others are the package's own, as they lie in it: prompts.
    own = {path.relative_to(ROOT) for path in (ROOT / "negmine").rglob("*.toml")}
    assert {path for path in tables if path.parent != configs} == own
    assert Path("negmine/scorers/judging/prompts/en.toml") in own


@pytest.mark.real
def test_an_installed_wheel_mines(wheel: Path, tmp_path: Path) -> None:
    """From pip install to a training file; its dependencies are this environment's."""
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    # A .pth file adds a folder without reading the .pth files in it: no editable install of ours.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    negmine = tmp_path / "env" / "bin" / "negmine"
    here = tmp_path / "elsewhere"
    here.mkdir()
    found = run(python, "-c", "import negmine; print(negmine.__file__)", cwd=here)
    assert found.startswith(str(site))
    assert run(negmine, "--version", cwd=here).strip() == f"negmine {__version__}"
    assert "Usage: negmine" in run(negmine, "--help", cwd=here)
    pairs = [
        {"query": f"what colour is thing {i}", "positive": f"Thing {i} is painted {colour}."}
        for i, colour in enumerate(["red", "blue", "green", "white", "black", "grey"])
    ]
    write_jsonl(here / "pairs.jsonl", pairs)
    run(
        *(negmine, "run", "identity-guard", "--pairs", "pairs.jsonl", "-o", "work"),
        *("--set", "index.encoder=[]", "--set", 'retrieve.source=["bm25"]', "--set"),
        *("filter.near-duplicate-cosine=[]", "--set", "filter.by=bm25"),
        cwd=here,
    )
    (made,) = (here / "work").glob("train*.parquet")
    assert pq.read_schema(made).names[:3] == ["anchor", "positive", "negative"]
    assert pq.read_table(made).num_rows > 0
