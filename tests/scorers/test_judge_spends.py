"""A judge's calls from the command line: limits, faults, keys, and files in the place of calls."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.chains import call
from tests.conftest import Invoke
from tests.scorers import judged
from tests.servers.answers import packed
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.faults import Fault
from tests.servers.journal import asked_again

CANARY = "sk-canary-0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    class Done:
        def __init__(self, code: int, output: str) -> None:
            self.exit_code, self.output = code, output

    made = tmp_path_factory.mktemp("judged")
    judged.make_candidates(made, lambda *arguments: Done(*call(*arguments)))
    return made


def rerank(invoke: Invoke, folder: Path, server: ChatServer | str, out: Path, *more: object) -> Any:
    url = server if isinstance(server, str) else server.url
    scorer = ("--scorer", f"judge=llm:{MODEL}@{url}", "--judge-by", "logprobs", "--retries", 0)
    return invoke("rerank", folder / "candidates", *scorer, *more, "-o", out)


def undisturbed(invoke: Invoke, folder: Path, tmp_path: Path) -> tuple[Path, ChatServer]:
    """The table of a run that nothing stops, and the server that answered it."""
    whole = tmp_path / "whole" / "scored"
    with judged.server(folder / "data") as server:
        assert rerank(invoke, folder, server, whole).exit_code == 0
    return whole, server


def test_a_limit_stops_it_and_the_same_command_goes_on(
    folder: Path, tmp_path: Path, invoke: Invoke
) -> None:
    whole, server = undisturbed(invoke, folder, tmp_path)
    calls = server.journal.count("answered")
    limit = calls // 3 + 1
    with judged.server(folder / "data") as server:
        out = tmp_path / "scored"
        for done in (limit, 2 * limit):
            stopped = rerank(invoke, folder, server, out, "--max-calls", limit)
            assert stopped.exit_code == 9
            assert f"stopped at --max-calls {limit}" in stopped.stderr
            assert "the same command goes on" in stopped.stderr
            assert "Traceback" not in stopped.output
            assert server.journal.count("answered") == done
        assert rerank(invoke, folder, server, out, "--max-calls", limit).exit_code == 0
        assert server.journal.count("answered") == calls
        assert not asked_again(server.journal.entries)
    # The client's options are no part of what comes out.
    for part in sorted(whole.glob("part-*.parquet")):
        assert (out / part.name).read_bytes() == part.read_bytes()


def test_a_server_that_goes_away_stops_it(folder: Path, tmp_path: Path, invoke: Invoke) -> None:
    with judged.server(folder / "data", faults=[Fault("reset", numbers=range(50, 999))]) as server:
        stopped = rerank(invoke, folder, server, tmp_path / "scored")
        assert stopped.exit_code == 10, stopped.output
        assert "does not answer" in stopped.stderr
        server.faults = ()
        assert rerank(invoke, folder, server, tmp_path / "scored").exit_code == 0
        assert not asked_again(server.journal.entries)


def test_a_key_is_in_no_file_and_no_message(
    folder: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEGMINE_API_KEY_JUDGE", CANARY)
    out, shown = tmp_path / "scored", ""
    with judged.server(folder / "data", settings=Settings(api_key=CANARY)) as server:
        for more in (("--max-calls", 20), ("-v",), ("--dry-run",), ("--log-format", "json")):
            shown += rerank(invoke, folder, server, out, *more).output
        assert (out / "_manifest.json").is_file()
        monkeypatch.setenv("NEGMINE_API_KEY_JUDGE", f"{CANARY}-of-another")
        refused = rerank(invoke, folder, server, tmp_path / "other" / "scored")
        assert refused.exit_code == 10
        assert "NEGMINE_API_KEY_JUDGE" in refused.stderr
        shown += refused.output
    assert CANARY not in shown
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


def answer(batch: Path, server: ChatServer, rounds: int) -> int:
    """Answer the files that wait, as a hosted batch would; how many requests there were."""
    rows: list[dict[str, Any]] = []
    for file in sorted(batch.glob("requests-*.jsonl")):
        if not (batch / f"output-of-{file.name}").exists():
            for number, line in enumerate(file.read_text().splitlines()):
                row = json.loads(line)
                said = packed(server.answer(row["body"]), row["body"], MODEL, number, None)
                response = {"status_code": 200, "body": said}
                rows.append({"custom_id": row["custom_id"], "response": response, "error": None})
            text = "".join(json.dumps(row) + "\n" for row in reversed(rows))
            (batch / f"output-of-{file.name}").write_text(text)
    return len(rows)


def test_files_take_the_place_of_calls(
    folder: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, server = undisturbed(invoke, folder, tmp_path)

    def refused(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    out, written = tmp_path / "scored", []
    while (done := rerank(invoke, folder, server, out, "--via", "batch")).exit_code == 9:
        assert "vllm run-batch" in done.stderr
        written.append(answer(tmp_path / "batch" / "judge", server, len(written)))
        assert written[-1] > 0
    assert done.exit_code == 0, done.output
    # What it is examined on, then the whole table.
    assert len(written) == 2
    # Who answers is not asked over files: the fingerprint is another, and the rows are the same.
    assert judged.rows_of(out) == judged.rows_of(whole)


def test_what_expires_in_a_batch_is_written_again_and_what_is_refused_has_no_verdict(
    folder: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """An error file that says the same of two parts, and one beside the answers."""
    whole, server = undisturbed(invoke, folder, tmp_path)
    out, batch = tmp_path / "scored", tmp_path / "batch" / "judge"

    def asked(number: int) -> list[dict[str, Any]]:
        text = (batch / f"requests-{number:05d}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def waits() -> str:
        done = rerank(invoke, folder, server, out, "--via", "batch")
        assert done.exit_code == 9, done.output
        return " ".join(done.stderr.split())

    waits()
    for number in (1, 2):
        late = {"code": "batch_expired", "message": "not in time"}
        rows = [{"custom_id": row["custom_id"], "error": late} for row in asked(number)]
        (batch / f"errors-{number}.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
        assert f"to be asked again: {len(rows)} batch_expired" in waits()
        assert asked(number + 1) == asked(1)
        (batch / f"output-of-requests-{number:05d}.jsonl").write_text("")
    answer(batch, server, 0)
    waits()
    answer(batch, server, 1)
    # The last answer is of the first question of the table.
    *rest, last = (batch / "output-of-requests-00004.jsonl").read_text().splitlines()
    (batch / "output-of-requests-00004.jsonl").write_text("".join(f"{row}\n" for row in rest))
    body = {"error": {"message": "It is not to be answered."}}
    refusal = {**json.loads(last), "response": {"status_code": 400, "body": body}}
    (batch / "errors-4.jsonl").write_text(json.dumps(refusal) + "\n")
    done = rerank(invoke, folder, server, out, "--via", "batch")
    assert done.exit_code == 0, done.output
    assert "1 failed for good" in done.stderr
    pairs = zip(judged.rows_of(out), judged.rows_of(whole), strict=True)
    [(other, _)] = [(row, right) for row, right in pairs if row != right]
    assert (other["verdict_judge"], other["reason_judge"]) == ("unjudged", "failed")
    assert other["score_judge"] is None
