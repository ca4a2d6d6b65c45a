"""Indexing: what does not depend on how many devices there are."""

from __future__ import annotations

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
