"""What a shard of ``filter`` costs: each learns from the whole table, and judges its own parts.

    python scripts/bench_filter_shards.py CANDIDATES OUT --by bm25

Every setting is filtered by one process, then the first of 4, and the first of as many shards as
there are parts; what is measured is the CPU time of the process. JSON on standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from negmine.engine.shares import LeftToOthers, Shard
from negmine.params import values
from negmine.params.filter import FilterParams
from negmine.stages import filter as filtering
from negmine.table.candidates import open_candidates

#: Settings that learn from the whole table, and how.
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no duplicate queries": {"duplicate_queries": False},
    "max-fn-rate": {"max_fn_rate": 0.05},
    "p_relevant": {"by": "p_relevant", "max_fn_rate": 0.05},
    "max-reuse": {"max_reuse": 50},
}


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("candidates", type=Path)
    parser.add_argument("out", type=Path, help="scratch folder")
    parser.add_argument(
        "--by", default="bm25", help="the scorer or source whose scores are compared"
    )
    given = parser.parse_args()
    source = open_candidates(given.candidates, ["retrieve", "rerank"])
    parts = len(source.parts)
    rows = sum(source.rows(name) for name in source.parts)
    found: dict[str, Any] = {"rows": rows, "parts": parts}
    # Imports and the file cache are nobody's cost.
    seconds_of({}, given, 1)
    for name, settings in SETTINGS.items():
        counts = sorted({1, 4, parts})
        found[name] = {f"0/{count}": seconds_of(settings, given, count) for count in counts}
        print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))
    return 0


def seconds_of(settings: dict[str, Any], given: argparse.Namespace, count: int) -> float:
    """CPU seconds of the first of so many shards."""
    params = values.build(FilterParams, {}, {"by": given.by, "num_negatives": 8, **settings})
    out = given.out / "ledger"
    shutil.rmtree(out, ignore_errors=True)
    started = time.process_time()
    with contextlib.suppress(LeftToOthers):
        filtering.run(params, given.candidates, out, advise=False, share=Shard(0, count))
    return round(time.process_time() - started, 2)


if __name__ == "__main__":
    sys.exit(main())
