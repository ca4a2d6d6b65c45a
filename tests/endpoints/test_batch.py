"""Questions and answers as files: no connection is opened."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from negmine.endpoints import batch, chat, identity
from negmine.endpoints.asking import Client
from negmine.endpoints.budget import Budget, Limits, Prices
from negmine.endpoints.request import Answer, Failure
from negmine.endpoints.store import Store
from negmine.errors import PausedError, UsageError
from tests.endpoints.asked import ask, assert_right, client, questions, text
from tests.servers.chat import MODEL

Row = dict[str, Any]
NOWHERE = "http://192.0.2.1/v1"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def by_batch(folder: Path, budget: Budget | None = None) -> Client:
    return client(NOWHERE, folder, budget, via="batch")


def paused(folder: Path, count: int, budget: Budget | None = None) -> str:
    with by_batch(folder, budget) as one:
        identity.identify(one)
        with pytest.raises(PausedError) as error:
            ask(one, questions(count))
    assert error.value.exit_code == 9
    return str(error.value)


def written(folder: Path) -> list[list[Row]]:
    files = sorted((folder / "batch" / "judge").glob("requests-*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def result(row: Row, **body: Any) -> Row:
    """What a server writes to a request."""
    said = row["body"]["messages"][-1]["content"]
    choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    told = {"model": "m", "choices": [choice], "usage": usage, **body}
    response = {"status_code": 200, "request_id": "r", "body": told}
    return {"id": "b", "custom_id": row["custom_id"], "response": response, "error": None}


def expired(row: Row) -> Row:
    error = {"code": "batch_expired", "message": "This request could not be executed in time."}
    return {"id": "b", "custom_id": row["custom_id"], "response": None, "error": error}


def refused(row: Row, status: int = 400) -> Row:
    body = {"error": {"message": "It is not to be answered.", "code": "bad"}}
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": row["custom_id"], "response": response, "error": None}


def put(folder: Path, name: str, rows: Sequence[Row], more: str = "") -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "batch" / "judge" / name).write_text(lines + more)


def test_questions_are_written_and_answers_read_in_any_order(tmp_path: Path) -> None:
    message = paused(tmp_path, 5)
    assert "5 requests of 'judge' wait for their answers, 5 of them new" in message
    ((*rows,),) = written(tmp_path)
    assert [row["custom_id"] for row in rows] == [request.key for request in questions(5)]
    for row, request in zip(rows, questions(5), strict=True):
        assert (row["method"], row["url"]) == ("POST", "/v1/chat/completions")
        assert row["body"] == request.body
    # Nothing came back yet: nothing is written again.
    assert "0 of them new" in paused(tmp_path, 5)
    assert len(written(tmp_path)) == 1
    put(tmp_path, "output.jsonl", [result(row) for row in reversed(rows)])
    with by_batch(tmp_path) as one:
        found = ask(one, questions(5))
        assert_right(found, 5)
        assert {answer.usage.tokens for answer in found.values()} == {9}  # type: ignore[union-attr]
    # What is stored does not need the files.
    shutil.rmtree(tmp_path / "batch")
    with by_batch(tmp_path) as one:
        assert_right(ask(one, questions(5)), 5)


def test_of_several_that_write_at_once_each_request_is_in_one_file(tmp_path: Path) -> None:
    """As shards do, which all ask what an examination asks, and each what its own parts ask."""
    for trial in range(4):
        folder, begin = tmp_path / str(trial), threading.Barrier(4)

        def write(number: int, folder: Path, begin: threading.Barrier) -> None:
            with by_batch(folder) as one:
                for some in (questions(20), questions(5, 100 * (number + 1))):
                    one.collect(some, chat.problem)
                # It is written when the client is closed.
                begin.wait()

        threads = [
            threading.Thread(target=write, args=(number, folder, begin)) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        files = sorted((folder / "batch" / "judge").iterdir())
        lines = {file.name: file.read_text().splitlines() for file in files}
        keys = {
            name: [json.loads(one)["custom_id"] for one in some] for name, some in lines.items()
        }
        every = [key for some in keys.values() for key in some]
        expected = [*questions(20), *(one for n in range(1, 5) for one in questions(5, 100 * n))]
        assert sorted(every) == sorted(request.key for request in expected)
        with Store(folder / "answers") as store:
            told = store.read("SELECT key, part FROM asked")
        assert sorted(told) == sorted(
            (key, f"judge/{name}") for name, some in keys.items() for key in some
        )


def test_what_expires_twice_in_the_same_bytes_is_written_again(tmp_path: Path) -> None:
    paused(tmp_path, 1)
    for number in (1, 2):
        rows = written(tmp_path)[-1]
        put(tmp_path, f"errors-{number}.jsonl", [expired(rows[0])])
        assert "1 of them new" in paused(tmp_path, 1)
        assert "0 of them new" in paused(tmp_path, 1)
    put(tmp_path, "output.jsonl", [result(written(tmp_path)[-1][0])])
    with by_batch(tmp_path) as one:
        assert_right(ask(one, questions(1)), 1)


def test_all_parts_are_written_before_anything_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_REQUESTS", 4)
    with by_batch(tmp_path) as one:
        for start in range(0, 10, 5):
            one.collect(questions(5, start), chat.problem)
        with pytest.raises(PausedError, match="10 requests"):
            ask(one, questions(5))
    assert [len(part) for part in written(tmp_path)] == [4, 4, 2]
    monkeypatch.setattr(batch, "MOST_BYTES", 500)
    monkeypatch.setattr(batch, "MOST_REQUESTS", 100)
    paused(tmp_path, 16)
    sizes = [
        file.stat().st_size
        for file in sorted((tmp_path / "batch" / "judge").glob("requests-*.jsonl"))[3:]
    ]
    assert len(sizes) > 1
    assert max(sizes) <= 500


def test_what_is_expired_or_missing_is_written_again_and_what_is_refused_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "negmine")
    paused(tmp_path, 8)
    ((*rows,),) = written(tmp_path)
    put(tmp_path, "output.jsonl", [result(row) for row in rows[:3]])
    errors = [expired(rows[3]), refused(rows[4]), refused(rows[5], 500), refused(rows[6], 429)]
    put(tmp_path, "errors.jsonl", errors)
    message = paused(tmp_path, 8)
    told = caplog.text
    assert (
        "3 answers, 1 failed for good, to be asked again: 1 batch_expired, 1 rate, 1 serv" in told
    )
    assert "4 requests of 'judge' wait for their answers, 4 of them new" in message
    first, again = written(tmp_path)
    assert first == rows
    assert [row["custom_id"] for row in again] == [rows[n]["custom_id"] for n in (3, 5, 6, 7)]
    # The files of the first part are there still, and say nothing of the second.
    assert "0 of them new" in paused(tmp_path, 8)
    put(tmp_path, "output-2.jsonl", [result(row) for row in again])
    with by_batch(tmp_path) as one:
        found = dict(ask(one, questions(8)))
        failed = found.pop(rows[4]["custom_id"])
        assert isinstance(failed, Failure)
        assert "It is not to be answered." in failed.message
        assert len(found) == 7
        assert one.describe()["failed"] == 1


def test_strange_results_are_told_and_nothing_is_made_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "negmine")
    paused(tmp_path, 4)
    ((*rows,),) = written(tmp_path)
    same, other = result(rows[0]), result(rows[1], choices=[{"message": {"content": "else"}}])
    stranger = {**result(rows[0]), "custom_id": "of-somebody-else"}
    whole = [result(row) for row in rows[:3]]
    put(tmp_path, "a.jsonl", [*whole, same, other, stranger, {"no": "id"}], '{"custom_id": "cut')
    put(tmp_path, "b.jsonl", [other, result(rows[3], choices=[])])
    with by_batch(tmp_path) as one:
        found = dict(ask(one, questions(4)))
    failed = found.pop(rows[3]["custom_id"])
    assert isinstance(failed, Failure)
    assert failed.kind == "garbled"
    assert_right(found, 3)
    told = caplog.text
    assert "1 answers once more" in told
    assert "2 requests have another answer already: the first is kept" in told
    assert "1 custom_ids are of no request here, such as 'of-somebody-else'" in told
    assert "2 lines are no results, the first: " in told
    assert "a.jsonl:7" in told


def test_files_that_went_away_are_written_again(tmp_path: Path) -> None:
    paused(tmp_path, 3)
    ((*rows,),) = written(tmp_path)
    (tmp_path / "batch" / "judge" / "requests-00001.jsonl").unlink()
    assert "3 of them new" in paused(tmp_path, 3)
    assert written(tmp_path) == [rows]


def test_a_limit_says_how_much_is_written(tmp_path: Path) -> None:
    assert "3 more are left for the limit" in paused(tmp_path, 5, Budget(Limits(calls=2)))
    ((*rows,),) = written(tmp_path)
    assert len(rows) == 2
    put(tmp_path, "output.jsonl", [result(row) for row in rows])
    assert "2 requests" in paused(tmp_path, 5, Budget(Limits(calls=2)))
    assert [len(part) for part in written(tmp_path)] == [2, 2]


def test_a_limit_on_the_cost_needs_prices(tmp_path: Path) -> None:
    limited = by_batch(tmp_path, Budget(Limits(cost=1)))
    with limited as one, pytest.raises(UsageError, match="--price"):
        ask(one, questions(2))
    assert not (tmp_path / "batch").exists()
    # A question here is about 370 tokens at worst, 256 of them for what a server adds.
    assert "left for the limit" in paused(tmp_path, 9, Budget(Limits(cost=1.2), Prices(1000, 1000)))
    ((*rows,),) = written(tmp_path)
    assert 1 < len(rows) < 9


def _lines(folder: Path) -> Iterator[str]:
    for file in (folder / "batch").rglob("*.jsonl"):
        yield from file.read_text().splitlines()


def test_a_file_holds_questions_of_one_model(tmp_path: Path) -> None:
    paused(tmp_path, 2)
    assert {path.name for path in (tmp_path / "batch").iterdir()} == {"judge"}
    assert all(text(n) in line for n, line in enumerate(_lines(tmp_path)))


def test_an_answer_of_another_model_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """The server had another model of that name before: its answers are not these."""
    with by_batch(tmp_path) as one:
        one.store.put([(request, Answer({"of": "before"})) for request in questions(3)], "m before")
        one.store.remember(NOWHERE, MODEL, "m now", {"id": "m"})
    paused(tmp_path, 3)
    ((*rows,),) = written(tmp_path)
    put(tmp_path, "output.jsonl", [result(row) for row in rows])
    with by_batch(tmp_path) as one:
        identity.identify(one)
        assert_right(ask(one, questions(3)), 3)
