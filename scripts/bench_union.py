"""What it costs that every source scores what the others found: ``retrieve`` with and without.

::

    python scripts/bench_union.py DATA/scifact --out FOLDER [--rounds 3] [--limit 300]

The folder is in BEIR's layout. It is indexed once (BM25 and a real encoder), then both ways run in
turns, in fresh processes, and are compared in wall and CPU seconds and in the peak of memory. Told
besides: how many pairs one source alone found, of which the other's score is new, and how many of
all candidates a rule on the encoder would have dropped for want of one. Printed as Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _bench
import pyarrow.compute as pc
import pyarrow.parquet as pq

WAYS = {"--no-score-union": "found pairs and positives", "--score-union": "the whole union"}


def filled(folder: Path) -> dict[str, float]:
    """Shares of the candidates that are no positives: found by one alone, without a score."""
    table = pq.read_table(folder)
    table = table.filter(pc.equal(table["label"], 0))
    shares = {}
    for source in ("bm25", "minilm"):
        shares[f"not found by {source}"] = table[f"rank_{source}"].null_count / table.num_rows
        shares[f"no score of {source}"] = table[f"score_{source}"].null_count / table.num_rows
    return shares


def main() -> int:
    """Index, run both ways in turns, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", help="folder in BEIR layout")
    parser.add_argument("--qrels", help="judgements; default: the folder's")
    parser.add_argument("--out", required=True, type=Path, help="work folder")
    parser.add_argument("--encoder", default=_bench.MINILM)
    parser.add_argument("-k", default="100", help="candidates per query and source")
    parser.add_argument("--documents", help="only the first N documents")
    parser.add_argument("--limit", help="only the first N queries")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    work: Path = arguments.out
    documents = ["--limit", arguments.documents] if arguments.documents else []
    _bench.negmine(
        *("index", "--corpus", arguments.data, "--encoder", f"minilm={arguments.encoder}"),
        *("-o", str(work / "index"), *documents),
    )
    runs: dict[str, list[_bench.Ran]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            limit = ["--limit", arguments.limit] if arguments.limit else []
            ran = _bench.negmine(
                *("retrieve", str(work / "index"), "--queries", arguments.data, "-k", arguments.k),
                *("--qrels", arguments.qrels or f"{arguments.data}/qrels.tsv", way, "--rebuild"),
                *("-o", str(work / f"candidates{way}"), *limit),
            )
            runs[way].append(ran)
    print(_bench.machine("negmine", "numpy", "pyarrow", "torch"), end="\n\n")
    rows = []
    first = next(iter(WAYS))
    medians = {
        way: {
            key: _bench.median(map(vars, runs[way]), key)
            for key in ("seconds", "cpu_seconds", "peak")
        }
        for way in WAYS
    }
    for way, found in medians.items():
        shares = filled(work / f"candidates{way}")
        rows.append(
            (
                f"`{way}` ({WAYS[way]})",
                *(
                    f"{found[key]:.1f} ({found[key] / medians[first][key] - 1:+.1%})"
                    for key in ("seconds", "cpu_seconds", "peak")
                ),
                *(f"{share:.1%}" for share in shares.values()),
            )
        )
    names = list(filled(work / f"candidates{first}"))
    print(_bench.table(("retrieve", "seconds", "CPU seconds", "peak MiB", *names), rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
