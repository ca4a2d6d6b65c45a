"""The oracle is always sentence-transformers', tokenizers' or onnxruntime's own output."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.errors import UsageError
from negmine.models import token_cache
from negmine.models.base import CrossEncoder, CrossEncoderSettings
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.pairs import PairTokenizer, longest_first, pair_tokenizer
from negmine.models.resolve import resolve
from negmine.models.torch_models import is_plain_text_model
from tests.tiny_models import texts

CPU = CrossEncoderSettings(device="cpu", dtype="float32", batch_size=8)
QUERIES = texts(6, seed=1, longest=100)
DOCUMENTS = texts(10, seed=2, longest=150)
# Across queries, in no order, with a repeated pair and texts that no pair names.
PAIRS = np.random.default_rng(0).integers([0, 0], [5, 9], size=(40, 2))


def load(folder: Path, **settings: Any) -> CrossEncoder:
    return load_cross_encoder(resolve(str(folder)), replace(CPU, **settings))


def reference(folder: Path) -> Any:
    from sentence_transformers import CrossEncoder as Model

    return Model(str(folder), device="cpu")


def pair_texts() -> list[tuple[str, str]]:
    return [(QUERIES[q], DOCUMENTS[d]) for q, d in PAIRS]


def test_equals_sentence_transformers(tiny_cross: Path) -> None:
    own = reference(tiny_cross)
    assert is_plain_text_model(own)
    expected = own.predict(pair_texts(), show_progress_bar=False)
    model = load(tiny_cross)
    seen: list[int] = []
    got = model.score(QUERIES, DOCUMENTS, PAIRS, progress=seen.append)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert got.dtype == np.float32
    assert sum(seen) == len(PAIRS)
    assert np.ptp(got) > 0.01
    assert model.describe()["activation"] == "sigmoid"
    assert got.tobytes() == model.score(QUERIES, DOCUMENTS, PAIRS).tobytes()


@pytest.mark.parametrize("asked", ["none", "sigmoid"])
def test_activation_and_length(tiny_cross: Path, asked: Any) -> None:
    import torch

    own = reference(tiny_cross)
    own.max_seq_length = 31
    activation = torch.nn.Identity() if asked == "none" else torch.nn.Sigmoid()
    expected = own.predict(pair_texts(), activation_fn=activation, show_progress_bar=False)
    model = load(tiny_cross, activation=asked, max_length=31)
    np.testing.assert_allclose(model.score(QUERIES, DOCUMENTS, PAIRS), expected, atol=1e-4)
    assert (model.max_length, model.describe()["activation"]) == (31, asked)


def test_the_models_own_activation_and_prompt(tiny_cross: Path, tmp_path: Path) -> None:
    """As ms-marco models are saved (Identity); a default prompt is the library's business."""
    import torch
    from sentence_transformers import CrossEncoder as Model

    saved = Model(
        str(tiny_cross),
        device="cpu",
        activation_fn=torch.nn.Identity(),
        prompts={"rank": "rank: "},
        default_prompt_name="rank",
    )
    saved.save_pretrained(str(tmp_path / "saved"))
    expected = reference(tmp_path / "saved").predict(pair_texts(), show_progress_bar=False)
    model = load(tmp_path / "saved")
    np.testing.assert_allclose(model.score(QUERIES, DOCUMENTS, PAIRS), expected, atol=1e-4)
    assert model.describe()["activation"] == "none"


def test_refusals(tiny_bi: Path, tiny_labels: Path, tiny_cross: Path) -> None:
    with pytest.raises(UsageError, match="3 values per pair"):
        load(tiny_labels)
    with pytest.raises(UsageError, match="bi-encoder"):
        load(tiny_bi)
    with pytest.raises(UsageError, match="128 positions"):
        load(tiny_cross, max_length=200)


def test_no_pairs(tiny_cross: Path) -> None:
    assert load(tiny_cross).score(QUERIES, [], np.zeros((0, 2), dtype=np.int64)).shape == (0,)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 40))
def test_longest_first_is_the_librarys(first: int, second: int, room: int) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(room)
    ids = tokenizer.encode("a " * first, "b " * second).ids
    kept = longest_first(np.array([first]), np.array([second]), room)
    assert (ids.count(0), ids.count(1)) == (int(kept[0][0]), int(kept[1][0]))


ROBERTA = {
    "type": "RobertaProcessing",
    "sep": ["</s>", 2],
    "cls": ["<s>", 1],
    "trim_offsets": True,
    "add_prefix_space": False,
}
# Token types by position and a separator around both: no plain `cls q sep d sep`.
ODD = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [
        {"Sequence": {"id": "B", "type_id": 3}},
        {"SpecialToken": {"id": "</s>", "type_id": 2}},
        {"Sequence": {"id": "A", "type_id": 1}},
    ],
    "special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}},
}


