"""Models in int8: products of whole numbers, token by token, compared with float32 before use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine.errors import UsageError
from negmine.models import int8, trial
from negmine.models.base import CrossEncoderSettings, EncoderSettings
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.devices import choose
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from tests.chains import make_data
from tests.conftest import Invoke
from tests.hashed_scorer import make_candidates
from tests.tiny_models import texts

torch = pytest.importorskip("torch")
if not int8.kernels():
    pytest.skip("PyTorch has no kernels of 8 bits here", allow_module_level=True)

BI = EncoderSettings(device="cpu", dtype="int8", batch_size=8, threads=1)
CROSS = CrossEncoderSettings(device="cpu", dtype="int8", batch_size=8, threads=1)


def rounded(linear: Any) -> Any:
    return int8._Linear(linear)


def by_numpy(linear: Any, given: np.ndarray) -> np.ndarray:
    """The same product with NumPy's whole numbers: per output 64, per row 127 is the largest."""
    weight = linear.weight.detach().numpy()
    outputs = np.abs(weight).max(axis=1) / 64
    rows = np.abs(given).max(axis=1, keepdims=True)
    whole = np.rint(weight / outputs[:, None]).astype(np.int64)
    entries = np.rint(given / rows * 127).astype(np.int64)
    bias = 0 if linear.bias is None else linear.bias.detach().numpy()
    made: np.ndarray = (entries @ whole.T) * outputs * (rows / 127) + bias
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("spread", ["normal", "largest"])
def test_a_linear_layer_is_the_product_of_rounded_numbers(bias: bool, spread: str) -> None:
    torch.manual_seed(3)
    linear = torch.nn.Linear(96, 40, bias=bias)
    given = torch.randn(17, 96)
    if spread == "largest":
        # Every product is the greatest that there can be: sums of two must not be cut off.
        torch.nn.init.constant_(linear.weight, 0.7)
        given = torch.full((17, 96), 2.5)
    want = by_numpy(linear, given.numpy())
    with torch.inference_mode():
        made = rounded(linear)(given).numpy()
    # An entry in the middle between two whole numbers may go to either.
    assert np.abs(made - want).max() <= 0.01 * np.abs(want).max()
    assert np.mean(np.abs(made - want)) <= 1e-4 * np.abs(want).max()


def test_a_token_depends_on_no_other_in_its_batch() -> None:
    torch.manual_seed(4)
    layer, given = rounded(torch.nn.Linear(64, 64)), torch.randn(9, 64)
    given[3] *= 1000
    given[4] = 0
    with torch.inference_mode():
        together = layer(given)
        for row in range(9):
            assert torch.equal(layer(given[row : row + 1])[0], together[row])
        assert torch.isfinite(together).all()


@pytest.mark.real
def test_an_encoder_is_near_float32_and_rounds_its_layers_alone(minilm: Path) -> None:
    made: Any = load_encoder(resolve(str(minilm)), BI)
    assert made.placement.dtype == made.describe()["dtype"] == "int8"
    assert made.describe()["backend"] == "torch"
    inner = made.model[0].model
    kinds = {type(layer).__name__ for layer in inner.encoder.modules()}
    assert "_Linear" in kinds
    assert "Linear" not in kinds
    exact: Any = load_encoder(resolve(str(minilm)), replace(BI, dtype="float32", runtime="torch"))
    given = texts(40)
    near = (made.encode(given, "document") * exact.encode(given, "document")).sum(axis=1)
    assert 0.97 < near.min() < 1
    assert np.median(near) > 0.995


def test_scores_are_near_float32s(tiny_cross: Path) -> None:
    given = texts(20)
    pairs = np.array([(q, d) for q in range(5) for d in range(20)])
    made = load_cross_encoder(resolve(str(tiny_cross)), CROSS).score(given, given, pairs)
    exact = load_cross_encoder(resolve(str(tiny_cross)), replace(CROSS, dtype="float32"))
    want = exact.score(given, given, pairs)
    assert np.corrcoef(made, want)[0, 1] > 0.9
    assert not np.array_equal(made, want)


def test_agreement_counts_nearest_texts_and_ranks() -> None:
    circle = np.linspace(0, 3, 60)
    vectors = np.stack([np.cos(circle), np.sin(circle)], axis=1).astype(np.float32)
    assert trial.agreement(vectors, vectors) == 1
    shuffled = vectors[np.random.default_rng(0).permutation(60)]
    assert trial.agreement(shuffled, vectors) < 0.5
    scores = circle.astype(np.float32)
    assert trial.agreement(np.exp(scores), scores) == pytest.approx(1)
    assert trial.agreement(-scores, scores) == pytest.approx(-1)


def _index(
    invoke: Invoke, folder: Path, data: Path, model: Path, *more: object
) -> tuple[dict[str, Any], str]:
    """(the manifest of an index's vectors, what was said)."""
    alone = ("--no-bm25", "--no-signatures", "--vectors", "float32", "--device", "cpu")
    told = ("--encoder", f"tiny={model}", *alone, *more)
    said = invoke("index", "--corpus", data, *told, "-o", folder).stderr
    found = json.loads((folder / "vectors" / "tiny" / "_manifest.json").read_text())
    return found, said


