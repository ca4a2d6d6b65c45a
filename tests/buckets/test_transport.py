"""One request at a time: what conditions decide, and what is said where something goes wrong."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from negmine.addresses import address_of, kept_here, located, parse, shown
from negmine.buckets import transport
from negmine.errors import MachineError, UsageError
from negmine.table.artifacts import disk
from tests.buckets.conftest import KEY, SECRET, Bucket


def test_only_one_creates(bucket: Bucket) -> None:
    file = parse(f"{bucket.work}/_plan.json")
    assert transport.create(file, b"one")
    assert not transport.create(file, b"two")
    # A first try whose answer got lost: what is there is this process's own.
    assert transport.create(file, b"one")
    assert transport.read(file) == b"one"


def test_what_is_sent_in_pieces_arrives_whole(bucket: Bucket, tmp_path: Path) -> None:
    source, target = tmp_path / "sent", tmp_path / "fetched"
    source.write_bytes(bytes(range(256)) * (1 << 17))
    file = parse(f"{bucket.work}/part")
    transport.send(source, file)
    copy = parse(f"{bucket.work}/copy")
    transport.copy(file, copy)
    transport.fetch(copy, target)
    assert target.read_bytes() == source.read_bytes()


def put_many(bucket: Bucket, folder: str) -> None:
    """A manifest and 1,100 other objects."""
    for name in ("_manifest.json", *(f"_shards/_told.{number}.json" for number in range(1100))):
        bucket.client.put_object(Bucket=bucket.name, Key=f"{folder}/{name}", Body=b"x")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What is asked of the store from now on to remove something: how, and which objects."""
    s3fs = pytest.importorskip("s3fs")
    asked: list[tuple[str, list[str]]] = []
    plain = s3fs.S3FileSystem._call_s3

    async def noted(store: Any, method: str, *given: Any, **named: Any) -> Any:
        if method == "delete_object":
            asked.append((method, [named["Key"]]))
        if method == "delete_objects":
            asked.append((method, [one["Key"] for one in named["Delete"]["Objects"]]))
        return await plain(store, method, *given, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", noted)
    return asked


def test_a_folder_goes_in_few_requests_and_its_manifest_first(
    bucket: Bucket, requests: list[tuple[str, list[str]]]
) -> None:
    put_many(bucket, "work/ledger")
    bucket.client.put_object(Bucket=bucket.name, Key="work/ledger2/_manifest.json", Body=b"x")
    disk.remove(located(f"{bucket.work}/ledger"))
    assert bucket.objects("work/").keys() == {"ledger2/_manifest.json"}
    assert requests[0] == ("delete_object", ["work/ledger/_manifest.json"])
    assert sorted((how, len(keys)) for how, keys in requests[1:]) == [
        *(("delete_objects", 100), ("delete_objects", 1000)),
    ]


def test_a_name_that_reads_as_a_pattern_stands_for_itself_alone(
    bucket: Bucket, requests: list[tuple[str, list[str]]]
) -> None:
    for folder in ("work/[ab]*", "work/axe"):
        for number in range(4):
            bucket.client.put_object(Bucket=bucket.name, Key=f"{folder}/{number}", Body=b"x")
    disk.remove(located(f"{bucket.work}/[ab]*"))
    assert bucket.objects("work/").keys() == {f"axe/{number}" for number in range(4)}


@pytest.mark.parametrize("refusal", ["error", "silence"])
def test_what_a_request_for_many_does_not_remove_goes_one_by_one(
    refusal: str,
    bucket: Bucket,
    requests: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store may not know it; and what it keeps, s3fs does not tell."""
    s3fs = pytest.importorskip("s3fs")

    async def refused(store: Any, paths: list[str], **named: Any) -> list[str]:
        if refusal == "error":
            raise OSError("MissingContentMD5")
        return []

    monkeypatch.setattr(s3fs.S3FileSystem, "_bulk_delete", refused)
    for number in range(5):
        bucket.client.put_object(Bucket=bucket.name, Key=f"work/ledger/{number}", Body=b"x")
    disk.remove(located(f"{bucket.work}/ledger"))
    assert bucket.objects("work/") == {}
    assert [how for how, _ in requests] == ["delete_object"] * 5


class Store:
    """A store that does not do as it is asked."""

    def __init__(self, *raised: Exception) -> None:
        self.raised, self.objects = list(raised), dict[str, bytes]()

    def pipe_file(self, path: str, content: bytes, mode: str = "overwrite") -> None:
        if self.raised:
            raise self.raised.pop(0)
        self.objects[path] = content

    def cat_file(self, path: str) -> bytes:
        return self.objects[path]


def test_a_store_without_conditions_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr(transport, "_file_system", lambda scheme: store)
    with pytest.raises(UsageError, match="If-None-Match is ignored"):
        transport.create(parse("s3://careless/mined/_plan.json"), b"one")


def test_a_writer_that_meets_another_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Conflict(OSError):
        response = {"Error": {"Code": "ConditionalRequestConflict"}}  # noqa: RUF012

    store = Store(Conflict("come again"), FileExistsError("there"))
    store.objects["busy/x"] = b"other"
    monkeypatch.setattr(transport, "_file_system", lambda scheme: store)
    assert not transport.create(parse("s3://busy/x"), b"mine")
    assert store.raised == []


def test_no_key_is_in_a_message(
    credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a library says."""
    error = OSError(f"the key {KEY} with {SECRET} is wrong")
    monkeypatch.setattr(transport, "_file_system", lambda scheme: Store(error))
    with pytest.raises(MachineError) as caught:
        transport.write(parse("s3://bucket/x"), b"")
    told = "".join(traceback.format_exception(caught.value))
    assert "***" in told
    assert not any(secret in told for secret in (KEY, SECRET))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://bucket/mined/", "s3://bucket/mined"),
        ("s3a://bucket/mined/../other", "s3://bucket/other"),
        ("gcs://bucket/a b/ä", "gs://bucket/a b/ä"),
        ("gs://bucket", "gs://bucket"),
        ("s3://bucket/../../x", "s3://bucket/x"),
        # As pathlib writes it.
        ("s3:/bucket/mined", "s3://bucket/mined"),
    ],
)
def test_an_address_comes_back(text: str, told: str) -> None:
    path = located(text)
    assert str(address_of(path)) == told
    assert shown(f"wrote {path} today") == f"wrote {told} today"
    assert str(address_of(path / "part")) == f"{told}/part"


def test_what_is_no_address(cache: Path) -> None:
    assert located("work/ledger") == Path("work/ledger")
    assert address_of(Path("/mined/ledger")) is None
    assert address_of(kept_here(located("s3://bucket/mined"))) is None
    assert kept_here(Path("work")) == Path("work")
