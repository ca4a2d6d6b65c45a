"""What a query takes in a shard of ``filter`` that reads what others have told of theirs.

    python scripts/bench_summaries.py OUT --queries 200000

Summaries of queries are told (random signatures, 40 queries a part), then read by a process of its
own, and clusters are found among them. What is measured are bytes a query: of the files, and the
resident memory of that process at the most, while it reads and while it finds. JSON on standard
output.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine import memory
from negmine.dedup import minhash
from negmine.engine.shares import Shard, Share
from negmine.learning.summaries import Summaries
from negmine.stages.filter import surveying

#: Queries of a part: as many as have 201 candidates each.
EACH = 40


class Folder:
    """What shards tell, a file of JSON for each name."""

    def __init__(self, path: Path, index: int) -> None:
        self.path = path
        self.share: Share = Shard(index, 2)

    def told(self, name: str) -> Mapping[str, Any] | None:
        """What is told under a name."""
        return dict(self.all_told([name])).get(name)

    def all_told(self, names: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What is told under some names."""
        there = [(name, self.path / name) for name in names if (self.path / name).exists()]
        return ((name, json.loads(file.read_text())) for name, file in there)

    def tell(self, name: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell something."""
        (self.path / name).write_text(json.dumps(what))
        return what


def over(names: Sequence[str], book: Folder) -> dict[str, dict[str, Any]]:
    """The summaries of all parts."""

    def read(some: Sequence[str]) -> Iterator[tuple[str, np.random.Generator]]:
        for name in some:
            yield name, np.random.default_rng(names.index(name))

    def summary(random: np.random.Generator) -> dict[str, Any]:
        docs = random.integers(0, 2**63, EACH, dtype=np.uint64)
        return {
            "qids": pa.array([f"query-{number:07d}" for number in docs % 10**7]),
            "signature": random.integers(0, 2**32, (EACH, minhash.PERMUTATIONS), dtype=np.uint32),
            "size": random.integers(3, 20, EACH),
            "owner": np.arange(EACH),
            "docs": docs,
        }

    return dict(zip(names, Summaries(names, book).over("queries", read, summary), strict=True))


def held(names: Sequence[str], out: Path, end: Connection) -> None:
    """In a process of its own: bytes at the most while reading, and while finding clusters."""
    surveying._duplicates(over(names[:1], Folder(out, 1)), 0.9)
    memory.reset_peak_memory()
    before = memory.peak_memory() or 0
    parts = over(names, Folder(out, 1))
    reading = (memory.peak_memory() or 0) - before
    memory.reset_peak_memory()
    surveying._duplicates(parts, 0.9)
    end.send((reading, (memory.peak_memory() or 0) - before))


def main() -> int:
    """Tell, read, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="an empty folder")
    parser.add_argument("--queries", type=int, default=200_000)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names = [f"part-{number:05d}" for number in range(-(-given.queries // EACH))]
    over(names, Folder(given.out, 0))
    count = len(names) * EACH
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=held, args=(names, given.out, there))
    worker.start()
    reading, finding = here.recv()
    worker.join()
    told = sum(file.stat().st_size for file in given.out.iterdir())
    found = {"told": told, "reading_peak": reading, "finding_peak": finding}
    print(json.dumps({"queries": count, **{key: round(of / count) for key, of in found.items()}}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
