"""Indexing: what does not depend on how many devices there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from negmine.sources import encoded
from tests.chains import small_parts
from tests.conftest import Invoke, write_jsonl
from tests.tiny_models import texts

pytestmark = pytest.mark.real  # a model encodes


def test_a_model_on_several_devices_writes_the_same_vectors(
    tmp_path: Path, invoke: Invoke, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is loaded once for each device; here both are the CPU."""
    write_jsonl(
        tmp_path / "corpus.jsonl",
        [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts(150))],
    )
    written = []
    for number, devices in enumerate(([], ["cpu", "cpu", "cpu"])):
        monkeypatch.setattr(encoded, "gpus", lambda asked, used, devices=devices: devices)
        out = tmp_path / f"index{number}"
        with small_parts():
            result = invoke(
                *("index", "--corpus", tmp_path / "corpus.jsonl", "--no-bm25"),
                *("--encoder", f"tiny={tiny_bi}", "-o", out),
            )
        assert result.exit_code == 0, result.output
        assert ("cpu, cpu, cpu" in result.stderr) == bool(devices)
        files = (out / "vectors" / "tiny").glob("part-*")
        written.append({path.name: path.read_bytes() for path in files})
    assert len(written[0]) > 3
    assert written[0] == written[1]


def test_what_is_left_out_of_an_index_is_told(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, where the user looks, and in the manifest: of another corpus, or gone."""
    monkeypatch.chdir(tmp_path)
    rows = [{"_id": f"d{n}", "text": f"text number {n}"} for n in range(30)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    write_jsonl(tmp_path / "b.jsonl", rows[:20])
    plain = ("--no-bm25", "--no-signatures", "-o", "index")
    assert invoke("index", "--corpus", "a.jsonl", "--no-bm25", "-o", "index").exit_code == 0
    other = "index/signatures belongs to another corpus and is left out"
    made = invoke("index", "--corpus", "b.jsonl", "--force", *plain)
    assert made.exit_code == 0
    assert other in made.stderr
    assert other in Path("index/_manifest.json").read_text()
    new = invoke("index", "--corpus", "b.jsonl", "--no-bm25", "--force", "-o", "index")
    assert new.exit_code == 0
    shutil.rmtree("index/signatures")
    gone = "signatures was part of index, and is gone or being made anew"
    again = invoke("index", "--corpus", "b.jsonl", *plain)
    assert gone in again.stderr
    assert gone in Path("index/_manifest.json").read_text()


@pytest.mark.parametrize("damage", ['{"schema": 1}', "{"])
def test_an_index_manifest_that_cannot_be_read_is_written_anew(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", [{"_id": f"d{n}", "text": f"number {n}"} for n in range(9)])
    command = ("index", "--corpus", "a.jsonl", "--no-bm25", "-o", "index")
    assert invoke(*command).exit_code == 0
    before = Path("index/_manifest.json").read_text()
    Path("index/_manifest.json").write_text(damage)
    again = invoke(*command)
    assert again.exit_code == 0, again.stderr
    assert Path("index/_manifest.json").read_text() == before


def test_what_a_base_index_has_and_nobody_asks_for_is_not_missed(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", [{"_id": f"d{n}", "text": f"number {n}"} for n in range(9)])
    command = ("index", "--corpus", "a.jsonl")
    assert invoke(*command, "--no-bm25", "-o", "base").exit_code == 0
    based = (*command, "--base", "base", "--no-bm25", "-o", "index")
    assert invoke(*based).exit_code == 0
    less = invoke(*based, "--no-signatures")
    assert less.exit_code == 0
    assert "was part of" not in less.stderr
