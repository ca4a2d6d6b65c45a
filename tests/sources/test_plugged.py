"""Other packages' sources: they are asked with all that is known, and may do little with it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.chains import QUERIES, make_data
from tests.conftest import Invoke
from tests.test_plugins import install

K = 5
CODE = """
import numpy as np
import pyarrow as pa
from negmine.extend import Capabilities, Hits

class Beside:
    '''The documents that stand after each positive in the corpus; they have no score.'''

    capabilities = Capabilities(searches=False, answers_all=True)

    def __init__(self, argument, corpus):
        self.step = int(argument or 1)
        parts = [part.column("docid") for _, part in corpus.parts(["docid"])]
        self.docids = pa.chunked_array([c for part in parts for c in part.chunks]).to_pylist()

    def search(self, asked, k):
        assert [qid[1:] for qid in asked.qids.to_pylist()] and len(asked.texts) == len(asked)
        assert asked.positive(asked.positive_query, asked.positive_docid).all()
        query, found = [], []
        pairs = zip(asked.positive_query.tolist(), asked.positive_docid.to_pylist(), strict=True)
        for number, docid in pairs:
            place = self.docids.index(docid) + self.step
            if place < len(self.docids):
                query.append(number)
                found.append(self.docids[place])
        unknown = np.full(len(query), np.nan, dtype=np.float32)
        return Hits(np.array(query, dtype=np.int32), pa.array(found, pa.string()), unknown)

    def close(self):
        pass

def load(argument, corpus, params):
    return Beside(argument, corpus)
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> Path:
    """A corpus without any index, a run of it, and another package's source."""
    point = {"negmine.sources": {"beside": "their_source:load"}}
    project = {"name": "theirs", "version": "1", "entry-points": point}
    install(tmp_path / "site", monkeypatch, project, {"their_source": CODE})
    data = make_data(tmp_path / "data")
    lines = [f"q{q} Q0 d{q + n} {n + 1} {K - n} x" for q in range(QUERIES) for n in range(K)]
    (tmp_path / "found.trec").write_text("\n".join(lines) + "\n")
    result = invoke("index", "--corpus", data, "--no-bm25", "-o", tmp_path / "index")
    assert result.exit_code == 0, result.output
    return tmp_path / "index"


def asked(folder: Path, *more: object) -> list[object]:
    data = folder / "data"
    return [
        *("retrieve", folder / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--run", f"found={folder / 'found.trec'}", *more),
    ]


def test_a_source_may_ask_for_the_positives_and_score_nothing(
    index: Path, tmp_path: Path, invoke: Invoke
) -> None:
    command = asked(tmp_path, "--source", "next=plugin:beside/2")
    dry = invoke(*command, "-o", tmp_path / "out", "--dry-run")
    assert dry.exit_code == 0, dry.output
    result = invoke(*command, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    table = pq.read_table(tmp_path / "out").to_pylist()
    positives = {(row["qid"], row["docid"]) for row in table if row["label"] == 1}
    beside = {(row["qid"], row["docid"]) for row in table if row["rank_next"] is not None}
    assert beside == {
        (qid, f"d{int(docid[1:]) + 2}") for qid, docid in positives if int(docid[1:]) + 2 < 90
    }
    assert all(row["score_next"] is None for row in table)
    assert {row["score_found"] is None for row in table} == {True, False}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--source", "found=plugin:beside"], "there is a source 'found' already"),
        (["--source", "x=beside"], "'x=beside' is of no kind of source"),
        (["--source", "found=beside"], "'found=beside' is of no kind of source"),
        (["--source", "bm25=plugin:beside"], "the name 'bm25' is reserved"),
        (["--source", "x=plugin:besides"], "no installed package brings a source 'besides'"),
        (["--source", "nothing"], "the index has no 'nothing'"),
        (["--distance", "nothing"], "--distance: no run 'nothing'"),
        (["--ann", "nprobe=1"], "--ann: no source searches vectors"),
    ],
)
def test_what_is_asked_wrongly_is_told(
    index: Path, tmp_path: Path, invoke: Invoke, more: list[str], words: str
) -> None:
    result = invoke(*asked(tmp_path, *more), "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
