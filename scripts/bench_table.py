"""``filter`` and ``export`` of a generated candidates table of any size, under a ceiling.

The table is written by the real writer, so that everything behind it (schemas, checksums, lineage)
is what ``rerank`` leaves: queries of 100 candidates each from a small corpus, one of them the
positive, scores as cosines have them::

    python scripts/bench_table.py FOLDER --rows 50000000 --memory 1GB

Each stage runs as a user runs it, in a process of its own: seconds are of the whole process,
memory is its largest resident size as the kernel tells it when it ends. The folder is removed at
the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from negmine.stages.retrieve.mining import PART_ROWS
from negmine.table import artifacts, schemas
from negmine.table.artifacts import Artifact, Plan
from negmine.table.documents import PART_DOCUMENTS

PER_QUERY = 100
WORDS = 40
SEED = 7


def write_documents(folder: Path, count: int) -> Artifact:
    """A corpus of random words, about 280 bytes a document."""
    writer = artifacts.begin(folder, Plan("index.documents", 1, {"generated": count}))
    assert writer is not None
    vocabulary = pa.array([f"word{number}" for number in range(30_000)])
    size = 0
    with writer:
        for number, start in enumerate(range(0, count, PART_DOCUMENTS)):
            rows = min(PART_DOCUMENTS, count - start)
            rng = np.random.default_rng([SEED, number])
            words = vocabulary.take(pa.array(rng.integers(0, len(vocabulary), rows * WORDS)))
            offsets = pa.array(np.arange(0, rows * WORDS + 1, WORDS), pa.int32())
            texts = pa.compute.binary_join(pa.ListArray.from_arrays(offsets, words), " ")
            size += texts.get_total_buffer_size()
            ids = [f"doc{row:07d}" for row in range(start, start + rows)]
            table = pa.table({"docid": ids, "title": [""] * rows, "text": texts})
            writer.add_table(f"part-{number:05d}.parquet", table, schemas.DOCUMENTS)
        return writer.commit({"documents": count, "text_bytes": size})


def write_scored(folder: Path, documents: Artifact, rows: int, corpus: int) -> None:
    """Candidates of two sources with a cross-encoder's score, in parts as ``retrieve`` cuts them.

    The queries' texts lie with the retrieved table, which is written with a part of no rows.
    """
    schema = schemas.candidates(["bm25", "minilm"])
    full = schemas.with_scores(schema, ["ce"])
    per_part = max(1, PART_ROWS // (2 * PER_QUERY)) * 2
    queries = rows // PER_QUERY
    numbers = [range(s, min(s + per_part, queries)) for s in range(0, queries, per_part)]
    candidates = artifacts.begin(
        folder / "candidates",
        Plan("retrieve", 1, {"source": ["bm25", "minilm"]}, artifacts={"documents": documents}),
    )
    assert candidates is not None
    with candidates:
        for number, part in enumerate(numbers):
            name = f"part-{number:05d}.parquet"
            qids = [f"query{query:07d}" for query in part]
            texts = pa.table({"qid": qids, "text": [f"what about {qid}" for qid in qids]})
            candidates.add_table(f"_queries/{name}", texts, schemas.QUERIES)
            candidates.add_table(name, schema.empty_table(), schema)
        retrieved = candidates.commit({})
    scored = artifacts.begin(
        folder / "scored",
        Plan("rerank", 1, {"scorer": ["ce"]}, artifacts={"candidates": retrieved}),
    )
    assert scored is not None
    with scored:
        for number, part in enumerate(numbers):
            rng = np.random.default_rng([SEED + 1, number])
            count = len(part) * PER_QUERY
            rank = np.tile(np.arange(1, PER_QUERY + 1, dtype=np.int32), len(part))
            # Distinct documents of a query: a random start and a step prime to the corpus.
            start = np.repeat(rng.integers(0, corpus, len(part)), PER_QUERY)
            document = (start + rank.astype(np.int64) * 104_729) % corpus
            label = (rank == np.repeat(rng.integers(1, 20, len(part)), PER_QUERY)).astype(np.int8)
            noise = rng.random((3, count), dtype=np.float32)
            table = pa.table(
                {
                    "qid": pa.array([f"query{query:07d}" for query in part]).take(
                        pa.array(np.repeat(np.arange(len(part)), PER_QUERY))
                    ),
                    "docid": pa.array([f"doc{row:07d}" for row in document.tolist()]),
                    "label": pa.array(label),
                    "grade": pa.array(label.astype(np.int32), mask=label == 0),
                    "rank_bm25": pa.array(rank),
                    "score_bm25": pa.array(30 / np.sqrt(rank) + noise[0]),
                    "rank_minilm": pa.array(rank[::-1].copy(), mask=noise[1] > 0.7),
                    "score_minilm": pa.array(0.4 + 0.4 * noise[1]),
                    "score_ce": pa.array(noise[2] * 0.8 + 0.2 * label),
                },
                schema=full,
            )
            scored.add_table(f"part-{number:05d}.parquet", table, full)
        scored.commit({})


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MiB) of one negmine command."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "negmine", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"negmine {' '.join(arguments)} failed")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def size_of(folder: Path) -> float:
    """GiB of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / (1 << 30)


def main() -> int:
    """Write the table, run both stages, print their figures as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--filter", nargs=argparse.REMAINDER, default=[])
    arguments = parser.parse_args()
    work, ceiling = arguments.folder, ["--memory", arguments.memory]
    started = time.perf_counter()
    documents = write_documents(work / "documents", arguments.documents)
    write_scored(work, documents, arguments.rows, arguments.documents)
    print(f"written in {time.perf_counter() - started:.0f} s: {size_of(work):.2f} GiB\n")
    filter_options = ["--by", "ce", "--relative-margin", "0.05", *arguments.filter]
    commands = {
        "filter": ["filter", f"{work}/scored", "-o", f"{work}/ledger", *ceiling, *filter_options],
        "export": ["export", f"{work}/ledger", "-o", f"{work}/train", *ceiling],
    }
    print("| stage | seconds | rows/s | CPU seconds | peak MiB |\n|---|---|---|---|---|")
    for name, command in commands.items():
        seconds, cpu, peak = measured(command)
        rate = arguments.rows / seconds
        print(f"| {name} | {seconds:.1f} | {rate:,.0f} | {cpu:.1f} | {peak:.0f} |", flush=True)
    counts = json.loads((work / "train" / "_manifest.json").read_text())["counts"]
    print(f"\n{counts['examples']:,} examples, {size_of(work / 'train'):.2f} GiB")
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
