"""``index --base``: what another index holds is named and not made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.chains import call
from tests.conftest import Invoke, write_jsonl
from tests.tiny_models import texts

pytestmark = pytest.mark.real  # a model encodes
TORCH = ("--runtime", "torch")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path) -> Path:
    """A corpus and its index."""
    folder = tmp_path_factory.mktemp("base")
    rows = [{"_id": f"d{i}", "text": text or "empty"} for i, text in enumerate(texts(40))]
    corpus = write_jsonl(folder / "corpus.jsonl", rows)
    command = ["index", "--corpus", corpus, "--encoder", f"a={tiny_bi}", *TORCH]
    code, output = call(*command, "-o", folder / "work" / "index")
    assert code == 0, output
    return folder


@pytest.fixture
def corpus(made: Path) -> Path:
    return made / "corpus.jsonl"


@pytest.fixture
def first(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "work", tmp_path / "work")
    return tmp_path / "work" / "index"


def inputs(index: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((index / "_manifest.json").read_text())["inputs"]
    return found


def test_only_another_checkpoint_is_encoded(
    tmp_path: Path, corpus: Path, first: Path, tiny_body: Path, invoke: Invoke
) -> None:
    before = {path: path.stat() for path in first.rglob("*") if path.is_file()}
    second = tmp_path / "work" / "round-2" / "index"
    command = ["index", "--corpus", corpus, "--encoder", f"a={tiny_body}", "--base", first, *TORCH]
    dry = invoke(*command, "-o", second, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    (cost,) = json.loads(dry.stdout)["stages"]
    assert cost["state"] == "to do, documents up to date, bm25 up to date, signatures up to date"
    assert {what for what in cost["breakdown"] if what != "start"} == {"load a", "encode a"}
    done = invoke(*command, "-o", second)
    assert done.exit_code == 0, done.output
    assert "documents, bm25, signatures; its own: a" in done.stderr
    assert {path.name for path in second.iterdir()} == {"vectors", "_manifest.json"}
    mine, theirs = inputs(second), inputs(first)
    for role in ("documents", "bm25", "signatures"):
        assert mine[role]["path"] == f"../../index/{role}"
        assert mine[role]["fingerprint"] == theirs[role]["fingerprint"]
    assert mine["a"]["path"] == "vectors/a"
    assert mine["a"]["fingerprint"] != theirs["a"]["fingerprint"]
    for path, stat in before.items():
        assert path.stat().st_ino == stat.st_ino
        assert path.stat().st_mtime_ns == stat.st_mtime_ns
    again = invoke(*command, "-o", second)
    assert "up to date" in again.stderr
    # The folder is moved as a whole.
    shutil.move(tmp_path / "work", tmp_path / "elsewhere")
    whole = invoke("inspect", tmp_path / "elsewhere" / "round-2", "--verify")
    assert whole.exit_code == 0, whole.output
    assert "5 artifacts" in whole.stdout
    lucene = next((tmp_path / "elsewhere" / "index" / "documents").glob("part-*"))
    lucene.write_bytes(lucene.read_bytes()[:-1] + b"x")
    assert invoke("inspect", tmp_path / "elsewhere" / "round-2", "--verify").exit_code == 5


def test_other_documents_share_nothing_and_say_so(
    tmp_path: Path, corpus: Path, first: Path, tiny_bi: Path, invoke: Invoke
) -> None:
    second = tmp_path / "second"
    command = ["index", "--corpus", corpus, "--encoder", f"a={tiny_bi}", "--base", first, *TORCH]
    done = invoke(*command, "--limit", 20, "-o", second)
    assert done.exit_code == 0, done.output
    assert "is of other documents: all is made anew" in done.stderr
    assert all(not record["path"].startswith("..") for record in inputs(second).values())


def test_a_setting_makes_anew_what_it_concerns(
    tmp_path: Path, corpus: Path, first: Path, tiny_bi: Path, invoke: Invoke
) -> None:
    second = tmp_path / "second"
    command = ["index", "--corpus", corpus, "--encoder", f"a={tiny_bi}", "--base", first, *TORCH]
    assert invoke(*command, "-o", second).exit_code == 0
    assert {path.name for path in second.iterdir()} == {"_manifest.json"}
    done = invoke(*command, "--language", "de", "-o", second)
    assert done.exit_code == 0, done.output
    assert "documents, a, signatures; its own: bm25" in done.stderr
    assert inputs(second)["bm25"]["path"] == "bm25"


def test_what_is_no_base_is_refused(
    tmp_path: Path, corpus: Path, first: Path, invoke: Invoke
) -> None:
    itself = invoke("index", "--corpus", corpus, "--base", first, "-o", first)
    assert itself.exit_code == 2
    assert "is the index that is to be made" in itself.stderr
    missing = invoke("index", "--corpus", corpus, "--base", tmp_path / "no", "-o", tmp_path / "x")
    assert missing.exit_code == 4
    assert "no such folder" in missing.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("")
    foreign = invoke("index", "--corpus", corpus, "--base", first, "-o", tmp_path / "mine")
    assert foreign.exit_code == 6
    assert "not a negmine index" in foreign.stderr
