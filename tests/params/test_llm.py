"""Options of models behind HTTP are told where no such model is asked, and only there."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from negmine.params.llm import EndpointOptions
from tests import judged
from tests.conftest import Invoke
from tests.hashed_scorer import hashed
from tests.servers.chat import MODEL, ChatServer

__all__ = ["hashed"]

IDLE = "has no effect without a model behind HTTP"
GIVEN = {
    "max_calls": 7,
    "max_tokens": 700,
    "max_cost": 0.5,
    "price": "1,2",
    "concurrency": 3,
    "timeout": 9,
    "retries": 2,
    "via": "batch",
    "batch_folder": "batches",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged.collection(tmp_path_factory.mktemp("judged") / "data", 4)


@pytest.fixture(scope="module")
def table(data: Path) -> Path:
    return judged.candidates(data, data.parent)


def words(*names: str) -> list[str]:
    return [word for name in names for word in (f"--{name.replace('_', '-')}", f"{GIVEN[name]}")]


def told(stderr: str) -> list[str]:
    """The options that are said to change nothing."""
    lines = [line.removeprefix("warning: --") for line in stderr.splitlines() if IDLE in line]
    return sorted(line.removesuffix(f" {IDLE}").replace("-", "_") for line in lines)


def test_every_option_is_tried() -> None:
    assert sorted(GIVEN) == sorted(field.name for field in fields(EndpointOptions))


def test_where_no_server_is_asked_each_option_is_told(
    data: Path, table: Path, hashed: str, tmp_path: Path, invoke: Invoke
) -> None:
    calls = [name for name in GIVEN if name not in ("via", "batch_folder")]
    asked = ("--queries", data, "--qrels", data)
    run = ("--run", f"words={data / 'words.trec'}")
    index, pairs = table.parent / "index", ("--kind", "minimal-pair")
    for command, names in (
        (("index", "--corpus", data, "--no-bm25"), calls),
        (("retrieve", index, *asked, *run), calls),
        (("rerank", table, "--scorer", f"ce={hashed}/{tmp_path / 'log'}"), list(GIVEN)),
        (("write", index, *asked, *pairs), list(GIVEN)),
    ):
        for given in ([], names):
            out = tmp_path / f"{command[0]}-{len(given)}"
            result = invoke(*command, *words(*given), "-o", out)
            assert result.exit_code == 0, result.output
            assert told(result.stderr) == sorted(given)


def test_where_one_is_asked_none_is(
    data: Path, table: Path, tmp_path: Path, invoke: Invoke
) -> None:
    limits = [name for name in GIVEN if name not in ("via", "batch_folder", "max_calls")]
    with ChatServer(judged.answerer(data)) as server:
        judge = ("--scorer", f"judge=llm:{MODEL}@{server.url}", "--examine", 0, "--trust-anyway")
        result = invoke("rerank", table, *judge, *words(*limits), "-o", tmp_path / "scored")
        assert result.exit_code in (0, 9), result.output
        assert told(result.stderr) == []
        vectors = ("--encoder", f"v=openai:{MODEL}@{server.url}", "--max-calls", 99, "--no-bm25")
        result = invoke("index", "--corpus", data, *vectors, "-o", tmp_path / "index")
        assert result.exit_code == 0, result.output
        assert told(result.stderr) == []
        asked = ("--queries", data, "--qrels", data, "--max-calls", 99)
        result = invoke("retrieve", tmp_path / "index", *asked, "-o", tmp_path / "candidates")
        assert result.exit_code == 0, result.output
        assert told(result.stderr) == []
