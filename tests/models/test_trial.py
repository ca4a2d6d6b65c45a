"""What runs a model in float32: tried on a sample of the user's texts, and kept for an artifact."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negmine.models import compiled, trial
from negmine.models.resolve import resolve
from negmine.models.torch_encoder import EncoderSettings, load_torch_encoder
from negmine.table.artifacts.writing import Writer
from tests.chains import make_data, small_parts
from tests.conftest import Invoke
from tests.hashed_scorer import make_candidates
from tests.tiny_models import texts

pytest.importorskip("openvino")

SETTINGS = EncoderSettings(device="cpu", dtype="float32", batch_size=8, threads=1)


def taken(monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    """Whatever the clock says, a trial takes this runtime; and nothing is too small for one."""
    monkeypatch.setattr(trial, "WORTH", 0)
    monkeypatch.setattr(trial, "_FASTER", 0 if runtime == "openvino" else float("inf"))


def chosen(folder: Path, name: str) -> dict[str, Any]:
    manifest = json.loads((folder / "_manifest.json").read_text())
    found: dict[str, Any] = manifest["run"]["chosen"][name]
    return found


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_both_read_the_sample_and_the_faster_one_is_taken(
    tiny_bi: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    taken(monkeypatch, runtime)
    given = texts(30)
    made = load_torch_encoder(resolve(str(tiny_bi)), SETTINGS)
    want = made.encode(given, "document")
    settled, told = made.settled(lambda: given, lambda: len(given), None)
    assert settled.placement.runtime == settled.describe()["backend"] == told["runtime"] == runtime
    assert (told["device"], told["dtype"]) == ("cpu", "float32")
    assert told["faster"] > 0
    assert told["apart"] < trial.APART
    assert (type(settled.model[0].model).__name__ == "_Compiled") is (runtime == "openvino")
    np.testing.assert_allclose(settled.encode(given, "document"), want, atol=1e-5)
    # Who else holds the loaded one has what it had.
    assert type(made.model[0].model).__name__ == "BertModel"
    np.testing.assert_array_equal(made.encode(given, "document"), want)


def test_what_differs_is_not_taken_however_fast(
    tiny_bi: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken(monkeypatch, "openvino")
    said: list[str] = []
    monkeypatch.setattr(trial.log, "event", lambda line, **_: said.append(line))
    forward = compiled._Compiled.forward

    def coarse(self: Any, **features: Any) -> dict[str, Any]:
        # Within what tracing may differ by, and not equal to five digits.
        made = forward(self, **features)
        return {name: value + 3e-4 * value.roll(1, -1) for name, value in made.items()}

    monkeypatch.setattr(compiled._Compiled, "forward", coarse)
    made = load_torch_encoder(resolve(str(tiny_bi)), SETTINGS)
    settled, told = made.settled(lambda: texts(9), lambda: 9, None)
    assert settled is made
    assert told["runtime"] == "torch"
    assert told["apart"] > trial.APART
    assert "its output differs" in said[-1]
    assert said[-1].endswith("torch runs it")


def test_what_is_clearly_slower_is_read_no_further(
    tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice by each: to warm up, and for the clock."""
    monkeypatch.setattr(trial, "WORTH", 0)
    made = load_torch_encoder(resolve(str(tiny_bi)), SETTINGS)
    encode, read = type(made).encode, list[str]()

    def slowly(model: Any, *given: Any) -> Any:
        read.append(model.placement.runtime)
        time.sleep(0.2 if model.placement.runtime == "openvino" else 0)
        return encode(model, *given)

    monkeypatch.setattr(type(made), "encode", slowly)
    settled, told = made.settled(lambda: texts(9), lambda: 9, None)
    assert settled is made
    assert read == ["torch", "openvino"] * 2
    assert told["faster"] < 1 / trial._SLOWER


def test_what_has_no_transformer_stays_with_pytorch(
    tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    static = StaticEmbedding(tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static, Dense(8, 4)]).save_pretrained(str(tmp_path))
    taken(monkeypatch, "openvino")
    made = load_torch_encoder(resolve(str(tmp_path)), SETTINGS)
    own = {"device": "cpu", "dtype": "float32", "runtime": "torch"}
    assert made.settled(lambda: texts(9), lambda: 9, None) == (made, own)


