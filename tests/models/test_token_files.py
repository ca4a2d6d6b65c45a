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
from negmine.models.base import EncoderSettings
from negmine.models.encoders import load_encoder
from negmine.models.resolve import resolve
from negmine.models.token_cache import TokenCache, Tokens
from negmine.models.token_files import FOLDER, TokenFiles, Turn, between_encoders, tokens_of
from negmine.models.tokens import from_lists
from negmine.table import documents
from tests.conftest import Invoke, write_jsonl
from tests.tiny_models import texts


@pytest.fixture(autouse=True)
def _little_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few documents; of about one the tokens are in memory."""
    monkeypatch.setattr(
        "negmine.models.token_files.cache_of", cache(lambda how: TokenCache(16_000))
    )
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


def times(tokenised: Counter[str], corpus: Path) -> set[int]:
    """How often the documents were tokenised, whatever else was."""
    return {tokenised[json.loads(line)["text"]] for line in corpus.read_text().splitlines()}


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


def index(
    invoke: Invoke, corpus: Path, out: Path, *encoders: str, words: Sequence[object] = ()
) -> Any:
    given = [word for one in encoders for word in ("--encoder", one)]
    return invoke(
        *("index", "--corpus", corpus, "--no-bm25", "--no-signatures", "--dtype", "float32"),
        *given,
        *words,
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
    assert times(tokenised, corpus) == {2}
    tokenised.clear()
    token_files.cache_of.cache_clear()
    both = tmp_path / "both"
    assert index(invoke, corpus, both, f"a={tiny_bi}", f"b={other}").exit_code == 0
    assert times(tokenised, corpus) == {1}
    assert {name: parts(both / "vectors" / name) for name in alone} == alone
    assert alone["a"] != alone["b"]
    assert not (both / FOLDER).exists()


def settings(folder: Path, file: str, **changed: Any) -> Path:
    """A model's folder with some settings of one of its files changed."""
    saved = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(saved | changed))
    return folder


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are written."""
    names: list[str] = []
    real = TokenFiles._write

    def write(self: TokenFiles, path: Path, tokens: Tokens) -> None:
        names.append(path.name)
        real(self, path, tokens)

    monkeypatch.setattr(TokenFiles, "_write", write)
    return names


def test_nothing_is_kept_where_nobody_reads_alike(
    invoke: Invoke, tmp_path: Path, corpus: Path, tiny_bi: Path, kept: list[str]
) -> None:
    """One encoder; other tokenizers, lengths or prompts; one that is there, or in a base."""
    one, a = tmp_path / "one", f"a={tiny_bi}"
    assert index(invoke, corpus, one, a).exit_code == 0
    normal = settings(twin(tiny_bi, tmp_path / "normal"), "tokenizer.json", normalizer=None)
    assert index(invoke, corpus, tmp_path / "two", a, f"b={normal}").exit_code == 0
    shorter = ("--max-length", "b=9")
    assert (
        index(invoke, corpus, tmp_path / "three", a, f"b={tiny_bi}", words=shorter).exit_code == 0
    )
    prompt = ("--doc-prompt", "b=of: ")
    assert index(invoke, corpus, tmp_path / "four", a, f"b={tiny_bi}", words=prompt).exit_code == 0
    taken = ("--base", one)
    assert index(invoke, corpus, tmp_path / "five", a, f"b={tiny_bi}", words=taken).exit_code == 0
    assert index(invoke, corpus, one, a, f"b={tiny_bi}").exit_code == 0
    assert kept == []
    # Of two the first alone keeps.
    assert index(invoke, corpus, tmp_path / "six", a, f"b={tiny_bi}").exit_code == 0
    assert len(kept) == 4


def test_also_where_all_is_made_anew(
    invoke: Invoke, tmp_path: Path, corpus: Path, tiny_bi: Path, tokenised: Counter[str]
) -> None:
    both, given = tmp_path / "both", (f"a={tiny_bi}", f"b={twin(tiny_bi, tmp_path / 'twin')}")
    assert index(invoke, corpus, both, *given).exit_code == 0
    tokenised.clear()
    token_files.cache_of.cache_clear()
    assert index(invoke, corpus, both, *given, words=("--rebuild",)).exit_code == 0
    assert times(tokenised, corpus) == {1}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("tokenizer_config.json", {"split_special_tokens": True}),
        ("tokenizer_config.json", {"model_input_names": ["input_ids", "attention_mask"]}),
        ("sentence_bert_config.json", {"document_length": 7}),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 6}}}),
    ],
)
def test_who_reads_otherwise_gets_its_own(
    invoke: Invoke, tmp_path: Path, corpus: Path, tiny_bi: Path, file: str, changed: dict[str, Any]
) -> None:
    """Settings that are no part of the tokenizer's own file; texts with special tokens."""
    with corpus.open("a") as more:
        more.write(json.dumps({"_id": "special", "text": "a [MASK] [SEP] of it"}) + "\n")
    other = settings(twin(tiny_bi, tmp_path / "twin"), file, **changed)
    length = ("--max-length", "9")
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert index(invoke, corpus, alone, f"b={other}", words=length).exit_code == 0
    token_files.cache_of.cache_clear()
    assert index(invoke, corpus, both, f"a={tiny_bi}", f"b={other}", words=length).exit_code == 0
    assert parts(both / "vectors" / "b") == parts(alone / "vectors" / "b")


