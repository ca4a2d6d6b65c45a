"""A key on the way through every command that asks a server: it is written and said nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from negmine.endpoints.store import FILE
from tests import judged
from tests.conftest import Invoke
from tests.servers.answers import Said, schema_of, writing
from tests.servers.chat import MODEL, ChatServer, Settings

CANARY = "sk-canary-0123456789abcdef"
#: Queries: known positives enough to examine a judge on, and to correct it by.
QUERIES = 24
LOUD = ("-v", "--log-format", "json")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return judged.collection(tmp_path / "data", QUERIES)


@pytest.fixture
def server(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """Judges, writes and encodes, for who has the key."""
    monkeypatch.setenv("NEGMINE_API_KEY", CANARY)
    judge = judged.answerer(data)

    def answer(body: Mapping[str, Any]) -> Said:
        writes = "texts" in (schema_of(body) or {}).get("properties", {})
        about_written = "Page 0." in str(body["messages"])
        return writing(body) if writes or about_written else judge(body)

    with ChatServer(answer, Settings(api_key=CANARY)) as there:
        yield there


def commands(data: Path, work: Path, server: ChatServer) -> dict[str, tuple[object, ...]]:
    """Every command that asks a server, in their order."""
    task = ("--queries", data, "--qrels", data)
    model = f"{MODEL}@{server.url}"
    return {
        "index": (
            *("index", "--corpus", data, "--encoder", f"v=openai:{model}"),
            *("--no-bm25", "-o", work / "index"),
        ),
        "retrieve": (
            *("retrieve", work / "index", *task, "--source", "v", "-k", judged.DEPTH),
            *("--source", "chance=random:4", "-o", work / "candidates"),
        ),
        "rerank": (
            *("rerank", work / "candidates", "--scorer", f"judge=llm:{model}"),
            *("--scorer", f"ce=cohere:{model}", "-o", work / "scored"),
        ),
        "filter": ("filter", work / "scored", "--by", "v", "-o", work / "ledger"),
        "audit": (
            # One document a call is answered already: that is what rerank asked.
            *("audit", work / "ledger", "--judge", f"again=llm:{model}", "--per-call", 3),
            *("--sample", 60, "--sheet", work / "sheet.csv", "-o", work / "audit"),
        ),
        "write": (
            *("write", work / "ledger", "--kind", "negative", "--writer", f"w=llm:{model}"),
            *("-o", work / "written"),
        ),
        "export": (
            *("export", work / "ledger", "--batcher", "ngame", "--batch-size", 4),
            # Of other queries together than those that retrieve asked about.
            *("--cluster-size", 4, "--split", 0.3, "-o", work / "train.jsonl"),
        ),
    }


def holding_it(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if CANARY.encode() in path.read_bytes()]


def test_it_is_in_no_file_and_no_message(
    data: Path, server: ChatServer, tmp_path: Path, invoke: Invoke
) -> None:
    work, shown = tmp_path / "work", ""
    for name, command in commands(data, work, server).items():
        before = server.journal.count("answered")
        for more in (("--dry-run",), LOUD):
            done = invoke(*command, *more)
            assert done.exit_code == 0, f"{name}: {done.output}"
            shown += done.output
        # Who is let in has the key: it did go to the server.
        assert (server.journal.count("answered") > before) == (name != "filter"), name
    for more in (("inspect", work / "ledger"), ("report", work / "ledger", "-o", work / "r.html")):
        done = invoke(*more)
        assert done.exit_code == 0, done.output
        shown += done.output
    assert CANARY not in shown
    assert list(tmp_path.rglob(FILE)), "answers are kept"
    assert holding_it(tmp_path) == []


def test_it_is_in_no_batch_file_and_no_refusal(
    data: Path, server: ChatServer, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    given = commands(data, work, server)
    mined = ("filter", work / "candidates", "--by", "v", "-o", work / "ledger")
    for command in (given["index"], given["retrieve"], mined):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    scored = ("rerank", work / "candidates", "--scorer", f"judge=llm:{MODEL}@{server.url}")
    done = invoke(*scored, "--via", "batch", *LOUD, "-o", tmp_path / "files" / "scored")
    assert done.exit_code == 9, done.output
    assert list((tmp_path / "files" / "batch" / "judge").glob("requests-*.jsonl"))
    shown = done.output
    monkeypatch.setenv("NEGMINE_API_KEY", f"{CANARY}-of-another")
    for name in ("rerank", "audit", "write", "export"):
        done = invoke(*given[name], *LOUD, "--retries", 0)
        assert done.exit_code == 10, f"{name}: {done.output}"
        assert "NEGMINE_API_KEY" in done.output
        shown += done.output
    assert CANARY not in shown
    assert holding_it(tmp_path) == []
