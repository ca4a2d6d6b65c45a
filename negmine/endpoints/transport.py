"""One call over HTTP: what came back, or what went wrong and whether it is worth another try."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from negmine.endpoints.request import Request, parsed, writable
from negmine.endpoints.settings import Settings
from negmine.errors import MissingDependencyError

#: Most bytes of an answer: more is no answer to what is asked here.
_MOST_BYTES = 256 << 20
#: Seconds until a server must have taken the connection.
_CONNECT = 20.0
#: Characters of a server's message that are shown.
_SHOWN = 400

#: How messages begin that say that a server has no such path.
NOT_THERE = ("404", "405", "501")

Blame = Literal["server", "call", "request", "access"]


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes:
        body: its JSON object.
        seconds: how long it took.
    """

    body: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Trouble:
    """A call without an answer.

    Attributes:
        kind: ``rate``, ``loading``, ``connection``, ``server``, ``timeout``, ``broken``,
            ``garbled``, ``too-long``, ``refused`` or ``access``.
        message: what happened, in words; no key is in it.
        after: seconds that the server asks to wait.
    """

    kind: str
    message: str
    after: float | None = None

    @property
    def blame(self) -> Blame:
        """Who is at fault: the server as a whole, perhaps this call, the request, or the key."""
        return _BLAME[self.kind]


_BLAME: dict[str, Blame] = {
    "rate": "server",
    "loading": "server",
    "connection": "server",
    "server": "call",
    "timeout": "call",
    "broken": "call",
    "garbled": "call",
    "too-long": "request",
    "refused": "request",
    "access": "access",
}
#: What servers say of a request that is longer than the model reads.
_TOO_LONG = ("exceed_context_size", "context_length_exceeded", "maximum context length")


@dataclass(frozen=True)
class _Errors:
    """httpx's errors: of what was not answered in time, not to the end, or at all."""

    other: type[Exception]
    timeout: tuple[type[Exception], ...]
    broken: tuple[type[Exception], ...]


class Transport:
    """Calls to one endpoint; several threads may make them.

    Raises:
        MissingDependencyError: httpx2 is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        try:
            import httpx2
        except ImportError:
            raise MissingDependencyError(
                "models behind HTTP need the Python package 'httpx2'",
                hint="pip install 'negmine[llm]'",
            ) from None
        self._settings = settings
        self._errors = _Errors(
            httpx2.RequestError,
            (httpx2.TimeoutException, TimeoutError),
            (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError, httpx2.DecodingError),
        )
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(settings.timeout, connect=min(_CONNECT, settings.timeout)),
            # A connection a call: what is left over of an answer, such as a second copy, would
            # be taken for the answer to the next question.
            limits=httpx2.Limits(
                max_connections=settings.concurrency + 1, max_keepalive_connections=0
            ),
            trust_env=not settings.local,
            auth=self._signed,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, request: Request) -> Reply | Trouble:
        """Ask something."""
        headers = {"Content-Type": "application/json"}
        return self._call("POST", request.path, content=request.content, headers=headers)

    def get(self, path: str) -> Reply | Trouble:
        """Read something."""
        return self._call("GET", path)

    def _signed(self, request: Any) -> Any:
        """The request with the key, which no client or connection keeps."""
        if self._settings.key is not None:
            request.headers["Authorization"] = self._settings.key.header()
        return request

    def _call(self, method: str, path: str, **sent: Any) -> Reply | Trouble:
        started = time.monotonic()
        errors = self._errors
        try:
            status, headers, content = self._exchange(method, path, started, sent)
        except errors.timeout:
            return Trouble("timeout", f"no whole answer within {self._settings.timeout:g} s")
        except errors.broken as error:
            return Trouble("broken", self._shown(f"the answer broke off: {_said(error)}"))
        except errors.other as error:
            return Trouble("connection", self._shown(_said(error)))
        content = self._without_key(content)
        if status == 200:
            return _read(content, time.monotonic() - started)
        return refused(status, headers, content)

    def _exchange(
        self, method: str, path: str, started: float, sent: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; the time limit is for the whole of it."""
        held: list[bytes] = []
        size = 0
        with self._client.stream(method, self._settings.base + path, **sent) as response:
            for piece in response.iter_bytes():
                held.append(piece)
                size += len(piece)
                if time.monotonic() - started > self._settings.timeout or size > _MOST_BYTES:
                    raise TimeoutError
            return response.status_code, response.headers, b"".join(held)

    def _without_key(self, content: bytes) -> bytes:
        key = self._settings.key
        return content if key is None else key.hidden_in_bytes(content)

    def _shown(self, text: str) -> str:
        key = self._settings.key
        return _short(text if key is None else key.hidden_in(text))


def _read(content: bytes, seconds: float) -> Reply | Trouble:
    """The JSON object of an answer; some servers wrap an error in a status of 200.

    A list, as which text-embeddings-inference answers, becomes the object with it as ``items``.
    """
    try:
        body = parsed(content)
    except ValueError:
        return Trouble("garbled", f"an answer that is no JSON: {_short(_text(content))!r}")
    if isinstance(body, list):
        body = {"items": body}
    if not isinstance(body, dict):
        return Trouble("garbled", f"an answer that is no JSON object: {_short(_text(content))!r}")
    error = body.get("error")
    if isinstance(error, Mapping):
        code = error.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        return refused(status, {}, content)
    return Reply(body, seconds)


def refused(status: int, headers: Mapping[str, str], content: bytes) -> Trouble:
    """What a status other than 200 means, and what the server says with it."""
    said, codes = _message(content)
    message = f"{status}: {said}" if said else f"{status}"
    if status in (401, 402, 403, 404) or "insufficient_quota" in codes:
        return Trouble("access", message)
    if status == 429:
        return Trouble("rate", message, seconds_of(headers.get("retry-after")))
    if status == 503:
        return Trouble("loading", message, seconds_of(headers.get("retry-after")))
    if any(told in codes or told in said for told in _TOO_LONG):
        return Trouble("too-long", message)
    if status in (408, 409, 425) or status >= 500:
        return Trouble("server", message, seconds_of(headers.get("retry-after")))
    if status < 400:
        return Trouble("access", f"{message} (a redirection, which is not followed)")
    return Trouble("refused", message)


def _message(content: bytes) -> tuple[str, str]:
    """A server's message, and its codes: of OpenAI's form, FastAPI's, or plain text."""
    text = _text(content)
    try:
        body = parsed(text)
    except ValueError:
        return _short(text), ""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return _short(str(error)), ""
    said = error.get("message") or error.get("detail") or error.get("error") or text
    return _short(str(said)), f"{error.get('code')} {error.get('type')}"


def seconds_of(after: str | None) -> float | None:
    """``Retry-After`` in seconds: a number of them, or a date; None where it is neither."""
    if after is None:
        return None
    try:
        seconds = float(after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(after).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _text(content: bytes) -> str:
    return content[: 16 * _SHOWN].decode("utf-8", "replace")


def _short(text: str) -> str:
    text = writable(" ".join(text.split()))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
