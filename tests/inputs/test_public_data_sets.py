"""Rows of public data sets under their own column names, each given as its owner has it.

What is refused is mended as the messages say, word for word, until it is read; what comes out has
the truth of the rows.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.inputs.test_training_sets import TRUTH, check
from tests.training_sets import command, lines, mined, refused, rows

Row = dict[str, Any]
#: A query, one of its texts, and whether that answers it.
Judged = Callable[[str, str, bool], Row]


QUERIES = [query for query, _, _ in TRUTH]


def judged(make: Judged) -> list[Row]:
    return [make(q, text, text is p) for q, p, n in TRUTH for text in (p, n)]


def whole(make: Callable[[str, str, str], Row]) -> list[Row]:
    return [make(q, p, n) for q, p, n in TRUTH]


SETS: dict[str, tuple[list[Row], list[str]]] = {
    "qnli": (
        judged(lambda q, t, yes: {"question": q, "sentence": t, "label": 1 - yes, "idx": len(t)}),
        ["--grade", "0=1", "--grade", "1=0"],
    ),
    "snli": (
        judged(
            lambda q, t, yes: {
                **{"captionID": "4804.jpg", "pairID": "4804r1e"},
                "gold_label": "entailment" if yes else "contradiction",
                **{"sentence1": q, "sentence2": t},
            }
        ),
        [],
    ),
    "allnli": (
        judged(lambda q, t, yes: {"premise": q, "hypothesis": t, "label": 0 if yes else 2}),
        ["--grade", "0=1", "--grade", "1=none", "--grade", "2=0"],
    ),
    "esci": (
        judged(
            lambda q, t, yes: {
                **{"example_id": 1, "query": q, "query_id": QUERIES.index(q)},
                **{"product_id": f"B{len(t)}", "product_locale": "us"},
                **{"esci_label": "E" if yes else "I", "small_version": 1, "split": "train"},
                "product_title": t,
            }
        ),
        ["--grade", "E=1", "--grade", "I=0"],
    ),
    "cosqa": (
        judged(
            lambda q, t, yes: {
                **{"idx": "cosqa-train-0", "doc": q, "code": t, "label": int(yes)},
                **{"docstring_tokens": "a"},
            }
        ),
        [],
    ),
    "cosqa of CodeXGLUE": (
        judged(lambda q, t, yes: {"idx": "0", "query": q, "code": t, "label": int(yes)}),
        [],
    ),
    "reranker of candidates": (
        whole(lambda q, p, n: {"query": q, "candidates": [p, n], "labels": [1, 0]}),
        [],
    ),
    "teacher scores": (
        whole(lambda q, p, n: {"query": q, "pos": [p], "neg": [n], "teacher_scores": [9.0, 1.5]}),
        [],
    ),
    "cornstack": (
        whole(
            lambda q, p, n: {
                **{"query": q, "document": p, "negatives": [n]},
                "metadata": {"objective": {"self": [], "paired": [], "triplet": [["a", "b"]]}},
                **{"document_score": "0.75", "document_rank": "1", "negative_scores": ["0.5"]},
            }
        ),
        [],
    ),
    "negation of Jina": (
        whole(lambda q, p, n: {"anchor": q, "entailment": p, "negative": n}),
        [],
    ),
}


def begun(pairs: Path) -> list[str]:
    """The columns that ``init`` finds, or else proposes."""
    made = command("init", pairs, "-o", "-")
    if made.exit_code:
        return advised(made.stderr)
    named = tomllib.loads(made.stdout)["index"].get("column", {})
    return [part for entry in named.items() for part in ("--column", "=".join(entry))]


def advised(told: str) -> list[str]:
    """The first options that a message proposes."""
    said = re.search(r"Say it: negmine init \S+ (.*?), or the other", told)
    said = said or re.search(r"If it is: (--column .*?); if not", told)
    said = said or re.search(r"If it does not matter: (--ignore \S+)\.", told)
    said = said or re.search(r"negmine init \S+ (--column \S+)$", told, re.MULTILINE)
    return shlex.split(said[1]) if said else []


@pytest.mark.parametrize("name", SETS)
def test_messages_lead_to_the_truth(tmp_path: Path, name: str) -> None:
    records, meant = SETS[name]
    pairs = lines(tmp_path / "train.jsonl", records)
    options = begun(pairs)
    for attempt in range(5):
        made = tmp_path / str(attempt)
        result = command("index", "--pairs", pairs, *options, "--no-bm25", "-o", made)
        if result.exit_code == 0:
            break
        more = advised(result.stderr)
        assert more, result.stderr
        options += more
    (tmp_path / "run").mkdir()
    check(mined(tmp_path / "run", pairs, *options, *meant, index=options))


def test_labels_of_numbers_are_told_what_they_are_read_as(tmp_path: Path) -> None:
    pairs = lines(
        tmp_path / "train.jsonl",
        judged(lambda q, t, yes: {"query": q, "passage": t, "label": int(yes)}),
    )
    told = command("init", pairs, "-o", "-").stderr
    assert "'label': 1 is a positive, 0 was judged not to be one" in told
    assert "--grade 0=1 --grade 1=0" in told


@pytest.mark.parametrize("field", ["score", "label", "document"])
def test_a_field_that_is_not_read_is_refused(tmp_path: Path, field: str) -> None:
    """A margin of triplets is no label: what is named is read, or said not to be."""
    records = whole(lambda q, p, n: {"query": q, "positive": p, "negative": n, "margin": 1})
    options = ["--column", f"pairs.{field}=margin"]
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", records), *options, index=options)
    assert f"read as positives and negatives, they have no field '{field}'" in told
    assert "--ignore margin" in told


def test_a_list_of_an_instruction_and_a_text(tmp_path: Path) -> None:
    """INSTRUCTOR's data: the instruction is no query, and none of the positives."""
    records = whole(lambda q, p, n: {"query": ["Find", q], "pos": ["Text", p], "neg": ["Text", n]})
    told = refused(tmp_path, lines(tmp_path / "train.jsonl", records))
    assert "is a list of two texts: an instruction and the query?" in told


