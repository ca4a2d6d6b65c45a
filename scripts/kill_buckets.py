"""Trials of :mod:`kill_harness` in a bucket of an S3 stand-in: moto's server, in its own process.

The work folder is in the bucket, the cache on a machine that is often another one: half of the
processes start with an empty cache, the one that collects always does. A boundary is a request that
changes the store (put, copy, delete, and the pieces of large ones); a process dies before it is
sent, or when the store has done it and before the answer is heard.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from kill_trials import Bench, Ended, Result

BUCKET = "killed"
#: Requests that change what the store has.
CHANGING = (
    *("put_object", "copy_object", "delete_object", "delete_objects", "create_multipart_upload"),
    *("upload_part", "upload_part_copy", "complete_multipart_upload", "abort_multipart_upload"),
)
#: Share of the processes that find the cache of the one before.
_SAME_MACHINE = 0.5
_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
print("http://%s:%s" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


def environment(url: str) -> dict[str, str]:
    """What a process needs to reach the stand-in."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Store:
    """The stand-in: it ends when this process does.

    Args:
        port: where it listens; 0 = somewhere.
    """

    def __init__(self, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C ends what is tested.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        os.environ |= environment(self._process.stdout.readline().strip())
        import boto3

        self._client = boto3.client("s3")
        self._client.create_bucket(Bucket=BUCKET)

    def clear(self) -> None:
        """Remove every object."""
        for key in self._keys():
            self._client.delete_object(Bucket=BUCKET, Key=key)

    def put(self, folder: Path) -> None:
        """Put all files of a folder below its name."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = path.relative_to(folder.parent).as_posix()
                self._client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    def get(self, folder: Path) -> None:
        """Make a folder what lies below its name, and nothing else."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for key in self._keys():
            place = folder.parent / key
            place.parent.mkdir(parents=True, exist_ok=True)
            found = self._client.get_object(Bucket=BUCKET, Key=key)
            place.write_bytes(found["Body"].read())

    def _keys(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]


class BucketBench(Bench):
    """Trials whose work folder is in a bucket; the reference is of one process, on a disk."""

    MEASURED = "measured-in-bucket.json"

    def __init__(
        self, base: Path, *, plain: bool = False, learns: bool = False, patience: float = 600.0
    ) -> None:
        super().__init__(base, plain=plain, learns=learns, patience=patience)
        self._store = Store()
        self._sent = base / "requests.txt"
        self._here = base / "trial" / "work"
        self._cache: Path | None = None
        self._calls = 0

    def begin(self, stage: str) -> Path:
        """A work folder in an empty bucket; all machines are new."""
        here = super().begin(stage)
        self._store.clear()
        self._store.put(here)
        shutil.rmtree(self.base / "caches", ignore_errors=True)
        (self.base / "caches").mkdir()
        self._sent.write_text("")
        self._cache = None
        return Path(f"s3://{BUCKET}/{here.name}")

    def start_as(self, result: Result, command: list[str], work: Path, **how: Any) -> Ended:
        """A command of a trial, on this machine or on another one."""
        chance = random.Random(f"{result.trial.seed}/{len(result.runs)}")
        same = chance.random() < _SAME_MACHINE and command[0] != "collect"
        if self._cache is None or not same:
            self._cache = Path(tempfile.mkdtemp(dir=self.base / "caches"))
        return super().start_as(result, command, work, **how)

    def arm(self, work: Path, mode: str, at: int) -> None:
        """In the forked process: count what changes the store, and die at one."""
        if not str(work).startswith("s3:"):
            super().arm(work, mode, at)
            return
        os.environ["NEGMINE_CACHE"] = str(self._cache)
        from s3fs import S3FileSystem

        plain = S3FileSystem._call_s3
        sent = self._sent.open("a")

        async def counted(store: Any, method: str, *given: Any, **named: Any) -> Any:
            if method not in CHANGING:
                return await plain(store, method, *given, **named)
            self._calls += 1
            number = self._calls
            _note(sent, method, [*given, named])
            if number == at and mode == "k":
                _die()
            answer = await plain(store, method, *given, **named)
            if number == at and mode == "t":
                _die()
            return answer

        S3FileSystem._call_s3 = counted

    def calls(self) -> int:
        """How many requests changed the store."""
        return self._calls or super().calls()

    def left(self, result: Result, work: Path) -> dict[Path, tuple[int, int]]:
        """What lies in the bucket is looked at as what lies on a disk."""
        self._store.get(self._here)
        found = super().left(result, self._here)
        return dict.fromkeys(found, (len(self._requests()), 0))

    def compare_kept(self, result: Result, kept: dict[Path, tuple[int, int]]) -> None:
        """That of what stopped runs had marked nothing was sent again."""
        requests = self._requests()
        for path, (before, _) in kept.items():
            folder, name = self._artifact_of(path)
            data = f"{folder}/_shards/{name}."
            again = [one for one in requests[before:] if _is_of_data(one, data)]
            if again:
                result.losses.append(f"{folder}/{name} was finished and is made again: {again}")
            else:
                result.parts_kept += 1

    def compare(self, result: Result, work: Path) -> None:
        """All that lies in the bucket."""
        self._store.get(self._here)
        super().compare(result, self._here)

    def _artifact_of(self, path: Path) -> tuple[str, str]:
        """The key of the artifact's folder, and the name of a part in it."""
        reference = self.base / "reference" / "work"
        place = path.relative_to(self._here)
        folder = next(
            one for one in place.parents if (reference / one / "_manifest.json").is_file()
        )
        return f"{self._here.name}/{folder}", place.relative_to(folder).as_posix()

    def _requests(self) -> list[str]:
        return self._sent.read_text().splitlines()


def _note(sent: IO[str], method: str, given: list[Any]) -> None:
    """Write down a request, whatever becomes of it."""
    keys = [one["Key"] for one in given if isinstance(one, dict) and "Key" in one]
    sent.write(f"{method} {' '.join(keys)}\n")
    sent.flush()


def _is_of_data(request: str, data: str) -> bool:
    method, _, key = request.partition(" ")
    is_put = method in ("put_object", "create_multipart_upload")
    return is_put and key.startswith(data) and not key.endswith(".json")


def _die() -> None:
    os.killpg(0, signal.SIGKILL)
    signal.pause()