def test_a_tokenizer_with_parts_in_python_is_asked_every_time(
    tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one nothing can be told by which it could be known again."""
    encoder = load_encoder(resolve(str(tiny_bi)), EncoderSettings(device="cpu", dtype="float32"))
    some = texts(5)
    expected = encoder.encode(some, "document")
    again = load_encoder(resolve(str(tiny_bi)), EncoderSettings(device="cpu", dtype="float32"))
    monkeypatch.setattr(torch_texts, "tokenizer_name", lambda tokenizer: None)
    token_files.cache_of.cache_clear()
    np.testing.assert_array_equal(again.encode(some, "document"), expected)
    assert token_files.cache_of.cache_info().currsize == 0


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
    assert times(tokenised, corpus) == {1}
    assert not (both / FOLDER).exists()


def test_a_damaged_file_is_none(tmp_path: Path, tiny_bi: Path) -> None:
    ref = resolve(str(tiny_bi))
    files = TokenFiles(tmp_path / "files", [Turn(ref)] * 2)
    made = Tokens({"ids": from_lists([[1, 70_000, -1], [], [3]])}, {"prompt_length": 4})
    calls: list[Sequence[str]] = []

    def tokenise(some: Sequence[str]) -> Tokens:
        calls.append(some)
        return made

    for damage in (None, b"", b"PK\x03\x04 no zip"):
        for path in () if damage is None else (tmp_path / "files").iterdir():
            path.write_bytes(damage or b"")
        calls.clear()
        for _ in range(2):
            found = files.of(ref, "key", ["x", "y", "z"], tokenise)
            column = found.columns["ids"]
            assert [column.row(n).tolist() for n in range(3)] == [[1, 70_000, -1], [], [3]]
            assert found.constants == {"prompt_length": 4}
        assert len(calls) == 1


def test_a_full_disk_costs_the_next_encoder_its_time(
    invoke: Invoke,
    tmp_path: Path,
    corpus: Path,
    tiny_bi: Path,
    tokenised: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Told once, and nothing of it stays."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=9_000))
    both, other = tmp_path / "both", twin(tiny_bi, tmp_path / "twin")
    made = index(invoke, corpus, both, f"a={tiny_bi}", f"b={other}")
    assert made.exit_code == 0
    assert made.stderr.count("tokens are not kept") == 1
    assert times(tokenised, corpus) == {2}
    assert not (both / FOLDER).exists()


def test_files_go_where_the_disk_ends_a_run(tmp_path: Path, tiny_bi: Path) -> None:
    """They would be in the way of the next one; a run that was interrupted needs them."""
    ref = resolve(str(tiny_bi))
    made = Tokens({"ids": from_lists([[1]])})

    def ends_by(error: BaseException) -> None:
        with between_encoders(tmp_path, [Turn(ref)] * 2):
            tokens_of(ref, "document", "key", ["x"], lambda _: made)
            assert (tmp_path / FOLDER).is_dir()
            raise error

    for error, left in ((KeyboardInterrupt(), True), (OSError(28, "no space"), False)):
        with pytest.raises(type(error)):
            ends_by(error)
        assert (tmp_path / FOLDER).exists() == left
