"""The oracle is always sentence-transformers' or onnxruntime's own output."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.errors import InvalidDataError, UsageError
from negmine.models.base import Encoder, EncoderSettings
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from negmine.models.torch_models import is_plain_text_model
from tests.tiny_models import texts

CPU = EncoderSettings(device="cpu", dtype="float32", batch_size=8)


def load(folder: Path, **settings: Any) -> Encoder:
    return load_encoder(resolve(str(folder)), replace(CPU, **settings))


def reference(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.mark.parametrize("side", ["query", "document"])
def test_equals_sentence_transformers(tiny_bi: Path, side: Any) -> None:
    """Prompts, the prompt left out of the pooling, truncation, an empty text, the order."""
    rows = texts(40)
    encoder = load(tiny_bi)
    model = reference(tiny_bi)
    assert is_plain_text_model(model)
    own = model.encode_query if side == "query" else model.encode_document
    expected = own(rows, normalize_embeddings=True, show_progress_bar=False)
    seen: list[int] = []
    got = encoder.encode(rows, side, progress=seen.append)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert sum(seen) == len(rows)
    assert len(seen) > 1
    assert encoder.describe()["query_prompt"] == "query: the "


def test_settings_reach_the_model(tiny_bi: Path) -> None:
    rows = texts(20)
    encoder = load(tiny_bi, doc_prompt="", max_length=16, normalize=False)
    model = reference(tiny_bi)
    model.max_seq_length = 16
    expected = model.encode(rows, prompt="", show_progress_bar=False)
    np.testing.assert_allclose(encoder.encode(rows, "document"), expected, atol=1e-5)
    assert encoder.max_length == 16
    described = encoder.describe()
    assert (described["doc_prompt"], described["normalize"]) == ("", False)


@pytest.mark.parametrize(("pooling", "mode"), [("cls", "cls"), ("last", "lasttoken")])
def test_pooling_override(tiny_body: Path, pooling: Any, mode: str) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    rows = texts(12)
    model = SentenceTransformer(
        modules=[Transformer(str(tiny_body)), Pooling(32, mode)], device="cpu"
    )
    expected = model.encode(rows, normalize_embeddings=True, show_progress_bar=False)
    encoder = load(tiny_body, pooling=pooling)
    np.testing.assert_allclose(encoder.encode(rows, "query"), expected, atol=1e-5)
    assert encoder.describe()["pooling"] == mode


def test_left_padding(tiny_bi: Path, tmp_path: Path) -> None:
    """Decoder models pad on the left; the last token is then the last column."""
    folder = tmp_path / "left"
    shutil.copytree(tiny_bi, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "padding_side": "left"}))
    model = reference(folder)
    assert model.tokenizer.padding_side == "left"
    rows = texts(12)
    # BERT's positions count the padding, so the batches must be the same: one.
    expected = model.encode_query(rows, batch_size=12, show_progress_bar=False)
    got = load(folder, batch_size=12, normalize=False).encode(rows, "query")
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_model_with_routes(tiny_body: Path, tmp_path: Path) -> None:
    """Queries by a static table, documents by a transformer: the model makes its features."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
    from tokenizers import Tokenizer

    static = StaticEmbedding(
        Tokenizer.from_file(str(tiny_body / "tokenizer.json")), embedding_dim=32
    )
    router = Router.for_query_document([static], [Transformer(str(tiny_body)), Pooling(32)])
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path / "routed"))
    model = reference(tmp_path / "routed")
    assert not is_plain_text_model(model)
    encoder = load(tmp_path / "routed")
    rows = texts(20)
    for side, own in (("query", model.encode_query), ("document", model.encode_document)):
        expected = own(rows, normalize_embeddings=True, show_progress_bar=False)
        np.testing.assert_allclose(encoder.encode(rows, side), expected, atol=1e-5)


