"""Resuming ``retrieve``: the same bytes, wherever it stopped, and nothing made twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.params import RetrieveParams
from negmine.sources import bm25_kind
from negmine.sources.base import Asked, Hits
from negmine.stages import retrieve as retrieving
from negmine.stages.retrieve import mining
from negmine.table import artifacts
from negmine.table.artifacts import MANIFEST, Plan, Writer
from tests.chains import leftovers, parts
from tests.conftest import write_jsonl
from tests.tables import make_scored

QUERIES, DOCUMENTS, K = 11, 8, 4
#: Two queries a part, three parts encoded together: 6 parts, the last of one query, in two groups.
PART_ROWS, GROUP_HITS, TOGETHER = 2 * K, 3 * 2 * K, 3 * 2


class OfTheBatch:
    """A source whose scores depend on what else is asked, as a model's last digits do."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def search(self, asked: Asked, k: int) -> Hits:
        self.asked.append(len(asked))
        score = self._scores(asked.texts)
        order = np.argsort(-score, axis=1, kind="stable")[:, :k]
        query = np.repeat(np.arange(len(asked), dtype=np.int32), k)
        docids = pa.array([f"d{d}" for d in order.ravel()])
        return Hits(query, docids, np.take_along_axis(score, order, axis=1).ravel())

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        doc = np.array([int(docid[1:]) for docid in docids.to_pylist()], dtype=np.int64)
        return self._scores(asked.texts)[query, doc]

    def close(self) -> None:
        pass

    def _scores(self, queries: Sequence[str]) -> np.ndarray:
        number = np.array([int(text.split()[1]) for text in queries])
        plain = (number[:, None] * 7 + np.arange(DOCUMENTS) * 3) % 13 + np.arange(DOCUMENTS) / 100
        batches = np.split(number, range(TOGETHER, len(number), TOGETHER))
        others = np.concatenate([np.full(len(batch), batch.sum()) for batch in batches])
        return (plain + 1e-3 * others[:, None]).astype(np.float32)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> OfTheBatch:
    found = OfTheBatch()
    monkeypatch.setattr(bm25_kind, "open_bm25", lambda *_, **__: found)
    monkeypatch.setattr(mining, "PART_ROWS", PART_ROWS)
    monkeypatch.setattr(mining, "GROUP_HITS", GROUP_HITS)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An index whose source the test brings, queries and judgements."""
    rows = [{"qid": "q", "docid": f"d{d}", "label": 0, "grade": None} for d in range(DOCUMENTS)]
    make_scored(tmp_path, [rows])
    documents = artifacts.open_artifact(tmp_path / "documents")
    index = tmp_path / "index"
    writer = artifacts.begin(
        index / "bm25", Plan("index.bm25", 1, {}, artifacts={"documents": documents})
    )
    assert writer is not None
    with writer:
        child = writer.commit({"indexed": DOCUMENTS})
    made = Plan("index", 1, {}, artifacts={"documents": documents, "bm25": child})
    artifacts.write_manifest(
        index / MANIFEST, {**made.identity(index), "counts": {}, "warnings": [], "files": {}}
    )
    queries = [{"_id": f"q{q}", "text": f"query {q}"} for q in range(QUERIES)]
    write_jsonl(tmp_path / "queries.jsonl", queries)
    judged = [{"qid": f"q{q}", "docid": f"d{q % DOCUMENTS}"} for q in range(QUERIES)]
    write_jsonl(tmp_path / "qrels.jsonl", judged)
    return tmp_path


def retrieve(data: Path, out: Path) -> None:
    params = RetrieveParams(
        queries=(str(data / "queries.jsonl"),), qrels=(str(data / "qrels.jsonl"),), k=K
    )
    retrieving.run(params, data / "index", out)


NAMES = [
    f"{folder}part-{number:05d}.parquet" for number in range(6) for folder in ("_queries/", "")
]


class Killed(BaseException):
    """Stands for the process's end."""


@pytest.mark.parametrize("last", NAMES)
def test_it_goes_on_with_whole_groups_and_writes_no_part_twice(
    data: Path, source: OfTheBatch, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    retrieve(data, data / "straight")
    assert source.asked == [11]
    straight = parts(data / "straight")
    assert sorted(straight) == sorted(NAMES)

    written: list[str] = []
    real = Writer.add_table

    def noted(self: Writer, name: str, *more: Any) -> None:
        real(self, name, *more)
        written.append(name)
        if name == last and len(set(written)) == len(written) and not resumed:
            raise Killed

    resumed = False
    monkeypatch.setattr(Writer, "add_table", noted)
    out = data / "killed"
    with pytest.raises(Killed):
        retrieve(data, out)
    assert written == NAMES[: NAMES.index(last) + 1]
    marks = {
        name: ((out / name).stat().st_ino, (out / name).stat().st_mtime_ns) for name in written
    }
    source.asked.clear()
    resumed = True
    retrieve(data, out)
    # Each part once, over both runs.
    assert written == NAMES
    for name, mark in marks.items():
        assert ((out / name).stat().st_ino, (out / name).stat().st_mtime_ns) == mark
    assert parts(out) == straight
    assert leftovers(out) == []
    # Half a group is searched as a whole group; a finished one is not searched at all.
    finished = sum(not name.startswith("_queries") for name in marks)
    assert source.asked == ([11] if finished < 3 else [5] if finished < 6 else [])


def test_parts_of_one_group_depend_on_the_batch(data: Path, source: OfTheBatch) -> None:
    """Or the test above would not see a search of the missing parts alone."""
    alone = source.score(Asked.by_text(["query 1"]), np.array([0]), pa.array(["d0"]))
    together = source.score(Asked.by_text(["query 1", "query 2"]), np.array([0]), pa.array(["d0"]))
    assert alone != together
