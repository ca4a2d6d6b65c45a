"""A real language model that cannot judge: it is found out, and what it said stays said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import judged
from tests.chains import call
from tests.conftest import require_packages, write_jsonl
from tests.servers.llama import MODEL, PACKAGES, llama

pytestmark = pytest.mark.real

ASKED = {
    "capital of France": "Paris is the capital of France.",
    "who wrote Hamlet": "Shakespeare wrote the play Hamlet.",
    "boiling point of water": "Water boils at 100 degrees Celsius.",
    "largest planet": "Jupiter is the largest planet.",
    "what bees make": "Bees make honey from nectar.",
    "inventor of the telephone": "Bell invented the telephone.",
}
#: Short, so that a slow machine is done soon.
PROMPT = """
texts = "Query: {query}\\nDocument: {document}"
swapped = "Document: {document}\\nQuery: {query}"
ask = "Does the document answer the query? yes or no"
yes = ["yes"]
no = ["no"]
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    require_packages(*PACKAGES)
    with llama(context=512) as found:
        yield found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Every query with three documents, the first of which answers it."""
    texts = list(ASKED.values())
    write_jsonl(
        tmp_path / "corpus.jsonl",
        [{"_id": f"d{at}", "title": "", "text": text} for at, text in enumerate(texts)],
    )
    write_jsonl(
        tmp_path / "queries.jsonl",
        [{"_id": f"q{at}", "text": query} for at, query in enumerate(ASKED)],
    )
    known = [f"q{at}\td{at}\t1" for at in range(len(ASKED))]
    (tmp_path / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *known]) + "\n")
    run = [
        f"q{at} Q0 d{(at + other) % len(ASKED)} {other + 1} {1 / (other + 1):.2f} found"
        for at in range(len(ASKED))
        for other in range(3)
    ]
    (tmp_path / "found.trec").write_text("\n".join(run) + "\n")
    (tmp_path / "prompt.toml").write_text(PROMPT)
    given = ("--queries", tmp_path, "--qrels", tmp_path, "--run", f"f={tmp_path / 'found.trec'}")
    for command in (
        ("index", "--corpus", tmp_path, "--no-bm25", "-o", tmp_path / "index"),
        ("retrieve", tmp_path / "index", *given, "-k", 3, "-o", tmp_path / "candidates"),
    ):
        code, output = call(*command)
        assert code == 0, output
    return tmp_path / "candidates"


def test_a_judge_at_chance_is_refused_and_its_answers_are_kept(url: str, table: Path) -> None:
    out = table.parent / "scored"
    words = (
        *("rerank", table, "--scorer", f"judge=llm:{MODEL}@{url}", "--concurrency", 1),
        *("--prompt-file", table.parent / "prompt.toml", "--limit", 3, "-o", out),
    )
    code, output = call(*words)
    assert code == 5, output
    assert "no better than chance" in output
    assert "--trust-anyway" in output
    assert not out.exists()

    code, output = call(*words, "--trust-anyway")
    assert code == 0, output
    assert "is believed anyway" in output
    masses = [row["mass_judge"] for row in judged.rows(out).values()]
    assert all(0 < mass <= 1.001 for mass in masses if mass is not None)
    first = {path.name: path.read_bytes() for path in out.glob("part-*")}
    manifest = json.loads((out / "_manifest.json").read_text())
    found = manifest["scorers"]["judge"]["examination"]
    assert not found["better_than_chance"]
    assert found["auc"][1] < 0.5
    # The server would give other last digits: these are the stored ones.
    code, output = call(*words, "--trust-anyway", "--rebuild")
    assert code == 0, output
    assert {path.name: path.read_bytes() for path in out.glob("part-*")} == first
    again = json.loads((out / "_manifest.json").read_text())
    assert again["run"]["spent"]["judge"]["calls"] == 0
    assert again["scorers"] == manifest["scorers"]
