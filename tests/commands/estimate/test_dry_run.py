"""``--dry-run``: nothing is written, counts are right where they can be known, states are told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine.commands.estimate import cost
from negmine.commands.estimate import filter as of_filter
from tests.chains import DOCUMENTS, QUERIES, call, commands, make_data, small_parts
from tests.conftest import Invoke


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with size and time."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def stages(invoke: Invoke, *command: object) -> dict[str, dict[str, Any]]:
    result = invoke(*command, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    return {stage["stage"]: stage for stage in json.loads(result.stdout)["stages"]}


def recipe(folder: Path, data: Path, work: Path, more: str = "") -> Path:
    path = folder / "mine.toml"
    path.write_text(
        f"""work = "{work}"
[index]
corpus = "{data}"
{more}
[retrieve]
queries = "{data}"
qrels = "{data / "qrels.tsv"}"
k = 10
[filter]
num-negatives = 3
[export]
ids = true
"""
    )
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


def test_a_recipe_from_nothing(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, data, tmp_path / "work")
    before = tree(tmp_path)
    told = stages(invoke, "run", path)
    assert tree(tmp_path) == before
    assert list(told) == ["index", "retrieve", "filter", "export"]
    assert {stage["state"] for stage in told.values()} == {"to do"}
    # All of this little is read, so what is told is what comes out.
    assert call("run", path)[0] == 0
    for stage, folder in (("retrieve", "candidates"), ("filter", "ledger")):
        counts = json.loads((tmp_path / "work" / folder / "_manifest.json").read_text())["counts"]
        assert told[stage]["rows"] == counts["candidates"]
        assert told[stage]["queries"] == QUERIES
    manifest = json.loads((tmp_path / "work" / "_train.parquet.manifest.json").read_text())
    assert told["index"]["documents"] == DOCUMENTS
    assert told["export"]["rows"] == manifest["counts"]["examples"]
    # By each of several processes, and by all together.
    assert {"learn from all parts", "rules"} <= told["filter"]["breakdown"].keys()
    for stage in told.values():
        assert stage["seconds"] > 0
        assert stage["disk_bytes"] > 0
        assert stage["memory_bytes"] > 1 << 20


def test_what_comes_of_all_parts_is_told_from_reading_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def spend(seconds: float) -> str:
        clock[0] += seconds
        return "spent"

    def read(names: Sequence[str]) -> Iterator[tuple[str, float]]:
        for name in names:
            spend(10.0)
            yield name, 2.0

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    timed = of_filter._Timed(["a", "b"])
    assert timed.agreed("queries", lambda: timed.over("queries", read, spend)) == ["spent"] * 2

    def learned() -> str:
        timed.agreed("scores", lambda: [timed.over("scores", read, spend), spend(5.0)])
        timed.over("limits", read, spend)
        return spend(0.5)

    timed.agreed("learned", learned)
    assert (timed.seconds, clock[0]) == (5.5, 3 * 24.0 + 5.5)


def test_what_is_up_to_date_costs_nothing(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, data, tmp_path / "work")
    assert call("run", path)[0] == 0
    before = tree(tmp_path)
    told = stages(invoke, "run", path)
    assert {stage["state"] for stage in told.values()} == {"up to date"}
    assert sum(stage["seconds"] for stage in told.values()) == 0
    forced = stages(invoke, "run", path, "--force")
    assert {stage["state"] for stage in forced.values()} == {"up to date"}
    anew = stages(invoke, "run", path, "--rebuild")
    assert {stage["state"] for stage in anew.values()} == {"to do"}
    changed = stages(invoke, "run", path, "--set", "filter.num-negatives=2")
    assert [stage["state"] for stage in changed.values()] == [
        *("up to date", "up to date"),
        *("to do", "to do"),
    ]
    work = tmp_path / "work"
    alone = ("filter", work / "candidates", "--num-negatives", 2, "-o", work / "ledger")
    refused = stages(invoke, *alone)["filter"]
    assert refused["state"].startswith("refused: ")
    assert "num-negatives: 3 -> 2" in refused["state"]
    assert stages(invoke, *alone, "--force")["filter"]["state"] == "to do"
    assert tree(tmp_path) == before


def test_every_stage_alone(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    table = commands(data, tmp_path / "work")
    del table["export"]
    for command in table.values():
        before = tree(tmp_path)
        told = stages(invoke, *command)
        assert list(told) == [command[0]]
        assert told[command[0]]["state"] == "to do"
        assert tree(tmp_path) == before
        assert call(*command)[0] == 0


def test_an_unfinished_stage_says_what_is_there(
    invoke: Invoke, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from negmine.stages.retrieve import mining as stage
    from negmine.table import artifacts as artifact

    work = tmp_path / "work"
    table = commands(data, work)
    assert call(*table["index"])[0] == 0
    monkeypatch.setattr(stage, "PART_ROWS", 60)
    real = artifact.Writer.commit

    def killed(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact.Writer, "commit", killed)
    call(*table["retrieve"])
    monkeypatch.setattr(artifact.Writer, "commit", real)
    before = tree(work)
    told = stages(invoke, *table["retrieve"])["retrieve"]
    assert "files are there" in told["state"]
    assert tree(work) == before


def test_a_mistake_is_told_as_the_run_would(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    missing = invoke("index", "--corpus", tmp_path / "no.jsonl", "-o", tmp_path / "i", "--dry-run")
    assert missing.exit_code == 4
    assert missing.stdout == ""
    unknown = invoke("filter", tmp_path / "none", "-o", tmp_path / "o", "--dry-run")
    assert unknown.exit_code == 4


def _of_enough(invoke: Invoke, candidates: Path, scorer: str) -> None:
    """How deep the pool is, beside what is surely needed of it, counted by hand."""
    rows = pq.read_table(candidates, columns=["qid", "label"]).to_pylist()
    positive = sum(row["label"] == 1 for row in rows)
    others = Counter(row["qid"] for row in rows if row["label"] != 1)
    least = positive + sum(min(count, 4) for count in others.values())
    plain = ("rerank", candidates, "--scorer", scorer, "--enough", 4, "--until", "sampler=rank")
    plain = (*plain, "-o", candidates.parent / "lazily")
    asked = (*plain, "--until", "by=ce")
    told = stages(invoke, *asked, "--until", "max-score=3")["rerank"]["guesses"]
    (line,) = (one for one in told if "--enough" in one)
    assert f"behind about {least:,} of {len(rows):,} at the earliest" in line
    # All that is learned from is scored whole.
    told = stages(invoke, *asked, "--until", "max-fn-rate=0.1", "--until", "fit-sample=100000")
    (line,) = (one for one in told["rerank"]["guesses"] if "--enough" in one)
    assert f"behind about {len(rows):,} of {len(rows):,} at the earliest" in line
    assert f"all of {len(others):,} queries" in line
    # Those that are drawn are scored first: eight of a query, of which some may be positives.
    told = stages(invoke, *plain, "--until", "by=p_prior", "--until", "prior-pool=8")
    (line,) = (one for one in told["rerank"]["guesses"] if "--enough" in one)
    behind = int(line.partition("behind about ")[2].partition(" ")[0].replace(",", ""))
    assert least < behind <= positive + sum(min(count, 8) for count in others.values())


@pytest.mark.real
def test_models_are_tried(
    invoke: Invoke, data: Path, tmp_path: Path, tiny_bi: Path, tiny_cross: Path
) -> None:
    more = f'encoder = {{ tiny = "{tiny_bi}" }}\n[rerank]\nscorer = {{ ce = "{tiny_cross}" }}\n'
    path = recipe(tmp_path, data, tmp_path / "work", more)
    before = tree(tmp_path)
    told = stages(invoke, "run", path)
    assert tree(tmp_path) == before
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_bi / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(64)
    prompt = "passage: of "
    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    lengths = [len(tokenizer.encode(prompt + row["text"]).ids) for row in rows]
    assert told["index"]["tokens"] == sum(lengths)
    assert told["rerank"]["rows"] == told["retrieve"]["rows"]
    assert told["rerank"]["tokens"] > told["rerank"]["rows"]
    assert {"load ce", "score ce"} <= told["rerank"]["breakdown"].keys()
    assert call("run", path)[0] == 0
    assert stages(invoke, "run", path)["rerank"]["state"] == "up to date"
    # With the candidates there, the pairs are counted and not guessed.
    other = stages(
        *(invoke, "rerank", tmp_path / "work" / "candidates", "--scorer", f"ce={tiny_cross}"),
        *("--top", 3, "-o", tmp_path / "other"),
    )["rerank"]
    assert (
        call(
            *("rerank", tmp_path / "work" / "candidates", "--scorer", f"ce={tiny_cross}"),
            *("--top", 3, "-o", tmp_path / "other"),
        )[0]
        == 0
    )
    manifest = json.loads((tmp_path / "other" / "_manifest.json").read_text())
    _of_enough(invoke, tmp_path / "work" / "candidates", f"ce={tiny_cross}")
    assert other["rows"] == manifest["counts"]["scored"]


@pytest.mark.real
def test_gpus_that_share_the_parts_share_the_time(
    invoke: Invoke,
    data: Path,
    tmp_path: Path,
    tiny_bi: Path,
    tiny_cross: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The models run on the CPU; a batch's time is given, and the number of GPUs."""
    from negmine.commands.estimate import index, speed
    from negmine.commands.estimate import rerank as estimate_rerank
    from negmine.stages.rerank import loading

    def told(lengths: np.ndarray, batch_size: int, tokens: int, run: object) -> speed.Speed:
        return speed.Speed(np.array([1.0, 99]), np.array([1.0, 1]), 1.0, batch_size, tokens)

    for module in (index, estimate_rerank):
        monkeypatch.setattr(module, "measure", told)
    monkeypatch.setattr(index, "PART_DOCUMENTS", 5)
    more = f'encoder = {{ tiny = "{tiny_bi}" }}\n[rerank]\nscorer = {{ ce = "{tiny_cross}" }}\n'
    path = recipe(tmp_path, data, tmp_path / "work", more)
    seconds: list[tuple[float, float]] = []
    for devices in (["cuda:0"], ["cuda:0", "cuda:1"]):
        for module in (index, loading):
            monkeypatch.setattr(module, "gpus", lambda asked, used, devices=devices: devices)
        with small_parts():
            found = stages(invoke, "run", path)
        spent = {**found["index"]["breakdown"], **found["rerank"]["breakdown"]}
        seconds.append((spent["encode tiny"], spent["score ce"]))
    one, two = seconds
    assert min(one) > 1
    assert two == pytest.approx([value / 2 for value in one])


