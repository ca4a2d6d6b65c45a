"""Questions to a server that says them again, and a client that puts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from negmine.endpoints import chat
from negmine.endpoints.asking import Client
from negmine.endpoints.budget import Budget
from negmine.endpoints.chat import Chat
from negmine.endpoints.request import Answer, Failure, Request
from negmine.endpoints.settings import Settings
from negmine.endpoints.store import Store
from tests.servers import chat as servers
from tests.servers.answers import Body, Said
from tests.servers.chat import MODEL, ChatServer
from tests.servers.faults import Fault

ASKS = Chat(MODEL, max_tokens=4)


def again(body: Body) -> Said:
    """Say the question."""
    return Said(body["messages"][-1]["content"], {"x": 0.5})


def serving(*faults: Fault, **settings: Any) -> ChatServer:
    return ChatServer(again, servers.Settings(**settings), faults)


def text(number: int) -> str:
    return f"question {number}."


def questions(count: int, start: int = 0) -> list[Request]:
    return [
        ASKS.request([{"role": "user", "content": text(number)}])
        for number in range(start, start + count)
    ]


def client(
    server: ChatServer | str, folder: Path, budget: Budget | None = None, **more: Any
) -> Client:
    url = server if isinstance(server, str) else server.url
    settings = Settings("judge", MODEL, url, **{"timeout": 5.0, "retries": 6, **more})
    return Client(settings, Store(folder / "answers"), budget)


def ask(one: Client, requests: list[Request]) -> Mapping[str, Answer | Failure]:
    return one.ask(requests, problem=chat.problem)


def assert_right(found: Mapping[str, Answer | Failure], count: int, start: int = 0) -> None:
    """Every question has its own answer."""
    assert len(found) == count
    for number, request in enumerate(questions(count, start), start):
        answer = found[request.key]
        assert isinstance(answer, Answer), answer
        assert chat.read(answer).text == text(number)


def answered(server: ChatServer) -> Counter[str]:
    """How often each question was answered, when the server has written all of it down."""
    server.journal.settle()
    return Counter(entry.key for entry in server.journal.entries if entry.event == "answered")
