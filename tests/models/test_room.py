"""Out of memory in a model: batches are halved, told once; exit 7 only where one row is left."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from negmine.engine.threads import in_turn
from negmine.errors import MachineError, exhausted, machine_error
from negmine.models.base import CrossEncoderSettings, EncoderSettings
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.devices import Placement
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from negmine.models.room import Room
from negmine.sources import exact_gpu
from tests.conftest import Invoke, write_jsonl
from tests.tables import make_scored
from tests.tiny_models import texts

CPU = Placement("cpu", "float32", "test")


class RuntimeException(Exception):
    """As onnxruntime's, which is no RuntimeError."""


RuntimeException.__module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


def of(error: Exception, cause: Exception) -> Exception:
    """The error as ``raise error from cause`` makes it."""
    error.__cause__ = cause
    return error


RETURNED = "<built-in function len> returned a result with an exception set"

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223: std::bad_alloc"),
    RuntimeException("BFCArena::AllocateRawInternal: Failed to allocate memory for requested"),
    MemoryError(),
    # CPython's, where a MemoryError was lost inside of it.
    SystemError("error return without exception set"),
    SystemError("<built-in function len> returned NULL without setting an exception"),
    of(SystemError(RETURNED), MemoryError()),
]
OTHERS = [
    ValueError("out of memory"),
    RuntimeError("mat1 and mat2 must have the same dtype"),
    SystemError("bad argument to internal function"),
    SystemError(RETURNED),
    of(SystemError(RETURNED), ValueError("x")),
]


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Warnings that are logged."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, handler = logging.getLogger("negmine"), Keep(logging.WARNING)
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


# --- the rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=repr)
def test_what_does_not_fit_is_halved(error: Exception, told: list[str]) -> None:
    lengths = np.arange(40, 0, -1)
    tried: list[list[int]] = []
    done: list[int] = []

    def work(rows: np.ndarray) -> None:
        tried.append(rows.tolist())
        if len(rows) * lengths[rows[0]] > 100:
            raise error
        done.extend(rows.tolist())

    room = Room("m", "text")
    batches = [np.arange(0, 16), np.arange(16, 32), np.arange(32, 40)]
    room.run(batches, lengths, work, CPU)
    assert done == list(range(40)), "each row once, in order"
    assert [len(rows) for rows in tried][:4] == [16, 8, 4, 2]
    # No later batch is tried beyond what fitted.
    assert max(len(rows) * lengths[rows[0]] for rows in tried[4:]) <= 100
    assert len(told) == 1
    assert "a batch of 16 texts does not fit in the memory of cpu" in told[0]
    assert "--batch-size" in told[0]
    assert room.facts() == {"batch_tokens_that_fit": 80}


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_pass(error: Exception) -> None:
    def work(rows: np.ndarray) -> None:
        raise error

    with pytest.raises(type(error)):
        Room("m", "text").run([np.arange(4)], np.ones(4, dtype=np.int64), work, CPU)
    assert not exhausted(error)
    assert machine_error(error) is None


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=repr)
def test_one_row_that_does_not_fit_is_exit_7(error: Exception) -> None:
    def work(rows: np.ndarray) -> None:
        raise error

    with pytest.raises(MachineError, match="not even one pair of 9 tokens fits on cpu") as raised:
        Room("m", "pair").run([np.arange(3)], np.array([9, 8, 7]), work, CPU)
    assert raised.value.exit_code == 7
    assert "--max-length" in str(raised.value)
    # Anywhere else, where nothing can be halved, it is no bug either.
    assert machine_error(error).exit_code == 7  # type: ignore[union-attr]


# --- models -----------------------------------------------------------------------------------


