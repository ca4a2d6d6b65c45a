"""Learned sparse encoders. The oracle is sentence-transformers' own SparseEncoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.errors import InvalidDataError, UsageError
from negmine.models.base import EncoderSettings, SparseSettings
from negmine.models.encoders import load_encoder
from negmine.models.impacts import Impacts, Rows, joined
from negmine.models.resolve import kind_of, resolve
from negmine.models.sparse_encoder import load_sparse_encoder
from tests.conftest import SPLADE, require_packages
from tests.tiny_models import save_splade, texts

CPU = SparseSettings(device="cpu", dtype="float32", runtime="torch", batch_size=1)


def load(folder: Path | str, **settings: Any) -> Any:
    return load_sparse_encoder(resolve(str(folder)), replace(CPU, **settings))


def dense(made: Impacts, terms: int) -> np.ndarray:
    found = np.zeros((len(made), terms), dtype=np.int64)
    row = np.repeat(np.arange(len(made)), np.diff(made.starts))
    found[row, made.terms] = made.values
    return found


def library(folder: Path, some: list[str], side: str, **knobs: Any) -> np.ndarray:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder), device="cpu")
    for name, value in knobs.items():
        setattr(model, name, value)
    encode = model.encode_query if side == "query" else model.encode_document
    weights = encode(some, batch_size=1, show_progress_bar=False).to_dense().double().numpy()
    return np.rint(weights * 100).astype(np.int64)


@pytest.mark.parametrize("kind", ["splade", "inference_free", "csr"])
@pytest.mark.parametrize("side", ["query", "document"])
def test_gives_the_librarys_weights(kind: str, side: Any, request: pytest.FixtureRequest) -> None:
    """Prompts, lengths and routes are its own; empty texts and repeated ones are."""
    folder: Path = request.getfixturevalue(f"tiny_{kind}")
    some = texts(12)
    model = load(folder)
    seen: list[int] = []
    made = model.encode(some, side, seen.append)
    wanted = library(folder, some, side)
    assert (dense(made, model.dimension) == wanted).all()
    assert model.dimension == wanted.shape[1]
    assert sum(seen) == len(some)
    assert model.describe()["heads_in_pieces"] == (0 if kind == "csr" else 1)


def test_a_head_in_pieces_is_the_same_in_every_bit(
    tiny_splade: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of padded batches, in float32 and in bfloat16, whatever the size of a piece."""
    heads_equal(tiny_splade, "the prompts too: ", monkeypatch)


@pytest.mark.real
def test_so_is_that_of_a_trained_model(monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages("cognition")
    heads_equal(Path(resolve(SPLADE).location), "", monkeypatch)


def heads_equal(folder: Path, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from sentence_transformers import SparseEncoder

    from negmine.models import splade_head
    from negmine.models.torch_models import autocast

    own = SparseEncoder(str(folder), device="cpu")
    monkeypatch.setattr(splade_head, "_PIECE_BYTES", 1 << 17)
    some = [start + text for text in texts(9)]
    for dtype in ("float32", "bfloat16"):
        model = load(folder, dtype=dtype)
        assert model.heads == 1
        with torch.inference_mode(), autocast(model.placement):
            for batch in (some[:1], some[1:4], some):
                wanted = own(own.preprocess(batch))["sentence_embedding"]
                made = model.model(own.preprocess(batch))["sentence_embedding"]
                assert made.dtype == wanted.dtype
                assert torch.equal(made, wanted)
                assert (wanted > 0).any()


def test_a_sum_over_tokens_stays_the_librarys(tmp_path: Path, minilm: Path) -> None:
    folder = save_splade(tmp_path / "sum", minilm, "sum", max_active_dims=20)
    some = texts(6)
    model = load(folder)
    made = model.encode(some, "document")
    assert (dense(made, model.dimension) == library(folder, some, "document")).all()
    assert np.diff(made.starts).max() <= 20
    assert model.describe()["heads_in_pieces"] == 0


def test_texts_are_cut_as_asked(tiny_splade: Path) -> None:
    some = texts(6)
    model = load(tiny_splade, max_length=7)
    assert model.max_length == 7
    assert model.lengths(some, "document").max() == 7
    wanted = library(tiny_splade, some, "document", max_seq_length=7)
    assert (dense(model.encode(some, "document"), model.dimension) == wanted).all()
    with pytest.raises(UsageError, match="more than the model's 128 positions"):
        load(tiny_splade, max_length=500)


def test_a_masked_language_model_is_one_where_that_is_said(tiny_splade: Path) -> None:
    body = tiny_splade / "body"
    assert (kind_of(str(body)), kind_of(str(tiny_splade))) == ("unknown", "sparse-encoder")
    assert load(body).dimension == load(tiny_splade).dimension


def test_others_are_refused(tiny_bi: Path, tiny_body: Path, tiny_splade: Path) -> None:
    for folder in (tiny_bi, tiny_body):
        with pytest.raises(UsageError, match="no learned sparse encoder"):
            load(folder)
    with pytest.raises(UsageError, match="weights of terms"):
        load_encoder(resolve(str(tiny_splade)), EncoderSettings())


def test_a_weight_that_is_no_number_is_refused(tiny_splade: Path) -> None:
    import torch

    model = load(tiny_splade)
    for bad in (float("nan"), float("inf"), 1e9):
        with pytest.raises(InvalidDataError, match="not a finite number, or is far too large"):
            model._impacts(torch.tensor([[0.0, 1.0], [bad, 0.0]]))


def test_rows_are_kept_and_read_again() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, 20)
    starts = np.concatenate([[0], np.cumsum(counts)])
    terms = np.arange(starts[-1], dtype=np.int32)
    made = Impacts(starts, terms, terms + 1)
    first, second = Rows(20), Rows(20)
    order = rng.permutation(20)
    for batch in np.split(order, [3, 3, 11]):
        first.put(batch, made.take(batch))
        second.load(batch, first.dump(batch))
    for rows in (first.all(), second.all(), joined([made.between(0, 9), made.between(9, 20)])):
        assert (rows.starts == made.starts).all()
        assert (rows.terms == made.terms).all()
        assert (rows.values == made.values).all()
