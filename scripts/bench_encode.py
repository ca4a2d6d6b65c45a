"""Encoding: negmine against ``SentenceTransformer.encode`` as shipped (float32, batch size 32).

Both encode the same texts with the same model on all cores, each in a process of its own, in
turns; seconds begin after the model is loaded and include tokenising. What comes out is compared:
the largest difference of a vector's entry, and the ten nearest neighbours of some texts among all::

    python scripts/bench_encode.py DATA/medquad --limit 2000

``--dtype auto`` (the default) takes bfloat16 only where the processor multiplies it in hardware.
``--profile`` tells instead what negmine's time goes to where PyTorch runs the model, and how fast
the processor multiplies matrices of such shapes in both formats: what no way of calling the model
can exceed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _bench
import numpy as np

_NEIGHBOURS = 10
_ASKED = 1000


def main() -> int:
    """Run both sides in turns and print the table; or be one side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout; its corpus is encoded")
    parser.add_argument("--limit", type=int, help="only so many documents, at even distances")
    parser.add_argument("--model", default=_bench.MINILM)
    parser.add_argument("--onnx", help="the same model as an ONNX folder: a third side")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--runtime", default="auto", help="of negmine: auto, torch or openvino")
    parser.add_argument("--batch-size", type=int, default=128, help="negmine's (its default: 128)")
    parser.add_argument("--device", default="cpu", help="of both sides: cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="of the models; default: all cores")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="where negmine's time goes")
    parser.add_argument("--worker", choices=("peer", "negmine", "onnx"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(options)
        return 0
    if options.profile:
        _profile(options)
        return 0
    sides = ["peer", "negmine", *(["onnx"] if options.onnx else [])]
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side in sides:
                out = Path(folder) / f"{side}.npy"
                arguments = [*sys.argv[1:], "--out", str(out)]
                runs[side].append(_bench.worker(__file__, side, *arguments))
        vectors = {side: np.load(Path(folder) / f"{side}.npy") for side in sides}
    count = len(vectors["peer"])
    packages = ("torch", "sentence-transformers", "transformers", "openvino", "onnxruntime")
    print(_bench.machine(*packages))
    print(f"{count:,} texts of {options.data.name}, {runs['peer'][0]['tokens']:,} tokens\n")
    peer = _bench.median(runs["peer"])
    rows = []
    for side in sides:
        seconds = _bench.median(runs[side])
        apart = float(np.abs(vectors[side] - vectors["peer"]).max())
        rows.append(
            (
                {"peer": "SentenceTransformer.encode", "onnx": "negmine, ONNX"}.get(side, side),
                runs[side][0]["how"],
                f"{seconds:.1f} ({_bench.spread(runs[side])})",
                f"{count / seconds:.1f}",
                f"{peer / seconds:.2f}",
                f"{_bench.median(runs[side], 'work'):.1f}",
                f"{_bench.median(runs['peer'], 'work') / _bench.median(runs[side], 'work'):.2f}",
                f"{_agreement(vectors['peer'], vectors[side]):.2%}",
                f"{apart:.1e}",
                f"{max(run['peak'] for run in runs[side]):.0f}",
            )
        )
    head = (
        *("side", "how", "seconds (least to most)", "texts/s", "times the peer"),
        *("CPU seconds", "times the peer's"),
    )
    print(_bench.table((*head, "top-10 agreement", "largest difference", "peak MiB"), rows))
    return 0


def _work(options: argparse.Namespace) -> None:
    _, texts = _bench.corpus(options.data, options.limit)
    if options.worker == "peer":
        import torch
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(_bench.model_folder(options.model), device=options.device)
        torch.set_num_threads(options.threads or torch.get_num_threads())
        model.encode(texts[:8], show_progress_bar=False)
        with _bench.timed() as spent:
            vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        features = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)
        tokens = sum(map(len, features["input_ids"]))
        how = "torch, float32"
    else:
        from negmine.models.base import SAMPLE, EncoderSettings, Settles
        from negmine.models.encoders import load_encoder
        from negmine.models.resolve import resolve

        spec = options.onnx if options.worker == "onnx" else options.model
        settings = EncoderSettings(
            batch_size=options.batch_size,
            device=options.device,
            dtype=options.dtype,
            runtime=options.runtime,
            threads=options.threads,
        )
        encoder = load_encoder(resolve(spec), settings)
        # As `index` does where there is much to encode; the trial is not timed.
        if isinstance(encoder, Settles):
            some = texts[:: max(1, len(texts) // SAMPLE)]
            encoder, _ = encoder.settled(lambda: some, lambda: 1 << 30, None)
        encoder.encode(texts[:8], "document")
        with _bench.timed() as spent:
            vectors = encoder.encode(texts, "document")
        tokens = 0
        how = f"{encoder.describe()['backend']}, {encoder.placement.dtype}"
    np.save(options.out, vectors)
    _bench.tell(**spent, tokens=tokens, how=how)


def _profile(options: argparse.Namespace) -> None:
    """Print the operators' shares of negmine's time, and the rates of bare matrix products."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from negmine.models.base import EncoderSettings
    from negmine.models.encoders import load_encoder
    from negmine.models.resolve import resolve

    _, texts = _bench.corpus(options.data, options.limit)
    settings = EncoderSettings(
        batch_size=options.batch_size,
        dtype=options.dtype,
        runtime="torch",
        threads=options.threads,
    )
    encoder = load_encoder(resolve(options.model), settings)
    encoder.encode(texts[:8], "document")
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiled:
        encoder.encode(texts, "document")
    print(_bench.machine("torch"))
    print(f"{len(texts):,} texts of {options.data.name}, {encoder.placement.dtype}\n")
    print(_bench.operators(profiled), "\n")
    width = encoder.dimension
    shapes = ((width, width), (width, 4 * width), (4 * width, width))
    rates = [
        (
            f"{encoder.batch_tokens} x {k} x {n}",
            *(
                f"{_rate(encoder.batch_tokens, k, n, dtype):.0f}"
                for dtype in (torch.float32, torch.bfloat16)
            ),
        )
        for k, n in shapes
    ]
    print(_bench.table(("bare product", "float32, GFLOP/s", "bfloat16, GFLOP/s"), rates))


def _rate(rows: int, inner: int, columns: int, dtype: Any) -> float:
    """GFLOP/s of a linear layer of that shape, over half a second."""
    import torch

    x, w = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    count = 0
    with torch.inference_mode():
        for _ in range(5):
            torch.nn.functional.linear(x, w)
        with _bench.timed() as spent:
            started = time.perf_counter()
            while time.perf_counter() - started < 0.5:
                torch.nn.functional.linear(x, w)
                count += 1
    return 2 * rows * inner * columns * count / spent["seconds"] / 1e9


def _agreement(left: np.ndarray, right: np.ndarray) -> float:
    """Share of the ten nearest neighbours that both sides' vectors name, over some texts."""
    rows = np.asarray(_bench.evenly(list(range(len(left))), _ASKED))
    found = []
    for vectors in (left, right):
        scores = vectors[rows] @ vectors.T
        scores[np.arange(len(rows)), rows] = -np.inf
        found.append(np.argpartition(-scores, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS])
    same = [len(np.intersect1d(a, b)) for a, b in zip(*found, strict=True)]
    return float(np.mean(same)) / _NEIGHBOURS


if __name__ == "__main__":
    sys.exit(main())
