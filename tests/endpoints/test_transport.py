"""One call: what servers say when they do not answer."""

from __future__ import annotations

import json
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from negmine.endpoints.transport import Trouble, refused, seconds_of
from negmine.errors import MissingDependencyError
from tests.endpoints.asked import ask, client, questions


def trouble(status: int, body: object) -> Trouble:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refused(status, {}, content)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"error": {"message": "no"}}, "refused", "400: no"),
        (422, {"detail": [{"msg": "bad"}]}, "refused", "bad"),
        (400, {"error": {"type": "exceed_context_size_error", "message": "x"}}, "too-long", "x"),
        (400, {"error": {"code": "context_length_exceeded"}}, "too-long", "400"),
        (400, {"message": "This model's maximum context length is 8 tokens"}, "too-long", "8"),
        (429, {"error": {"code": "insufficient_quota", "message": "pay"}}, "access", "pay"),
        (429, b"<html>slow\n\n down</html>", "rate", "429: <html>slow down</html>"),
        (503, {"error": {"message": "Loading model"}}, "loading", "Loading model"),
        (500, b"", "server", "500"),
        (500, b"[" * 100_000, "server", "500: [["),
        (400, {"error": {"message": "\ud83d"}}, "refused", "400: ?"),
        (402, {"error": "pay"}, "access", "402: pay"),
        (301, b"", "access", "redirection"),
    ],
)
def test_what_a_status_means(status: int, body: object, kind: str, message: str) -> None:
    found = trouble(status, body)
    assert found.kind == kind
    assert message in found.message


def test_a_message_is_shown_to_some_length() -> None:
    assert len(trouble(500, b"x" * 100_000).message) < 500


def test_when_to_come_back() -> None:
    assert seconds_of("3") == 3
    assert seconds_of("0.5") == 0.5
    assert seconds_of("-1") == 0
    assert seconds_of(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert seconds_of(formatdate(time.time() - 60, usegmt=True)) == 0
    for nothing in (None, "soon", "", "nan", "inf", "1e400"):
        assert seconds_of(nothing) is None


def test_without_its_package_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    nowhere = client("http://127.0.0.1:9/v1", tmp_path)
    with nowhere as one, pytest.raises(MissingDependencyError, match=r"negmine\[llm\]"):
        ask(one, questions(1))
