"""Keys: from the environment, to the server that they are for, and into nothing else."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from pathlib import Path

import pytest

from negmine.endpoints import identity, keys
from negmine.endpoints.keys import Key, key_of
from negmine.endpoints.settings import Settings, parsed
from negmine.endpoints.transport import Transport
from negmine.errors import EndpointError, NegmineError, UsageError
from tests.endpoints.asked import ask, assert_right, client, questions, serving
from tests.servers.answers import Said
from tests.servers.chat import MODEL
from tests.servers.faults import Fault

CANARY = "sk-canary-0123456789abcdef"
LOCAL = "http://127.0.0.1:1/v1"


def test_the_first_variable_that_is_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEGMINE_API_KEY_MY_JUDGE", "NEGMINE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    openai = "https://api.openai.com/v1"
    assert key_of("my-judge", LOCAL) is None
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    assert key_of("my-judge", LOCAL) is None, "nobody else is sent it"
    assert key_of("my-judge", "https://api.openai.com.evil.example/v1") is None
    for variable in ("OPENAI_API_KEY", "NEGMINE_API_KEY", "NEGMINE_API_KEY_MY_JUDGE"):
        monkeypatch.setenv(variable, f"of-{variable}\n")
        key = key_of("my-judge", openai)
        assert key is not None
        assert key.variable == variable
        assert key.header() == f"Bearer of-{variable}"


@pytest.mark.parametrize("wrong", ["two words", "newline\nin it", "schlüssel", "nul\x07"])
def test_what_no_header_can_hold_is_refused_unseen(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEGMINE_API_KEY", wrong)
    with pytest.raises(UsageError, match="NEGMINE_API_KEY") as error:
        key_of("judge", LOCAL)
    assert wrong not in str(error.value)


def test_a_key_does_not_show_itself() -> None:
    key = Key(CANARY, "NEGMINE_API_KEY")
    settings = Settings("judge", "m", LOCAL, key)
    assert CANARY not in f"{key} {key!r} {settings} {settings!r} {vars(settings)}"
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write(key)


@pytest.mark.parametrize(
    "url", ["http://user:sk-canary@host/v1", "https://host/v1?key=sk-canary", "sk://sk-canary@h"]
)
def test_a_url_that_holds_one_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(f"model@{url}")
    assert "sk-canary" not in str(error.value)


def test_where_a_model_is() -> None:
    assert parsed("gpt") == ("gpt", "https://api.openai.com/v1")
    assert parsed("org/m@2@http://host:8000") == ("org/m@2", "http://host:8000/v1")
    assert parsed("m@http://host:8000/") == ("m", "http://host:8000/v1")
    assert parsed("m@http://host:8000/.") == ("m", "http://host:8000/.")
    assert parsed("m@https://h/api/openai/") == ("m", "https://h/api/openai")
    for wrong in ("@http://host", "m@ftp://host", "m@http://", "m@http://host:port"):
        with pytest.raises(UsageError):
            parsed(wrong)


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_it_is_in_no_file_message_log_or_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where every library logs all that it can, and the server says it again."""
    monkeypatch.setenv("NEGMINE_API_KEY_JUDGE", CANARY)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("negmine").setLevel(logging.DEBUG)
    key = key_of("judge", LOCAL)
    shown: list[str] = []
    with serving(Fault("error", numbers=[2]), api_key=CANARY) as server:
        with client(server, tmp_path, key=key) as one:
            identity.identify(one)
            assert_right(ask(one, questions(5)), 5)
            shown += [repr(one.transport), repr(vars(one.transport)), str(one.describe())]
        server.answer = lambda body: Said(f"you sent {CANARY}", {CANARY: 0.5})
        with client(server, tmp_path, key=key) as one:
            ask(one, questions(2, 5))
        server.settings = type(server.settings)(api_key="another")
        with client(server, tmp_path, key=key) as one, pytest.raises(EndpointError) as refused:
            ask(one, questions(2, 7))
        shown.append("".join(traceback.format_exception(refused.value)))
        assert "NEGMINE_API_KEY_JUDGE" in str(refused.value)
    told = "\n".join([caplog.text, *shown])
    assert "httpcore2" in caplog.text, "the libraries did log"
    assert CANARY not in told
    assert CANARY.encode() not in everything_in(tmp_path)
    assert keys.HIDDEN.encode() in everything_in(tmp_path)


def test_it_is_in_no_traceback_of_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the locals of every frame, as some tools print them."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    key = Key(CANARY, "NEGMINE_API_KEY_JUDGE")
    with serving() as server, client(server, tmp_path, key=key) as one:
        monkeypatch.setattr(Transport, "_without_key", broken)
        with pytest.raises(RuntimeError, match="a bug") as crash:
            ask(one, questions(1))
    assert not isinstance(crash.value, NegmineError)
    shown = traceback.TracebackException.from_exception(crash.value, capture_locals=True)
    assert CANARY not in "".join(shown.format())


def test_a_message_of_the_server_is_shown_without_it(tmp_path: Path) -> None:
    key = Key(CANARY, "NEGMINE_API_KEY_JUDGE")
    settings = {"api_key": CANARY, "model": CANARY}
    # The name of a model that is served is said again.
    with (
        serving(**settings) as server,
        client(server, tmp_path, key=key) as one,
        pytest.raises(UsageError) as error,
    ):
        identity.identify(one)
    assert CANARY not in str(error.value)
    assert MODEL in str(error.value)