def test_positives_by_id_under_other_names(tmp_path: Path) -> None:
    """LoTTE's and BRIGHT's: texts of queries, ids of documents."""
    lines(tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "text": t[1]} for n, t in enumerate(TRUTH)])
    for name in ("answer_pids", "gold_ids"):
        records = [{"qid": n, "query": t[0], name: [f"d{n}"]} for n, t in enumerate(TRUTH)]
        pairs = lines(tmp_path / f"{name}.jsonl", records)
        index = command("index", "--corpus", tmp_path / "corpus.jsonl", "-o", tmp_path / "index")
        assert index.exit_code == 0, index.output
        out = tmp_path / name
        result = command("retrieve", tmp_path / "index", "--pairs", pairs, "-o", out)
        assert result.exit_code == 0, result.output
        assert ", 3 queries, " in result.stderr


def test_a_file_of_queries_with_other_texts_may_be_pairs(tmp_path: Path) -> None:
    """SQuAD's rows have an id and a question: queries, unless its context is named."""
    records = [{"id": str(n), "context": t[1], "question": t[0]} for n, t in enumerate(TRUTH)]
    pairs = lines(tmp_path / "train.jsonl", records)
    options = advised(command("init", pairs, "-o", "-").stderr)
    assert options == ["--column", "positive=context"]
    check(mined(tmp_path, pairs, *options, index=options), negatives=False)


def test_a_passages_own_id_comes_before_its_documents(tmp_path: Path) -> None:
    """MS MARCO 2's passages; their judgements name ``pid``."""
    records = [
        {"pid": f"msmarco_passage_01_{n}", "passage": t[1], "spans": "(0,3)", "docid": "doc_01"}
        for n, t in enumerate(TRUTH)
    ]
    corpus = lines(tmp_path / "passages.jsonl", records)
    result = command("index", "--corpus", corpus, "--no-bm25", "-o", tmp_path / "index")
    assert result.exit_code == 0, result.output
    found = [row["docid"] for row in rows(tmp_path / "index" / "documents")]
    assert found == [record["pid"] for record in records]


@pytest.mark.parametrize("column", ["pos", "neg"])
@pytest.mark.parametrize("write", [str, json.dumps])
def test_lists_that_a_table_holds_as_text(
    tmp_path: Path, column: str, write: Callable[[Any], str]
) -> None:
    """As pandas' ``to_csv`` leaves them: a text that begins with a bracket is no passage."""
    pairs = tmp_path / "train.csv"
    with pairs.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "pos", "neg"])
        for q, p, n in TRUTH:
            texts = {"pos": p, "neg": n} | {column: write([{"pos": p, "neg": n}[column]])}
            table.writerow([q, texts["pos"], texts["neg"]])
    told = refused(tmp_path, pairs)
    assert f"column '{column}' holds lists or objects written as text" in told
    assert "df.to_json(" in told
    assert "written as text" in command("init", pairs, "-o", "-").stderr


def test_texts_that_begin_with_a_bracket_are_texts(tmp_path: Path) -> None:
    """One of them is no list, so none is."""
    texts = ["['a', 'b'] is a list of Python's", "['x']", "[see below]"]
    pairs = tmp_path / "train.csv"
    with pairs.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "positive"])
        table.writerows(zip(QUERIES, texts, strict=True))
    table_of = mined(tmp_path, pairs)
    assert [table_of[query].positives for query in QUERIES] == [{text} for text in texts]


@pytest.mark.parametrize("listed", [True, False])
def test_ids_named_as_texts_say_how_ids_are_named(tmp_path: Path, listed: bool) -> None:
    lines(tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "text": t[1]} for n, t in enumerate(TRUTH)])
    records = [
        {"query": t[0], "relevant_doc_ids": [f"d{n}"] if listed else f"d{n}"}
        for n, t in enumerate(TRUTH)
    ]
    pairs = lines(tmp_path / "train.jsonl", records)
    told = refused(tmp_path, pairs, index=["--column", "positive=relevant_doc_ids"])
    assert "the column holds ids and no texts" in told
    said = re.search("Say (--column .*?), and give", told)
    assert said
    index = command("index", "--corpus", tmp_path / "corpus.jsonl", "-o", tmp_path / "documents")
    assert index.exit_code == 0, index.output
    asked = ("--pairs", pairs, *shlex.split(said[1]), "-o", tmp_path / "out")
    result = command("retrieve", tmp_path / "documents", *asked)
    assert result.exit_code == 0, result.output
    assert {row["docid"] for row in rows(tmp_path / "out") if row["label"] == 1} == {
        *("d0", "d1", "d2"),
    }
