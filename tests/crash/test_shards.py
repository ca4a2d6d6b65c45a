"""Several processes make the parts of one artifact, one collects: the bytes of a single process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.chains import SMALL_PARTS, make_data, small_parts
from tests.conftest import ROOT, Invoke

COUNT = 3
PROGRAM = SMALL_PARTS + "cli.main()\n"


def started(*words: object, cwd: Path, env: Mapping[str, str] | None = None) -> Any:
    """The command line with small parts, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Here:
    """The command line with small parts, in this process and in some folder."""

    def __init__(self, invoke: Invoke, patch: pytest.MonkeyPatch) -> None:
        self._invoke, self._patch = invoke, patch

    def ends(self, code: int, *words: object, cwd: Path) -> str:
        """What a command says on stderr; it must end with this exit code."""
        self._patch.chdir(cwd)
        with small_parts():
            found = self._invoke(*words)
        assert found.exit_code == code, found.stderr
        said: str = found.stderr
        return said

    def done(self, *words: object, cwd: Path) -> str:
        """What a command says that does what it is asked."""
        return self.ends(0, *words, cwd=cwd)


@pytest.fixture
def here(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(invoke, monkeypatch)


def chain(encoder: Path, scorer: Path) -> dict[str, list[str]]:
    """The command line of each stage, in the folder of the data."""
    model = ["--encoder", f"tiny={encoder}", "--dtype", "float32"]
    return {
        "index": ["index", "--corpus", "corpus.jsonl", *model, "-o", "work/index"],
        "retrieve": [
            *("retrieve", "work/index", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"),
            *("-k", "10", "-o", "work/candidates"),
        ],
        "rerank": ["rerank", "work/candidates", "--scorer", f"ce={scorer}", "-o", "work/scored"],
        "filter": ["filter", "work/scored", "--num-negatives", "3", "-o", "work/ledger"],
    }


ARTIFACTS = {
    "index": "work/index",
    "retrieve": "work/candidates",
    "rerank": "work/scored",
    "filter": "work/ledger",
}


def contents(folder: Path) -> dict[str, Any]:
    """Every file of an artifact: bytes, of manifests what is not of the run itself."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(folder))
        if path.name != "_manifest.json":
            # Lucene's own files have times in them.
            found[name] = path.read_bytes() if "lucene" not in name else None
            continue
        manifest = json.loads(path.read_text())
        manifest.pop("run")
        for record in manifest["inputs"].values():
            record.pop("path"), record.pop("inode", None), record.pop("mtime_ns", None)
        found[name] = json.loads(json.dumps(manifest)) if "lucene" not in str(manifest) else None
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def whole(
    data: Path, tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path, tiny_cross: Path
) -> Path:
    """The chain by one process."""
    folder = copied(data, tmp_path_factory.mktemp("whole") / "data")
    for words in chain(tiny_bi, tiny_cross).values():
        process = started(*words, cwd=folder)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    return folder


def copied(data: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in data.iterdir():
        os.link(path, folder / path.name)
    return folder


def in_shards(here: Here, stage: str, words: list[str], folder: Path, seed: int = 0) -> None:
    """A stage by shards one after the other, in any order, and collected."""
    order = list(range(COUNT))
    random.Random(seed).shuffle(order)
    if stage == "index":
        # One process reads a corpus.
        here.done("index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", "work/index", cwd=folder)
    for index in order:
        here.done(*words, "--shard", f"{index}/{COUNT}", cwd=folder)
    here.done("collect", ARTIFACTS[stage], cwd=folder)


def test_a_chain_by_shards_has_the_bytes_of_one_process(
    here: Here, data: Path, whole: Path, tmp_path: Path, tiny_bi: Path, tiny_cross: Path
) -> None:
    folder = copied(data, tmp_path / "data")
    for stage, words in chain(tiny_bi, tiny_cross).items():
        in_shards(here, stage, words, folder)
        made = folder / ARTIFACTS[stage]
        assert contents(made) == contents(whole / ARTIFACTS[stage])
        # All is said and done: the command has nothing left to do, and nothing lies about.
        assert "is up to date" in here.done(*words, cwd=folder)
        assert not list(made.rglob("_shards"))
