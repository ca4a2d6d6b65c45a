"""A pair's positive is the corpus document of its text, with the title or without."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from negmine.table import artifacts
from negmine.table.ids import content_ids
from tests.chains import call
from tests.conftest import write_jsonl

BREAD = [
    {"_id": "b1", "title": "Bread", "text": "Dough rises because yeast makes gas."},
    {"_id": "b2", "title": "Wine", "text": "Must ferments because yeast makes alcohol."},
    {"_id": "b3", "title": "", "text": "Flour is ground wheat."},
    {"_id": "b4", "title": "Beer", "text": "Dough rises because yeast makes gas."},
]
QUESTION = "why does it rise"


def chain(
    folder: Path, positives: list[str | dict[str, str]], *, index_pairs: bool = True
) -> tuple[dict[str, int], dict[str, int], list[tuple[str, str]], str]:
    """Index and retrieve; the counts of both, (docid, text) of the positives, what was told."""
    folder.mkdir(exist_ok=True)
    write_jsonl(folder / "corpus.jsonl", BREAD)
    rows = [
        {"query": QUESTION, "positive": positive}
        if isinstance(positive, str)
        else {"query": QUESTION, "positive_passages": [positive], "negative_passages": []}
        for positive in positives
    ]
    write_jsonl(folder / "pairs.jsonl", rows)
    qid = content_ids(pa.array([QUESTION]))[0].as_py()
    run = [f"{qid} Q0 {row['_id']} {rank} {9 - rank} x" for rank, row in enumerate(BREAD, 1)]
    (folder / "run.trec").write_text("\n".join(run) + "\n")
    pairs = ["--pairs", folder / "pairs.jsonl"]
    work = folder / "work"
    told = ""
    corpus = ["--corpus", folder / "corpus.jsonl"]
    with_pairs = pairs if index_pairs else []
    source = ["--run", f"x={folder / 'run.trec'}"]
    for command in (
        ["index", *corpus, *with_pairs, "--no-bm25", "-o", work / "index"],
        ["retrieve", work / "index", *pairs, *source, "-o", work / "candidates"],
        ["filter", work / "candidates", "-o", work / "ledger"],
        ["export", work / "ledger", "--ids", "-o", work / "train.jsonl"],
    ):
        code, output = call(*command)
        assert code == 0, output
        told += output
    train = [json.loads(line) for line in (work / "train.jsonl").read_text().splitlines()]
    counts = [
        artifacts.open_artifact(path).counts
        for path in (work / "index/documents", work / "candidates")
    ]
    found = sorted({(row["positive_docid"], row["positive"]) for row in train})
    # A positive's own text is no negative of its query, under whichever id.
    texts = {text for _, text in found}
    assert not any(row["negative"] in texts for row in train)
    return dict(counts[0]), dict(counts[1]), found, told


@pytest.mark.parametrize("index_pairs", [True, False])
@pytest.mark.parametrize(
    ("positive", "docid"),
    [
        ("Must ferments because yeast makes alcohol.", "b2"),
        ("Wine Must ferments because yeast makes alcohol.", "b2"),
        ("Flour is ground wheat.", "b3"),
        # Of two with the same text the first by id; with its title it is one of them.
        ("Dough rises because yeast makes gas.", "b1"),
        ("Beer Dough rises because yeast makes gas.", "b4"),
    ],
)
def test_a_positive_is_the_document_of_its_text(
    tmp_path: Path, positive: str, docid: str, index_pairs: bool
) -> None:
    index, retrieved, found, told = chain(tmp_path, [positive], index_pairs=index_pairs)
    assert [name for name, _ in found] == [docid]
    assert index["documents"] == len(BREAD)
    assert index.get("passages_added", 0) == retrieved["positives_added_to_corpus"] == 0
    assert "to the corpus" not in told
    assert "added to it" not in told


@pytest.mark.parametrize("index_pairs", [True, False])
@pytest.mark.parametrize(
    ("title", "text", "docid"),
    [
        ("Wine", "Must ferments because yeast makes alcohol.", "b2"),
        # The corpus has no title for it.
        ("Flour", "Flour is ground wheat.", "b3"),
    ],
)
def test_a_passage_with_a_title_is_the_document_of_its_text(
    tmp_path: Path, title: str, text: str, docid: str, index_pairs: bool
) -> None:
    passage = {"docid": "other", "title": title, "text": text}
    index, _, found, _ = chain(tmp_path, [passage], index_pairs=index_pairs)
    assert [name for name, _ in found] == [docid]
    assert index["documents"] == len(BREAD)


def test_a_title_of_its_own_makes_another_passage(tmp_path: Path) -> None:
    passage = {"docid": "other", "title": "Vinegar", "text": BREAD[1]["text"]}
    index, retrieved, found, _ = chain(tmp_path, [passage])
    assert index["passages_added"] == retrieved["positives_added_to_corpus"] == 1
    assert [name for name, _ in found] == ["other"]


def test_a_text_under_several_titles_is_told(tmp_path: Path) -> None:
    _, retrieved, found, told = chain(tmp_path, [BREAD[0]["text"]])
    assert [name for name, _ in found] == ["b1"]
    assert retrieved["passages_of_several_documents"] == 1
    assert "warning: 1 passages are the text of several documents with different titles" in told


def test_positives_that_had_to_be_added_are_counted_and_told(tmp_path: Path) -> None:
    positives = [BREAD[1]["text"], "Salt slows yeast.", "Sugar feeds yeast.", "Salt slows yeast."]
    index, retrieved, found, told = chain(tmp_path, positives)
    assert index["passages_added"] == retrieved["positives_added_to_corpus"] == 2
    assert index["documents"] == len(BREAD) + 2
    made = content_ids(pa.array(positives[1:3])).to_pylist()
    assert {name for name, _ in found} == {"b2", *made}
    assert "warning: 2 of 3 passages of the pairs are no document of the corpus" in told
    assert "warning: 2 positives are passages that index added to the corpus" in told


def test_a_corpus_of_the_pairs_alone_has_nothing_added(tmp_path: Path) -> None:
    rows = [{"query": f"question {n}", "positive": f"answer {n}"} for n in range(3)]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    pairs = ["--pairs", tmp_path / "pairs.jsonl", "--no-bm25", "-o", tmp_path / "index"]
    code, output = call("index", *pairs)
    assert code == 0, output
    assert "added" not in output
