"""A small table to be judged, and a judge of known quality behind HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.chains import make_data
from tests.conftest import Invoke
from tests.servers.answers import Words, judging
from tests.servers.chat import MODEL, ChatServer, Settings
from tests.servers.faults import Fault
from tests.servers.judges import Bend, of_truth
from tests.servers.reading import known_texts

QUERIES, DEPTH = 24, 6


def make_candidates(folder: Path, invoke: Invoke) -> Path:
    """Candidates of a run, of a corpus without any index."""
    data = make_data(folder / "data")
    lines = [
        f"q{q} Q0 d{(7 * q + n) % 90} {n + 1} {9 - n} x"
        for q in range(QUERIES)
        for n in range(DEPTH)
    ]
    (folder / "found.trec").write_text("\n".join(lines) + "\n")
    for command in (
        ["index", "--corpus", data, "--no-bm25", "-o", folder / "index"],
        [
            *("retrieve", folder / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
            *("--run", f"found={folder / 'found.trec'}", "-o", folder / "candidates"),
        ],
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    return folder / "candidates"


def texts(path: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["_id"]: row["text"] for row in rows}


def relevant(data: Path) -> list[tuple[str, str]]:
    """Query and text of each known positive."""
    queries, documents = texts(data / "queries.jsonl"), texts(data / "corpus.jsonl")
    judged = [line.split("\t") for line in (data / "qrels.tsv").read_text().splitlines()[1:]]
    return [(queries[qid], documents[docid]) for qid, docid, grade in judged if int(grade) > 0]


def server(
    data: Path,
    *,
    separation: float = 6.0,
    bend: Bend | None = None,
    words: Words | None = None,
    settings: Settings | None = None,
    faults: Sequence[Fault] = (),
) -> ChatServer:
    """A judge that knows the truth, and errs as rarely as ``separation`` says."""
    judge = of_truth(relevant(data), separation)
    return ChatServer(judging(judge, known_texts(data), bend, words), settings, faults)


def judge_of(served: ChatServer) -> str:
    """What ``--scorer`` names it."""
    return f"judge=llm:{MODEL}@{served.url}"


def rows_of(scored: Path) -> list[dict[str, Any]]:
    table: pa.Table = pq.read_table(scored)
    return table.to_pylist()


def manifest_of(scored: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((scored / "_manifest.json").read_text())
    return found
