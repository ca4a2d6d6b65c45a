"""Many questions to one server: kept on arrival, made again, bounded, and stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from negmine.endpoints import chat
from negmine.endpoints.budget import Budget, Limits
from negmine.endpoints.request import Answer, Failure
from negmine.endpoints.store import Store
from negmine.errors import EndpointError
from tests.conftest import ROOT
from tests.endpoints.asked import (
    answered,
    ask,
    assert_right,
    client,
    questions,
    serving,
    text,
)
from tests.servers.answers import Said
from tests.servers.chat import ChatServer
from tests.servers.faults import Fault, Kind
from tests.servers.journal import asked_again, read


def test_every_question_is_asked_once_and_its_answer_kept(tmp_path: Path) -> None:
    with serving() as server:
        with client(server, tmp_path) as first:
            assert_right(ask(first, [*questions(60), *questions(10)]), 60)
            assert first.describe()["answered"] == 60
        with client(server, tmp_path) as second:
            assert_right(ask(second, questions(61)), 61)
            assert second.describe()["from_store"] == 60
        assert server.journal.count("asked") == 61
        assert set(answered(server).values()) == {1}
    keys = [request.key for request in questions(70)]
    assert Store(tmp_path / "answers").known(keys) == 61


def test_what_is_under_way_is_bounded(tmp_path: Path) -> None:
    with serving(latency=0.01) as server, client(server, tmp_path, concurrency=3) as one:
        ask(one, questions(30))
        assert max(entry.in_flight for entry in server.journal.entries) == 3


PASSING: list[tuple[Kind, dict[str, object]]] = [
    ("busy", {}),
    ("busy", {"retry_after": 0.1}),
    ("error", {"status": 500}),
    ("error", {"status": 503}),
    ("error", {"status": 408}),
    ("reset", {}),
    ("cut", {}),
    ("truncated", {}),
    ("html", {}),
    ("wrong_schema", {}),
    ("no_choices", {}),
]


@pytest.mark.parametrize(("kind", "how"), PASSING)
def test_a_fault_that_passes_costs_nothing_but_time(
    kind: Kind, how: dict[str, object], tmp_path: Path
) -> None:
    fault = Fault(kind, share=0.3, attempts=2, **how)  # type: ignore[arg-type]
    with serving(fault) as server, client(server, tmp_path, Budget(Limits(calls=30))) as one:
        assert_right(ask(one, questions(30)), 30)
        assert answered(server).total() == 30
        assert server.journal.count("asked") > 30
        # A call counts once, however often it had to be made.
        assert one.budget.spent.calls == 30


def test_a_date_to_come_back_at_is_kept(tmp_path: Path) -> None:
    fault = Fault("busy", numbers=[1], retry_after="date")
    with serving(fault) as server, client(server, tmp_path) as one:
        started = time.monotonic()
        assert_right(ask(one, questions(1)), 1)
        assert time.monotonic() - started > 0.5


def test_a_server_that_lets_few_in_is_asked_more_slowly(tmp_path: Path) -> None:
    with serving(at_once=2, latency=0.01) as server, client(server, tmp_path) as one:
        assert_right(ask(one, questions(40)), 40)
        assert server.journal.count("failed") < 40


def test_one_that_says_busy_for_ever_ends_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    with serving(Fault("busy", numbers=range(11, 10_000))) as server:
        with client(server, tmp_path, concurrency=2, retries=3) as one:
            with pytest.raises(EndpointError, match="429: Rate limit") as stopped:
                ask(one, questions(30))
            assert "stored" in str(stopped.value)
        server.faults = ()
        with client(server, tmp_path) as one:
            assert_right(ask(one, questions(30)), 30)
            assert one.describe()["from_store"] == 10
        assert not asked_again(server.journal.entries)


def test_one_that_asks_to_wait_for_hours_ends_the_run(tmp_path: Path) -> None:
    with serving(Fault("busy", retry_after=7200)) as server, client(server, tmp_path) as one:
        with pytest.raises(EndpointError, match="asks to wait 2 h"):
            ask(one, questions(3))
        assert server.journal.count("asked") <= 3


@pytest.mark.parametrize(
    ("kind", "how", "failure"),
    [
        ("error", {}, "server"),
        ("truncated", {}, "garbled"),
        ("wrong_schema", {}, "garbled"),
        ("hang", {"seconds": 0.5}, "timeout"),
        ("too_long", {}, "too-long"),
    ],
)
def test_one_question_that_fails_each_time_is_a_failure(
    kind: Kind, how: dict[str, object], failure: str, tmp_path: Path
) -> None:
    fault = Fault(kind, holding=text(7), **how)  # type: ignore[arg-type]
    with serving(fault) as server:
        with client(server, tmp_path, timeout=0.3, retries=3) as one:
            found = dict(ask(one, questions(12)))
        failed = found.pop(questions(1, 7)[0].key)
        assert isinstance(failed, Failure)
        assert failed.kind == failure
        assert failed.message
        assert len(found) == 11
        tries = {"too-long": 1, "timeout": 3}.get(failure, 4)
        assert server.journal.count("asked") == 11 + tries
        # It is asked again by the next run, and is no reason to stop it.
        with client(server, tmp_path, timeout=0.3, retries=3) as one:
            assert isinstance(ask(one, questions(12))[questions(1, 7)[0].key], Failure)
        assert server.journal.count("asked") == 11 + 2 * tries


@pytest.mark.parametrize(
    ("fault", "settings", "message"),
    [
        (Fault("error"), {}, "500: The server had an error"),
        (Fault("html"), {}, "no JSON"),
        (Fault("hang"), {}, "no whole answer within 0.2 s"),
        (Fault("reset"), {}, "does not answer"),
        (Fault("error", status=401), {}, "refuses: 401.*\n.*NEGMINE_API_KEY_JUDGE"),
        (Fault("error", status=404), {}, "refuses: 404"),
        (Fault("no_choices", numbers=[]), {"refuses": ["max_tokens"]}, "max_tokens is not support"),
    ],
)
def test_a_server_that_fails_on_everything_ends_the_run(
    fault: Fault, settings: dict[str, list[str]], message: str, tmp_path: Path
) -> None:
    with (
        serving(fault, **settings) as server,
        client(server, tmp_path, timeout=0.2, retries=2) as one,
    ):
        with pytest.raises(EndpointError, match=message):
            ask(one, questions(200))
        assert server.journal.count("asked") < 100


def test_a_few_questions_are_enough_to_see_that_nobody_is_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with client(url, tmp_path, retries=1) as one, pytest.raises(EndpointError, match="refused"):
            ask(one, questions(1))


def test_an_interrupt_keeps_what_is_under_way(tmp_path: Path) -> None:
    told: list[int] = []

    def interrupted(count: int) -> None:
        told.append(count)
        # Once: who is interrupted again does not wait for what is under way.
        if len(told) == 1:
            raise KeyboardInterrupt

    with serving(latency=0.05) as server:
        with client(server, tmp_path) as one, pytest.raises(KeyboardInterrupt):
            one.ask(questions(30), progress=interrupted)
        assert 4 <= server.journal.count("asked") <= 6
        with client(server, tmp_path) as one:
            assert_right(ask(one, questions(30)), 30)
        assert not asked_again(server.journal.entries)


SCRIPT = """
    import sys
    from pathlib import Path
    from tests.endpoints.asked import ask, assert_right, client, questions
    with client(sys.argv[1], Path(sys.argv[2]), concurrency=4) as one:
        print("begins", flush=True)
        assert_right(ask(one, questions(150)), 150)
