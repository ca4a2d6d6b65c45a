"""Late interaction. The oracle is NumPy's sum of maxima over the library's own token vectors."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.errors import InvalidDataError, UsageError
from negmine.models import devices
from negmine.models.base import EncoderSettings, LateInteractionSettings
from negmine.models.encoders import load_encoder
from negmine.models.late_interaction import LateInteraction, load_late_interaction
from negmine.models.resolve import resolve
from tests.tiny_models import save_late, texts

CPU = LateInteractionSettings(device="cpu", dtype="float32", runtime="torch", batch_size=8)
QUERIES = ["the heart of a cell", "", "gene therapy in mice % 42", "not " * 40, "is the cell"]


def load(folder: Path, **settings: Any) -> LateInteraction:
    return load_late_interaction(resolve(str(folder)), replace(CPU, **settings))


def some_pairs(queries: int, documents: int, seed: int = 0) -> np.ndarray:
    """Some of all pairs, in no order; not every document has one, and some have several."""
    rng = np.random.default_rng(seed)
    every = np.stack(np.divmod(rng.permutation(queries * documents), documents), axis=1)
    return every[: queries * documents // 3]


def brute_force(
    folder: Path, documents: list[str], pairs: np.ndarray, **lengths: int
) -> np.ndarray:
    """Of each pair the sum over the query's vectors of the best inner product, in float64."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    for name, length in lengths.items():
        setattr(model[0], name, length)
    left = model.encode_query(QUERIES, convert_to_numpy=True, show_progress_bar=False)
    right = model.encode_document(documents, convert_to_numpy=True, show_progress_bar=False)
    return np.array(
        [
            (left[q].astype(np.float64) @ right[d].astype(np.float64).T).max(axis=1).sum()
            for q, d in pairs.tolist()
        ]
    )


KNOBS: dict[str, dict[str, Any]] = {
    "mask tokens": {"query_expansion": {"strategy": "fixed", "attend": False, "length": 24}},
    "seen mask tokens": {
        "query_expansion": {"strategy": "min", "attend": True, "length": 10},
        "document_length": 30,
    },
    "lengths": {"query_length": 12, "document_length": 40},
    "plain": {},
}


@pytest.mark.parametrize("knobs", KNOBS.values(), ids=KNOBS)
def test_equals_the_sum_of_maxima(knobs: dict[str, Any], tiny_body: Path, tmp_path: Path) -> None:
    """Markers, punctuation left out, mask tokens, lengths, an empty text: all the library's."""
    save_late(tmp_path / "model", tiny_body, None if knobs == {} else 16, **knobs)
    documents = [*texts(30), "%.,", "the % of"]
    pairs = some_pairs(len(QUERIES), len(documents))
    model = load(tmp_path / "model")
    seen: list[int] = []
    got = model.score(QUERIES, documents, pairs, seen.append)
    want = brute_force(tmp_path / "model", documents, pairs)
    assert np.ptp(want) > 1
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got.dtype == np.float32
    assert sum(seen) == len(pairs)
    assert len(seen) > 1


def test_settings_reach_the_model(tiny_late: Path) -> None:
    """The length is the documents'; the prompts are both sides'."""
    documents = texts(20)
    pairs = some_pairs(len(QUERIES), len(documents))
    short = load(tiny_late, max_length=12)
    want = brute_force(tiny_late, documents, pairs, document_length=12)
    np.testing.assert_allclose(short.score(QUERIES, documents, pairs), want, rtol=1e-5)
    assert short.describe()["max_length"] == short.max_length == 12
    assert load(tiny_late).max_length == 60
    bare = load(tiny_late, query_prompt="", doc_prompt="cell ")
    described = bare.describe()
    assert (described["query_prompt"], described["doc_prompt"]) == ("", "cell ")
    own = load(tiny_late, doc_prompt="")
    told = [f"cell {text}" for text in documents]
    np.testing.assert_array_equal(
        bare.score(QUERIES, documents, pairs),
        replace(own, settings=replace(own.settings, query_prompt="")).score(QUERIES, told, pairs),
    )
    with pytest.raises(UsageError, match="more than the model's 128 positions"):
        load(tiny_late, max_length=129)


def test_a_mean_of_maxima_is_the_models_to_choose(tiny_late: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mean"
    shutil.copytree(tiny_late, folder)
    config = folder / "config_sentence_transformers.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "similarity_fn_name": "meanmaxsim"})
    )
    documents = texts(10)
    pairs = some_pairs(len(QUERIES), len(documents))
    mean = load(folder)
    assert mean.describe()["similarity"] == "meanmaxsim"
    # Queries are filled up to 24 tokens each.
    np.testing.assert_allclose(
        mean.score(QUERIES, documents, pairs) * 24,
        load(tiny_late).score(QUERIES, documents, pairs),
        rtol=1e-5,
    )


def test_a_pairs_score_does_not_depend_on_the_order_of_pairs(tiny_late: Path) -> None:
    documents = texts(25)
    pairs = some_pairs(len(QUERIES), len(documents))
    model = load(tiny_late)
    found = model.score(QUERIES, documents, pairs)
    back = model.score(QUERIES, documents, pairs[::-1])[::-1]
    np.testing.assert_array_equal(found, back)
    assert len(model.score(QUERIES, documents, pairs[:0])) == 0


