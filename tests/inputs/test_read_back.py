"""What ``export`` writes with default flags, given back to ``index`` and ``retrieve`` as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from negmine.formats import FORMATS
from tests.conftest import write_jsonl
from tests.training_sets import command, mined, rows, seen

TOPICS = {
    "river": ["water", "valley", "bridge", "flood", "stone"],
    "engine": ["piston", "valve", "oil", "spark", "belt"],
    "garden": ["soil", "seed", "water", "stone", "rose"],
}
#: By query text: the positives, and the chosen negatives in their order, as full texts.
Choices = dict[str, tuple[set[str], list[str]]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger over a small corpus, by BM25."""
    work = tmp_path_factory.mktemp("read-back")
    corpus = [
        {
            "_id": f"{topic}{i}",
            "title": topic.title() if i % 2 else "",
            "text": f"{topic} {' '.join(words[i:] + words[:i])} {i}",
        }
        for topic, words in TOPICS.items()
        for i in range(5)
    ]
    asked = [{"_id": f"q{i}", "text": f"{topic} water oil"} for i, topic in enumerate(TOPICS)]
    judged = [f"q{i}\t{topic}{n}\t1" for i, topic in enumerate(TOPICS) for n in range(1 + i % 2)]
    write_jsonl(work / "corpus.jsonl", corpus)
    write_jsonl(work / "queries.jsonl", asked)
    (work / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    _run("index", "--corpus", work / "corpus.jsonl", "-o", work / "index")
    inputs = ("--queries", work / "queries.jsonl", "--qrels", work / "qrels.tsv")
    _run("retrieve", work / "index", *inputs, "-o", work / "candidates")
    options = ("--num-negatives", 3, "--no-near-duplicates")
    _run("filter", work / "candidates", *options, "-o", work / "ledger")
    return work


def _run(*arguments: object) -> None:
    result = command(*arguments)
    assert result.exit_code == 0, result.output


def chosen(work: Path) -> Choices:
    """What the ledger chose, read off its rows."""
    texts = {
        r["docid"]: f"{r['title']} {r['text']}".strip() for r in rows(work / "index/documents")
    }
    queries = {row["qid"]: row["text"] for row in rows(work / "candidates/_queries")}
    found: Choices = {text: (set(), []) for text in queries.values()}
    for row in sorted(rows(work / "ledger"), key=lambda row: row["selected"] or 0):
        positives, negatives = found[queries[row["qid"]]]
        if row["label"] == 1:
            positives.add(texts[row["docid"]])
        elif row["selected"]:
            negatives.append(texts[row["docid"]])
    assert all(len(negatives) == 3 for _, negatives in found.values())
    return found


def _file(work: Path, folder: Path, name: str) -> Path:
    """The set as a file: its parts and what lies beside them where the format wants a folder."""
    suffixes = {"colbert": "", "colbert-triples": "", "trec-run": ".trec", "trec-qrels": ".qrels"}
    out = folder / f"train{suffixes.get(name, '.jsonl')}"
    _run("export", work / "ledger", "--format", name, "-o", out)
    return out


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.startswith("trec-")])
def test_a_set_comes_back(work: Path, tmp_path: Path, name: str) -> None:
    out = _file(work, tmp_path, name)
    options: tuple[object, ...] = ()
    index: tuple[object, ...] = ()
    if name == "msmarco":
        options, index = ("--queries", work / "queries.jsonl"), ("--corpus", work / "corpus.jsonl")
    elif name.startswith("colbert"):
        options, index = ("--queries", out / "queries.tsv"), ("--corpus", out / "collection.tsv")
        out = out / "part-00000.colbert.jsonl"
    elif name == "pylate-kd":
        # It has scores and no labels.
        options = ("--positive-first",)
    table = mined(tmp_path, out, *options, index=index)
    back = {query: (of.positives, of.given) for query, of in table.items()}
    if name == "msmarco":
        # Its lists are in the order of retrieval, and that of the choice is lost.
        assert {q: (p, set(n)) for q, (p, n) in back.items()} == {
            q: (p, set(n)) for q, (p, n) in chosen(work).items()
        }
    else:
        assert back == chosen(work)


def test_judgements_come_back(work: Path, tmp_path: Path) -> None:
    out = _file(work, tmp_path, "trec-qrels")
    inputs = ("--queries", work / "queries.jsonl", "--qrels", out)
    _run("retrieve", work / "index", *inputs, "-o", tmp_path / "candidates")
    table = seen(work / "index", tmp_path / "candidates")
    back = {query: (of.positives, of.zeros) for query, of in table.items()}
    assert back == {query: (p, set(n)) for query, (p, n) in chosen(work).items()}


def test_a_run_comes_back(work: Path, tmp_path: Path) -> None:
    out = _file(work, tmp_path, "trec-run")
    inputs = ("--queries", work / "queries.jsonl", "--qrels", work / "qrels.tsv")
    asked = (*inputs, "--run", f"mine={out}", "--source", "mine")
    _run("retrieve", work / "index", *asked, "-o", tmp_path / "candidates")
    queries = {row["qid"]: row["text"] for row in rows(work / "candidates/_queries")}
    texts = {
        r["docid"]: f"{r['title']} {r['text']}".strip() for r in rows(work / "index/documents")
    }
    back: dict[str, set[str]] = {text: set() for text in queries.values()}
    for row in rows(tmp_path / "candidates"):
        back[queries[row["qid"]]] |= {texts[row["docid"]]} if row["rank_mine"] else set()
    assert back == {query: p | set(n) for query, (p, n) in chosen(work).items()}


@pytest.mark.parametrize("name", ["labeled-pair", "labeled-list"])
def test_scores_in_the_place_of_labels(work: Path, tmp_path: Path, name: str) -> None:
    """Of pairs a threshold tells what is a positive, where there is one; of lists the first is."""
    out = tmp_path / "train.jsonl"
    _run("export", work / "ledger", "--format", name, "--scores", "-o", out)
    if name == "labeled-list":
        table = mined(tmp_path, out, "--positive-first")
        assert {query: (of.positives, of.given) for query, of in table.items()} == chosen(work)
        return
    told = command("index", "--pairs", out, "-o", tmp_path / "index")
    assert told.exit_code == 0, told.output
    told = command("retrieve", tmp_path / "index", "--pairs", out, "-o", tmp_path / "candidates")
    assert told.exit_code == 5
    assert "--positive-above" in told.stderr