@pytest.mark.parametrize(("processor", "templated"), [(None, True), (ROBERTA, True), (ODD, False)])
@pytest.mark.parametrize("left", [False, True])
def test_pairs_are_the_tokenizers_own(
    minilm: Path, processor: dict[str, Any] | None, templated: bool, left: bool
) -> None:
    from tokenizers import Tokenizer

    saved = json.loads((minilm / "tokenizer.json").read_text())
    if processor:
        saved["post_processor"] = processor
    own = Tokenizer.from_str(json.dumps(saved))
    own.enable_truncation(50)
    own.enable_padding(direction="left" if left else "right", pad_id=9)
    made = pair_tokenizer(Tokenizer.from_str(json.dumps(saved)), 50)
    assert (made.template is not None) is templated
    rows = made.rows(QUERIES, DOCUMENTS, PAIRS)
    some = np.array([3, 0, 17, 39])
    expected = own.encode_batch([pair_texts()[i] for i in some])
    ids, types = rows.batch(some, pad_id=9, left=left)
    assert ids.tolist() == [e.ids for e in expected]
    assert types.tolist() == [e.type_ids for e in expected]
    assert rows.lengths[some].tolist() == [sum(e.attention_mask) for e in expected]


def alone(folder: Path, pairs: list[tuple[str, str]], limit: int) -> list[float]:
    """Each pair's logit in a batch of one, unpadded, by onnxruntime itself."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    scores = []
    for query, document in pairs:
        made = tokenizer.encode(query, document)
        feeds = {"input_ids": made.ids, "attention_mask": made.attention_mask}
        feeds["token_type_ids"] = made.type_ids
        arrays = {name: np.array([values], dtype=np.int64) for name, values in feeds.items()}
        scores.append(float(session.run(["logits"], arrays)[0][0, 0]))
    return scores


@pytest.mark.real
def test_reranker_equals_onnxruntime_on_each_pair_alone(reranker: Path) -> None:
    """Dynamic quantisation makes rows of a batch influence one another; they must not."""
    queries = ["what is the capital of france", "how do cells divide"]
    documents = ["Paris is the capital of France.", "Cells divide by mitosis. " * 12, ""]
    pairs = np.array([(q, d) for q in range(2) for d in range(3)])
    expected = alone(reranker, [(queries[q], documents[d]) for q, d in pairs], 64)
    model = load(reranker, dtype="auto", max_length=64, threads=2)
    scores = model.score(queries, documents, pairs)
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert scores[0] > 5 > -5 > scores[1]
    np.testing.assert_array_equal(model.score(queries, documents, pairs[2:3]), scores[2:3])
    one_thread = load(reranker, dtype="auto", max_length=64, threads=1, batch_size=1)
    np.testing.assert_array_equal(one_thread.score(queries, documents, pairs), scores)
    sigmoid = load(reranker, dtype="auto", max_length=64, activation="sigmoid")
    np.testing.assert_allclose(
        sigmoid.score(queries, documents, pairs), 1 / (1 + np.exp(-scores)), atol=1e-6
    )


@pytest.mark.real
def test_an_encoder_graph_is_no_reranker(bge: Path, tmp_path: Path) -> None:
    ref = replace(resolve(str(bge)), kind="unknown")
    with pytest.raises(UsageError, match="hidden states"):
        load_cross_encoder(ref, replace(CPU, dtype="auto"))


def test_a_second_scorer_reads_the_tokens_of_the_first(
    tiny_cross: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cascade: the second one sees some of the pairs, and the next part has some again."""
    other = shutil.copytree(tiny_cross, tmp_path / "other")
    first, second, shorter = load(tiny_cross), load(other), load(other, max_length=20)
    expected = load(other).score(QUERIES, DOCUMENTS, PAIRS)
    token_cache.cache_of.cache_clear()
    asked: list[str] = []
    real = PairTokenizer._tokenised

    def counted(self: PairTokenizer, room: int, some: Sequence[str]) -> token_cache.Tokens:
        asked.extend(some)
        return real(self, room, some)

    monkeypatch.setattr(PairTokenizer, "_tokenised", counted)
    first.score(QUERIES, DOCUMENTS, PAIRS)
    used = {QUERIES[q] for q, _ in PAIRS} | {DOCUMENTS[d] for _, d in PAIRS}
    assert sorted(asked) == sorted(used)
    asked.clear()
    np.testing.assert_array_equal(second.score(QUERIES, DOCUMENTS, PAIRS), expected)
    first.score(QUERIES, DOCUMENTS, PAIRS[::-1])
    assert asked == []
    # Another length cuts elsewhere.
    shorter.score(QUERIES, DOCUMENTS, PAIRS)
    assert sorted(asked) == sorted(used)
