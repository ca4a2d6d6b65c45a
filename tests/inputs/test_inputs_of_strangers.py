"""Labels that are words, positives in several columns, decimals, and advice that has to work.

Each input is given to the command line as its owner has it; what is refused is mended as the
message says, word for word, and tried again.
"""

from __future__ import annotations

import json
import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.inputs.test_training_sets import TRUTH, check
from tests.training_sets import Seen, command, lines, mined, refused, rows

WORDS = [
    *(("yes", "no"), ("relevant", "not relevant"), ("Relevant", "IRRELEVANT"), ("Y", "N")),
    *(("positive", "negative"), ("duplicate", "not_duplicate"), ("entailment", "contradiction")),
]


def labelled(positive: Any, negative: Any, name: str = "label") -> list[dict[str, Any]]:
    return [
        {"query": query, "passage": text, name: label}
        for query, p, n in TRUTH
        for text, label in ((p, positive), (n, negative))
    ]


def is_judged(table: dict[str, Seen]) -> None:
    check(table)
    assert all(table[query].zeros == {negative} for query, _, negative in TRUTH)


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_labels_that_are_words(tmp_path: Path, words: tuple[str, str]) -> None:
    is_judged(mined(tmp_path, lines(tmp_path / "train.jsonl", labelled(*words))))


@pytest.mark.parametrize("word", ["neutral", "E", "partially relevant", "highly relevant"])
def test_a_word_that_is_neither_says_how_to_mend_it(tmp_path: Path, word: str) -> None:
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", labelled("relevant", word)))
    assert f"train.jsonl:2: field 'label' must be a finite number, found '{word}'" in told
    assert "(a positive), --grade " in told
    (tmp_path / "mended").mkdir()
    meant = ("--grade", f"{word}=0")
    is_judged(mined(tmp_path / "mended", tmp_path / "train.jsonl", *meant))


def class_labels(path: Path, names: list[str], numbers: tuple[int, int]) -> Path:
    """A Parquet file as ``datasets`` writes it: the words stand in the schema."""
    feature = {"names": names, "_type": "ClassLabel"}
    note = json.dumps({"info": {"features": {"label": feature}}})
    table = pa.Table.from_pylist(labelled(*numbers))
    pq.write_table(table.replace_schema_metadata({"huggingface": note}), path)
    return path


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        # QNLI, RTE: 0 is the positive.
        (["entailment", "not_entailment"], (0, 1)),
        (["entailment", "neutral", "contradiction"], (0, 2)),
        (["not_duplicate", "duplicate"], (1, 0)),
        (["0", "1"], (1, 0)),
    ],
)
def test_numbers_that_stand_for_words(
    tmp_path: Path, names: list[str], numbers: tuple[int, int]
) -> None:
    pairs = class_labels(tmp_path / "train.parquet", names, numbers)
    is_judged(mined(tmp_path, pairs))
    told = command("index", "--pairs", pairs, "--no-bm25", "-o", tmp_path / "again").stderr
    assert f"the numbers of 'label' stand for {', '.join(names)}"[:60] in told


def test_numbers_that_stand_for_a_word_that_is_neither(tmp_path: Path) -> None:
    names = ["entailment", "neutral", "contradiction"]
    pairs = class_labels(tmp_path / "train.parquet", names, (0, 1))
    assert "found 'neutral'" in refused(tmp_path, pairs, "--positive-above", 1)


def test_words_for_grades(tmp_path: Path) -> None:
    data = collection(tmp_path, [f"q{n},d{n},relevant" for n in range(3)] + ["q0,d1,no"])
    table = searched(tmp_path, data)
    assert [row["docid"] for row in table if row["label"] == 1] == ["d0", "d1", "d2"]
    assert [row["docid"] for row in table if row["grade"] == 0] == ["d1"]
    data = collection(tmp_path, ["q0,d0,relevant", "q1,d1,Perfect"])
    result = command(
        *("retrieve", tmp_path / "index", "--queries", data / "queries.jsonl"),
        *("--qrels", data / "qrels.csv", "-o", tmp_path / "refused"),
    )
    assert result.exit_code == 5
    assert "qrels.csv:3: field 'label' must be a number, found 'Perfect'" in result.stderr
    assert "--grade Perfect=1 (a positive)" in result.stderr


