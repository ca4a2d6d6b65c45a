"""Rounds by hand: what an earlier ledger chose comes again, and what is solved makes room (Conan).

Scores come from runs, so every number below was computed on paper.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Invoke, write_jsonl

Scores = Mapping[str, Mapping[str, float]]
FIRST: Scores = {
    "q1": {"p": 0.95, "a": 0.90, "b": 0.85, "c": 0.80, "d": 0.70, "e": 0.60, "f": 0.50},
    "q2": {"p": 0.95, "a": 0.90, "g": 0.88, "h": 0.30},
}
SECOND: Scores = {
    "q1": {"p": 0.97, "a": 0.85, "c": 0.75, "e": 0.72, "d": 0.65, "b": 0.60, "f": 0.10},
    "q2": {"g": 0.99, "p": 0.95, "h": 0.29, "a": 0.10},
}
THIRD: Scores = {
    "q1": {"p": 0.97, "a": 0.78, "c": 0.70, "b": 0.64, "e": 0.62, "d": 0.50, "f": 0.10},
    "q2": {"p": 0.95, "h": 0.29},
}


class Rounds:
    """A corpus, and what is mined of it with one run after the other."""

    def __init__(self, folder: Path, invoke: Invoke) -> None:
        self.folder, self.invoke = folder, invoke
        documents = [{"_id": one, "text": f"document {one} {one}{one}"} for one in "pabcdefgh"]
        write_jsonl(folder / "corpus.jsonl", documents)
        queries = [{"_id": one, "text": f"question {one}"} for one in ("q1", "q2")]
        write_jsonl(folder / "queries.jsonl", queries)
        (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp\t1\nq2\tp\t1\n")
        self.index = folder / "index"
        command = ["index", "--corpus", folder / "corpus.jsonl", "--no-bm25", "-o", self.index]
        assert invoke(*command).exit_code == 0

    def mine(self, name: str, scores: Scores, *previous: str, ok: bool = True) -> Any:
        lines = [f"{q} {d} {s}\n" for q, found in scores.items() for d, s in found.items()]
        run = self.folder / f"{name}.tsv"
        run.write_text("qid docid score\n".replace(" ", "\t") + "".join(lines).replace(" ", "\t"))
        sources = [word for one in previous for word in ("--source", one)]
        done = self.invoke(
            *("retrieve", self.index, "--queries", self.folder / "queries.jsonl"),
            *("--qrels", self.folder / "qrels.tsv", "--run", f"s={run}", *sources),
            *("-k", 9, "-o", self.folder / f"candidates-{name}"),
        )
        assert not ok or done.exit_code == 0, done.output
        return done

    def filter(self, name: str, *options: object, ok: bool = True, ledger: str = "") -> Any:
        done = self.invoke(
            *("filter", self.folder / f"candidates-{name}", "--by", "s", "--num-negatives", 3),
            *(*options, "-o", self.ledger(ledger or name), "--no-repeated-texts"),
        )
        assert not ok or done.exit_code == 0, done.output
        return done

    def ledger(self, name: str) -> Path:
        return self.folder / f"ledger-{name}"

    def rows(self, name: str, qid: str) -> list[dict[str, Any]]:
        table = pq.read_table(self.ledger(name) / "part-00000.parquet").to_pylist()
        return [row for row in table if row["qid"] == qid]

    def chosen(self, name: str, qid: str) -> list[str]:
        rows = [row for row in self.rows(name, qid) if row["selected"] is not None]
        return [row["docid"] for row in sorted(rows, key=lambda row: row["selected"])]

    def first_scores(self, name: str, qid: str) -> dict[str, float]:
        rows = self.rows(name, qid)
        return {r["docid"]: round(r["first_score"], 4) for r in rows if r["first_score"]}

    def dropped(self, name: str, qid: str) -> dict[str, str]:
        rows = self.rows(name, qid)
        return {r["docid"]: r["dropped_by"] for r in rows if r["dropped_by"] and r["label"] == 0}


@pytest.fixture
def rounds(tmp_path: Path, invoke: Invoke) -> Rounds:
    made = Rounds(tmp_path, invoke)
    made.mine("1", FIRST, "prev=previous:")
    made.filter("1", "--replace-solved", "prev")
    return made


def test_three_rounds_by_hand(rounds: Rounds) -> None:
    # Nothing came before the first, and it is told of no one.
    assert rounds.chosen("1", "q1") == ["a", "b", "c"]
    assert rounds.first_scores("1", "q1") == {"a": 0.9, "b": 0.85, "c": 0.8}
    mined = rounds.mine("2", SECOND, f"prev=previous:{rounds.ledger('1')}")
    assert "prev: 6 negatives of before; 6 of them are found now, too" in mined.stderr
    table = pq.read_table(rounds.folder / "candidates-2" / "part-00000.parquet").to_pylist()
    of_before = {r["docid"]: (r["rank_prev"], r["score_prev"]) for r in table if r["qid"] == "q1"}
    assert of_before["c"] == (3, pytest.approx(0.8))
    assert of_before["p"] == (None, pytest.approx(0.95))
    assert of_before["d"] == (None, None)
    done = rounds.filter("2", "--replace-solved", "prev", "--absolute-margin", 0)
    # b: 1.15 * .60 < .85. c: 1.15 * .75 > .80. a: .85 is not below .80.
    assert rounds.dropped("2", "q1") == {"b": "solved"}
    assert rounds.chosen("2", "q1") == ["a", "e", "c"]
    assert rounds.first_scores("2", "q1") == {"a": 0.9, "e": 0.72, "c": 0.8}
    # q2: g scores above the positive now, a is solved; what is left moves up.
    assert rounds.dropped("2", "q2") == {"g": "absolute_margin", "a": "solved"}
    assert rounds.chosen("2", "q2") == ["h"]
    counts = json.loads((rounds.ledger("2") / "_manifest.json").read_text())["counts"]
    assert (counts["earlier"], counts["earlier_kept"], counts["dropped"]["solved"]) == (6, 3, 2)
    assert "solved 2" in done.stderr
    rounds.mine("3", THIRD, f"prev=previous:{rounds.ledger('2')}")
    rounds.filter("3", "--replace-solved", "prev")
    # a: 1.15 * .78 < .90, what it scored when it was chosen first; of .85 it would not be.
    assert rounds.dropped("3", "q1") == {"a": "solved", "e": "solved"}
    assert rounds.chosen("3", "q1") == ["b", "d", "c"]
    assert rounds.first_scores("3", "q1") == {"b": 0.64, "d": 0.5, "c": 0.8}


def test_both_numbers_can_be_set(rounds: Rounds) -> None:
    rounds.mine("2", SECOND, f"prev=previous:{rounds.ledger('1')}")
    rounds.filter("2", "--replace-solved", "prev", "--solved-below", 0.5)
    assert rounds.chosen("2", "q1") == ["a", "b", "c"]
    more = ("--solved-factor", 1.05, "--solved-below", 0.9)
    rounds.filter("2", "--replace-solved", "prev", *more, ledger="other")
    # a: 1.05 * .85 < .90; c: 1.05 * .75 < .80.
    assert rounds.dropped("other", "q1") == {"a": "solved", "b": "solved", "c": "solved"}
    assert rounds.chosen("other", "q1") == ["e", "d", "f"]


def test_windows_are_for_what_is_mined_now(rounds: Rounds) -> None:
    rounds.mine("2", SECOND, f"prev=previous:{rounds.ledger('1')}")
    rounds.filter("2", "--replace-solved", "prev", "--range-min", 5)
    # e is of rank 4; a and c are of ranks 2 and 3 and keep their places.
    assert rounds.dropped("2", "q1") == {"b": "solved", "e": "range_min"}
    assert rounds.chosen("2", "q1") == ["a", "d", "c"]


def test_who_looks_at_the_ledger_is_told(rounds: Rounds) -> None:
    rounds.mine("2", SECOND, f"prev=previous:{rounds.ledger('1')}")
    rounds.filter("2", "--replace-solved", "prev")
    told = rounds.invoke("explain", rounds.ledger("2"), "q1")
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("dropped: solved")]
    assert {"b", "0.85", "0.6"} <= set(line.split())
    page = rounds.folder / "report.html"
    assert rounds.invoke("report", rounds.ledger("2"), "-o", page).exit_code == 0
    assert "has become easy" in page.read_text()
    assert rounds.invoke("inspect", rounds.ledger("2")).exit_code == 0
    lineage = rounds.invoke("inspect", rounds.folder / "candidates-2", "-v").stdout
    assert "prev: ../ledger-1" in lineage


def test_two_rounds_on_a_page(rounds: Rounds) -> None:
    rounds.mine("2", SECOND, f"prev=previous:{rounds.ledger('1')}")
    rounds.filter("2", "--replace-solved", "prev", "--absolute-margin", 0)
    page = rounds.folder / "rounds.html"
    done = rounds.invoke("report", rounds.ledger("1"), rounds.ledger("2"), "-o", page)
    assert done.exit_code == 0, done.output
    text = re.sub(r"<[^>]+>|\s+", " ", page.read_text())
    text = re.sub(r" +", " ", text)
    # q1 keeps a and c, has e for b; q2 keeps h of a, g and h.
    assert "kept 3 new 1 gone 3 solved: it has become easy 2 dropped by absolute_margin 1" in text
    # (.90 + .80 + .30) / 3, (.85 + .75 + .29) / 3
    assert "score_s of the 3 kept negatives: 0.6667 on average in" in text
    assert "ledger-1, 0.63 in" in text
    assert re.search(r"of 100(\.0)?% it fell", text)
    assert re.search(r"0 of 6 \(0(\.0)?%\) in", text)
    assert re.search(r"0 of 4 \(0(\.0)?%\) in", text)


def test_what_cannot_be_compared_is_refused(rounds: Rounds) -> None:
    missing = rounds.filter("1", "--replace-solved", "s", ok=False, ledger="x")
    assert missing.exit_code == 2
    assert "no source of an earlier round's negatives" in missing.stderr
    rounds.mine("2", SECOND, f"prev=previous:{rounds.ledger('1')}")
    other = rounds.filter("2", "--replace-solved", "prev", "--by", "prev", ok=False, ledger="x")
    assert other.exit_code == 2
    idle = rounds.filter("2", "--solved-factor", 2, ledger="x")
    assert "--solved-factor has no effect without --replace-solved" in idle.stderr


def test_ledgers_of_other_queries_and_corpora(rounds: Rounds, invoke: Invoke) -> None:
    one: Scores = {"q1": SECOND["q1"]}
    (rounds.folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp\t1\n")
    some = rounds.mine("2", one, f"prev=previous:{rounds.ledger('1')}")
    assert "3 negatives are of queries that are not mined: left out" in some.stderr
    # Of another corpus some are there, then none.
    for kept, code in (("pab", 0), ("p", 5)):
        rows = [{"_id": d, "text": f"document {d}"} for d in kept]
        write_jsonl(rounds.folder / "corpus.jsonl", rows)
        rounds.index = rounds.folder / f"index-{kept}"
        corpus = rounds.folder / "corpus.jsonl"
        assert invoke("index", "--corpus", corpus, "--no-bm25", "-o", rounds.index).exit_code == 0
        name = f"of-{kept}"
        done = rounds.mine(name, one, f"prev=previous:{rounds.ledger('1')}", ok=False)
        assert done.exit_code == code, done.output
        if code:
            assert "none of its 6 negatives is of a mined query and a document" in done.stderr
        else:
            assert "1 negatives are no document of the corpus: left out" in done.stderr


def test_a_ledger_that_is_none_is_refused(rounds: Rounds) -> None:
    nothing = rounds.mine("2", SECOND, "prev=previous:nowhere", ok=False)
    assert nothing.exit_code == 4
    assert "nowhere" in nothing.stderr
    table = rounds.folder / "candidates-1"
    other = rounds.mine("2", SECOND, f"prev=previous:{table}", ok=False)
    assert other.exit_code == 2
    assert "made by 'retrieve'" in other.stderr