def _vectors(folder: Path) -> np.ndarray:
    files = sorted((folder / "vectors" / "tiny").glob("part-*.npy"))
    return np.concatenate([np.load(file) for file in files])


@pytest.mark.parametrize("least", [0.0, 1.1])
def test_an_index_is_made_in_int8_unless_too_little_agrees(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, least: float
) -> None:
    monkeypatch.setattr(trial, "_AGREE", {1: least, 2: least})
    data = make_data(tmp_path / "data")
    exact, _ = _index(invoke, tmp_path / "exact", data, tiny_bi, "--dtype", "float32")
    made, said = _index(invoke, tmp_path / "made", data, tiny_bi, "--dtype", "int8")
    assert f"it runs in {'float32' if least > 1 else 'int8'}" in said
    chosen = made["run"]["chosen"]["tiny"]
    assert 0 < chosen["agreement"] <= 1
    assert chosen["faster"] > 0
    # It changes what comes out, so it is asked for and in the fingerprint, whatever was chosen.
    assert made["params"]["dtype"] == "int8"
    assert made["fingerprint"] != exact["fingerprint"]
    same = np.array_equal(_vectors(tmp_path / "made"), _vectors(tmp_path / "exact"))
    assert made["encoder"]["dtype"] == chosen["dtype"] == ("float32" if least > 1 else "int8")
    assert same is (least > 1)
    # Queries are read in float32.
    found = tmp_path / "found"
    asked = ("--queries", data, "--qrels", data, "-k", 5)
    invoke("retrieve", tmp_path / "made", *asked, "-o", found)
    assert list(found.glob("part-*.parquet"))


def test_a_large_model_is_compared_too_and_of_too_few_texts_it_is_said_that_it_is_not(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data")
    # Of such a model a single text is more than the sample is to take.
    monkeypatch.setattr(trial, "_work", lambda model: 10**15)
    made, said = _index(invoke, tmp_path / "large", data, tiny_bi, "--dtype", "int8")
    assert "agreement" in made["run"]["chosen"]["tiny"]
    assert "in int8 and float32, on a sample of 24" in said
    few = ("--dtype", "int8", "--limit", "3")
    made, said = _index(invoke, tmp_path / "few", data, tiny_bi, *few)
    assert "agreement" not in made["run"]["chosen"]["tiny"]
    assert made["encoder"]["dtype"] == "int8"
    assert "runs in int8; 3 texts are too few to compare that with float32" in said


@pytest.mark.parametrize("faster", [0.5, 2.0])
def test_how_fast_it_is_is_told_and_decides_nothing(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, faster: float
) -> None:
    monkeypatch.setattr(trial, "_AGREE", {1: 0.0, 2: 0.0})
    timed, seconds = trial._timed, iter([1.0, faster])
    monkeypatch.setattr(trial, "_timed", lambda run, rows: (timed(run, rows)[0], next(seconds)))
    made, said = _index(
        invoke, tmp_path / "a", make_data(tmp_path / "b"), tiny_bi, "--dtype", "int8"
    )
    assert f"runs in int8, {faster:.2f} times as fast" in said
    assert ("--dtype float32 is better" in said) is (faster < 1)
    assert made["run"]["chosen"]["tiny"]["faster"] == faster
    assert made["encoder"]["dtype"] == "int8"


def test_rerank_scores_in_int8(
    tmp_path: Path, tiny_cross: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_AGREE", {1: 0.0, 2: 0.0})
    candidates = make_candidates(tmp_path)
    how = ("--scorer", f"ce={tiny_cross}", "--device", "cpu")
    scores = {}
    for dtype in ("int8", "float32"):
        out = tmp_path / dtype
        invoke("rerank", candidates, *how, "--dtype", dtype, "-o", out)
        manifest = json.loads((out / "_manifest.json").read_text())
        assert manifest["run"]["chosen"]["ce"]["dtype"] == dtype
        scores[dtype] = pq.read_table(out, columns=["score_ce"]).column(0).to_numpy()
    assert not np.array_equal(scores["int8"], scores["float32"])
    assert np.corrcoef(scores["int8"], scores["float32"])[0, 1] > 0.9


def test_what_cannot_be_in_int8_is_refused(
    tiny_bi: Path, tiny_cross: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="cross-encoders, on a CPU"):
        choose("cpu", "int8")
    pytest.importorskip("openvino")
    with pytest.raises(UsageError, match="OpenVINO is given no int8"):
        load_cross_encoder(resolve(str(tiny_cross)), replace(CROSS, runtime="openvino"))
    monkeypatch.setattr(int8, "_rounded", lambda model: 0)
    with pytest.raises(UsageError, match="no repeated layers"):
        load_encoder(resolve(str(tiny_bi)), BI)
    monkeypatch.setattr(int8, "kernels", lambda: False)
    with pytest.raises(UsageError, match="no kernels of 8 bits"):
        load_encoder(resolve(str(tiny_bi)), BI)
