"""``random:N``: uniform, distinct, the same for a query whatever else is mined."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negmine.sources.random_documents import distinct_places
from tests.chains import DOCUMENTS, QUERIES, leftovers, make_data, parts, small_parts, spawn
from tests.conftest import Invoke

MASK = (1 << 64) - 1


def hashed(text: str, seed: int) -> int:
    """The digest of an id with the salt of this source, by hashlib and Python's integers."""
    salt = int.from_bytes(hashlib.blake2b(b"random", digest_size=7).digest(), "little")
    key = ((salt << 64) + seed).to_bytes(16, "little", signed=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "little")


def mixed(x: int) -> int:
    """SplitMix64's finaliser after its increment."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def drawn(qid: str, docids: list[str], count: int, positives: set[str], seed: int) -> list[str]:
    """One number after the other until there are enough."""
    order = sorted(docids, key=lambda docid: hashed(docid, seed))
    count = min(count, len(set(docids) - positives))
    found: list[str] = []
    counter, start = 0, mixed(hashed(qid, seed))
    while len(found) < count:
        docid = order[mixed((start + counter) & MASK) * len(order) >> 64]
        if docid not in positives and docid not in found:
            found.append(docid)
        counter += 1
    return found


def mined(data: Path, work: Path, invoke: Invoke, *options: object) -> list[dict[str, Any]]:
    if not (work / "index").exists():
        done = invoke("index", "--corpus", data, "--no-bm25", "-o", work / "index")
        assert done.exit_code == 0, done.output
    done = invoke(
        *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("-k", 5, "-o", work / "candidates", "--force", *options),
    )
    assert done.exit_code == 0, done.output
    table = pq.read_table(sorted((work / "candidates").glob("part-*.parquet")))
    return [row for row in table.to_pylist() if row["rank_easy"] is not None]


def by_query(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: (row["qid"], row["rank_easy"])):
        found.setdefault(row["qid"], []).append(row["docid"])
    return found


@pytest.mark.parametrize(("count", "seed"), [(3, 42), (7, 1), (DOCUMENTS + 5, 42)])
def test_the_same_as_number_after_number(
    tmp_path: Path, invoke: Invoke, count: int, seed: int
) -> None:
    data = make_data(tmp_path / "data")
    judged = [line.split("\t") for line in (data / "qrels.tsv").read_text().splitlines()[1:]]
    rows = mined(
        data, tmp_path / "work", invoke, "--source", f"easy=random:{count}", "--seed", seed
    )
    assert all(row["label"] == 0 and row["score_easy"] is None for row in rows)
    found = by_query(rows)
    docids = [f"d{n}" for n in range(DOCUMENTS)]
    assert len(found) == QUERIES
    for qid, got in found.items():
        positives = {docid for asked, docid, _ in judged if asked == qid}
        assert got == drawn(qid, docids, count, positives, seed), qid


def test_nothing_but_the_query_decides(tmp_path: Path, invoke: Invoke) -> None:
    """Not the order of the corpus or the queries, what else is mined, the memory, or the parts."""
    plain = by_query(
        mined(make_data(tmp_path / "a"), tmp_path / "one", invoke, "--source", "easy=random:4")
    )
    shuffled = make_data(tmp_path / "b", order=3)
    options = ["--source", "easy=random:4", "--source", "more=random:9", "--memory", "400MB"]
    with small_parts():
        other = by_query(mined(shuffled, tmp_path / "two", invoke, *options))
    assert other == plain
    some = by_query(mined(shuffled, tmp_path / "two", invoke, *options, "--limit", 5))
    assert len(some) == 5
    assert all(plain[qid] == docids for qid, docids in some.items())
    # Fewer are the first of more.
    fewer = by_query(mined(shuffled, tmp_path / "two", invoke, "--source", "easy=random:2"))
    assert fewer == {qid: docids[:2] for qid, docids in plain.items()}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, MASK), min_size=1, max_size=6, unique=True),
    st.integers(1, 12),
    st.integers(1, 15),
    st.data(),
)
def test_places_are_distinct_and_none_is_barred(
    keys: list[int], size: int, count: int, data: st.DataObject
) -> None:
    pair = st.tuples(st.integers(0, len(keys) - 1), st.integers(0, size - 1))
    barred = data.draw(st.lists(pair, max_size=20))
    array = np.array(barred, dtype=np.int64).reshape(-1, 2)
    query, place = distinct_places(
        np.array(keys, dtype=np.uint64), size, count, (array[:, 0], array[:, 1])
    )
    assert (np.diff(query) >= 0).all()
    found = list(zip(query.tolist(), place.tolist(), strict=True))
    assert len(set(found)) == len(found)
    assert not set(found) & set(barred)
    for number in range(len(keys)):
        free = size - len({p for q, p in barred if q == number})
        assert sum(q == number for q, _ in found) == min(count, free)


def test_every_place_is_as_likely() -> None:
    keys = np.random.default_rng(0).integers(0, MASK, 20_000, dtype=np.uint64)
    nothing = np.empty(0, dtype=np.int64)
    _, place = distinct_places(keys, 7, 3, (nothing, nothing))
    seen = Counter(place.tolist())
    expected = 20_000 * 3 / 7
    # Of a chi-squared of 6 degrees of freedom, scaled by what drawing without return leaves.
    assert sum((seen[p] - expected) ** 2 / expected for p in range(7)) < 22.5


@pytest.mark.parametrize("rest", ["", "0", "-3", "1.5", "many", "3:4", "²"])
def test_what_is_no_number_is_refused(tmp_path: Path, invoke: Invoke, rest: str) -> None:
    data = make_data(tmp_path / "data")
    done = invoke("index", "--corpus", data, "--no-bm25", "-o", tmp_path / "index")
    assert done.exit_code == 0, done.output
    asked = ["retrieve", tmp_path / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
    result = invoke(*asked, "--source", f"easy=random:{rest}", "-o", tmp_path / "c")
    assert result.exit_code == 2, result.output
    told = " ".join(result.stderr.split())
    assert f"'{rest}' is no number of documents" in told
    assert "--source easy=random:20" in told


def test_many_draws_and_few_hits_share_the_memory(tmp_path: Path, invoke: Invoke) -> None:
    """So many documents of each query make smaller parts, as a larger k does."""
    data = make_data(tmp_path / "data")
    with small_parts():
        mined(data, tmp_path / "work", invoke, "--source", "easy=random:30")
    rows = [pq.read_metadata(p).num_rows for p in (tmp_path / "work/candidates").glob("part-*")]
    assert max(rows) <= 2 * (30 + 2)


def test_a_kill_shows_in_nothing(tmp_path: Path, invoke: Invoke) -> None:
    data = make_data(tmp_path / "data")
    work = tmp_path / "work"
    done = invoke("index", "--corpus", data, "--no-bm25", "-o", work / "index")
    assert done.exit_code == 0, done.output

    def asked(out: str) -> list[str]:
        words = ["retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
        words += ["--source", "easy=random:6", "-k", 5, "-o", work / out]
        return [str(word) for word in words]

    kill = (
        "from negmine.table.artifacts.writing import Writer\n"
        "added = Writer.add_table\n"
        "def killed(self, name, *more):\n"
        "    if name == 'part-00002.parquet': import os; os._exit(9)\n"
        "    return added(self, name, *more)\n"
        "Writer.add_table = killed\n"
    )
    assert spawn(asked("cut"), before=kill).returncode == 9
    assert leftovers(work / "cut")
    for out in ("cut", "whole"):
        done_again = spawn(asked(out))
        assert done_again.returncode == 0, done_again.stderr
    assert parts(work / "cut") == parts(work / "whole")
    assert len(parts(work / "whole")) > 4


def test_the_table_goes_through_all_that_reads_it(tmp_path: Path, invoke: Invoke) -> None:
    data, work = make_data(tmp_path / "data"), tmp_path / "work"
    asked = ["retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
    asked += ["--source", "bm25", "--source", "easy=random:6", "-k", 10, "-o", work / "c"]
    commands: list[list[object]] = [
        ["index", "--corpus", data, "-o", work / "index"],
        asked,
        ["filter", work / "c", "--num-negatives", 3, "-o", work / "l"],
        ["audit", work / "c", "--num-negatives", 3, "-o", work / "audit.json"],
        ["report", work / "l", "-o", work / "report.html"],
        ["explain", work / "l", "q1"],
        ["inspect", work / "l", "-v"],
        ["export", work / "l", "--ids", "-o", work / "train.jsonl"],
    ]
    for command in commands:
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    dry = invoke(*asked, "--dry-run", "--json")
    assert json.loads(dry.stdout)["stages"][0]["state"] == "up to date"
    rows = pq.read_table(sorted((work / "c").glob("part-*.parquet"))).to_pylist()
    # What is drawn is scored by those who search, and their ranks alone are the best rank.
    assert all(row["score_bm25"] is not None for row in rows)
    chosen = pq.read_table(sorted((work / "l").glob("part-*.parquet"))).to_pylist()
    assert sum(row["selected"] is not None for row in chosen) == 3 * QUERIES
