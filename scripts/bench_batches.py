"""How hard the batches of each method are beside random ones, over a finished ledger.

    python scripts/bench_batches.py work/ledger --batch-size 32

Hardness is the mean, over all examples, of the similarity of a query and the hardest positive among
its batch-mates, by the vectors of the index's encoder. All methods meet the same examples, and the
random batches are cleaned of false in-batch negatives in the same way. Seconds cover the whole
export: encoding the queries, composing, writing ids.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Literal

from negmine import log
from negmine.params import ExportParams
from negmine.stages import export

METHODS: tuple[Literal["tas-balanced", "ngame", "b3"], ...] = ("tas-balanced", "ngame", "b3")


def main() -> None:
    """Export with every batcher and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--format", default="n-tuple")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--cluster-size", type=int, default=32)
    parser.add_argument("--clusters", type=int)
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    log.setup(quiet=True)
    print("| batcher | batches | examples | hardness | random batches | seconds |")
    print("|---|---:|---:|---:|---:|---:|")
    for method in METHODS:
        params = ExportParams(
            format=arguments.format,
            batcher=method,
            batch_size=arguments.batch_size,
            cluster_size=arguments.cluster_size,
            clusters=arguments.clusters,
            seed=arguments.seed,
            texts=False,
        )
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            counts = export.run(params, arguments.ledger, Path(folder) / "batches.parquet").counts
            seconds = time.perf_counter() - start
        print(
            f"| {method} | {counts['batches']} | {counts['examples']} "
            f"| {counts.get('in_batch_hardness', float('nan')):.4f} "
            f"| {counts.get('in_batch_hardness_of_random', float('nan')):.4f} | {seconds:.1f} |"
        )


if __name__ == "__main__":
    main()