def test_bfloat16_is_close(tiny_bi: Path) -> None:
    rows = texts(20)
    exact, fast = load(tiny_bi), load(tiny_bi, dtype="bfloat16")
    a, b = exact.encode(rows, "query"), fast.encode(rows, "query")
    assert fast.placement.dtype == "bfloat16"
    assert b.dtype == np.float32
    assert np.abs(a - b).max() > 0
    assert (a * b).sum(axis=1).min() > 0.99


def test_no_texts(tiny_bi: Path) -> None:
    assert load(tiny_bi).encode([], "query").shape == (0, 32)


def test_the_same_twice_and_whatever_the_order(tiny_bi: Path) -> None:
    rows = texts(30)
    encoder = load(tiny_bi)
    first = encoder.encode(rows, "document")
    assert first.tobytes() == encoder.encode(rows, "document").tobytes()
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = encoder.encode([rows[i] for i in order], "document")
    np.testing.assert_allclose(shuffled, first[order], atol=1e-5)


def test_broken_weights(tiny_bi: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny_bi, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("LayerNorm.weight"))
    weights[name][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidDataError, match="not a finite number") as caught:
        load(folder).encode(["a text"], "query")
    assert caught.value.where == str(folder)


def test_refusals(tiny_bi: Path, tiny_cross: Path) -> None:
    with pytest.raises(UsageError, match="128 positions"):
        load(tiny_bi, max_length=129)
    with pytest.raises(UsageError, match="cross-encoder"):
        load(tiny_cross)


@pytest.mark.real
def test_minilm(minilm: Path) -> None:
    rows = texts(24, longest=300)
    expected = reference(minilm).encode(rows, normalize_embeddings=True, show_progress_bar=False)
    encoder = load(minilm)
    np.testing.assert_allclose(encoder.encode(rows, "document"), expected, atol=1e-5)
    assert encoder.dimension == 384
    assert encoder.max_length == 256


def bge_alone(folder: Path, rows: list[str], limit: int) -> list[np.ndarray]:
    """The hidden states of each text alone, unpadded, by onnxruntime itself."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(limit)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    hidden = []
    for row in rows:
        made = tokenizer.encode(row)
        feeds = {"input_ids": made.ids, "attention_mask": made.attention_mask}
        feeds["token_type_ids"] = made.type_ids
        arrays = {name: np.array([values], dtype=np.int64) for name, values in feeds.items()}
        hidden.append(session.run(["last_hidden_state"], arrays)[0][0])
    return hidden


@pytest.mark.real
def test_bge_equals_onnxruntime_on_each_text_alone(bge: Path) -> None:
    rows = texts(6, longest=60)
    hidden = bge_alone(bge, ["about: " + row for row in rows], 40)
    pool = {"cls": lambda h: h[0], "mean": lambda h: h.mean(axis=0), "last": lambda h: h[-1]}
    for pooling, pooled in pool.items():
        vectors = np.stack([pooled(h) for h in hidden])
        expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        encoder = load(
            bge, pooling=pooling, max_length=40, dtype="auto", query_prompt="about: ", threads=2
        )
        np.testing.assert_allclose(encoder.encode(rows, "query"), expected, atol=1e-5)
    assert encoder.dimension == 384
    assert encoder.placement.dtype == "int8"
    assert encoder.encode([], "query").shape == (0, 384)


@pytest.mark.real
def test_bge_needs_to_be_told_the_pooling(bge: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pool") as caught:
        load(bge, dtype="auto")
    assert "--pooling cls, mean or last" in str(caught.value.hint)
    with pytest.raises(UsageError, match="computes in int8"):
        load(bge, pooling="cls")
    told = tmp_path / "bge"
    shutil.copytree(bge, told)
    (told / "1_Pooling").mkdir()
    (told / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert load(told, dtype="auto").describe()["pooling"] == "cls"


@pytest.mark.real
def test_a_reranker_graph_is_no_encoder(reranker: Path) -> None:
    with pytest.raises(UsageError, match="no hidden states"):
        load(reranker, dtype="auto")
