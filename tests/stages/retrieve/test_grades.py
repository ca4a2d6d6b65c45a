"""Judgements: their dialects, and what grades make of a document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.errors import InvalidDataError
from negmine.inputs import Columns, Problems, read_qrels
from negmine.sources.base import Asked, ScoresPairs
from negmine.sources.judged import Judged
from negmine.sources.union import Judgements
from tests.conftest import Invoke, write_jsonl

Triples = list[tuple[str, str, float]]


def read(path: Path, columns: Columns | None = None) -> Triples:
    batches = read_qrels(str(path), Columns() if columns is None else columns, Problems("fail"))
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]  # type: ignore[misc]


PLAIN: Triples = [("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d4", 1)]
TEXTS: dict[str, tuple[str, str, Triples]] = {
    "floats": ("txt", "q1 0 d1 1.0\nq1 0 d2 0.0\nq2 0 d4 1.0\n", PLAIN),
    "fractions": ("tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0.5\n", [("q1", "d1", 0.5)]),
    "no leading zero": ("qrels", "q1 0 d1 .5\n", [("q1", "d1", 0.5)]),
    "negative": ("txt", "q1 0 d1 2\nq1 0 d2 -2\n", [("q1", "d1", 2), ("q1", "d2", -2)]),
    "three fields": ("tsv", "q1\td1\t1\nq1\td2\t0\nq2\td4\t1\n", PLAIN),
    "three between blanks": ("trec", "q1 d1 1\nq1 d2 0\nq2 d4 1\n", PLAIN),
    "prels": ("txt", "q1 d1 1 0 0.37\nq1 d2 0 1 0.11\nq2 d4 1 1 0.9\n", PLAIN),
    "a header between blanks": (
        "txt",
        "query-id corpus-id  score\nq1 d1 1\nq1 d2  0\nq2 d4 1 \n",
        PLAIN,
    ),
    "rel": (
        "tsv",
        "query_id\tdoc_id\trel\nq1\td1\t2\nq1\td2\t-1\n",
        [("q1", "d1", 2), ("q1", "d2", -1)],
    ),
    "judgement": ("csv", "qid,docid,judgement\nq1,d1,1\nq1,d2,0\nq2,d4,1\n", PLAIN),
    "BOM, CRLF": ("txt", "\ufeffq1 0 d1 1\r\nq1 0 d2 0\r\nq2 0 d4 1\r\n", PLAIN),
    "trailing blanks": ("txt", "q1  0   d1\t1  \nq1 Q0 d2 0 \nq2\t0\td4\t1\n\n", PLAIN),
    "trailing tabs": ("tsv", "q1\t0\td1\t1\t\nq1\t0\td2\t0\nq2\t0\td4\t1\n", PLAIN),
    "docno, label": ("csv", "qid,docno,label,iteration\nq1,d1,1,0\nq1,d2,0,0\nq2,d4,1,0\n", PLAIN),
    "topic, iter": ("tsv", "topic\titer\tdocno\trelevance\nq1\t0\td1\t1\n", PLAIN[:1]),
    "comments": ("txt", "# qrels round 1\nq1 0 d1 1\n# more\nq1 0 d2 0\nq2 0 d4 1\n", PLAIN),
    "quoted": ("csv", '"query-id","corpus-id","score"\n"q1","d1","1"\n"q1","d2","0"\n', PLAIN[:2]),
    "pandas booleans": ("csv", "qid,docid,relevant\nq1,d1,True\nq1,d2,False\nq2,d4,TRUE\n", PLAIN),
    "JSON booleans": (
        "jsonl",
        '{"qid":"q1","docid":"d1","relevant":true}\n{"qid":"q1","docid":"d2","relevant":false}\n',
        PLAIN[:2],
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_dialects(tmp_path: Path, name: str) -> None:
    suffix, text, expected = TEXTS[name]
    path = tmp_path / f"q.{suffix}"
    path.write_text(text, newline="")
    assert read(path) == expected


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("score", lambda grade: float(grade)),
        ("score", lambda grade: str(int(grade))),
        ("relevant", lambda grade: bool(grade)),
        ("rel", lambda grade: np.int8(grade).item()),
    ],
)
def test_types_of_parquet(tmp_path: Path, name: str, make: Callable[[float], Any]) -> None:
    rows = [{"query-id": q, "corpus-id": d, name: make(grade)} for q, d, grade in PLAIN]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "q.parquet")
    assert read(tmp_path / "q.parquet") == PLAIN


@pytest.mark.parametrize(
    ("suffix", "text", "words"),
    [
        ("tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1,0\n", "found '1,0': write 1.0"),
        ("csv", "qid,docid,score\nq1,d1,high\n", "must be a number, found 'high'"),
        ("csv", "qid,docid,score\nq1,d1,nan\n", "must be a number, found 'nan'"),
        ("csv", "qid,docid,score\nq1,d1,99999999999\n", "must be a number"),
        ("jsonl", '{"qid":"q","docid":"d","grade":null}\n', "must be a number, found null"),
        ("tsv", "1\t5000\t6000\n", "no column for 'qid'"),
    ],
)
def test_no_grades(tmp_path: Path, suffix: str, text: str, words: str) -> None:
    path = tmp_path / f"q.{suffix}"
    path.write_text(text)
    with pytest.raises(InvalidDataError) as caught:
        read(path)
    assert words in str(caught.value)


def test_comments_are_told(tmp_path: Path) -> None:
    columns = Columns()
    (tmp_path / "q.txt").write_text("# round 1\nq1 0 d1 1\n# end\n")
    read(tmp_path / "q.txt", columns)
    assert columns.account.notes == [f"{tmp_path}/q.txt: lines that begin with '# ' are comments"]


def test_fields_by_number_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("q1,0,d1,1\n")
    with pytest.raises(InvalidDataError) as caught:
        read(tmp_path / "q.csv")
    assert "--column qrels.qid=#1 --column qrels.docid=#2" in str(caught.value)
    named = Columns({"qid": "#1", "docid": "#3", "grade": "#4"})
    assert read(tmp_path / "q.csv", named) == [("q1", "d1", 1)]


# --- what a grade makes of a document -------------------------------------------------------------


def test_the_source_of_judged_documents() -> None:
    judgements = Judgements(
        query=np.array([0, 0, 0, 0, 2, 2], dtype=np.int32),
        docid=pa.array(["a", "d", "c", "b", "a", "e"]),
        grade=np.array([2.0, -1.0, 0.0, 0.0, 1.0, 0.0]),
        positive=np.array([True, False, False, False, False, False]),
    )
    source = Judged(pa.array(["x", "y", "z"]), judgements, 0.0)
    found = source.search(Asked.by_id(["z", "y", "x", "nobody"]), 2)
    assert found.query.tolist() == [0, 2, 2]
    assert found.docid.to_pylist() == ["e", "b", "c"]
    assert np.isnan(found.score).all()
    assert len(source) == 4
    # What is judged tells nothing about how hard a document is: the others score it.
    assert not isinstance(source, ScoresPairs)


#: A query's documents, all with its words but d5, and their grades.
WORDS = ["red apple", "red apple pie", "an apple", "a red pear", "a stone", "apple trees"]
GRADES = {"d0": 3, "d1": 2, "d2": 1, "d3": 1, "d4": 0}


@pytest.fixture
def index(tmp_path: Path, invoke: Invoke) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    write_jsonl(folder / "corpus.jsonl", [{"id": f"d{n}", "text": t} for n, t in enumerate(WORDS)])
    write_jsonl(folder / "queries.jsonl", [{"id": "q", "text": "red apple"}])
    lines = [f"q 0 {docid} {grade}\n" for docid, grade in GRADES.items()]
    (folder / "qrels.txt").write_text("".join(lines))
    # What found them is another engine, so that this needs no Java.
    run = [f"q Q0 d{n} {n + 1} {9 - n} other\n" for n in (0, 1, 2, 3, 5)]
    (folder / "run.trec").write_text("".join(run))
    made = invoke(
        *("index", "--corpus", folder / "corpus.jsonl", "--no-bm25", "-o", folder / "index")
    )
    assert made.exit_code == 0, made.output
    return folder


def mined(invoke: Invoke, folder: Path, out: Path, *more: object, qrels: str = "qrels.txt") -> Any:
    """Retrieve; the rows by document."""
    done = invoke(
        *("retrieve", folder / "index", "--queries", folder / "queries.jsonl"),
        *("--qrels", folder / qrels, "--run", f"other={folder / 'run.trec'}", "-o", out),
        *more,
    )
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out / "part-00000.parquet").to_pylist()
    return {row["docid"]: row for row in rows}, done.stderr


def dropped(invoke: Invoke, candidates: Path, out: Path, *more: object) -> dict[str, str | None]:
    done = invoke("filter", candidates, "-o", out, "--num-negatives", 2, *more)
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out / "part-00000.parquet").to_pylist()
    return {
        row["docid"]: row["dropped_by"] or (row["selected"] and f"negative {row['selected']}")
        for row in rows
    }


def test_between_the_grades_is_neither(index: Path, invoke: Invoke, tmp_path: Path) -> None:
    rows, said = mined(invoke, index, tmp_path / "c", "--min-grade", 2)
    assert {docid: row["label"] for docid, row in rows.items()} == {
        **{"d0": 1, "d1": 1, "d2": 0, "d3": 0, "d4": 0, "d5": 0}
    }
    assert [rows["d4"][name] for name in ("grade", "rank_other", "rank_judged")] == [0.0, None, 1]
    assert [row["rank_judged"] for row in rows.values()].count(None) == 5
    assert "1 judged not relevant, 2 judged between grades" in said
    fates = dropped(invoke, tmp_path / "c", tmp_path / "l", "--prefer-judged")
    assert fates["d2"] == fates["d3"] == "between_grades"
    assert fates["d5"] == "negative 1"
    # As negatives they are taken only on request, and never first.
    fates = dropped(
        *(invoke, tmp_path / "c", tmp_path / "m", "--prefer-judged", "--no-between-grades"),
        *("--max-score", 7.5),
    )
    assert (fates["d2"], fates["d3"]) == ("negative 1", "negative 2")
    counts = json.loads((tmp_path / "l" / "_manifest.json").read_text())["counts"]
    assert counts["dropped"]["between_grades"] == 2


def test_a_higher_negative_grade(index: Path, invoke: Invoke, tmp_path: Path) -> None:
    more = ("--min-grade", 2, "--negative-grade", 1)
    rows, _ = mined(invoke, index, tmp_path / "c", *more)
    judged = {docid: row["rank_judged"] for docid, row in rows.items() if row["rank_judged"]}
    assert judged == {"d2": 1, "d3": 2, "d4": 3}
    fates = dropped(invoke, tmp_path / "c", tmp_path / "l", "--prefer-judged")
    assert (fates["d2"], fates["d3"], fates["d5"]) == ("negative 1", "negative 2", None)


def test_fractions_and_a_threshold(index: Path, invoke: Invoke, tmp_path: Path) -> None:
    (index / "fractions.csv").write_text("qid,docid,rel\nq,d0,0.75\nq,d1,0.5\nq,d2,0.25\nq,d3,0\n")
    rows, _ = mined(invoke, index, tmp_path / "c", "--min-grade", 0.5, qrels="fractions.csv")
    assert {docid: (row["label"], row["grade"]) for docid, row in rows.items()} == {
        **{"d0": (1, 0.75), "d1": (1, 0.5), "d2": (0, 0.25), "d3": (0, 0.0), "d5": (0, None)}
    }
    assert dropped(invoke, tmp_path / "c", tmp_path / "l")["d2"] == "between_grades"
    shown = invoke("explain", tmp_path / "l", "q")
    assert "1 (grade 0.75)" in shown.stdout


def test_without_judged_negatives_there_is_no_such_source(
    index: Path, invoke: Invoke, tmp_path: Path
) -> None:
    (index / "positives.txt").write_text("q 0 d0 1\n")
    rows, _ = mined(invoke, index, tmp_path / "c", qrels="positives.txt")
    assert "rank_judged" not in rows["d0"]


@pytest.mark.parametrize("grades", [(1, 1), (2, 1), (0.5, 0.25), (-1, -1)])
def test_one_grade_cannot_be_both(
    index: Path, invoke: Invoke, tmp_path: Path, grades: tuple[float, float]
) -> None:
    negative, positive = grades
    refused = invoke(
        *("retrieve", index / "index", "--queries", index / "queries.jsonl", "-o", tmp_path / "c"),
        *("--qrels", index / "qrels.txt", "--run", f"other={index / 'run.trec'}"),
        *("--negative-grade", negative, "--min-grade", positive),
    )
    assert refused.exit_code == 2
    assert "is not below --min-grade" in refused.stderr


def chosen(invoke: Invoke, folder: Path, name: str, *more: object) -> list[str]:
    """The negatives that go out, through all stages with BM25."""
    for command in (
        ("filter", folder / "candidates", "--num-negatives", 1, *more, "-o", folder / name),
        ("export", folder / name, "--ids", "-o", folder / f"{name}.jsonl"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    return sorted({json.loads(line)["negative_docid"] for line in lines})


def test_the_judged_document_that_bm25_does_not_find(invoke: Invoke, tmp_path: Path) -> None:
    """From a report about TREC's deep learning track: grades 3 2 1 1 0, positives from 2 on."""
    texts = [
        "A goiter is a swelling of the thyroid gland in the neck.",
        "Goiter of the thyroid gland is treated with iodine, medicine or surgery.",
        "The thyroid gland makes hormones; a goiter may follow when iodine is missing.",
        "The thyroid gland lies in the neck below the larynx.",
        "Swelling of the neck may be due to lymph nodes.",
        "Thyroid is also the name of a cartilage of the larynx.",
    ]
    corpus = [{"_id": f"p{n}", "text": text} for n, text in enumerate(texts, 1)]
    write_jsonl(tmp_path / "corpus.jsonl", corpus)
    query = {"_id": "156493", "text": "what is a goiter of the thyroid gland"}
    write_jsonl(tmp_path / "queries.jsonl", [query])
    lines = [f"156493 0 p{n} {grade}\n" for n, grade in enumerate((3, 2, 1, 1, 0), 1)]
    (tmp_path / "qrels.txt").write_text("".join(lines))
    for command in (
        ("index", "--corpus", tmp_path / "corpus.jsonl", "-o", tmp_path / "index"),
        (
            *("retrieve", tmp_path / "index", "--queries", tmp_path / "queries.jsonl"),
            *("--qrels", tmp_path / "qrels.txt", "--min-grade", 2, "-o", tmp_path / "candidates"),
        ),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    assert chosen(invoke, tmp_path, "plain") == ["p6"]
    assert chosen(invoke, tmp_path, "judged", "--prefer-judged") == ["p5"]
