"""``--grade VALUE=GRADE``: words and numbers that mean what their owner says they mean."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.inputs.test_inputs_of_strangers import (
    class_labels,
    collection,
    is_judged,
    labelled,
    searched,
)
from tests.inputs.test_training_sets import TRUTH, check
from tests.training_sets import command, lines, mined, refused, rows


def graded(*meant: str) -> list[str]:
    return [part for entry in meant for part in ("--grade", entry)]


def as_csv(path: Path, records: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return path


@pytest.mark.parametrize(
    ("labels", "meant"),
    [
        (("E", "I"), ("E=1", "I=0")),
        (("Exact", "Irrelevant"), ("exact=1",)),
        (("entailment", "neutral"), ("neutral=0",)),
        (("Perfect", "Partially_Relevant"), ("perfect=1", "partially relevant=0")),
        # QNLI without its words: 0 is the positive.
        ((0, 1), ("0=1", "1=0")),
        ((0.0, 1.0), ("0=1", "1=0")),
        ((False, True), ("false=1", "true=0")),
        ((4, 1), ("4=1", "1=0")),
    ],
    ids=str,
)
def test_labels_mean_what_is_said(
    tmp_path: Path, labels: tuple[Any, Any], meant: tuple[str, ...]
) -> None:
    records = labelled(*labels)
    for name, pairs in {
        "json": lines(tmp_path / "train.jsonl", records),
        "csv": as_csv(tmp_path / "train.csv", records),
    }.items():
        (tmp_path / name).mkdir()
        is_judged(mined(tmp_path / name, pairs, *graded(*meant)))


def test_lists_of_words(tmp_path: Path) -> None:
    records = [{"query": q, "docs": [p, n], "labels": ["E", "I"]} for q, p, n in TRUTH]
    is_judged(mined(tmp_path, lines(tmp_path / "train.jsonl", records), *graded("E=1", "I=0")))


@pytest.mark.parametrize("listed", [True, False])
def test_what_is_neither_is_left_out(tmp_path: Path, listed: bool) -> None:
    between = "Water is wet."
    records = [
        {"query": q, "passage": text, "label": label}
        for q, p, n in TRUTH
        for text, label in ((p, "E"), (between, "S"), (n, "I"))
    ]
    if listed:
        records = [
            {"query": q, "docs": [p, between, n], "labels": ["E", "S", "I"]} for q, p, n in TRUTH
        ]
    meant = graded("E=1", "S=none", "I=0")
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", records), *meant)
    is_judged(table)
    told = command(
        *("retrieve", tmp_path / "index", "--pairs", tmp_path / "train.jsonl", *meant),
        *("-o", tmp_path / "again"),
    ).stderr
    assert "--grade: 'S' is left out: 3 labels" in told
    assert "--grade: 'E' is read as 1: 3 labels" in told


def test_words_behind_the_numbers_of_a_class_label(tmp_path: Path) -> None:
    names = ["Irrelevant", "Complement", "Substitute", "Exact"]
    pairs = class_labels(tmp_path / "train.parquet", names, (3, 1))
    told = refused(tmp_path, pairs)
    assert "found 'Complement'" in told or "found 'Exact'" in told
    (tmp_path / "told").mkdir()
    is_judged(mined(tmp_path / "told", pairs, *graded("Exact=1", "Complement=0")))


def test_a_scale_of_words(tmp_path: Path) -> None:
    pairs = lines(tmp_path / "train.jsonl", labelled("Exact", "Complement"))
    meant = graded("Exact=3", "Complement=1")
    assert "--positive-above" in refused(tmp_path / "asks", pairs, *meant)
    check(mined(tmp_path, pairs, *meant, "--positive-above", 3))


def test_judgements_of_words(tmp_path: Path) -> None:
    judged = [f"q{n},d{n},E" for n in range(3)] + ["q0,d1,I", "q1,d2,S", "q2,d0,C"]
    data = collection(tmp_path, judged)
    made = command(
        *("init", data / "corpus.jsonl", data / "queries.jsonl", data / "qrels.csv", "-o", "-")
    )
    assert made.exit_code == 0, made.output
    assert "# To be settled: field 'label' must be a number, found 'E'" in made.stdout
    index = command("index", "--corpus", data / "corpus.jsonl", "-o", tmp_path / "index")
    assert index.exit_code == 0, index.output
    out = tmp_path / "out"
    asked = ("retrieve", tmp_path / "index", "--queries", data / "queries.jsonl")
    meant = graded("E=3", "S=2", "C=none", "I=0")
    result = command(*asked, "--qrels", data / "qrels.csv", *meant, "--min-grade", 3, "-o", out)
    assert result.exit_code == 0, result.output
    table = {(row["qid"], row["docid"]): row for row in rows(out)}
    assert {pair for pair, row in table.items() if row["label"] == 1} == {
        ("q0", "d0"),
        ("q1", "d1"),
        ("q2", "d2"),
    }
    assert table["q0", "d1"]["grade"] == 0
    assert "--grade: 'S' is read as 2: 1 labels" in result.stderr
    assert ("q2", "d0") not in table or table["q2", "d0"]["grade"] is None


def test_judgements_whose_zero_is_relevant(tmp_path: Path) -> None:
    data = collection(tmp_path, [f"q{n},d{n},0" for n in range(3)] + ["q0,d1,1"])
    options = tmp_path / "recipe.toml"
    options.write_text(
        f'work = "{tmp_path / "work"}"\n[index]\ncorpus = "{data / "corpus.jsonl"}"\n'
        f'[retrieve]\nqueries = "{data / "queries.jsonl"}"\nqrels = "{data / "qrels.csv"}"\n'
        'grade = { 0 = "1", 1 = "0" }\n[export]\n'
    )
    result = command("run", options)
    assert result.exit_code == 0, result.output
    table = rows(tmp_path / "work" / "candidates")
    assert {(row["qid"], row["docid"]) for row in table if row["label"] == 1} == {
        ("q0", "d0"),
        ("q1", "d1"),
        ("q2", "d2"),
    }


def test_advice_about_a_word_is_followed_word_for_word(tmp_path: Path) -> None:
    pairs = lines(tmp_path / "train.jsonl", labelled("relevant", "so la la"))
    told = refused(tmp_path, pairs)
    advised = told.split("(a positive), ")[1].split(" (judged")[0]
    (tmp_path / "told").mkdir()
    is_judged(mined(tmp_path / "told", pairs, *shlex.split(advised)))


def test_init_leaves_words_to_the_run(tmp_path: Path) -> None:
    result = command("init", lines(tmp_path / "train.jsonl", labelled("E", "I")), "-o", "-")
    assert result.exit_code == 0, result.output
    assert "# To be settled: field 'label' must be a finite number, found 'E'" in result.stdout
    assert "--grade E=1" in result.stdout


@pytest.mark.parametrize(
    ("meant", "words"),
    [
        (("E",), "--grade 'E' is not VALUE=GRADE"),
        (("E=high",), "--grade 'E=high' is not VALUE=GRADE"),
        (("=1",), "--grade '=1' is not VALUE=GRADE"),
        (("E=1", "e=0"), "--grade names 'e' twice"),
        (("X=1",), "no label or grade of the input is 'X'"),
    ],
)
def test_what_is_no_grade_is_refused(tmp_path: Path, meant: tuple[str, ...], words: str) -> None:
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", labelled(1, 0)), *graded(*meant))
    assert words in told


def test_skipping_skips_words_that_nobody_told(tmp_path: Path) -> None:
    records = labelled(1, "neutral")
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", records), "--on-error", "skip")
    check(table, negatives=False)


def test_labels_of_a_collection(tmp_path: Path) -> None:
    table = searched(tmp_path, collection(tmp_path, [f"q{n},d{n},yes" for n in range(3)]))
    assert sum(row["label"] == 1 for row in table) == 3
