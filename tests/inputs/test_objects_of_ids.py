"""Collections as one object of JSON, as Python's libraries write them."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.inputs.test_training_sets import TRUTH
from tests.training_sets import command, rows

QUERIES = {f"q{at}": query for at, (query, _, _) in enumerate(TRUTH)}
TEXTS = {f"d{at}": text for at, (_, text, _) in enumerate(TRUTH)} | {
    f"n{at}": text for at, (_, _, text) in enumerate(TRUTH)
}
JUDGED = {(f"q{at}", f"d{at}") for at in range(len(TRUTH))}


def written(path: Path, value: Any, indent: int | None = None) -> Path:
    path.write_text(json.dumps(value, indent=indent))
    return path


def positives(folder: Path, corpus: Path, queries: Path, qrels: Path) -> set[tuple[str, str]]:
    """What ``init`` makes of three files, run."""
    recipe = folder / "mine.toml"
    named = dict.fromkeys((corpus, queries, qrels))
    made = command("init", *named, "-o", recipe)
    assert made.exit_code == 0, made.output
    work = folder / "work"
    recipe.write_text(recipe.read_text().replace("work/mine", str(work)))
    result = command("run", recipe)
    assert result.exit_code == 0, result.output
    table = rows(work / "candidates")
    assert {row["docid"] for row in table} <= TEXTS.keys()
    held = {row["docid"]: row["text"] for row in rows(work / "index" / "documents")}
    assert held == TEXTS
    return {(row["qid"], row["docid"]) for row in table if row["label"] == 1}


GRADED = {q: {d: 1} for q, d in sorted(JUDGED)}
LISTED = {q: [d] for q, d in sorted(JUDGED)}


@pytest.mark.parametrize(
    ("corpus", "qrels", "indent"),
    [
        (TEXTS, LISTED, None),
        ({key: {"title": "", "text": text} for key, text in TEXTS.items()}, GRADED, 2),
        ({key: {"text": text} for key, text in TEXTS.items()}, LISTED, 2),
        ({key: {"_id": key, "text": text} for key, text in TEXTS.items()}, GRADED, None),
    ],
    ids=["texts", "titles", "objects", "ids"],
)
def test_objects_of_ids(
    tmp_path: Path, corpus: dict[str, Any], qrels: dict[str, Any], indent: int | None
) -> None:
    files = (
        written(tmp_path / "corpus.json", corpus, indent),
        written(tmp_path / "queries.json", QUERIES, indent),
        written(tmp_path / "qrels.json", qrels, indent),
    )
    assert positives(tmp_path, *files) == JUDGED


def test_names_that_tell_nothing(tmp_path: Path) -> None:
    """The judgements' ids tell which object holds the queries."""
    files = (
        written(tmp_path / "a.json", QUERIES),
        written(tmp_path / "b.json", TEXTS),
        written(tmp_path / "c.json", {q: {d: 1} for q, d in sorted(JUDGED)}),
    )
    assert positives(tmp_path, *files) == JUDGED


def test_one_object_of_all_three(tmp_path: Path) -> None:
    """As LlamaIndex saves its sets for finetuning."""
    bundle = {
        "queries": QUERIES,
        "corpus": TEXTS,
        "relevant_docs": {q: [d] for q, d in sorted(JUDGED)},
        "mode": "text",
    }
    file = written(tmp_path / "train_dataset.json", bundle, 4)
    assert positives(tmp_path, file, file, file) == JUDGED


def test_places_are_keys(tmp_path: Path) -> None:
    file = written(tmp_path / "corpus.json", {"d1": {"text": "a"}, "d2": {"text": None}})
    result = command("index", "--corpus", file, "-o", tmp_path / "index")
    assert result.exit_code == 5
    assert "corpus.json:1 ('d2'): field 'text' must be a string" in result.stderr


@pytest.mark.parametrize("lines", [False, True])
def test_what_may_be_a_record_is_asked_about(tmp_path: Path, lines: bool) -> None:
    texts = {"sky": "The sky is blue.", "grass": "Grass is green."}
    file = tmp_path / "corpus.json"
    if lines:
        file.write_text("".join(json.dumps({key: text}) + "\n" for key, text in texts.items()))
    else:
        written(file, texts)
    result = command("index", "--corpus", file, "-o", tmp_path / "index")
    assert result.exit_code == 5
    advised = "jq " + result.stderr.split("with a text: jq")[1].strip()
    program = shlex.split(advised)
    assert program[2] == "to_entries[] | {_id: .key, text: .value}"
    if subprocess.run(["which", "jq"], capture_output=True, check=False).returncode == 0:
        subprocess.run(advised, shell=True, check=True, cwd=tmp_path)
        again = ("index", "--corpus", tmp_path / "records.jsonl", "-o", tmp_path / "index")
        assert command(*again).exit_code == 0
        assert {r["docid"]: r["text"] for r in rows(tmp_path / "index" / "documents")} == texts


def test_a_record_alone_is_a_record(tmp_path: Path) -> None:
    file = written(tmp_path / "corpus.json", {"_id": "d1", "title": "", "text": "The sky."})
    result = command("index", "--corpus", file, "-o", tmp_path / "index")
    assert result.exit_code == 0, result.output
    assert [row["docid"] for row in rows(tmp_path / "index" / "documents")] == ["d1"]


def test_the_command_that_takes_records_out_is_one_for_a_shell(tmp_path: Path) -> None:
    wrapped = written(tmp_path / "my corpus.json", {"records": [{"_id": "d0", "text": "a"}]})
    told = command("index", "--corpus", wrapped, "--no-bm25", "-o", tmp_path / "index").stderr
    assert f"jq -c '.\"records\"[]' '{wrapped}' > records.jsonl" in told
