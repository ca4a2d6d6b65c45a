"""The last layer for the first token alone: sentence-transformers computes it whole, and agrees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.models.base import CrossEncoderSettings, EncoderSettings
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.devices import Placement
from negmine.models.encoders import load_encoder
from negmine.models.first_token import _FirstToken, read_first_token_alone
from negmine.models.resolve import resolve
from tests.tiny_models import texts

CROSS = CrossEncoderSettings(device="cpu", dtype="float32", runtime="torch", batch_size=8)
BI = EncoderSettings(device="cpu", dtype="float32", runtime="torch", batch_size=8)
ON_CPU = Placement("cpu", "float32", "test")


def last_layer(model: Any) -> Any:
    """The last layer of a model of sentence-transformers over a BERT."""
    inner = model[0].model
    return getattr(inner, "bert", inner).encoder.layer[-1]


def pairs_of(count: int) -> tuple[list[str], np.ndarray]:
    """Texts, and every pair of five of them with all."""
    given = texts(count)
    return given, np.array([(q, d) for q in range(5) for d in range(count)])


def test_a_cross_encoder_gives_the_librarys_scores(tiny_cross: Path) -> None:
    from sentence_transformers import CrossEncoder

    given, pairs = pairs_of(20)
    made = load_cross_encoder(resolve(str(tiny_cross)), CROSS)
    assert isinstance(last_layer(made.model), _FirstToken)  # type: ignore[attr-defined]
    library = CrossEncoder(str(tiny_cross), device="cpu")
    want = library.predict([(given[q], given[d]) for q, d in pairs.tolist()])
    assert np.ptp(want) > 0.01
    np.testing.assert_allclose(made.score(given, given, pairs), want, atol=1e-5)


def test_the_last_layer_feeds_one_token_forward(tiny_cross: Path) -> None:
    made: Any = load_cross_encoder(resolve(str(tiny_cross)), CROSS)
    seen: list[tuple[int, ...]] = []
    last_layer(made.model).intermediate.register_forward_hook(
        lambda _, given, __: seen.append(tuple(given[0].shape))
    )
    given, pairs = pairs_of(20)
    made.score(given, given, pairs)
    assert sum(rows for rows, _, _ in seen) == len(pairs)
    assert {tokens for _, tokens, _ in seen} == {1}


@pytest.mark.parametrize(("pooling", "alone"), [("cls", True), ("mean", False), ("last", False)])
def test_an_encoder_that_pools_the_first_token_gives_the_librarys_vectors(
    tiny_bi: Path, pooling: Any, alone: bool
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    made: Any = load_encoder(resolve(str(tiny_bi)), replace(BI, pooling=pooling, doc_prompt=""))
    assert isinstance(last_layer(made.model), _FirstToken) is alone
    library = SentenceTransformer(str(tiny_bi), device="cpu")
    mode = {"last": "lasttoken"}.get(pooling, pooling)
    library[1] = Pooling(library[1].embedding_dimension, mode)
    given = texts(20)
    want = library.encode(given, normalize_embeddings=True)
    np.testing.assert_allclose(made.encode(given, "document"), want, atol=1e-5)


def test_compiled_it_gives_the_same(tiny_cross: Path) -> None:
    pytest.importorskip("openvino")
    given, pairs = pairs_of(20)
    want = load_cross_encoder(resolve(str(tiny_cross)), CROSS).score(given, given, pairs)
    made = load_cross_encoder(resolve(str(tiny_cross)), replace(CROSS, runtime="openvino"))
    np.testing.assert_allclose(made.score(given, given, pairs), want, atol=1e-4)


def test_a_head_that_reads_more_keeps_the_whole_layer(
    tiny_cross: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import CrossEncoder

    model: Any = CrossEncoder(str(tiny_cross), device="cpu").eval()
    whole = last_layer(model)
    pooler = type(model[0].model.bert.pooler)

    def mean(self: Any, hidden: Any) -> Any:
        return self.activation(self.dense(hidden.mean(dim=1)))

    monkeypatch.setattr(pooler, "forward", mean)
    assert not read_first_token_alone(model, ON_CPU)
    assert last_layer(model) is whole
    monkeypatch.undo()
    # On a GPU nobody has measured it.
    assert not read_first_token_alone(model, Placement("cuda", "float16", "test"))
    assert last_layer(model) is whole
    assert read_first_token_alone(model, ON_CPU)


def test_layers_that_raise_or_are_of_another_kind_stay(tiny_cross: Path) -> None:
    from sentence_transformers import CrossEncoder

    model: Any = CrossEncoder(str(tiny_cross), device="cpu").eval()
    layers = model[0].model.bert.encoder.layer
    whole = layers[-1]
    kept = whole.attention.self.query
    whole.attention.self.query = None
    assert not read_first_token_alone(model, ON_CPU)
    assert layers[-1] is whole
    whole.attention.self.query = kept
    model[0].model.config._attn_implementation = "eager"
    assert not read_first_token_alone(model, ON_CPU)
