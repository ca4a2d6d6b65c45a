"""A server of OpenAI's protocol for tests: it knows what it says, and errs as it is told to.

In a thread::

    with ChatServer(judging(overlap, KnownTexts(queries, documents))) as server:
        ...  # server.url, server.journal, server.faults = [Fault("busy", share=0.2)]

As a process, which can be killed (``--journal`` says afterwards what it answered)::

    python -m tests.servers.chat --folder scifact --judge cross-encoder --journal log.jsonl

Another path is another line of :data:`ROUTES`; the journal, the faults and the key are there for
all of them.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers import embedding, reranking
from tests.servers import faults as fault_kinds
from tests.servers.answers import (
    Answerer,
    Body,
    Unanswerable,
    judging,
    packed,
    prompt_of,
    with_fault,
)
from tests.servers.faults import BROKEN, Fault
from tests.servers.journal import Entry, Journal, key_of
from tests.servers.judges import Bend, Judge, cross_encoder, overlap
from tests.servers.processes import started
from tests.servers.reading import known_texts

MODEL = "judge-of-the-tests"


@dataclass(frozen=True)
class Settings:
    """What kind of server it is.

    Attributes:
        model: the one that it serves; others are answered with 404.
        meta: what /v1/models says of it besides.
        api_key: without it, 401; None = nobody is asked for one.
        refuses: fields of a request that it does not know (400).
        latency: seconds before an answer.
        per_other: further seconds for each other request that is being worked on.
        at_once: requests; more are answered with 429. None = any.
        price: of a token: ``usage.cost`` says it. None = not told.
        at_root: whether what is below ``/v1`` is at the root, as Infinity has it.
    """

    model: str = MODEL
    meta: Mapping[str, Any] | None = None
    api_key: str | None = None
    refuses: Sequence[str] = ()
    latency: float = 0.0
    per_other: float = 0.0
    at_once: int | None = None
    price: float | None = None
    at_root: bool = False


class ChatServer(ThreadingHTTPServer):
    """The server; ``with`` starts it in a thread of its own and ends it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        answer: Answerer,
        settings: Settings | None = None,
        faults: Sequence[Fault] = (),
        journal: Path | None = None,
        port: int = 0,
    ) -> None:
        self.answer = answer
        self.settings = settings or Settings()
        #: What /v1/rerank and its like answer; tests may set another.
        self.rank = reranking.by(overlap)
        #: What /v1/embeddings and its like answer of a text.
        self.encode: embedding.Encoder = embedding.words
        self.faults = tuple(faults)
        self.journal = Journal(journal)
        #: What was told of tokens and cost with each answer.
        self.usages: list[Mapping[str, float]] = []
        self.stopping = threading.Event()
        self._broken: set[int] = set()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        """Where the endpoints are."""
        return f"{self.root}/v1"

    @property
    def root(self) -> str:
        """The URL without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> ChatServer:
        # A short poll: tests wait for the end.
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self.journal.close()

    def break_off(self, connection: socket.socket) -> None:
        """The connection will end as if the machine had gone: with a reset."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._broken.add(id(connection))

    def shutdown_request(self, request: Any) -> None:
        """A connection that breaks says no goodbye."""
        if id(request) in self._broken:
            self._broken.discard(id(request))
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error; anything else is one, and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # A response is one write: no waiting for the other side's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: ChatServer
    #: The request that is not answered yet.
    working: Entry | None = None

    def log_message(self, format: str, *arguments: object) -> None:
        """The journal has it."""

    def do_GET(self) -> None:
        self._route("GET", b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # Who asks was killed in the middle of a sentence: nothing was asked.
            self.close_connection = True
            return
        self._route("POST", body)

    def _route(self, method: str, body: bytes) -> None:
        key = self.server.settings.api_key
        path = f"/v1{self.path}" if self.server.settings.at_root else self.path
        route = ROUTES.get((method, path))
        if key is not None and self.headers.get("Authorization") != f"Bearer {key}":
            self.error(401, "Incorrect API key provided.")
        elif route is None:
            self.error(404, f"no {method} {self.path} here")
        else:
            route(self, body)

    def error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """An error as OpenAI's protocol has it."""
        told = {"error": {"message": message, "type": "error", "code": status}}
        self.send(json.dumps(told).encode(), status, headers)

    def send(
        self,
        body: bytes,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        announced: int | None = None,
    ) -> None:
        """A response; ``announced`` is another length than it has."""
        if self.working is not None:
            self.server.journal.answering(self.working)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    @property
    def left(self) -> bool:
        """Whether the other side has ended the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)


def models(handler: Handler, body: bytes) -> None:
    """GET /v1/models."""
    settings = handler.server.settings
    row = {"id": settings.model, "object": "model", "created": 0, "owned_by": "negmine's tests"}
    told = row if settings.meta is None else {**row, "meta": dict(settings.meta)}
    handler.send(json.dumps({"object": "list", "data": [told]}).encode())


def chat(handler: Handler, body: bytes) -> None:
    """POST /v1/chat/completions."""
    _serve(handler, body, prompt_of, _response)


#: Makes what is sent of a request.
Respond = Callable[["ChatServer", Body, Entry, Fault | None], Any]


def _serve(handler: Handler, body: bytes, read: Callable[[Body], str], respond: Respond) -> None:
    """Journal, then a fault or an answer; ``read`` tells the text that faults may hold on to."""
    server = handler.server
    entry = handler.working = server.journal.asked(key_of(handler.path, body))
    event, fault = "gone", None
    try:
        event, fault = _served(handler, body, entry, read, respond)
    except ConnectionError:
        handler.close_connection = True
    finally:
        handler.working = None
        server.journal.ended(entry, event, fault)


def _served(
    handler: Handler, body: bytes, entry: Entry, read: Callable[[Body], str], respond: Respond
) -> tuple[str, str | None]:
    """What became of a request: the event, and the fault if one was sent."""
    server, settings = handler.server, handler.server.settings
    asked = json.loads(body)
    fault = fault_kinds.first(server.faults, entry.number, entry.key, entry.attempt, read(asked))
    if settings.at_once is not None and entry.in_flight > settings.at_once:
        fault = Fault("busy")
    if fault is not None and _instead(handler, fault):
        return "failed", fault.kind
    slower = fault.seconds if fault is not None and fault.kind == "slow" else 0.0
    server.stopping.wait(
        slower + settings.latency + settings.per_other * (server.journal.in_flight - 1)
    )
    if (wrong := _not_served(asked, settings)) is not None:
        handler.error(*wrong)
        return "failed", "refused"
    try:
        response = respond(server, asked, entry, fault)
    except Unanswerable as error:
        handler.error(400, f"the tests' server: {error}")
        return "failed", "unanswerable"
    if handler.left:
        handler.close_connection = True
        return "gone", None
    told = json.dumps(response).encode()
    kind = fault.kind if fault is not None else None
    if kind in _PACKED:
        told = _PACKED[kind](told)
    handler.send(told)
    if kind == "twice":
        handler.send(told)
    if kind in BROKEN:
        return "failed", kind
    server.usages.append(response.get("usage", {}) if isinstance(response, dict) else {})
    return "answered", kind


_PACKED: Mapping[str | None, Callable[[bytes], bytes]] = {
    "truncated": lambda told: told[: len(told) // 2],
    "html": lambda told: b"<html><body>Bad gateway</body></html>",
    "wrong_schema": lambda told: b'{"object": "chat.completion", "result": ["yes"]}',
}


def _instead(handler: Handler, fault: Fault) -> bool:
    """Send a fault that is no answer at all; whether it was one."""
    match fault.kind:
        case "busy":
            handler.error(429, "Rate limit reached.", _retry_after(fault))
        case "error":
            handler.error(fault.status, "The server had an error.", _retry_after(fault))
        case "too_long":
            told = "the request exceeds the available context size"
            kind = {"code": 400, "message": told, "type": "exceed_context_size_error"}
            handler.send(json.dumps({"error": kind}).encode(), 400)
        case "hang":
            handler.server.stopping.wait(fault.seconds)
            handler.close_connection = True
        case "reset":
            handler.server.break_off(handler.connection)
            handler.close_connection = True
        case "cut":
            handler.send(b'{"object": "chat.compl', announced=400)
            handler.close_connection = True
        case _:
            return False
    return True


def _retry_after(fault: Fault) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after == "date":
        # A date has whole seconds: the next but one is at least one away.
        return {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
    return {"Retry-After": f"{fault.retry_after:g}"}


def _not_served(asked: Body, settings: Settings) -> tuple[int, str] | None:
    """Status and message where a server of this kind cannot do what is asked."""
    if asked.get("model", settings.model) != settings.model:
        return 404, f"The model `{asked.get('model')}` does not exist."
    unknown = [name for name in settings.refuses if name in asked]
    return (400, f"{unknown[0]} is not supported by this model.") if unknown else None


def _response(server: ChatServer, asked: Body, entry: Entry, fault: Fault | None) -> dict[str, Any]:
    kind = fault.kind if fault is not None else None
    said = server.answer(asked)
    if kind is not None:
        said = with_fault(said, kind)
    response = packed(said, asked, server.settings.model, entry.number, kind)
    if server.settings.price is not None and "usage" in response:
        usage = response["usage"]
        usage["cost"] = server.settings.price * usage["total_tokens"]
    return response


def info(handler: Handler, body: bytes) -> None:
    """GET /info, as text-embeddings-inference tells of its one model."""
    settings = handler.server.settings
    told = {"model_id": settings.model, "model_sha": "0123abc", "max_input_length": 512}
    handler.send(json.dumps({**told, "version": "1.8.0", **(settings.meta or {})}).encode())


def ranking(
    read: Callable[[Body], tuple[str, Sequence[str]]],
    pack: Callable[[Sequence[float], str | None, Body], Any],
) -> Callable[[Handler, bytes], None]:
    """POST to a reranker of some shape."""

    def texts(body: Body) -> str:
        query, documents = read(body)
        return "\n".join([query, *documents])

    def respond(server: ChatServer, body: Body, entry: Entry, fault: Fault | None) -> Any:
        scores = server.rank(*read(body))
        return pack(scores, None if fault is None else fault.kind, body)

    return lambda handler, body: _serve(handler, body, texts, respond)


def encoding(
    read: Callable[[Body], Sequence[str]],
    pack: Callable[[list[list[float]], str | None, Body], Any],
) -> Callable[[Handler, bytes], None]:
    """POST to an encoder of some shape."""

    def respond(server: ChatServer, body: Body, entry: Entry, fault: Fault | None) -> Any:
        vectors = [server.encode(text) for text in read(body)]
        return pack(vectors, None if fault is None else fault.kind, body)

    return lambda handler, body: _serve(handler, body, lambda one: "\n".join(read(one)), respond)


#: What the server answers, by method and path.
ROUTES: Mapping[tuple[str, str], Callable[[Handler, bytes], None]] = {
    ("GET", "/v1/models"): models,
    ("GET", "/info"): info,
    ("POST", "/v1/chat/completions"): chat,
    ("POST", "/v1/rerank"): ranking(reranking.of_cohere, reranking.as_cohere),
    ("POST", "/v2/rerank"): ranking(reranking.of_cohere, reranking.as_cohere),
    ("POST", "/score"): ranking(reranking.of_vllm, reranking.as_vllm),
    ("POST", "/v1/embeddings"): encoding(embedding.of_openai, embedding.as_openai),
    ("POST", "/embed"): encoding(embedding.of_tei, embedding.as_tei),
    ("POST", "/rerank"): ranking(reranking.of_tei, reranking.as_tei),
}


@contextmanager
def process(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server as a process of its own, and its URL; ``--port`` brings it back to its place."""
    with started("tests.servers.chat", *arguments) as running:
        yield running


def main() -> None:
    """Serve until killed; the URL is the first line of stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="a collection in BEIR's layout")
    parser.add_argument("--judge", choices=("overlap", "cross-encoder"), default="overlap")
    parser.add_argument("--bend", type=json.loads, default={}, help="JSON: fields of Bend")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: those of Settings")
    parser.add_argument("--faults", type=json.loads, default=[], help="JSON: a list of Faults")
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    judge: Judge = overlap if asked.judge == "overlap" else cross_encoder()
    server = ChatServer(
        judging(judge, known_texts(asked.folder), Bend(**asked.bend)),
        Settings(**asked.settings),
        fault_kinds.from_json(asked.faults),
        asked.journal,
        asked.port,
    )
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
