"""OpenVINO against PyTorch: the same model, the same texts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from negmine.errors import MissingDependencyError, UsageError
from negmine.models import compiled, devices
from negmine.models.base import CrossEncoderSettings, EncoderSettings
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.devices import Placement
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from tests.tiny_models import texts

# Found, not imported: negmine is to be the first that imports it.
pytestmark = pytest.mark.skipif(
    not devices.openvino_installed(), reason="OpenVINO is not installed (make env)"
)

CPU = EncoderSettings(device="cpu", dtype="float32", runtime="openvino", batch_size=8)


@pytest.mark.real
def test_an_encoder_gives_the_same_vectors(minilm: Path) -> None:
    ref = resolve(str(minilm))
    made = load_encoder(ref, CPU)
    want = load_encoder(ref, replace(CPU, runtime="torch"))
    assert made.placement.runtime == made.describe()["backend"] == "openvino"
    assert want.placement.runtime == want.describe()["backend"] == "torch"
    given = texts(60)
    for side in ("query", "document"):
        apart = np.abs(made.encode(given, side) - want.encode(given, side)).max()
        assert apart < 1e-5
    assert made.dimension == want.dimension
    assert made.max_length == want.max_length


def test_a_cross_encoder_gives_the_same_scores(tiny_cross: Path) -> None:
    ref = resolve(str(tiny_cross))
    given = texts(30)
    pairs = np.array([(q, d) for q in range(5) for d in range(len(given))])
    settings = CrossEncoderSettings(
        device="cpu", dtype="float32", runtime="openvino", batch_size=8, activation="none"
    )
    made = load_cross_encoder(ref, settings)
    want = load_cross_encoder(ref, replace(settings, runtime="torch"))
    assert made.placement.runtime == "openvino"
    scores = want.score(given[:5], given, pairs)
    assert np.ptp(scores) > 0.1
    np.testing.assert_allclose(made.score(given[:5], given, pairs), scores, atol=1e-4)


@pytest.mark.real
@pytest.mark.skipif(not devices.cpu_has_bfloat16(), reason="the CPU has no bfloat16")
def test_auto_takes_it_for_bfloat16(minilm: Path) -> None:
    ref = resolve(str(minilm))
    made = load_encoder(ref, replace(CPU, dtype="auto", runtime="auto"))
    assert (made.placement.dtype, made.placement.runtime) == ("bfloat16", "openvino")
    exact = load_encoder(ref, replace(CPU, runtime="auto"))
    assert exact.placement.runtime == "torch"
    given = texts(60)
    near = (made.encode(given, "document") * exact.encode(given, "document")).sum(axis=1)
    assert near.min() > 0.999


def test_auto_leaves_float32_and_gpus_alone() -> None:
    for placement in (Placement("cpu", "float32", ""), Placement("cuda", "bfloat16", "")):
        # No model is looked at.
        assert compiled.compile_model(None, placement, "auto", None, "m") is placement
    on_cpu = Placement("cpu", "bfloat16", "")
    assert compiled.compile_model(None, on_cpu, "torch", None, "m") is on_cpu


def test_what_was_asked_for_and_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not on cuda"):
        compiled.compile_model(None, Placement("cuda", "float16", ""), "openvino", None, "m")
    monkeypatch.setattr(compiled, "openvino_installed", lambda: False)
    on_cpu = Placement("cpu", "bfloat16", "")
    with pytest.raises(MissingDependencyError, match="not installed"):
        compiled.compile_model(None, on_cpu, "openvino", None, "m")
    assert compiled.compile_model(None, on_cpu, "auto", None, "m") is on_cpu


def test_a_model_that_tracing_makes_another_stays_with_pytorch(
    tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that reads a number from its input, which tracing takes for a constant."""
    from sentence_transformers import SentenceTransformer

    model: Any = SentenceTransformer(str(tiny_bi), device="cpu").eval()
    inner = model[0].model
    plain = type(inner).forward

    class Counting(type(inner)):  # type: ignore[misc]
        def forward(self, attention_mask: Any = None, **given: Any) -> Any:
            made = plain(self, attention_mask=attention_mask, **given)
            made["last_hidden_state"] = made["last_hidden_state"] * int(attention_mask.sum())
            return made

    inner.__class__ = Counting
    told: list[str] = []
    monkeypatch.setattr(compiled.log, "event", told.append)
    placement = Placement("cpu", "bfloat16", "")
    assert compiled.compile_model(model, placement, "auto", None, "counting") is placement
    assert model[0].model is inner
    assert told[0].startswith("counting: runs with PyTorch")
    with pytest.raises(UsageError, match="differs from PyTorch's"):
        compiled.compile_model(model, placement, "openvino", None, "counting")


def test_nothing_is_reported_to_anybody(tiny_bi: Path) -> None:
    """OpenVINO's telemetry is not imported, though its package is installed."""
    code = (
        "import importlib.util, sys\n"
        "assert importlib.util.find_spec('openvino_telemetry')\n"
        "from negmine.models.encoders import EncoderSettings, load_encoder\n"
        "from negmine.models.resolve import resolve\n"
        "settings = EncoderSettings(device='cpu', dtype='float32', runtime='openvino')\n"
        "load_encoder(resolve(sys.argv[1]), settings)\n"
        "assert 'openvino' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_bi)], check=True)


def test_nothing_is_reported_where_somebody_imported_openvino_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    reporting = pytest.importorskip("openvino_telemetry")
    reports: list[str] = []

    class Telemetry(reporting.Telemetry):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.consent = True
            self.backend = SimpleNamespace(build_event_message=lambda *a, **k: "an event")
            self.sender = SimpleNamespace(send=lambda backend, message: reports.append(message))

    with compiled._untold():
        telemetry = Telemetry()
        telemetry.send_event("ovc", "framework", "pytorch")
    assert reports == []
    telemetry.send_event("ovc", "framework", "pytorch")
    assert reports == ["an event"], "what its owner does afterwards is its owner's"
