"""What a shard of ``filter`` costs: what it learns of the whole table, and judging its own parts.

    OMP_NUM_THREADS=1 python scripts/bench_filter_shards.py CANDIDATES OUT --by bm25 --shards 4

Every setting is filtered by one process; by the first of so many shards alone, and by the second
one behind it, which finds all learned; and by all of them at once, which begin when all are there.
What is measured is the CPU time of each process behind its imports, and how many parts of the table
it reads (``whole`` where it reads all columns, else ``queries``). Everything is made twice and the
second time counts. JSON on standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import shutil
import sys
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from negmine.engine.shares import WHOLE, LeftToOthers, Shard, Share
from negmine.params import values
from negmine.params.filter import FilterParams
from negmine.stages import filter as filtering
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import open_candidates

#: Settings that learn from the whole table, and how.
SETTINGS: dict[str, dict[str, Any]] = {
    "no duplicate queries": {"duplicate_queries": False},
    "defaults": {},
    "max-fn-rate": {"max_fn_rate": 0.05},
    "p_relevant": {"by": "p_relevant", "max_fn_rate": 0.05},
    "max-reuse": {"max_reuse": 50},
    "p_relevant, max-reuse": {"by": "p_relevant", "max_fn_rate": 0.05, "max_reuse": 50},
}
Found = dict[str, Any]


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("candidates", type=Path)
    parser.add_argument("out", type=Path, help="scratch folder")
    parser.add_argument(
        "--by", default="bm25", help="the scorer or source whose scores are compared"
    )
    parser.add_argument("--shards", type=int, default=4, help="how many at once")
    given = parser.parse_args()
    source = open_candidates(given.candidates, ["retrieve", "rerank"])
    rows = sum(source.rows(name) for name in source.parts)
    found: dict[str, Any] = {"rows": rows, "parts": len(source.parts), "shards": given.shards}
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(given.shards)
    ends = [context.Pipe() for _ in range(given.shards)]
    workers = [
        context.Process(target=works, args=(end, barrier, given, index), daemon=True)
        for index, (_, end) in enumerate(ends)
    ]
    for worker in workers:
        worker.start()
    here = [end for end, _ in ends]
    for _ in range(2):
        for name, settings in SETTINGS.items():
            found[name] = of_setting(settings, given, here)
            print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    for end in here:
        end.send(None)
    print(json.dumps(found, indent=1))
    return 0


def of_setting(settings: dict[str, Any], given: argparse.Namespace, workers: list[Any]) -> Found:
    """What each process costs with some settings."""
    shutil.rmtree(given.out, ignore_errors=True)
    one = cost(settings, given, WHOLE)
    shutil.rmtree(given.out, ignore_errors=True)
    first, second = (cost(settings, given, Shard(index, given.shards)) for index in (0, 1))
    shutil.rmtree(given.out, ignore_errors=True)
    for worker in workers:
        worker.send(settings)
    at_once = [worker.recv() for worker in workers]
    return {"one process": one, "first alone": first, "behind it": second, "at once": at_once}


def works(end: Connection, barrier: Barrier, given: argparse.Namespace, index: int) -> None:
    """A process that makes a shard whenever it is told some settings."""
    while (settings := end.recv()) is not None:
        barrier.wait()
        end.send(cost(settings, given, Shard(index, given.shards)))


def cost(settings: dict[str, Any], given: argparse.Namespace, share: Share) -> Found:
    """CPU seconds of a process, and the parts that it reads."""
    params = values.build(FilterParams, {}, {"by": given.by, "num_negatives": 8, **settings})
    reads: Counter[str] = Counter()
    read = Artifact.read

    def counted(artifact: Artifact, name: str, columns: list[str] | None = None) -> Any:
        if name.startswith("part-") and artifact.path == given.candidates:
            reads["whole" if columns is None else "queries" if "label" in columns else "asked"] += 1
        return read(artifact, name, columns)

    Artifact.read = counted  # type: ignore[method-assign, assignment]
    started = time.process_time()
    with contextlib.suppress(LeftToOthers):
        filtering.run(params, given.candidates, given.out / "ledger", advise=False, share=share)
    seconds = round(time.process_time() - started, 2)
    Artifact.read = read  # type: ignore[method-assign]
    reads.pop("asked", None)
    return {"seconds": seconds, **reads}


if __name__ == "__main__":
    sys.exit(main())
