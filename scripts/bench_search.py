"""Exact dense search of generated vectors: streamed from disk against FAISS fully in memory.

Vectors are normally distributed, scaled to length 1 and stored as the index stores them; the
search is the one that ``retrieve`` makes, with a lookup in place of the query encoder::

    python scripts/bench_search.py make FOLDER --documents 5000000
    python scripts/bench_search.py search FOLDER --queries 20000 --memory 1GB
    python scripts/bench_search.py compare FOLDER --queries 2000

``search`` and ``compare`` run each side in a process of its own: seconds are of the search alone,
memory is the largest resident size of the whole process, told by the kernel when it ends.
``compare`` searches with ``faiss.IndexFlatIP`` too, over the same stored vectors, and checks that
both find the same documents, but for ties. The tables are printed as Markdown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import memory
from negmine.models.devices import Placement
from negmine.sources import dense
from negmine.sources import vectors as sources_vectors
from negmine.sources.base import Asked
from negmine.stages import retrieve
from negmine.table import artifacts
from negmine.table.artifacts import Plan
from negmine.table.documents import PART_DOCUMENTS, Documents
from negmine.table.schemas import DOCUMENTS

SEED = 20_240
#: Scores closer than this are ties to a float32 inner product.
TIE = 2e-6


class Lookup:
    """Stands for an encoder: a query's text is its number."""

    max_length = 1
    batch_tokens = 1

    def __init__(self, vectors: np.ndarray, device: str) -> None:
        self.vectors = vectors
        self.placement = Placement(device, "float32", "generated")
        self.dimension = vectors.shape[1]

    def describe(self) -> dict[str, object]:
        """Nothing was loaded."""
        return {}

    def lengths(self, texts: Sequence[str], side: Any) -> np.ndarray:
        """A number is a token."""
        return np.ones(len(texts), dtype=np.int64)

    def encode(
        self, texts: Sequence[str], side: Any, progress: Any = None, checkpoint: Any = None
    ) -> np.ndarray:
        """The generated vectors of the numbered queries."""
        return self.vectors[np.array(texts, dtype=np.int64)]


