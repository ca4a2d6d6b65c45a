"""Seconds and peak memory of ``negmine report`` on made-up ledgers of growing size.

Scores are random; texts are short. Each report is its own process, as a user runs it::

    python scripts/bench_report.py FOLDER --rows 1000000 2000000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from negmine.table import artifacts, schemas
from negmine.table.artifacts import Artifact, Plan

DOCUMENTS, PER_QUERY, QUERIES_PER_PART = 100_000, 200, 40

Tables = Iterator[tuple[str, pa.Table, pa.Schema]]


def write(folder: Path, plan: Plan, tables: Tables) -> Artifact:
    """One artifact of made-up tables."""
    writer = artifacts.begin(folder, plan, replacing=artifacts.Replace.ALL)
    assert writer is not None
    with writer:
        for name, table, schema in tables:
            writer.add_table(name, table, schema)
        return writer.commit({})


def documents() -> Tables:
    """A corpus in one part."""
    columns = {
        "docid": [f"doc{n}" for n in range(DOCUMENTS)],
        "title": [""] * DOCUMENTS,
        "text": [f"the text of document {n}" for n in range(DOCUMENTS)],
    }
    table = pa.table(columns).cast(schemas.DOCUMENTS)
    yield "part-00000.parquet", table, schemas.DOCUMENTS


def candidates(parts: int, schema: pa.Schema, queries: bool) -> Tables:
    """Random candidates; the first of each query is its positive."""
    rng = np.random.default_rng(0)
    rows = PER_QUERY * QUERIES_PER_PART
    for part in range(parts):
        qids = [f"q{part * QUERIES_PER_PART + n}" for n in range(QUERIES_PER_PART)]
        numbers = [rng.choice(DOCUMENTS, PER_QUERY, replace=False) for _ in range(QUERIES_PER_PART)]
        label = (np.arange(rows) % PER_QUERY == 0).astype(np.int8)
        columns = {
            "qid": pa.array(np.repeat(qids, PER_QUERY)),
            "docid": pa.array([f"doc{n}" for n in np.concatenate(numbers)]),
            "label": pa.array(label),
            "grade": pa.nulls(rows, pa.float64()),
            "score_ce": pa.array((rng.normal(size=rows) + 4 * label).astype(np.float32)),
        }
        for source in ("bm25", "dense"):
            ranks = [rng.permutation(PER_QUERY) + 1 for _ in range(QUERIES_PER_PART)]
            columns[f"rank_{source}"] = pa.array(np.concatenate(ranks).astype(np.int32))
            columns[f"score_{source}"] = pa.array(rng.normal(size=rows).astype(np.float32))
        name = f"part-{part:05d}.parquet"
        yield name, pa.table({field: columns[field] for field in schema.names}), schema
        if queries:
            texts = pa.table({"qid": qids, "text": qids}).cast(schemas.QUERIES)
            yield f"_queries/{name}", texts, schemas.QUERIES


def ledger(folder: Path, rows: int) -> Path:
    """A ledger of about so many rows, with its whole lineage."""
    parts = max(1, rows // (PER_QUERY * QUERIES_PER_PART))
    schema = schemas.candidates(["bm25", "dense"])
    full = schemas.with_scores(schema, ["ce"])
    corpus = write(folder / "documents", Plan("index.documents", 1, {}), documents())
    retrieved = write(
        folder / "candidates",
        Plan("retrieve", 1, {}, artifacts={"documents": corpus}),
        candidates(parts, schema, queries=True),
    )
    write(
        folder / "scored",
        Plan("rerank", 1, {}, artifacts={"candidates": retrieved}),
        candidates(parts, full, queries=False),
    )
    off = [f"--no-{name}" for name in ("same-text", "query-text", "near-duplicates")]
    subprocess.run(
        [
            *(sys.executable, "-m", "negmine", "filter", folder / "scored", "--by", "ce"),
            *("--relative-margin", "0.05", *off, "--no-duplicate-queries", "--rebuild", "--quiet"),
            *("-o", folder / "ledger"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "ledger"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="where the ledgers go")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 2_000_000])
    arguments = parser.parse_args()
    print("| rows | seconds | CPU seconds | peak MiB | page KiB |\n|---|---|---|---|---|")
    for rows in arguments.rows:
        path = ledger(arguments.folder / str(rows), rows)
        page = path.parent / "report.html"
        command = [sys.executable, "-m", "negmine", "report", str(path), "-o", str(page)]
        started = time.perf_counter()
        process = subprocess.Popen([*command, "--rebuild"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit("negmine report failed")
        cpu = usage.ru_utime + usage.ru_stime
        print(
            f"| {rows:,} | {seconds:.1f} | {cpu:.1f} | {usage.ru_maxrss / 1024:.0f} "
            f"| {page.stat().st_size / 1024:.0f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