def collection(folder: Path, judged: list[str]) -> Path:
    lines(folder / "corpus.jsonl", [{"_id": f"d{n}", "text": t[1]} for n, t in enumerate(TRUTH)])
    lines(folder / "queries.jsonl", [{"_id": f"q{n}", "text": t[0]} for n, t in enumerate(TRUTH)])
    (folder / "qrels.csv").write_text("\n".join(["qid,docid,label", *judged]) + "\n")
    return folder


def searched(folder: Path, data: Path) -> list[dict[str, Any]]:
    for arguments in (
        ("index", "--corpus", data / "corpus.jsonl", "-o", folder / "index"),
        (
            *("retrieve", folder / "index", "--queries", data / "queries.jsonl"),
            *("--qrels", data / "qrels.csv", "-o", folder / "out"),
        ),
    ):
        result = command(*arguments)
        assert result.exit_code == 0, result.output
    found = rows(folder / "out")
    return sorted(found, key=lambda row: (row["qid"], row["docid"]))


@pytest.mark.parametrize("scale", [0, 1])
def test_decimals(tmp_path: Path, scale: int) -> None:
    """Databases and Spark export numbers so."""
    records = labelled(Decimal(1), Decimal(0))
    table = pa.Table.from_pylist(records).set_column(
        2, "label", pa.array([row["label"] for row in records], pa.decimal128(10, scale))
    )
    ids = pa.array([Decimal(at // 2) for at in range(len(records))], pa.decimal128(38, 0))
    pq.write_table(table.append_column("query_id", ids), tmp_path / "train.parquet")
    is_judged(mined(tmp_path, tmp_path / "train.parquet"))


@pytest.mark.parametrize(
    "names", [("positive_1", "positive_2"), ("positive", "positive_2"), ("pos1", "pos2")]
)
def test_positives_in_several_columns(tmp_path: Path, names: tuple[str, str]) -> None:
    records = [
        {"query": q, names[0]: p, names[1]: f"Indeed: {p}", "negative_1": n} for q, p, n in TRUTH
    ]
    table = mined(tmp_path, lines(tmp_path / "train.jsonl", records))
    for query, positive, negative in TRUTH:
        assert table[query].positives == {positive, f"Indeed: {positive}"}
        assert table[query].given == [negative]


def test_nulls_that_fill_up_lists_of_negatives(tmp_path: Path) -> None:
    records = [{"query": q, "pos": [p], "neg": [n, None]} for q, p, n in TRUTH]
    check(mined(tmp_path, lines(tmp_path / "train.jsonl", records)))


def test_a_score_too_large_is_named(tmp_path: Path) -> None:
    records = [{"query": q, "pos": [p], "neg": [n], "neg_scores": [1e39]} for q, p, n in TRUTH]
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", records))
    assert "train.jsonl:1: field 'neg_scores' must be a finite number, found 1e+39" in told


ADVISED: dict[str, tuple[list[str], list[str]]] = {
    "reward": (["prompt", "chosen", "rejected"], ["query=prompt", "positive=chosen"]),
    "votes": (
        ["title_body", "upvoted_answer", "downvoted_answer"],
        ["query=title_body", "positive=upvoted_answer"],
    ),
    "blanks": (
        ["The Question", "Positive Passage", "Negative Passage"],
        ["query=The Question", "positive=Positive Passage"],
    ),
}


@pytest.mark.parametrize("case", ADVISED)
def test_advice_that_is_followed_word_for_word(tmp_path: Path, case: str) -> None:
    """Each message's first --column is added until nothing is refused."""
    names, begin = ADVISED[case]
    pairs = lines(tmp_path / "train.jsonl", [dict(zip(names, t, strict=True)) for t in TRUTH])
    said = command("init", pairs, "-o", "-").stderr
    words = shlex.split(said.split("Say it: ")[1].split(", or the other")[0])
    assert [words[at + 1] for at, word in enumerate(words) if word == "--column"] == begin
    options = [part for entry in begin for part in ("--column", entry)]
    told = refused(tmp_path, pairs, *options, index=options)
    advised = re.search(r"If it is: (--column .*?); if not", told)
    assert advised, told
    options += shlex.split(advised[1])
    table = mined(tmp_path, pairs, *options, index=options)
    check(table)
    again = command("index", "--pairs", pairs, *options, "--no-bm25", "-o", tmp_path / "again")
    assert "is not read" not in again.stderr


def test_init_leaves_what_labels_mean_to_the_run(tmp_path: Path) -> None:
    pairs = lines(tmp_path / "train.jsonl", labelled(3, 1))
    result = command("init", pairs, "-o", "-")
    assert result.exit_code == 0, result.output
    assert "# To be settled: field 'label' is 3, neither 0 nor 1" in result.stdout
    check(mined(tmp_path, pairs, "--positive-above", 2))


@pytest.mark.parametrize(
    ("record", "advised"),
    [
        ({"question": "q", "answers": ["a"], "context": "c"}, "positive=context"),
        ({"query": "q", "answers": ["a"], "passages": "c"}, "positive=passages"),
    ],
)
def test_short_answers_are_no_passages(
    tmp_path: Path, record: dict[str, Any], advised: str
) -> None:
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", [record]))
    assert f"--column {advised}." in told


def test_what_is_called_a_label_is_no_text_that_asks(tmp_path: Path) -> None:
    record = {"label": "SUPPORTS", "claim": "The sea is salty.", "evidence": "Rivers carry salt."}
    told = command("init", lines(tmp_path / "train.jsonl", [record])).stderr
    assert "--column query=claim --column positive=evidence" in told


def test_a_first_line_of_many_words_is_no_header(tmp_path: Path) -> None:
    data = collection(tmp_path, ["q0,d0,1"])
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"q{n}\t{t[0]}\n" for n, t in enumerate(TRUTH)))
    made = command("init", data / "corpus.jsonl", topics, data / "qrels.csv", "-o", "-")
    assert "qid from '#1', text from '#2'" in made.stderr
    asked = ["--column", "queries.qid=#1", "--column", "queries.text=#2"]
    index = command("index", "--corpus", data / "corpus.jsonl", "-o", tmp_path / "index")
    assert index.exit_code == 0, index.output
    out = ("--qrels", data / "qrels.csv", "-o", tmp_path / "out")
    found = command("retrieve", tmp_path / "index", "--queries", topics, *asked, *out)
    assert found.exit_code == 0, found.output
    assert "3 queries read" in found.output


@pytest.mark.parametrize("words", [("yes", "no"), ("Entailment", "neutral"), ("relevant", "other")])
def test_words_under_an_unknown_name_are_asked_about(
    tmp_path: Path, words: tuple[str, str]
) -> None:
    pairs = lines(tmp_path / "train.jsonl", labelled(*words, name="verdict"))
    told = refused(tmp_path, pairs)
    assert "'verdict': a label or grade, by its values." in told
    options = shlex.split(told.split("If it is: ")[1].split(";")[0])
    if words == ("yes", "no"):
        is_judged(mined(tmp_path, pairs, *options, index=options))
    else:
        assert "(a positive)" in refused(tmp_path, pairs, *options, index=options)


def test_texts_of_many_kinds_are_only_told(tmp_path: Path) -> None:
    records = [
        {"query": q, "positive": f"{p} {at}", "site": "yes" if at == 3 else f"site {at}"}
        for at in range(10)
        for q, p, _ in TRUTH
    ]
    result = command(
        *("index", "--pairs", lines(tmp_path / "train.jsonl", records), "--no-bm25"),
        *("-o", tmp_path / "index"),
    )
    assert result.exit_code == 0, result.output
    assert "ignored: 'site'" in result.stderr
