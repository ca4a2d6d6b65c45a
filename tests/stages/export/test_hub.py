"""``export --push`` against a stand-in for the hub that answers its client over HTTP."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml

from tests.conftest import Invoke
from tests.formats.conftest import make_ledger

pytestmark = pytest.mark.usefixtures("logger_as_before")
TOKEN = "hf_secretsecretsecretsecretsecret"


@dataclass
class Hub:
    """What a hub has, and what it was asked.

    Attributes:
        files: of the one data set, by name.
        private: of the data set; None where there is none.
        asked: every request's method and path.
        status: what it answers to everything, where it is not 200.
        authorized: every request's method and its header of that kind.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool | None = None
    asked: list[str] = field(default_factory=list)
    status: int = 200
    authorized: set[tuple[str, str | None]] = field(default_factory=set)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        path = path.partition("?")[0]
        self.asked.append(f"{method} {path}")
        if self.status != 200:
            return self.status, {"error": f"no, not with {TOKEN}"}
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user", "orgs": [{"name": "our-lab"}]}
        if path == "/api/repos/create":
            self.private = json.loads(body)["visibility"] == "private"
            return 200, {"url": "https://huggingface.co/datasets/me/set", "name": "me/set"}
        if path.endswith("/preupload/main"):
            named = [one["path"] for one in json.loads(body)["files"]]
            return 200, {
                "files": [
                    {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in named
                ]
            }
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del self.files[value["path"]]
            return 200, {
                "commitUrl": "https://huggingface.co/datasets/me/set/commit/1",
                "commitOid": "1" * 40,
                "success": True,
            }
        if self.private is None:
            return 404, {"error": "Repository not found"}
        if path.endswith("/tree/main"):
            return 200, [
                {"type": "file", "path": name, "size": len(content), "oid": "1" * 40}
                for name, content in self.files.items()
            ]
        siblings = [{"rfilename": name} for name in self.files]
        return 200, {
            "id": "me/set",
            "sha": "1" * 40,
            "private": self.private,
            "siblings": siblings,
            "tags": ["format:parquet", *self.tags()],
        }

    def tags(self) -> list[str]:
        """Those of the card, as the hub tells them."""
        _, _, card = self.files.get("README.md", b"").decode().partition("---\n")
        return (yaml.safe_load(card.partition("---\n")[0]) or {}).get("tags", [])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value = state.answer(self.command, self.path, body)
            state.authorized.add((self.command, self.headers["Authorization"]))
            content = json.dumps(value).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _reply

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(
        huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return make_ledger(tmp_path / "made")


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("options", "first"),
    [
        (["--format", "triplet", "--scores"], "default"),
        (["--format", "labeled-list"], "default"),
        (["--format", "flagembedding", "--scores", "--split", "0.4"], "default"),
        (["--format", "tevatron", "--scores"], "default"),
        (["--format", "msmarco"], "default"),
        (["--format", "swift-reranker"], "default"),
        (["--format", "pylate-kd", "--no-texts"], "train"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else None,
)
def test_what_is_pushed_loads_with_the_same_rows_and_types(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke, options: list[str], first: str
) -> None:
    from datasets import load_dataset

    out = tmp_path / "train"
    result = invoke("export", ledger, *options, "-o", out, "--push", "me/set")
    assert result.exit_code == 0, result.output
    assert "pushed" in result.stderr
    assert "(private)" in result.stderr
    assert hub.private is True
    assert ("POST", f"Bearer {TOKEN}") in hub.authorized
    assert set(hub.files) == {
        "README.md",
        *(str(path.relative_to(out)) for path in out.rglob("part-*")),
    }
    pushed = written(tmp_path / "hub", hub.files)
    here = load_dataset(str(out), first, cache_dir=str(tmp_path / "c1"))
    there = load_dataset(str(pushed), first, cache_dir=str(tmp_path / "c2"))
    assert list(there) == list(here)
    for split in here:
        assert there[split].features == here[split].features
        assert there[split].to_list() == here[split].to_list()
    # Said, and not found out from the first rows.
    card = hub.files["README.md"].decode()
    assert f"dataset_info:\n- config_name: {first}\n  features:\n" in card
    assert "_manifest.json" not in card
    for told in (result.output, *(path.read_text("utf-8") for path in out.glob("_*.json"))):
        assert TOKEN not in told
        assert "me/set" not in told or told == result.output


def test_nothing_is_pushed_in_a_dry_run(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    result = invoke("export", ledger, "-o", tmp_path / "train", "--push", "me/set", "--dry-run")
    assert result.exit_code == 0, result.output
    assert hub.asked == []
    assert not (tmp_path / "train").exists()


def test_a_push_is_no_other_training_set(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """What was made without it is up to date, and is pushed all the same."""
    out = tmp_path / "train"
    assert invoke("export", ledger, "-o", out).exit_code == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    result = invoke("export", ledger, "-o", out, "--push", "our-lab/set", "--public")
    assert result.exit_code == 0, result.output
    assert "is up to date" in result.stderr
    assert hub.private is False
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_parts_of_an_earlier_push_go_and_other_files_stay(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    command = ("export", ledger, "-o", tmp_path / "train", "--push", "me/set")
    assert invoke(*command).exit_code == 0
    hub.asked.clear()
    hub.files |= {
        "part-00009.parquet": b"old",
        "LICENSE": b"ours",
        "_heldout/part-00000.parquet": b"",
    }
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert "POST /api/repos/create" not in hub.asked
    assert set(hub.files) == {"part-00000.parquet", "part-00001.parquet", "README.md", "LICENSE"}


def test_parts_of_somebody_else_stay(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    hub.private = True
    theirs = {"README.md": b"---\ntags:\n- mine\n---\n# Mine\n", "LICENSE": b"mine"}
    hub.files = {**theirs, "part-00000.parquet": b"mine"}
    command = ("export", ledger, "-o", tmp_path / "train", "--push", "me/set")
    refused = invoke(*command)
    assert refused.exit_code == 6
    assert "did not put there (part-00000.parquet)" in refused.stderr
    assert hub.files == {**theirs, "part-00000.parquet": b"mine"}
    assert not (tmp_path / "train").exists(), "told before anything is written"
    del hub.files["part-00000.parquet"]
    assert invoke(*command).exit_code == 0
    assert hub.files["LICENSE"] == b"mine"


@pytest.mark.parametrize(("there", "flag"), [(False, "--private"), (True, "--public")])
def test_what_is_there_is_not_shown_to_others_in_silence(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke, there: bool, flag: str
) -> None:
    hub.private = there
    result = invoke("export", ledger, "-o", tmp_path / "train", "--push", "me/set", flag)
    assert result.exit_code == 6
    assert f"is there, and {'private' if there else 'public'}" in result.stderr
    assert hub.files == {}
    assert not (tmp_path / "train").exists(), "told before anything is written"


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [(401, 2, "does not accept the token"), (403, 2, "may not write"), (503, 7, "answered 503")],
)
def test_a_refusal_says_what_mends_it_and_not_the_token(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke, status: int, code: int, told: str
) -> None:
    hub.status = status
    result = invoke("export", ledger, "-o", tmp_path / "train", "--push", "me/set")
    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert TOKEN not in result.output
    assert ("hf auth login" if code == 2 else "same command again") in result.stderr
    assert not (tmp_path / "train").exists()


def test_without_a_token_an_owner_or_a_network_it_says_so(
    hub: Hub,
    ledger: Path,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*options: str) -> str:
        result = invoke("export", ledger, "-o", tmp_path / "train", *options)
        assert result.exit_code in (2, 7), result.output
        assert not (tmp_path / "train").exists()
        return str(result.stderr)

    assert "Did you mean 'our-lab'" in refused("--push", "our-lob/set")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub was not reached" in refused("--push", "me/set")
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused("--push", "me/set")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused("--push", "me/set")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--push", "set"], "OWNER/NAME"),
        (["--public"], "--public belongs to --push"),
        (["--push", "me/set", "--format", "trec-run"], "hf upload me/set"),
        (["--push", "me/set", "--format", "colbert"], "hf upload me/set"),
    ],
)
def test_what_the_hub_cannot_take_is_refused(
    hub: Hub, ledger: Path, tmp_path: Path, invoke: Invoke, options: list[str], told: str
) -> None:
    result = invoke("export", ledger, "-o", tmp_path / "train", *options)
    assert result.exit_code == 2
    assert told in result.stderr
    file = invoke("export", ledger, "-o", tmp_path / "train.parquet", "--push", "me/set")
    assert "--push takes a folder" in file.stderr
    assert hub.asked == []
