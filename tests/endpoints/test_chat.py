"""What is put to a model, what an answer says, and who answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from negmine.endpoints import chat, identity
from negmine.endpoints.chat import Chat
from negmine.endpoints.request import Answer, answer_of
from negmine.errors import EndpointError, UsageError
from tests.endpoints.asked import again, ask, client, questions, serving
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.faults import Fault, Kind


def test_a_request_is_what_the_api_reference_has() -> None:
    asks = Chat("m", 8, 5, {"type": "object"}, {"seed": 1, "max_tokens": None})
    body = asks.request([{"role": "user", "content": "é?"}]).body
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "é?"}],
        "temperature": 0,
        "seed": 1,
        "logprobs": True,
        "top_logprobs": 5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
        },
    }


def test_a_key_depends_on_what_is_asked_alone() -> None:
    message = [{"role": "user", "content": "?"}]
    keys = {
        Chat("m").request(message).key,
        Chat("n").request(message).key,
        Chat("m", 17).request(message).key,
        Chat("m", top_logprobs=3).request(message).key,
        Chat("m", parameters={"seed": 2}).request(message).key,
    }
    assert len(keys) == 5
    more = {"max_completion_tokens": 2000, "max_tokens": None}
    asked = Chat("m", parameters=more).request(message)
    assert "max_tokens" not in asked.body
    assert asked.most == 2000, "what a budget holds back is what the server is told"
    first = Chat("m", parameters={"a": 1, "b": 2}).request(message)
    second = Chat("m", parameters={"b": 2, "a": 1}).request(message)
    assert first.key == second.key


def read(kind: Kind | None, folder: Path, **more: Any) -> chat.ChatAnswer:
    faults = [] if kind is None else [Fault(kind)]
    asks = Chat(MODEL, 4, 5, **more)
    with serving(*faults) as server, client(server, folder) as one:
        request = asks.request([{"role": "user", "content": "hello"}])
        answer = ask(one, [request])[request.key]
        assert isinstance(answer, Answer), answer
        return chat.read(answer)


def test_an_answer_says_its_words_and_its_first_token(tmp_path: Path) -> None:
    said = read(None, tmp_path)
    assert (said.text, said.finish, said.refusal) == ("hello", "stop", None)
    assert said.first is not None
    assert dict(said.first)["x"] == pytest.approx(math.log(0.5))
    assert said.model == MODEL


@pytest.mark.parametrize("kind", ["no_logprobs", "empty_logprobs"])
def test_without_log_probabilities_there_are_none(kind: Kind, tmp_path: Path) -> None:
    said = read(kind, tmp_path)
    assert said.first is None
    assert said.text == "hello"


@pytest.mark.parametrize("kind", ["nan", "null_logprob"])
def test_what_is_no_number_is_no_probability(kind: Kind, tmp_path: Path) -> None:
    said = read(kind, tmp_path)
    assert all(math.isfinite(value) and value <= 0 for _, value in said.first or ())
    assert "x" in said.not_finite


@pytest.mark.parametrize(
    ("kind", "finish"), [("length", "length"), ("content_filter", "content_filter")]
)
def test_why_it_ended_is_told(kind: Kind, finish: str, tmp_path: Path) -> None:
    assert read(kind, tmp_path).finish == finish


def test_refusals_empty_texts_and_parts(tmp_path: Path) -> None:
    assert read("refusal", tmp_path / "a").refusal
    assert read("empty", tmp_path / "b").text == ""
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    choice = {"message": {"content": parts}}
    assert chat.read(answer_of({"choices": [choice]})).text == "ab"
    assert chat.read(answer_of({"choices": [{"message": {"content": None}}]})).text == ""


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": ["x"]}, {"choices": [{"text": "x"}]}]
)
def test_what_is_no_chat_completion_is_told(body: dict[str, Any]) -> None:
    assert chat.problem(body)
    json.dumps(body)


def test_who_answers_is_asked_and_remembered(tmp_path: Path) -> None:
    one_meta, other_meta = {"n_params": 135}, {"n_params": 360}
    found = []
    for meta in (one_meta, one_meta, other_meta):
        with serving(meta={**meta, "n_ctx": len(found)}) as server:
            with client(server, tmp_path) as one:
                found.append(identity.identify(one))
                ask(one, questions(3))
                # What another model said is no answer of this one.
                assert one.describe()["answered"] == (0 if len(found) == 2 else 3)
            url = server.url
    assert found[0] == found[1] != found[2]
    # A server that is not there now is what it was.
    with client(url, tmp_path, retries=0) as one:
        assert identity.identify(one) == found[2]
    stranger = client("http://127.0.0.1:9/v1", tmp_path, retries=0)
    with stranger as one, pytest.raises(EndpointError):
        identity.identify(one)


def test_a_model_that_is_not_listed_is_refused_with_the_names(tmp_path: Path) -> None:
    with ChatServer(lambda body: None, Settings(model="another-judge")) as server:  # type: ignore[arg-type,return-value]
        with client(server, tmp_path) as one, pytest.raises(UsageError, match="another-judge"):
            identity.identify(one)
        assert server.journal.count("asked") == 0


def test_a_server_that_comes_back_with_another_model_is_not_asked(tmp_path: Path) -> None:
    with serving(meta={"n_params": 1}) as server:
        port = server.server_address[1]
        with client(server, tmp_path) as one:
            first = identity.identify(one)
            ask(one, questions(2))
    with client(f"http://127.0.0.1:{port}/v1", tmp_path) as one:
        assert identity.identify(one) == first, "it is away"
        assert len(ask(one, questions(2))) == 2, "what is stored needs nobody"
        with ChatServer(again, Settings(meta={"n_params": 2}), port=port) as server:
            with pytest.raises(EndpointError, match="another model"):
                ask(one, questions(3))
            assert server.journal.count("asked") == 0