def test_little_to_read_another_runtime_asked_for_and_another_format_are_not_tried(
    tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_tried", lambda *_: pytest.fail("tried"))
    own = {"device": "cpu", "dtype": "float32", "runtime": "torch"}
    made = load_torch_encoder(resolve(str(tiny_bi)), SETTINGS)
    assert made.settled(lambda: texts(9), lambda: 9, None) == (made, own)
    monkeypatch.setattr(trial, "WORTH", 0)
    assert made.settled(lambda: [], lambda: 0, None) == (made, own)
    for asked in (EncoderSettings(runtime="torch", dtype="float32"), SETTINGS):
        one = load_torch_encoder(resolve(str(tiny_bi)), asked)
        if asked is SETTINGS:
            monkeypatch.setattr(trial, "openvino_installed", lambda: False)
        assert one.settled(lambda: texts(9), lambda: 9, None) == (one, own)


def test_a_dry_run_says_where_a_trial_may_take_openvino(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_torch_encoder(resolve(str(tiny_bi)), SETTINGS)
    assert not trial.will_be_held(made, 1000)
    assert not trial.will_be_held("no model", 1e30)
    data = make_data(tmp_path / "data")
    what = ("--corpus", data, "--no-bm25", "--encoder", f"tiny={tiny_bi}", "--device", "cpu")
    monkeypatch.setattr(trial, "WORTH", 1)
    for runtime, tried in (("auto", True), ("torch", False)):
        how = ("--dtype", "float32", "--runtime", runtime, "-o", tmp_path / "index", "--dry-run")
        told = invoke("index", *what, *how).output
        assert ("OpenVINO runs it if a trial finds that faster" in told) is tried


def test_an_index_keeps_the_first_choice_though_the_clock_says_otherwise(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short after a part, the rest is made as it was; fingerprints never hang on the choice."""
    data = make_data(tmp_path / "data")
    options = ("--encoder", f"tiny={tiny_bi}", "--dtype", "float32", "--device", "cpu")
    alone = ("--no-bm25", "--no-signatures")

    def index(name: str) -> Any:
        with small_parts():
            return invoke("index", "--corpus", data, *alone, *options, "-o", tmp_path / name)

    add, seen = Writer.add_array, []

    def dying(self: Writer, name: str, *arguments: Any) -> None:
        if self.plan.stage == "index.vectors":
            seen.append(name)
            if len(seen) == 2:
                raise KeyboardInterrupt
        add(self, name, *arguments)

    taken(monkeypatch, "openvino")
    monkeypatch.setattr(Writer, "add_array", dying)
    assert index("cut").exit_code == 130
    taken(monkeypatch, "torch")
    assert index("cut").exit_code == index("slow").exit_code == 0
    taken(monkeypatch, "openvino")
    assert index("whole").exit_code == 0
    made = {name: tmp_path / name / "vectors/tiny" for name in ("cut", "slow", "whole")}
    assert {name: chosen(one, "tiny")["runtime"] for name, one in made.items()} == {
        "cut": "openvino",
        "slow": "torch",
        "whole": "openvino",
    }
    told = {name: json.loads((one / "_manifest.json").read_text()) for name, one in made.items()}
    assert told["cut"]["encoder"]["backend"] == "openvino"
    assert told["cut"]["run"]["resumed_files"] == 1
    assert len({one["fingerprint"] for one in told.values()}) == 1
    for name in told["cut"]["files"]:
        assert (made["cut"] / name).read_bytes() == (made["whole"] / name).read_bytes()
        near = np.load(made["slow"] / name).astype(np.float32)
        np.testing.assert_allclose(np.load(made["cut"] / name), near, atol=1e-3)


def test_a_run_that_goes_on_where_the_first_choice_cannot_run_says_so(
    tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from negmine.errors import MissingDependencyError

    before = {"device": "cpu", "dtype": "float32", "runtime": "openvino"}
    made = load_torch_encoder(resolve(str(tiny_bi)), SETTINGS)
    monkeypatch.setattr(compiled, "openvino_installed", lambda: False)
    with pytest.raises(MissingDependencyError, match="OpenVINO is not installed"):
        made.settled(lambda: [], lambda: 0, before)
    elsewhere = {"device": "cuda", "dtype": "bfloat16", "runtime": "torch"}
    assert made.settled(lambda: [], lambda: 0, elsewhere) == (made, elsewhere)


def test_scores_keep_the_first_choice(
    tmp_path: Path,
    tiny_cross: Path,
    tiny_bi: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both kinds of scorers are tried on pairs of the table; a run cut short changes neither."""
    data = make_data(tmp_path / "data")
    asked = ("--queries", data, "--qrels", data, "-o", tmp_path / "candidates")
    add, seen = Writer.add_tables, []

    def dying(self: Writer, name: str, *arguments: Any, **more: Any) -> None:
        if self.plan.stage == "rerank":
            seen.append(name)
            if len(seen) == 2:
                raise KeyboardInterrupt
        add(self, name, *arguments, **more)

    def rerank(name: str) -> Any:
        scorers = ("--scorer", f"ce={tiny_cross}", "--scorer", f"bi={tiny_bi}")
        how = ("--dtype", "float32", "--device", "cpu", "-o", tmp_path / name)
        return invoke("rerank", tmp_path / "candidates", *scorers, *how)

    with small_parts():
        index = tmp_path / "index"
        made = invoke("index", "--corpus", data, "--no-bm25", "--no-signatures", "-o", index)
        assert made.exit_code == 0
        drawn = invoke("retrieve", index, "--source", "some=random:10", "-k", 10, *asked)
        assert drawn.exit_code == 0, drawn.stderr
        taken(monkeypatch, "openvino")
        assert rerank("whole").exit_code == 0
        monkeypatch.setattr(Writer, "add_tables", dying)
        assert rerank("cut").exit_code == 130
        taken(monkeypatch, "torch")
        assert rerank("cut").exit_code == 0
    for name in ("ce", "bi"):
        assert chosen(tmp_path / "cut", name)["runtime"] == "openvino"
        assert chosen(tmp_path / "cut", name)["faster"] > 0
    parts = sorted(path.name for path in (tmp_path / "cut").glob("part-*.parquet"))
    assert len(parts) > 1
    for part in parts:
        cut, whole = tmp_path / "cut" / part, tmp_path / "whole" / part
        assert cut.read_bytes() == whole.read_bytes()


def test_queries_that_are_scored_first_and_the_others_run_alike(
    tmp_path: Path, tiny_cross: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short while the first are scored, when nothing of the table itself is there."""
    candidates = make_candidates(tmp_path / "made")
    rules = ("by=ce", "sampler=rank", "max-fn-rate=0.3", "fit-sample=8")
    until = [word for rule in rules for word in ("--until", rule)]
    how = ["--dtype", "float32", "--device", "cpu", "--enough", 2, *until]
    rerank = ["rerank", candidates, "--scorer", f"ce={tiny_cross}", *how]
    add, seen = Writer.add_tables, []

    def dying(self: Writer, name: str, *arguments: Any, **more: Any) -> None:
        if self.path.parent.name == "fit":
            seen.append(name)
            if len(seen) == 2:
                raise KeyboardInterrupt
        add(self, name, *arguments, **more)

    taken(monkeypatch, "openvino")
    assert invoke(*rerank, "-o", tmp_path / "whole").exit_code == 0
    monkeypatch.setattr(Writer, "add_tables", dying)
    assert invoke(*rerank, "-o", tmp_path / "cut").exit_code == 130
    taken(monkeypatch, "torch")
    assert invoke(*rerank, "-o", tmp_path / "cut").exit_code == 0
    for made in (tmp_path / "fit" / "cut", tmp_path / "cut"):
        assert chosen(made, "ce")["runtime"] == "openvino"
    names = sorted(path.name for path in (tmp_path / "cut").glob("part-*.parquet"))
    assert len(names) > 1
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
