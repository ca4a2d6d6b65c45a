"""A small table for judges: what each query's words are in, and what has only some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from tests.chains import call
from tests.conftest import write_jsonl
from tests.servers.answers import Answerer, judging
from tests.servers.judges import Bend, overlap
from tests.servers.reading import known_texts

#: Documents of a query: the first is relevant, the others have one of its four words.
DEPTH = 6


def collection(folder: Path, queries: int) -> Path:
    """A collection in BEIR's layout; the document ``d3.0`` is the positive of ``q3``."""
    folder.mkdir(parents=True)
    asked = [[f"word{number}x{place}" for place in range(4)] for number in range(queries)]
    corpus = [
        {
            "_id": f"d{number}.{other}",
            "title": "",
            "text": " ".join(words if other == 0 else words[:1])
            + f" text number {number * DEPTH + other} about something of its own",
        }
        for number, words in enumerate(asked)
        for other in range(DEPTH)
    ]
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(
        folder / "queries.jsonl",
        [{"_id": f"q{number}", "text": " ".join(words)} for number, words in enumerate(asked)],
    )
    lines = [f"q{number}\td{number}.0\t1" for number in range(queries)]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    run = [
        f"q{number} Q0 d{number}.{other} {other + 1} {1 - other / 10:.1f} words"
        for number in range(queries)
        for other in range(DEPTH)
    ]
    (folder / "words.trec").write_text("\n".join(run) + "\n")
    return folder


def candidates(data: Path, work: Path) -> Path:
    """The table, of a run that lists each query's documents."""
    given = ("--queries", data, "--qrels", data, "--run", f"words={data / 'words.trec'}")
    for command in (
        ("index", "--corpus", data, "--no-bm25", "-o", work / "index"),
        ("retrieve", work / "index", *given, "-k", DEPTH, "-o", work / "candidates"),
    ):
        code, output = call(*command)
        assert code == 0, output
    return work / "candidates"


def answerer(data: Path, bend: Bend | None = None) -> Answerer:
    """A judge that is right about the collection, unless it is bent."""
    return judging(overlap, known_texts(data), bend)


def rows(scored: Path, columns: Sequence[str] = ()) -> dict[tuple[str, str], dict[str, Any]]:
    """The table's rows by query and document."""
    table = ds.dataset(scored).to_table(["qid", "docid", *columns] if columns else None)
    return {(row["qid"], row["docid"]): row for row in table.to_pylist()}
