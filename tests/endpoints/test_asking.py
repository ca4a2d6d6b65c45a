"""Many questions to one server: stored on arrival, retried, bounded, stopped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negmine.endpoints import chat, pace
from negmine.endpoints.asking import Client
from negmine.endpoints.budget import Budget
from negmine.endpoints.chat import Chat
from negmine.endpoints.request import Answer, Failure, Request
from negmine.endpoints.settings import Settings
from negmine.endpoints.store import Store
from tests.endpoints.server import Said, Server, serving
from tests.endpoints.server import chat as said_chat

TOY = Chat("toy")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are a fiftieth of what they are."""
    monkeypatch.setattr(pace, "_FIRST", 0.02)
    monkeypatch.setattr(pace, "_MOST", 0.2)


def questions(count: int, more: str = "") -> list[Request]:
    return [TOY.request([{"role": "user", "content": f"question {n}{more}"}]) for n in range(count)]


def client(server: Server, folder: Path, budget: Budget | None = None, **more: Any) -> Client:
    settings = Settings("judge", "toy", server.url, **{"timeout": 5.0, **more})
    return Client(settings, Store(folder / "answers"), budget)


def texts(found: dict[str, Answer | Failure]) -> list[str]:
    return [chat.read(one).text for one in found.values() if isinstance(one, Answer)]


def asked_texts(server: Server) -> Counter[str]:
    return Counter(body["messages"][-1]["content"] for body in server.asked)


def test_every_answer_is_asked_once_and_kept(tmp_path: Path) -> None:
    with serving() as server:
        with client(server, tmp_path) as first:
            found = first.ask([*questions(60), *questions(10)], problem=chat.problem)
            assert sorted(texts(found)) == sorted(f"question {n}" for n in range(60))
        with client(server, tmp_path) as second:
            again = second.ask(questions(61), problem=chat.problem)
            assert second.describe()["from_store"] == 60
        assert {key: again[key] for key in found} == found
        assert max(asked_texts(server).values()) == 1
        assert len(server.asked) == 61
    assert Store(tmp_path / "answers").known(request.key for request in questions(70)) == 61


def test_calls_are_bounded(tmp_path: Path) -> None:
    def slowly(_: int, body: dict[str, Any]) -> Said:
        return Said(body=said_chat("x"), seconds=0.01)

    with serving(slowly) as server, client(server, tmp_path, concurrency=3) as one:
        one.ask(questions(30))
        assert server.most_under_way == 3
