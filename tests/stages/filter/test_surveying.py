"""What is known of all queries: near-duplicates over parts, whoever summarises which."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.dedup import minhash
from negmine.engine.shares import Shard
from negmine.learning.summaries import Summaries
from negmine.params import FilterParams
from negmine.stages.filter import surveying
from negmine.stages.filter.surveying import Duplicates
from negmine.table.candidates import open_candidates
from negmine.table.draws import digests_of
from tests.tables import make_scored

TEXTS = [
    "what is a lift",
    "what is a drag",
    "what is a lift?",
    "how are wings made",
    "a what lift is",
]


class Board:
    """What shards tell, as JSON; which are not at once."""

    said: dict[str, str]

    def __init__(self, index: int, said: dict[str, str]) -> None:
        self.share, self.said = Shard(index, 2), said

    def told(self, name: str) -> Mapping[str, Any] | None:
        return json.loads(self.said[name]) if name in self.said else None

    def all_told(self, names: Iterable[str]) -> list[tuple[str, Mapping[str, Any]]]:
        return [(name, json.loads(self.said[name])) for name in names if name in self.said]

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        return json.loads(self.said.setdefault(name, json.dumps(what)))


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A query in each part, the third of which has no positive; the first has its own document."""
    rows = [
        [
            {
                "qid": f"q{q}",
                "docid": f"q{q}" if (q, d) == (0, 2) else f"d{q}{d}",
                "label": int(d < 2 and q != 2),
                "rank_bm25": d + 1,
                "score_bm25": -float(d),
            }
            for d in range(4)
        ]
        for q in range(len(TEXTS))
    ]
    texts = {f"q{q}": text for q, text in enumerate(TEXTS)}
    make_scored(tmp_path, rows, sources=("bm25",), scorers=(), query_texts=texts)
    return tmp_path / "candidates"


def test_queries_of_other_parts_and_what_is_right_for_them(scored: Path) -> None:
    source = open_candidates(scored, ["retrieve"])
    assert len(source.parts) == len(TEXTS)
    params = FilterParams(duplicate_query_at=0.9)
    found = surveying.survey(params, source, Summaries(source.parts))
    assert found.duplicates is not None
    assert found.same_ids is not None
    assert found.same_ids.candidates == 1
    clusters = [
        found.duplicates.clusters(name, source.read(name).column("qid"))[0] for name in source.parts
    ]
    assert clusters[0] == clusters[2] == clusters[4] >= 0
    assert clusters[1] == clusters[3] == -1
    right = digests_of(pa.chunked_array([["d00", "d01", "d40", "d41"]]))
    keys = minhash.pair_keys(np.full(4, clusters[0]), right)
    assert found.duplicates.keys.tolist() == sorted(keys.tolist())
    # By two shards: the same.
    said: dict[str, str] = {}
    for index in (1, 0):
        told = surveying.survey(params, source, Summaries(source.parts, Board(index, said)))
        assert told.duplicates is not None
        assert told.same_ids == found.same_ids
        assert told.duplicates.keys.tolist() == found.duplicates.keys.tolist()
        for name in source.parts:
            qids = source.read(name).column("qid")
            np.testing.assert_array_equal(
                told.duplicates.clusters(name, qids), found.duplicates.clusters(name, qids)
            )


def test_parts_let_go_of_their_signatures_when_they_are_joined() -> None:
    """So that a query is held once while clusters are found."""
    random = np.random.default_rng(1)
    signature = random.integers(0, 2**32, (8, minhash.PERMUTATIONS), dtype=np.uint32)
    signature[6] = signature[1]
    parts = {
        f"part-{number}": {
            "qids": pa.array([f"q{number}0", f"q{number}1"]),
            "signature": signature[2 * number : 2 * number + 2],
            "size": np.array([3, 4]),
            "owner": np.array([1, 0]),
            "docs": np.array([10 + number, 20 + number], dtype=np.uint64),
        }
        for number in range(4)
    }
    found = surveying._duplicates(parts, 0.9)
    assert all(one.keys() == {"qids", "owner"} for one in parts.values())
    assert {name: near.to_pylist() for name, (near, _) in found["near"].items()} == {
        "part-0": ["q01"],
        "part-1": [],
        "part-2": [],
        "part-3": ["q30"],
    }
    (cluster,) = {int(own[0]) for _, own in found["near"].values() if len(own)}
    right = np.array([10, 23], dtype=np.uint64)
    assert set(found["keys"]) == set(minhash.pair_keys(np.full(2, cluster), right))


def test_nothing_is_read_where_nothing_asks() -> None:
    params = FilterParams(duplicate_queries=False, own_document="text")
    found = surveying.survey(params, None, None)  # type: ignore[arg-type]
    assert found == surveying.Survey()


def test_queries_of_no_cluster_are_alone() -> None:
    near = Duplicates({"part": (pa.array(["q1"]), np.array([5]))}, np.zeros(0, dtype=np.uint64))
    asked = pa.chunked_array([["q0", "q1", "q1"], ["q2"]])
    assert near.clusters("part", asked).tolist() == [-1, 5, 5, -1]
