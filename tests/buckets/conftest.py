"""A stand-in for S3: moto's server, in this process, with a bucket for each test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: Keys that must be in no file and in no message.
KEY, SECRET, TOKEN = "AKCANARYKEY7", "c4n4ry/s3cr3t+key", "c4n4rysessiontoken"


def environment_of(endpoint: str) -> dict[str, str]:
    """The environment of a process that may read and write there."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@dataclass(frozen=True)
class Bucket:
    """A bucket of the stand-in.

    Attributes:
        name: of the bucket.
        client: boto3's, which is not what negmine speaks with.
        environment: what a process needs to reach it.
    """

    name: str
    client: Any
    environment: dict[str, str]

    @property
    def work(self) -> str:
        """The address of a work folder."""
        return f"s3://{self.name}/work"

    def put_folder(self, folder: Path, prefix: str = "work") -> None:
        """Put all files of a folder below a prefix."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=self.name, Key=key, Body=path.read_bytes())

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object below a prefix, by its key without it."""
        pages = self.client.get_paginator("list_objects_v2")
        keys = [
            one["Key"]
            for page in pages.paginate(Bucket=self.name, Prefix=prefix)
            for one in page.get("Contents", [])
        ]
        return {key.removeprefix(prefix): self.read(key) for key in keys}

    def fetched(self, folder: Path) -> Path:
        """A folder of this machine with what lies in the work folder."""
        for name, content in self.objects("work/").items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return folder

    def markers(self, name: str) -> list[str]:
        """Parts of an artifact in the work folder that are marked."""
        prefix = f"work/{name}/_shards/part-"
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", []) if one["Key"].endswith(".json")]

    def read(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return found


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a process that may read and write there."""
    environment = environment_of(endpoint)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def bucket(
    credentials: dict[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bucket]:
    """An empty bucket, and nothing known of any."""
    import boto3

    client = boto3.client("s3")
    name = f"bucket-{abs(hash(request.node.nodeid)) % 10**12}"
    client.create_bucket(Bucket=name)
    forget()
    yield Bucket(name, client, credentials)
    forget()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NEGMINE_CACHE", str(folder))
    return folder


def forget() -> None:
    """Have this process know as little of the stores as a new one."""
    from negmine.buckets import mirror, transport

    transport._file_system.cache_clear()
    transport._is_there.cache_clear()
    mirror._known.__init__()  # type: ignore[misc]
