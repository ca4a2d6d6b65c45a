"""``--column`` and ``--ignore``: their grammar, and what a user sees of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negmine.errors import UsageError
from negmine.inputs.asked import asked
from tests.conftest import Invoke, write_jsonl

TASK = ("queries", "qrels")


def test_a_field_belongs_to_every_input_that_has_it() -> None:
    found = asked(["text=body", "qid=key", "qrels.docid=pid"], [], TASK)
    assert dict(found.of("queries")) == {"text": "body", "qid": "key"}
    assert dict(found.of("qrels")) == {"qid": "key", "docid": "pid"}


def test_pairs_beside_a_corpus() -> None:
    found = asked(["text=body", "query=q", "pairs.positive=p"], [], ("corpus", "pairs"))
    assert dict(found.of("corpus")) == {"text": "body"}
    assert dict(found.of("pairs")) == {"query": "q", "positive": "p"}


def test_columns_to_ignore() -> None:
    found = asked([], ["label", "qrels.score", "a.b"], TASK)
    assert found.of("queries").ignored == {"label", "a.b"}
    assert found.of("qrels").ignored == {"label", "a.b", "score"}


@pytest.mark.parametrize(
    ("column", "ignore", "words"),
    [
        (["text"], [], "not TARGET=SOURCE"),
        (["=text"], [], "not TARGET=SOURCE"),
        (["text=a", "queries.text=b"], [], "twice"),
        (["documents.text=a"], [], "unknown input 'documents'"),
        (["corpus.text=a"], [], "unknown input 'corpus'"),
        (["txt=a"], [], "Did you mean 'text'"),
        (["queries.docid=a"], [], "unknown field 'docid' of queries"),
        ([], ["pairs.label"], "unknown input 'pairs'"),
        (["grade=label"], ["label"], "both named and ignored"),
    ],
)
def test_what_is_refused(column: list[str], ignore: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(column, ignore, TASK)
    assert words in str(caught.value)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    texts = ["a red apple", "a green pear", "an apple and a pear"]
    corpus = [{"_id": f"d{n}", "text": text, "lang": "en"} for n, text in enumerate(texts)]
    write_jsonl(tmp_path / "corpus.jsonl", corpus)
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "apple", "source": "web"}])
    (tmp_path / "qrels.csv").write_text("qid,docno,useful,instruction\nq1,d0,2,a\nq1,d1,0,b\n")
    return tmp_path


def test_through_the_command_line(data: Path, invoke: Invoke) -> None:
    made = invoke("index", "--corpus", "corpus.jsonl", "--no-bm25", "-o", "index")
    assert made.exit_code == 0, made.output
    assert "corpus: corpus.jsonl: docid from '_id', text; ignored: 'lang'" in made.stderr
    manifest = json.loads((data / "index/documents/_manifest.json").read_text())
    (told,) = manifest["columns"]["corpus"]
    assert (told["taken"], told["ignored"]) == ({"docid": "_id", "text": "text"}, ["lang"])
    (data / "run.trec").write_text("q1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 1.0 x\n")
    mine = ["retrieve", "index", "--queries", "queries.jsonl", "--qrels", "qrels.csv"]
    mine += ["--run", "other=run.trec", "-o", "candidates"]

    refused = invoke(*mine)
    assert refused.exit_code == 5
    assert "'useful': the grade, for want of another" in refused.stderr
    assert "--column qrels.grade=useful; if not: --ignore qrels.useful" in refused.stderr
    assert "--ignore qrels.instruction" in refused.stderr
    settled = [*mine, "--column", "grade=useful"]
    refused = invoke(*settled, "--ignore", "instuction")
    assert refused.exit_code == 5
    refused = invoke(*settled, "--ignore", "qrels.instruction", "--ignore", "lnag")
    assert refused.exit_code == 2
    assert "--ignore lnag: no input has this column" in refused.stderr
    done = invoke(*settled, "--ignore", "instruction")
    assert done.exit_code == 0, done.output
    assert "queries: queries.jsonl: qid from '_id', text; ignored: 'source'" in done.stderr
    assert (
        "qrels: qrels.csv: qid, docid from 'docno', grade from 'useful'; ignored: 'instruction'"
        in done.stderr
    )
    # What is ignored changes nothing that comes out.
    assert "up to date" in invoke(*settled, "--ignore", "qrels.instruction").stderr


def test_in_a_recipe(data: Path, invoke: Invoke) -> None:
    (data / "r.toml").write_text(
        'work = "w"\n[index]\ncorpus = "corpus.jsonl"\nbm25 = false\n[retrieve]\n'
        'queries = "queries.jsonl"\nqrels = "qrels.csv"\nrun = { other = "run.trec" }\n'
        'column = { grade = "useful" }\nignore = ["qrels.instruction"]\n'
        '[export]\nformat = "triplet"\n'
    )
    (data / "run.trec").write_text("q1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 1.0 x\n")
    done = invoke("run", "r.toml")
    assert done.exit_code == 0, done.output


def test_init_says_it(data: Path, invoke: Invoke) -> None:
    write_jsonl(data / "p.jsonl", [{"query": "a", "positive": "b", "prompt": "c", "url": "d"}])
    made = invoke("init", "p.jsonl", "-o", "-")
    assert made.exit_code == 0
    assert "pairs: p.jsonl: query, positive; ignored: 'prompt', 'url'" in made.stderr
    assert "settle 'prompt': an instruction" in made.stderr
    assert "# To be settled: 'prompt'" in made.stdout