def limited(real: Callable[..., Any], rows: int) -> Callable[..., Any]:
    """A model that has memory for so many rows."""

    def forward(features: Any, **more: Any) -> Any:
        if len(features["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(features, **more)

    return forward


@pytest.mark.parametrize("plain", [True, False])
def test_an_encoder_goes_on(
    tiny_bi: Path, told: list[str], monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    if not plain:
        # Models whose features are more than a tokenizer's output make their batches themselves.
        monkeypatch.setattr("negmine.models.torch_texts.is_plain_text_model", lambda *_: False)
    settings = EncoderSettings(device="cpu", dtype="float32")
    encoder = load_encoder(resolve(str(tiny_bi)), settings)
    asked = texts(70)
    right = encoder.encode(asked, "document")
    assert "batch_tokens_that_fit" not in encoder.describe()
    model: Any = encoder
    monkeypatch.setattr(model.model, "forward", limited(model.model.forward, 3))
    seen: list[int] = []
    found = encoder.encode(asked, "document", seen.append)
    np.testing.assert_allclose(found, right, atol=1e-5)
    assert sum(seen) == 70
    assert len(told) == 1
    assert encoder.describe()["batch_tokens_that_fit"]
    encoder.encode(asked, "query")
    assert len(told) == 1, "told once"


@pytest.mark.parametrize("plain", [True, False])
def test_a_cross_encoder_goes_on(
    tiny_cross: Path, told: list[str], monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    if not plain:
        monkeypatch.setattr(
            "negmine.models.torch_cross_encoder.is_plain_text_model", lambda _: False
        )
    settings = CrossEncoderSettings(device="cpu", dtype="float32", max_length=64)
    scorer = load_cross_encoder(resolve(str(tiny_cross)), settings)
    queries, documents = texts(4, seed=1, longest=9), texts(20, seed=2)
    pairs = np.array([(q, d) for q in range(4) for d in range(20)])
    right = scorer.score(queries, documents, pairs)
    model: Any = scorer
    monkeypatch.setattr(model.model, "forward", limited(model.model.forward, 5))
    found = scorer.score(queries, documents, pairs)
    np.testing.assert_allclose(found, right, atol=1e-5)
    assert len(told) == 1
    assert scorer.describe()["batch_tokens_that_fit"]
    monkeypatch.setattr(model.model, "forward", limited(model.model.forward, 0))
    with pytest.raises(MachineError, match="not even one pair"):
        scorer.score(queries, documents, pairs)


def test_a_graph_goes_on(bge: Path, told: list[str]) -> None:
    settings = EncoderSettings(device="cpu", pooling="cls", max_length=32)
    encoder: Any = load_encoder(resolve(str(bge)), settings)
    asked = texts(12, longest=20)
    right = encoder.encode(asked, "document")

    class Session:
        """Has room at the third attempt."""

        failures = 2

        def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> Any:
            if self.failures:
                self.failures -= 1
                raise RuntimeException("Failed to allocate memory for requested buffer")
            return encoder.graph.session.run(names, feeds)

    small = replace(encoder, graph=replace(encoder.graph, session=Session()))
    np.testing.assert_allclose(small.encode(asked, "document"), right, atol=1e-5)
    assert len(told) == 1


def test_several_devices_each_have_their_own_room(
    tiny_bi: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EncoderSettings(device="cpu", dtype="float32")
    loaded: list[Any] = [load_encoder(resolve(str(tiny_bi)), settings) for _ in range(2)]
    items = [texts(20, seed=seed) for seed in range(6)]
    right = [loaded[0].encode(item, "document") for item in items]
    monkeypatch.setattr(loaded[0].model, "forward", limited(loaded[0].model.forward, 2))
    with in_turn(loaded, items, lambda one, item: one.encode(item, "document")) as found:
        for vectors, want in zip(found, right, strict=True):
            np.testing.assert_allclose(vectors, want, atol=1e-5)
    assert len(told) <= 1
    assert loaded[1].room.tokens is None


def test_the_search_takes_smaller_blocks(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(500, 16)).astype(np.float32)
    queries = rng.normal(size=(40, 16)).astype(np.float32)
    real = exact_gpu._take

    def take(torch_: Any, best: Any, row: Any, asked: Any, block: Any, *more: Any) -> None:
        if len(block) > 200:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        real(torch_, best, row, asked, block, *more)

    monkeypatch.setattr(exact_gpu, "_take", take)
    parts = [(0, stored[:300]), (300, stored[300:])]
    scores, rows = exact_gpu.search(parts, queries, 5, ["cpu"], memory=1 << 20)
    exact = queries @ stored.T
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :5])
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :5], rtol=1e-5)
    assert told == ["the search on cpu is out of memory: smaller blocks are tried"]

    def never(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(exact_gpu, "_take", never)
    with pytest.raises(MachineError, match="the search does not fit on cpu"):
        exact_gpu.search(parts, queries, 5, ["cpu"], memory=1 << 22)


# --- the command line -------------------------------------------------------------------------


def index(folder: Path, model: Path) -> list[object]:
    corpus = folder / "corpus.jsonl"
    if not corpus.exists():
        write_jsonl(
            corpus, ({"_id": f"d{n}", "text": t} for n, t in enumerate(texts(30)) if t.strip())
        )
    encoder = ("--no-bm25", "--encoder", f"m={model}", "--dtype", "float32", "--device", "cpu")
    return ["index", "--corpus", corpus, *encoder, "-o", folder / "index"]


def test_index_halves_and_ends_with_7_only_for_one_text(
    tiny_bi: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    real = SentenceTransformer.forward

    def memory_for(rows: int) -> None:
        def forward(self: Any, features: Any, **more: Any) -> Any:
            if len(features["input_ids"]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(self, features, **more)

        monkeypatch.setattr(SentenceTransformer, "forward", forward)

    command = index(tmp_path, tiny_bi)
    memory_for(0)
    result = invoke(*command)
    assert result.exit_code == 7, result.output
    assert result.stderr.count("error: ") == 1
    assert "not even one text" in result.stderr
    assert "Traceback" not in result.output
    memory_for(2)
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("does not fit in the memory of cpu") == 1
    manifest = json.loads(next(tmp_path.glob("index/**/m/_manifest.json")).read_text())
    assert manifest["counts"]["vectors"] == 29
    assert manifest["encoder"]["batch_tokens_that_fit"] > 0
    # How far it had to go decides nothing that a rerun would compare.
    assert "up to date" in invoke(*command).stderr


@pytest.mark.parametrize("kind", ["tiny_bi", "tiny_cross"])
def test_rerank_halves(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    model = request.getfixturevalue(kind)
    loaded = SentenceTransformer if kind == "tiny_bi" else CrossEncoder
    rows = [
        {"qid": f"q{q}", "docid": f"d{d}", "label": int(d == q), "rank_bm25": d + 1}
        | {"score_bm25": 9.0 - d}
        for q in range(3)
        for d in range(8)
    ]
    make_scored(tmp_path / "in", [rows], sources=("bm25",), scorers=())
    candidates = tmp_path / "in" / "candidates"
    how = ("--scorer", f"s={model}", "--dtype", "float32", "--device", "cpu")
    assert invoke("rerank", candidates, *how, "-o", tmp_path / "right").exit_code == 0
    real = loaded.forward

    def forward(self: Any, features: Any, **more: Any) -> Any:
        if len(features["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, features, **more)

    monkeypatch.setattr(loaded, "forward", forward)
    result = invoke("rerank", candidates, *how, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("does not fit in the memory of cpu") == 1
    made = [pq.read_table(tmp_path / name).column("score_s") for name in ("right", "small")]
    np.testing.assert_allclose(made[1].to_numpy(), made[0].to_numpy(), atol=1e-5)


def test_a_model_that_does_not_fit_at_all(
    tiny_bi: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(SentenceTransformer, "to", full)
    result = invoke(*index(tmp_path, tiny_bi))
    assert result.exit_code == 7, result.output
    assert "the model does not fit on cpu" in result.stderr
    assert "Traceback" not in result.output