def unit(rng: np.random.Generator, rows: int, dimension: int) -> np.ndarray:
    """Random vectors of length 1."""
    made = rng.standard_normal((rows, dimension), dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def make(folder: Path, documents: int, dimension: int, dtype: str) -> None:
    """Write documents and vectors as ``index`` does, part by part."""
    plans = {
        "documents": Plan("index.documents", 1, {"generated": documents}),
        "vectors": Plan(
            "index.vectors",
            1,
            {"generated": documents, "dimension": dimension, "dtype": dtype, "normalize": True},
        ),
    }
    for name, plan in plans.items():
        writer = artifacts.begin(folder / name, plan)
        if writer is None:
            continue
        with writer:
            for number, start in enumerate(range(0, documents, PART_DOCUMENTS)):
                rows = min(PART_DOCUMENTS, documents - start)
                if name == "documents":
                    ids = [f"d{row:08d}" for row in range(start, start + rows)]
                    table = pa.table({"docid": ids, "title": [""] * rows, "text": ids})
                    writer.add_table(f"part-{number:05d}.parquet", table, DOCUMENTS)
                else:
                    rng = np.random.default_rng([SEED, number])
                    part = unit(rng, rows, dimension).astype(dtype)
                    writer.add_array(f"part-{number:05d}.npy", part)
            writer.commit({"rows": documents})


def opened(folder: Path) -> tuple[Documents, sources_vectors.Vectors]:
    """What :func:`make` wrote."""
    return (
        Documents(artifacts.open_artifact(folder / "documents")),
        sources_vectors.Vectors(artifacts.open_artifact(folder / "vectors")),
    )


def queries_of(folder: Path, count: int) -> np.ndarray:
    """The generated queries."""
    dimension = artifacts.open_artifact(folder / "vectors").manifest["params"]["dimension"]
    return unit(np.random.default_rng(SEED - 1), count, dimension)


def streamed(folder: Path, count: int, k: int, size: str, device: str) -> dict[str, Any]:
    """Search as ``retrieve`` does, some groups of queries at a time."""
    budget = memory.budget(size)
    documents, vectors = opened(folder)
    queries = queries_of(folder, count)
    source = dense.DenseSource(
        documents,
        vectors,
        lambda: Lookup(queries, device),
        memory=budget.search,
        device=device,
        together=count,
    )
    at_once = retrieve.queries_at_once(k, 1, budget.hits)
    rows, scores = [], []
    # What is imported when it is first used is not timed.
    source.search(Asked.by_text(["0"]), 1)
    started = time.perf_counter()
    for start in range(0, count, at_once):
        asked = [str(number) for number in range(start, min(start + at_once, count))]
        hits = source.search(Asked.by_text(asked), k)
        scores.append(hits.score.reshape(-1, k))
        numbers = pa.compute.utf8_slice_codeunits(hits.docid, 1).cast(pa.int64())
        rows.append(numbers.to_numpy().astype(np.int32).reshape(-1, k))
        print(f"{start + len(asked)} queries", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - started
    np.savez(folder / "streamed.npz", rows=np.concatenate(rows), scores=np.concatenate(scores))
    return {"seconds": seconds, "queries_at_once": at_once, "ceiling": budget.ceiling}


def flat(folder: Path, count: int, k: int) -> dict[str, Any]:
    """Search with FAISS, everything in memory; filling its index is not timed."""
    import faiss

    _, vectors = opened(folder)
    queries = queries_of(folder, count)
    index = faiss.IndexFlatIP(queries.shape[1])
    for _, block in vectors.blocks(64 << 20):
        index.add(block)
    started = time.perf_counter()
    scores, rows = index.search(queries, k)
    seconds = time.perf_counter() - started
    np.savez(folder / "flat.npz", rows=rows, scores=scores)
    return {"seconds": seconds}


def differences(folder: Path, count: int) -> dict[str, int]:
    """Queries whose found documents differ between both, and those where it is not for a tie."""
    ours, theirs = np.load(folder / "streamed.npz"), np.load(folder / "flat.npz")
    count = min(count, len(ours["rows"]), len(theirs["rows"]))
    left, right = np.sort(ours["rows"][:count]), np.sort(theirs["rows"][:count])
    different = np.flatnonzero((left != right).any(axis=1))
    beyond = 0
    for query in different:
        cut = min(ours["scores"][query].min(), theirs["scores"][query].min())
        for found, other in ((ours, theirs), (theirs, ours)):
            only = ~np.isin(found["rows"][query], other["rows"][query])
            beyond += int((np.abs(found["scores"][query][only] - cut) > TIE).any())
    return {"queries": count, "sets_differ": len(different), "beyond_ties": beyond}


def measured(mode: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One side in its own process, with its peak memory in MiB."""
    command = [sys.executable, __file__, mode, str(arguments.folder), "-k", str(arguments.k)]
    command += ["--queries", str(arguments.queries), "--memory", arguments.memory]
    command += ["--device", arguments.device]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{mode} failed")
    found: dict[str, Any] = json.loads(told)
    return {
        **found,
        "peak": usage.ru_maxrss / 1024,
        "cpu": usage.ru_utime + usage.ru_stime,
    }


def cpu() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def show(arguments: argparse.Namespace, results: dict[str, dict[str, Any]]) -> None:
    """Print the machine and a table."""
    _, vectors = opened(arguments.folder)
    shape = np.load(vectors.artifact.path / vectors.names[0], mmap_mode="r")
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("negmine", "faiss-cpu", "numpy")
    )
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{cpu()}, {len(os.sched_getaffinity(0))} cores ({threads} threads); {versions}")
    print(
        f"{len(vectors):,} vectors of {shape.shape[1]} dimensions as {shape.dtype}, "
        f"{arguments.queries:,} queries, k = {arguments.k}, --memory {arguments.memory}\n"
    )
    print("| search | seconds | queries/s | CPU seconds | peak MiB |\n|---|---|---|---|---|")
    for name, result in results.items():
        print(
            f"| {name} | {result['seconds']:.1f} | {arguments.queries / result['seconds']:.1f} | "
            f"{result['cpu']:.1f} | {result['peak']:.0f} |"
        )


def main() -> int:
    """Make, search or compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    modes = ("make", "search", "compare", "differences", "streamed", "flat")
    parser.add_argument("mode", choices=modes)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=500_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--device", default="cpu", help="where negmine searches: cpu, cuda:N")
    arguments = parser.parse_args()
    folder, queries, k = arguments.folder, arguments.queries, arguments.k
    if arguments.mode == "make":
        make(folder, arguments.documents, arguments.dimension, arguments.dtype)
    elif arguments.mode == "streamed":
        print(json.dumps(streamed(folder, queries, k, arguments.memory, arguments.device)))
    elif arguments.mode == "flat":
        print(json.dumps(flat(folder, queries, k)))
    elif arguments.mode == "differences":
        print(differences(folder, queries))
    else:
        results = {"negmine, streamed": measured("streamed", arguments)}
        if arguments.mode == "compare":
            results["IndexFlatIP, in memory"] = measured("flat", arguments)
        show(arguments, results)
        if arguments.mode == "compare":
            print(f"\n{differences(folder, queries)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
