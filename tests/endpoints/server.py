"""A server on loopback that answers as it is told, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Said:
    """What is sent back: a status, headers, and a body (JSON, or bytes as they are)."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


#: What a server says to the n-th POST (0, 1, ...) with this body.
Says = Callable[[int, dict[str, Any]], Said]


def chat(text: str, **more: Any) -> dict[str, Any]:
    """A chat completion that says ``text``."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    return {
        "object": "chat.completion",
        "model": "toy-1",
        "choices": [choice],
        "usage": usage,
    } | more


def echo(_: int, body: dict[str, Any]) -> Said:
    """Say again what was asked."""
    return Said(body=chat(body["messages"][-1]["content"]))


class Server(ThreadingHTTPServer):
    """Answers POSTs by ``says`` and lists ``models``."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, says: Says) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says = says
        self.models: Any = {"object": "list", "data": [{"id": "toy", "object": "model"}]}
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.times: list[float] = []
        self.under_way = 0
        self.most_under_way = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        models = self.server.models
        said = models if isinstance(models, Said) else Said(body=models)
        self._say(said if self.path == "/v1/models" else Said(404, {"error": "no such path"}))

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            number = len(server.asked)
            server.asked.append(body)
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            said = server.says(number, body)
            time.sleep(said.seconds)
        finally:
            with server.lock:
                server.under_way -= 1
        self._say(said)

    def _say(self, said: Said) -> None:
        content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        if said.status == 0:
            self.close_connection = True
            return
        self.send_response(said.status)
        self.send_header("Content-Type", "application/json")
        for name, value in said.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in said.headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        if "Content-Length" in said.headers:
            self.close_connection = True


@contextmanager
def serving(says: Says = echo) -> Iterator[Server]:
    """A server while the block runs."""
    server = Server(says)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
