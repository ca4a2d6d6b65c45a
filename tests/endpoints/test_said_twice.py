"""A server, or a proxy before it, that sends a response twice on one connection."""

from __future__ import annotations

from pathlib import Path

from negmine.endpoints import chat
from negmine.endpoints.asking import Client
from negmine.endpoints.chat import Chat
from negmine.endpoints.request import Answer
from negmine.endpoints.settings import Settings
from negmine.endpoints.store import Store
from tests import judged
from tests.servers.chat import MODEL, ChatServer
from tests.servers.faults import Fault


def test_no_answer_is_taken_for_that_to_another_question(tmp_path: Path) -> None:
    data = judged.collection(tmp_path / "data", 4)
    asked = {}
    for number in range(4):
        words = " ".join(f"word{number}x{place}" for place in range(4))
        for other in range(judged.DEPTH):
            found = words if other == 0 else words.split()[0]
            text = f"{found} text number {number * judged.DEPTH + other} about something of its own"
            content = f"Query: {words}\nDocument: {text}"
            request = Chat(MODEL).request([{"role": "user", "content": content}])
            asked[request.key] = (request, "Yes" if other == 0 else "No")
    with (
        ChatServer(judged.answerer(data), faults=[Fault("twice")]) as server,
        Client(Settings("judge", MODEL, server.url, concurrency=2), Store(tmp_path)) as client,
    ):
        answers = client.ask([request for request, _ in asked.values()], problem=chat.problem)
    for key, (_, meant) in asked.items():
        answer = answers[key]
        assert isinstance(answer, Answer)
        assert chat.read(answer).text == meant
