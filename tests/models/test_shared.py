"""A model that several stages of a run want is loaded once, and is gone when none ahead asks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.models import devices, encoders, shared, trial
from negmine.models.base import EncoderSettings
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from tests.chains import call, make_data, parts
from tests.tiny_models import texts

SETTINGS = EncoderSettings(device="cpu", dtype="float32", runtime="torch", batch_size=8)


def test_the_stage_after_takes_what_was_loaded(tiny_bi: Path) -> None:
    ref = resolve(str(tiny_bi))
    given = texts(9)
    alone = load_encoder(ref, replace(SETTINGS, query_prompt="find: ", batch_size=4))
    with shared.between_stages() as kept:
        kept.turn([ref.spec], [{"encoder": ref.spec}])
        first = load_encoder(ref, SETTINGS)
        kept.turn({"encoder": ref.spec}, [])
        other = load_encoder(ref, replace(SETTINGS, max_length=16))
        again = load_encoder(ref, replace(SETTINGS, query_prompt="find: ", batch_size=4))
        assert kept.models == []
    assert again.model is first.model  # type: ignore[attr-defined]
    assert other.model is not first.model  # type: ignore[attr-defined]
    assert again.describe() == alone.describe()
    assert np.array_equal(again.encode(given, "query"), alone.encode(given, "query"))


def test_nothing_is_kept_that_no_stage_ahead_names(tiny_bi: Path) -> None:
    ref = resolve(str(tiny_bi))
    with shared.between_stages() as kept:
        kept.turn([ref.spec], [])
        load_encoder(ref, SETTINGS)
        assert kept.models == []
        kept.turn([ref.spec], [[f"a={ref.spec}"]])
        load_encoder(ref, SETTINGS)
        assert len(kept.models) == 1
        # The stage that would have taken it had no need to: its result was there.
        kept.turn([f"a={ref.spec}"], [])
        kept.turn([], [])
        assert kept.models == []
    load_encoder(ref, SETTINGS)
    assert kept.models == []


@pytest.mark.parametrize("fastest", ["torch", "openvino"])
def test_a_run_loads_an_encoder_once_and_finds_the_same(
    tmp_path: Path, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch, fastest: str
) -> None:
    """Whatever a trial takes for the documents, queries are PyTorch's, as they are on their own."""
    monkeypatch.setattr(trial, "WORTH", 0)
    monkeypatch.setattr(trial, "_FASTER", 0 if fastest == "openvino" else float("inf"))
    data, loads = make_data(tmp_path / "data"), []
    load = encoders.load_torch_encoder

    def counted(*given: Any) -> Any:
        loads.append(given)
        return load(*given)

    monkeypatch.setattr(encoders, "load_torch_encoder", counted)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"""
[index]
corpus = "{data}/corpus.jsonl"
bm25 = false
encoder = {{ tiny = "{tiny_bi}" }}
device = "cpu"
dtype = "float32"

[retrieve]
queries = "{data}/queries.jsonl"
qrels = "{data}/qrels.tsv"
k = 5
device = "cpu"

[filter]
by = "tiny"
num-negatives = 2

[export]
format = "triplet"
"""
    )
    work = tmp_path / "work"
    assert call("run", recipe, "-o", work, "--quiet")[0] == 0
    assert len(loads) == 1
    alone = tmp_path / "alone"
    assert call("index", "-c", recipe, "-o", alone / "index", "--quiet")[0] == 0
    assert call("retrieve", alone / "index", "-c", recipe, "-o", alone / "found", "--quiet")[0] == 0
    assert len(loads) == 3
    assert parts(alone / "found") == parts(work / "candidates")
    if devices.openvino_installed():
        made = json.loads((work / "index/vectors/tiny/_manifest.json").read_text())
        assert made["encoder"]["backend"] == made["run"]["chosen"]["tiny"]["runtime"] == fastest
