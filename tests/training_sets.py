"""Give a training set to the command line and look at the table that comes out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


@dataclass
class Seen:
    """What the candidates table says of a query, by its documents' full texts.

    Attributes:
        positives: what is labelled 1.
        given: the given negatives in their order.
        scores: their scores.
        zeros: what was judged not relevant.
        found: what BM25 found.
        docids: ids of all of them by their texts.
    """

    positives: set[str] = field(default_factory=set)
    given: list[str] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    zeros: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    docids: dict[str, str] = field(default_factory=dict)


def lines(path: Path, records: Iterable[Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


def command(*arguments: object) -> Any:
    """The command line, in this process."""
    from typer.testing import CliRunner

    from negmine.cli import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def mined(
    folder: Path, pairs: Path, *options: object, index: Iterable[object] = ()
) -> dict[str, Seen]:
    """``index --pairs`` and ``retrieve --pairs`` with their default flags, by query text.

    Args:
        folder: where the artifacts go.
        pairs: the training set.
        options: more for ``retrieve``.
        index: more for ``index``.
    """
    made, out = folder / "index", folder / "candidates"
    for arguments in (
        ("index", "--pairs", pairs, *index, "-o", made),
        ("retrieve", made, "--pairs", pairs, *options, "-o", out),
    ):
        result = command(*arguments)
        assert result.exit_code == 0, result.output
    return seen(made, out)


def refused(folder: Path, pairs: Path, *options: object, index: Iterable[object] = ()) -> str:
    """What the first of the two stages that refuses the set says."""
    made = folder / "index"
    for arguments in (
        ("index", "--pairs", pairs, *index, "-o", made),
        ("retrieve", made, "--pairs", pairs, *options, "-o", folder / "candidates"),
    ):
        result = command(*arguments)
        if result.exit_code:
            assert result.exit_code in (2, 5), result.output
            return str(result.stderr)
    raise AssertionError("it was taken")


def seen(index: Path, candidates: Path) -> dict[str, Seen]:
    """The candidates table by query text."""
    texts = {
        row["docid"]: f"{row['title']} {row['text']}".strip() for row in rows(index / "documents")
    }
    queries = {row["qid"]: row["text"] for row in rows(candidates / "_queries")}
    table: dict[str, Seen] = {text: Seen() for text in queries.values()}
    for row in sorted(rows(candidates), key=lambda row: row.get("rank_given") or 0):
        of_query, text = table[queries[row["qid"]]], texts[row["docid"]]
        of_query.docids[text] = row["docid"]
        if row["label"] == 1:
            of_query.positives.add(text)
        if row.get("rank_given"):
            of_query.given.append(text)
            of_query.scores.append(row["score_given"])
        if row["grade"] == 0:
            of_query.zeros.add(text)
        if row.get("rank_bm25"):
            of_query.found.add(text)
    return table


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of an artifact's parts."""
    return [
        row
        for part in sorted(folder.glob("part-*.parquet"))
        for row in pq.ParquetFile(part).read().to_pylist()
    ]