@pytest.mark.real
def test_a_margin_leaves_something_of_a_trial_of_random_vectors(
    invoke: Invoke, data: Path, tmp_path: Path, tiny_bi: Path
) -> None:
    more = f'bm25 = false\nencoder = {{ tiny = "{tiny_bi}" }}\n'
    path = recipe(tmp_path, data, tmp_path / "work", more)
    path.write_text(path.read_text().replace("[filter]\n", "[filter]\nrelative-margin = 0.05\n"))
    told = stages(invoke, "run", path)
    # One positive per query at least, three negatives each if the rule is not in the way.
    assert told["export"]["rows"] >= 3 * QUERIES // 2
    assert told["export"]["disk_bytes"] > 0


@pytest.mark.real
def test_signatures_and_approximate_indexes_are_counted(
    invoke: Invoke, data: Path, tmp_path: Path, tiny_bi: Path
) -> None:
    command = ["index", "--corpus", data, "--no-bm25", "--encoder", f"tiny={tiny_bi}"]
    out = ["-o", tmp_path / "index"]
    plain = stages(invoke, *command, "--no-signatures", *out)["index"]
    told = stages(invoke, *command, "--ann", "HNSW8", *out)["index"]
    assert {"signatures", "approximate index"} <= told["breakdown"].keys()
    assert not {"signatures", "approximate index"} & plain["breakdown"].keys()
    assert call(*command, "--ann", "HNSW8", *out)[0] == 0
    size = sum(
        path.stat().st_size
        for folder in ("signatures", "ann")
        for path in (tmp_path / "index" / folder).rglob("*")
        if path.suffix in (".npy", ".faiss")
    )
    assert told["disk_bytes"] - plain["disk_bytes"] == pytest.approx(size, rel=0.05)
    assert stages(invoke, *command, "--ann", "HNSW8", *out)["index"]["state"] == "up to date"
    # Too few vectors to train it: its size is known all the same.
    coarse = stages(invoke, *command, "--ann", "IVF4096,Flat", "-o", tmp_path / "other")["index"]
    assert coarse["disk_bytes"] > plain["disk_bytes"]
    assert "approximate index" not in coarse["breakdown"]
    assert any("IVF4096,Flat" in guess for guess in coarse["guesses"])
    unknown = invoke(*command, "--ann", "nosuch", *out, "--force", "--dry-run")
    assert unknown.exit_code == 2