"""


def test_a_kill_repeats_only_what_was_under_way(tmp_path: Path) -> None:
    with ChatServer(serving().answer, journal=tmp_path / "log.jsonl") as server:
        server.settings = serving(latency=0.01).settings
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), server.url, str(tmp_path)]
        kills = 0
        while True:
            run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
            assert run.stdout is not None
            run.stdout.readline()
            before = server.journal.count("answered")
            while run.poll() is None and server.journal.so_far("answered") < before + 40:
                time.sleep(0.002)
            if run.poll() is not None:
                assert run.returncode == 0
                break
            run.kill()
            run.wait()
            kills += 1
        assert kills >= 2
    again = asked_again(read(tmp_path / "log.jsonl"))
    assert len(again) <= 4 * kills, "what was answered, but not yet stored"


def test_who_answers_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fault = Fault("wrong_model", holding=text(3))
    with serving(fault) as server, client(server, tmp_path) as one:
        ask(one, questions(5))
        assert len(one.describe()["answered_by"]) == 2
    assert "several models answer for 'judge'" in caplog.text


def test_half_a_character_is_kept_as_it_came_and_shown_as_a_question_mark(tmp_path: Path) -> None:
    """JSON may name one alone, as what cuts texts by UTF-16 does; no file can hold it."""
    with (
        ChatServer(lambda _: Said("ja \ud83d", {"ja": 0.9})) as server,
        client(server, tmp_path) as one,
    ):
        for _ in range(2):
            (answer,) = ask(one, questions(1)).values()
            assert isinstance(answer, Answer)
            assert answer.body["choices"][0]["message"]["content"] == "ja \ud83d"
            assert chat.read(answer).text == "ja ?"
        assert one.answered == one.from_store == 1


def test_what_was_stopped_holds_nothing_back(tmp_path: Path) -> None:
    """A judge tries one way of asking after the other with one budget."""
    with serving(Fault("busy", numbers=range(1, 3))) as server:
        budget = Budget(Limits(calls=5))
        with client(server, tmp_path, budget, retries=0) as one:
            for _ in range(2):
                with pytest.raises(EndpointError):
                    ask(one, questions(1))
            assert_right(ask(one, questions(5)), 5)


def test_a_bug_in_one_call_loses_no_answer_to_another(tmp_path: Path) -> None:
    with serving(latency=0.02) as server, client(server, tmp_path) as one:
        post = one.transport.post
        one.transport.post = lambda request: (  # type: ignore[method-assign]
            1 / 0 if text(0) in str(request.body) else post(request)
        )
        with pytest.raises(ZeroDivisionError):
            ask(one, questions(30))
        made = server.journal.count("answered")
        assert one.store.known(request.key for request in questions(30)) == made > 0
