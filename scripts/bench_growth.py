"""Seconds and peak memory of every stage as the corpus grows, and what a unit of work costs.

::

    python scripts/bench_growth.py FOLDER --documents 10000 100000 1000000

A document is two verses of the verse collection (``scripts/make_verses.py``) put together, drawn at
random with a fixed seed from all four translations: real sentences, as many documents as wanted,
and the same method for every size. One query per 200 documents is a verse of Young's translation,
its positive a document that holds the same verse. ``dense`` searches generated unit vectors (384
dimensions, float32) with generated queries, exactly, as ``retrieve`` does it. Each stage is a
process of its own; CPU seconds are told beside seconds, because they do not depend on what else
the machine does. A unit is a document (index), a query and document (search: exact search looks at
every document for every query), or a candidate (filter, export). Printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path

from bench_stages import cpu, measured

from negmine.sources import exact
from negmine.sources import vectors as sources_vectors

DIMENSION = 384
QUERIES_PER_DOCUMENT = 1 / 200
DEPTH = 100


def make_corpus(verses: Path, folder: Path, documents: int) -> None:
    """Write a collection in BEIR layout."""
    rng = random.Random(documents)
    with (verses / "corpus.jsonl").open(encoding="utf-8") as lines:
        texts = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    with (verses / "queries.jsonl").open(encoding="utf-8") as lines:
        asked = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    names = list(texts)
    folder.mkdir(parents=True)
    holders: dict[str, str] = {}
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as corpus:
        for number in range(documents):
            first, second = rng.choice(names), rng.choice(names)
            row = {"_id": f"d{number}", "title": "", "text": f"{texts[first]} {texts[second]}"}
            corpus.write(json.dumps(row, ensure_ascii=False) + "\n")
            holders.setdefault(first.partition(":")[2], row["_id"])
    wanted = [verse for verse in asked if verse in holders]
    wanted = rng.sample(wanted, min(len(wanted), max(1, int(documents * QUERIES_PER_DOCUMENT))))
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as asked_for:
        for verse in wanted:
            asked_for.write(json.dumps({"_id": verse, "text": asked[verse]}) + "\n")
    judged = ["query-id\tcorpus-id\tscore", *(f"{verse}\t{holders[verse]}\t1" for verse in wanted)]
    (folder / "qrels.tsv").write_text("\n".join(judged) + "\n")


def make_vectors(folder: Path, documents: int) -> None:
    """Write generated vectors in parts, as ``index`` does."""
    import numpy as np

    from negmine.table import artifacts
    from negmine.table.documents import PART_DOCUMENTS

    random_ = np.random.default_rng(0)
    writer = artifacts.begin(folder, artifacts.Plan("index.vectors", 0, {"generated": documents}))
    assert writer is not None
    with writer:
        for number, start in enumerate(range(0, documents, PART_DOCUMENTS)):
            rows = min(PART_DOCUMENTS, documents - start)
            vectors = random_.standard_normal((rows, DIMENSION), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            writer.add_array(f"part-{number:05d}.npy", vectors)
        writer.commit({"vectors": documents, "dimension": DIMENSION})


def search(folder: Path, queries: int) -> None:
    """Search the generated vectors."""
    import numpy as np

    from negmine.table import artifacts

    random_ = np.random.default_rng(1)
    asked = random_.standard_normal((queries, DIMENSION), dtype=np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    exact.search(sources_vectors.Vectors(artifacts.open_artifact(folder)), asked, DEPTH)


def timed(*arguments: str) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MiB) of this script with other arguments."""
    code = (
        "import os, sys, time, subprocess\n"
        "started = time.perf_counter()\n"
        "child = subprocess.Popen(sys.argv[1:])\n"
        "_, status, usage = os.wait4(child.pid, 0)\n"
        "print(status, time.perf_counter() - started, usage.ru_utime + usage.ru_stime, "
        "usage.ru_maxrss / 1024)\n"
    )
    command = [sys.executable, "-c", code, sys.executable, __file__, *arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    if told[0] != "0":
        raise SystemExit(f"{arguments} failed")
    return float(told[1]), float(told[2]), float(told[3])


def measure(verses: Path, work: Path, documents: int) -> None:
    """Run every stage on so many documents and print its rows."""
    data, out = work / f"data-{documents}", work / f"work-{documents}"
    if not data.exists():
        make_corpus(verses, data, documents)
    with (data / "queries.jsonl").open() as lines:
        queries = sum(1 for _ in lines)
    commands = {
        "index": ["index", "--corpus", f"{data}", "-o", f"{out}/index"],
        "search BM25": [
            *("retrieve", f"{out}/index", "--queries", f"{data}", "--qrels", f"{data}"),
            *("-k", f"{DEPTH}", "-o", f"{out}/candidates"),
        ],
        "filter": [
            *("filter", f"{out}/candidates", "--relative-margin", "0.05", "-o", f"{out}/ledger"),
        ],
        "export": ["export", f"{out}/ledger", "-o", f"{out}/train.parquet"],
    }
    rows = 0
    for stage, command in commands.items():
        found = measured([*command, "--quiet"])
        if stage == "search BM25":
            counts = json.loads((out / "candidates" / "_manifest.json").read_text())["counts"]
            rows = counts["candidates"]
        units = {"index": documents, "search BM25": queries * documents}.get(stage, rows)
        show(documents, stage, units, found)
        if stage == "search BM25":
            make_vectors(out / "vectors", documents)
            work_done = timed(f"{out}/vectors", "--search", f"{queries}")
            show(documents, "search dense", queries * documents, work_done)


def show(documents: int, stage: str, units: int, found: tuple[float, float, float]) -> None:
    """Print a row."""
    seconds, cpu_seconds, peak = found
    print(
        f"| {documents:,} | {stage} | {units:,} | {seconds:.1f} | {cpu_seconds:.1f} | "
        f"{cpu_seconds / units * 1e6:,.3g} | {peak:.0f} |",
        flush=True,
    )


def main() -> int:
    """Make the data, run the stages, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="work folder")
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--search", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.search is not None:
        search(arguments.folder, arguments.search)
        return 0
    verses = arguments.folder / "verses"
    maker = Path(__file__).with_name("make_verses.py")
    subprocess.run([sys.executable, str(maker), str(verses)], check=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    print(f"{cpu()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB\n")
    print("| documents | stage | units | seconds | CPU s | CPU µs a unit | peak MiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for documents in arguments.documents:
        measure(verses, arguments.folder, documents)
    return 0


if __name__ == "__main__":
    sys.exit(main())