def test_bfloat16_is_close(tiny_late: Path) -> None:
    documents = texts(20)
    pairs = some_pairs(len(QUERIES), len(documents))
    exact = load(tiny_late).score(QUERIES, documents, pairs)
    fast = load(tiny_late, dtype="bfloat16").score(QUERIES, documents, pairs)
    np.testing.assert_allclose(fast, exact, rtol=0.05)
    assert (fast != exact).any()


@pytest.mark.skipif(not devices.openvino_installed(), reason="OpenVINO is not installed (make env)")
def test_a_compiled_model_gives_the_same_scores(tiny_late: Path) -> None:
    """Mask tokens of queries are no hindrance: what is compiled reads token ids and a mask."""
    documents = texts(20)
    pairs = some_pairs(len(QUERIES), len(documents))
    made = load(tiny_late, runtime="openvino")
    assert made.placement.runtime == made.describe()["backend"] == "openvino"
    want = load(tiny_late).score(QUERIES, documents, pairs)
    np.testing.assert_allclose(made.score(QUERIES, documents, pairs), want, rtol=1e-4)


class Kept:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.values = np.zeros(0, dtype=np.float32)
        self._out = self.values

    def restore(self, out: np.ndarray) -> np.ndarray:
        self._out = out
        done = np.zeros(len(out), dtype=bool)
        done[self.rows] = True
        out[self.rows] = self.values
        return done

    def add(self, rows: np.ndarray) -> None:
        self.rows += rows.tolist()
        self.values = self._out[self.rows].copy()


def test_what_a_killed_run_has_left_is_not_made_again(
    tiny_late: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are those of one run, and only the documents that are left are encoded."""
    documents = texts(40)
    pairs = some_pairs(len(QUERIES), len(documents))
    model = load(tiny_late)
    whole = model.score(QUERIES, documents, pairs)
    kept = Kept()
    calls = []
    own = LateInteraction._similarities

    def similarities(self: Any, *given: Any) -> np.ndarray:
        calls.append(len(given[0]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return own(self, *given)

    monkeypatch.setattr(LateInteraction, "_similarities", similarities)
    with pytest.raises(KeyboardInterrupt):
        model.score(QUERIES, documents, pairs, None, kept)
    assert 0 < len(kept.rows) == sum(calls[:3]) < len(pairs)
    before = sum(calls)
    again = model.score(QUERIES, documents, pairs, None, kept)
    np.testing.assert_array_equal(again, whole)
    assert sum(calls) - before == len(pairs) - sum(calls[:3])


def test_a_batch_that_does_not_fit_is_halved(
    tiny_late: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = texts(30)
    pairs = some_pairs(len(QUERIES), len(documents))
    model = load(tiny_late)
    whole = model.score(QUERIES, documents, pairs)
    own = LateInteraction._similarities

    def small(self: Any, queries: list[Any], right: list[Any]) -> np.ndarray:
        if len({id(each) for each in right}) > 4:
            raise MemoryError
        return own(self, queries, right)

    monkeypatch.setattr(LateInteraction, "_similarities", small)
    np.testing.assert_allclose(model.score(QUERIES, documents, pairs), whole, rtol=1e-5)
    assert "batch_tokens_that_fit" in model.describe()


def test_it_is_told_by_its_files(
    tiny_late: Path, tiny_bi: Path, tiny_cross: Path, tiny_body: Path, tmp_path: Path
) -> None:
    kinds = {folder: resolve(str(folder)).kind for folder in (tiny_late, tiny_bi, tiny_cross)}
    assert list(kinds.values()) == ["late-interaction", "bi-encoder", "cross-encoder"]
    # A checkpoint of PyLate, and one of Stanford's, say it otherwise.
    pylate, stanford = tmp_path / "pylate", tmp_path / "stanford"
    shutil.copytree(tiny_late, pylate)
    config = pylate / "config_sentence_transformers.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "ColBERT"}))
    shutil.copytree(tiny_body, stanford)
    config = stanford / "config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "architectures": ["HF_ColBERT"]})
    )
    assert resolve(str(pylate)).kind == resolve(str(stanford)).kind == "late-interaction"
    with pytest.raises(UsageError, match="a vector for every token") as refused:
        load_encoder(resolve(str(tiny_late)), EncoderSettings(device="cpu"))
    assert "rerank --scorer" in str(refused.value)


def test_stanfords_projection_is_read(tiny_body: Path, tmp_path: Path) -> None:
    """Its projection lies among the weights, and its markers and lengths in artifact.metadata."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "stanford"
    shutil.copytree(tiny_body, folder)
    weights = {
        f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()
    }
    weights["linear.weight"] = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = folder / "config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "architectures": ["HF_ColBERT"]})
    )
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 16, "doc_maxlen": 50}))
    documents = texts(10)
    pairs = some_pairs(len(QUERIES), len(documents))
    model = load(folder)
    assert (model.max_length, model.describe()["dimension"]) == (50, 8)
    want = brute_force(folder, documents, pairs)
    np.testing.assert_allclose(model.score(QUERIES, documents, pairs), want, rtol=1e-5)


def test_a_random_projection_is_refused(tiny_late: Path, tmp_path: Path) -> None:
    """Without its list of modules sentence-transformers would draw one."""
    folder = tmp_path / "bare"
    shutil.copytree(tiny_late, folder)
    (folder / "modules.json").unlink()
    with pytest.raises(InvalidDataError, match="drawn at random"):
        resolve(str(folder))
