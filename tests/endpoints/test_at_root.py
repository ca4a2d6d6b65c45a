"""Servers whose paths are at the root of their URL, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import judged
from tests.conftest import Invoke
from tests.servers.chat import MODEL, ChatServer, Settings

QUERIES = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged.collection(tmp_path_factory.mktemp("judged") / "data", QUERIES)


@pytest.fixture(scope="module")
def table(data: Path) -> Path:
    return judged.candidates(data, data.parent)


def test_judges_rerankers_and_encoders_are_asked_there(
    data: Path, table: Path, tmp_path: Path, invoke: Invoke
) -> None:
    with ChatServer(judged.answerer(data), Settings(at_root=True)) as server:
        for name, kind in (("judge", "llm"), ("ce", "cohere")):
            scorer = ("--scorer", f"{name}={kind}:{MODEL}@{server.root}/.")
            more = ("--examine", 0, "--trust-anyway") if kind == "llm" else ()
            done = invoke("rerank", table, *scorer, *more, "-o", tmp_path / name)
            assert done.exit_code == 0, done.output
            rows = judged.rows(tmp_path / name).values()
            assert all(row[f"score_{name}"] is not None for row in rows)
        encoder = ("--encoder", f"v=openai:{MODEL}@{server.root}/.", "--no-bm25")
        done = invoke("index", "--corpus", data, *encoder, "-o", tmp_path / "index")
        assert done.exit_code == 0, done.output
        # Queries go where the documents went, which the index says.
        asked = ("--queries", data, "--qrels", data, "-k", 3)
        done = invoke("retrieve", tmp_path / "index", *asked, "-o", tmp_path / "candidates")
        assert done.exit_code == 0, done.output


def test_a_url_without_a_path_is_told_how_to_say_so(
    data: Path, table: Path, tmp_path: Path, invoke: Invoke
) -> None:
    with ChatServer(judged.answerer(data), Settings(at_root=True)) as server:
        scorer = ("--scorer", f"ce=cohere:{MODEL}@{server.root}")
        done = invoke("rerank", table, *scorer, "-o", tmp_path / "scored")
    assert done.exit_code == 10, done.output
    assert "http://HOST:PORT/. is the root" in " ".join(done.stderr.split())
