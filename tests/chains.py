"""A small chain with many parts: what the tests of faults, crashes and determinism share."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, data_folder, write_jsonl

QUERIES, DOCUMENTS = 24, 90
WORDS = [f"word{number}" for number in range(60)]

#: Lower part sizes, so that this little has several parts; and the command line after it.
SMALL_PARTS = """
import sys
from negmine import cli
from negmine.stages.retrieve import mining
from negmine.table import documents
from negmine.inputs import limits
documents.PART_DOCUMENTS, limits.MAX_BATCH_ROWS = 40, 20
mining.PART_ROWS, mining.GROUP_HITS = 60, 120
"""


def make_data(folder: Path, seed: int = 0, order: int | None = None) -> Path:
    """A collection; ``order`` shuffles the rows of its files and changes nothing else."""
    rng = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    corpus = [{"_id": f"d{n}", "title": "", "text": text(12)} for n in range(DOCUMENTS)]
    queries = [{"_id": f"q{n}", "text": text(4)} for n in range(QUERIES)]
    judged = [
        (f"q{n}", f"d{d}") for n in range(QUERIES) for d in rng.sample(range(DOCUMENTS), 1 + n % 2)
    ]
    if order is not None:
        for rows in (corpus, queries, judged):
            random.Random(order).shuffle(rows)
    folder.mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in judged)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def add_columns(data: Path) -> None:
    """Give a collection's documents and queries columns to keep, with values that are made up."""
    for name in ("corpus", "queries"):
        path = data / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for number, row in enumerate(rows):
            day = date(2020, 1, 1) + timedelta(days=37 * number % 400)
            row |= {"topic": f"t{number % 3}", "parent": f"p{number // 9}"}
            row |= {"date": day.isoformat(), "kind": "image" if number % 2 else "text"}
            row |= {"lat": 45 + number % 7 / 5, "lon": 7 + number % 5 / 5}
        write_jsonl(path, rows)


def cranfield_slice(folder: Path, documents: int) -> Path:
    """The first documents of Cranfield, and the queries that have a positive among them."""
    whole = data_folder("cranfield")
    folder.mkdir(parents=True)

    def lines(name: str) -> list[dict[str, Any]]:
        text = (whole / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    corpus = [document for document in lines("corpus.jsonl") if document["text"]][:documents]
    known = {document["_id"] for document in corpus}
    head, *judged = (whole / "qrels.tsv").read_text().splitlines()
    rows = [row for row in judged if row.split("\t")[1] in known]
    asked = {row.split("\t")[0] for row in rows if int(row.split("\t")[2]) > 0}
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(
        folder / "queries.jsonl",
        [query for query in lines("queries.jsonl") if query["_id"] in asked],
    )
    (folder / "qrels.tsv").write_text("\n".join([head, *rows]) + "\n")
    return folder


def commands(data: Path, work: Path) -> dict[str, list[str]]:
    """The command line of each stage, BM25 only."""
    table: dict[str, list[object]] = {
        "index": ["index", "--corpus", data, "-o", work / "index"],
        "retrieve": [
            *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
            *("-k", 10, "-o", work / "candidates"),
        ],
        "filter": ["filter", work / "candidates", "--num-negatives", 3, "-o", work / "ledger"],
        "export": ["export", work / "ledger", "--ids", "-o", work / "train"],
        "export-file": ["export", work / "ledger", "--ids", "-o", work / "train.jsonl"],
    }
    return {stage: [str(word) for word in words] for stage, words in table.items()}


@contextmanager
def small_parts() -> Iterator[None]:
    """Lower the part sizes of this process."""
    from negmine.inputs import limits
    from negmine.stages.retrieve import mining
    from negmine.table import documents

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PART_DOCUMENTS", 40)
        patch.setattr(limits, "MAX_BATCH_ROWS", 20)
        patch.setattr(mining, "PART_ROWS", 60)
        patch.setattr(mining, "GROUP_HITS", 120)
        yield


def call(*arguments: object) -> tuple[int, str]:
    """Run negmine in this process; exit code and both streams."""
    from typer.testing import CliRunner

    from negmine.cli import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def run_here(folder: Path, *lines: Sequence[object]) -> None:
    """Run commands with small parts in a folder, in this process, which has imported it all."""
    with pytest.MonkeyPatch.context() as patch, small_parts():
        patch.chdir(folder)
        for words in lines:
            code, said = call(*words)
            assert code == 0, said


def run_recipe(name: str, data: Path, work: Path, *more: object) -> tuple[Path, Path]:
    """Run a recipe on a collection, tagged with its name; the ledger and the training set.

    Recipes that share a work folder share its index, so that a model reads the corpus once.
    """
    from negmine import recipe

    inputs = [word for key in ("corpus", "queries", "qrels") for word in (f"--{key}", data)]
    code, output = call("run", name, *inputs, "-o", work, "--tag", name, *more)
    assert code == 0, output
    train = Path(recipe.load(name).output)
    return work / f"ledger-{name}", work / f"{train.stem}-{name}{train.suffix}"


def make_chain(data: Path, work: Path) -> Path:
    """All stages, in this process."""
    with small_parts():
        for command in commands(data, work).values():
            code, output = call(*command)
            assert code == 0, output
    return work


def spawn(
    arguments: list[str], *, before: str = "", shell: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run negmine with small parts in a process of its own.

    Args:
        arguments: the command line.
        before: Python to run first, in that process.
        shell: shell commands to run first, e.g. limits.
        environment: more variables.
    """
    code = f"{SMALL_PARTS}{before}\nsys.argv[0] = 'negmine'\ncli.main()"
    return subprocess.run(
        ["bash", "-c", f'{shell}\nexec "$@"', "bash", sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )


def parts(folder: Path) -> dict[str, bytes]:
    """Every part below a folder, and Lucene's files left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("part-*"))
        if not path.name.startswith(".")
    }


def leftovers(folder: Path) -> list[str]:
    """Journals and temporary files."""
    return [
        path.name
        for path in folder.rglob("*")
        if path.name == "_journal.jsonl" or (path.name.startswith(".") and path.suffix == ".tmp")
    ]
