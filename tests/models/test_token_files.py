"""Encoders with one tokenizer read a corpus' tokens once; the oracle is each encoder alone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.inputs import limits
from negmine.models import token_files, torch_texts
from negmine.models.resolve import resolve
from negmine.models.token_files import FOLDER, TokenFiles
from negmine.models.tokenised import Recent, Tokens
from negmine.models.tokens import from_lists
from negmine.table import documents
from tests.conftest import Invoke, write_jsonl
from tests.tiny_models import texts


@pytest.fixture(autouse=True)
def _little_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few documents; of about one the tokens are in memory."""
    monkeypatch.setattr("negmine.models.token_files.recent", cache(lambda how: Recent(10_000)))
    monkeypatch.setattr(documents, "PART_DOCUMENTS", 10)
    monkeypatch.setattr(limits, "MAX_BATCH_ROWS", 10)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [{"_id": str(n), "text": f"{n} {text}"} for n, text in enumerate(texts(40))]
    return write_jsonl(tmp_path / "corpus.jsonl", rows)


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each text of a document was tokenised."""
    seen: Counter[str] = Counter()
    real = torch_texts.TorchTexts._tokenised

    def counted(self: torch_texts.TorchTexts, some: Sequence[str]) -> Tokens:
        if self.side == "document" and len(some) > 1:
            seen.update(some)
        return real(self, some)

    monkeypatch.setattr(torch_texts.TorchTexts, "_tokenised", counted)
    return seen


def twin(folder: Path, to: Path) -> Path:
    """The same tokenizer with other weights, saved with another length."""
    shutil.copytree(folder, to)
    import safetensors.numpy

    weights = to / "model.safetensors"
    values = safetensors.numpy.load_file(weights)
    safetensors.numpy.save_file(
        {name: value * np.float32(1.01) for name, value in values.items()},
        weights,
        metadata={"format": "pt"},
    )
    saved = json.loads((to / "tokenizer.json").read_text())
    saved["truncation"] = {
        **{"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    }
    (to / "tokenizer.json").write_text(json.dumps(saved))
    return to


def index(invoke: Invoke, corpus: Path, out: Path, *encoders: str) -> Any:
    given = [word for one in encoders for word in ("--encoder", one)]
    return invoke(
        *("index", "--corpus", corpus, "--no-bm25", "--no-signatures", "--dtype", "float32"),
        *given,
        *("-o", out),
    )


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def test_two_encoders_tokenise_once(
    invoke: Invoke, tmp_path: Path, corpus: Path, tiny_bi: Path, tokenised: Counter[str]
) -> None:
    other = twin(tiny_bi, tmp_path / "twin")
    alone = {}
    for name, model in (("a", tiny_bi), ("b", other)):
        assert index(invoke, corpus, tmp_path / name, f"{name}={model}").exit_code == 0
        alone[name] = parts(tmp_path / name / "vectors" / name)
    assert len(alone["a"]) == 4
    assert set(tokenised.values()) == {2}
    tokenised.clear()
    token_files.recent.cache_clear()
    both = tmp_path / "both"
    assert index(invoke, corpus, both, f"a={tiny_bi}", f"b={other}").exit_code == 0
    assert len(tokenised) == 40
    assert set(tokenised.values()) == {1}
    assert {name: parts(both / "vectors" / name) for name in alone} == alone
    assert alone["a"] != alone["b"]
    assert not (both / FOLDER).exists()


def test_nothing_is_kept_where_nobody_reads_alike(
    invoke: Invoke, tmp_path: Path, corpus: Path, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(
        "negmine.models.token_files._write", lambda path, tokens: kept.append(path.name)
    )
    other = twin(tiny_bi, tmp_path / "twin")
    saved = json.loads((other / "tokenizer.json").read_text())
    saved["normalizer"] = None
    (other / "tokenizer.json").write_text(json.dumps(saved))
    assert index(invoke, corpus, tmp_path / "one", f"a={tiny_bi}").exit_code == 0
    assert index(invoke, corpus, tmp_path / "two", f"a={tiny_bi}", f"b={other}").exit_code == 0
    assert kept == []
    # An encoder that is there already reads nothing.
    assert index(invoke, corpus, tmp_path / "one", f"a={tiny_bi}", f"b={tiny_bi}").exit_code == 0
    assert kept == []


def test_a_run_that_was_cut_short_finds_them_again(
    invoke: Invoke,
    tmp_path: Path,
    corpus: Path,
    tiny_bi: Path,
    tokenised: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = twin(tiny_bi, tmp_path / "twin")
    both, given = tmp_path / "both", (f"a={tiny_bi}", f"b={other}")
    from negmine.models import torch_encoder

    real, calls = torch_encoder._TorchEncoder.encode, [0]

    def encode(self: Any, *words: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] > 6:
            raise KeyboardInterrupt
        return real(self, *words, **named)

    monkeypatch.setattr(torch_encoder._TorchEncoder, "encode", encode)
    assert index(invoke, corpus, both, *given).exit_code != 0
    assert list((both / FOLDER).iterdir())
    monkeypatch.setattr(torch_encoder._TorchEncoder, "encode", real)
    assert index(invoke, corpus, both, *given).exit_code == 0
    assert set(tokenised.values()) == {1}
    assert not (both / FOLDER).exists()


def test_a_damaged_file_is_none(tmp_path: Path, tiny_bi: Path) -> None:
    files = TokenFiles(tmp_path / "files", [resolve(str(tiny_bi))] * 2)
    made = Tokens({"ids": from_lists([[1, 70_000], [], [3]])}, {"prompt_length": 4})
    calls: list[Sequence[str]] = []

    def tokenise(some: Sequence[str]) -> Tokens:
        calls.append(some)
        return made

    for damage in (None, b"", b"PK\x03\x04 no zip"):
        for path in () if damage is None else (tmp_path / "files").iterdir():
            path.write_bytes(damage or b"")
        calls.clear()
        for _ in range(2):
            found = files.of("way", ["x", "y", "z"], tokenise)
            column = found.columns["ids"]
            assert [column.row(n).tolist() for n in range(3)] == [[1, 70_000], [], [3]]
            assert found.constants == {"prompt_length": 4}
        assert len(calls) == 1


def test_a_full_disk_costs_the_next_encoder_its_time(
    tmp_path: Path, tiny_bi: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "files").write_text("no folder")
    files = TokenFiles(tmp_path / "files", [resolve(str(tiny_bi))] * 2)
    made = Tokens({"ids": from_lists([[1]])})
    assert files.of("way", ["x"], lambda _: made) is made
