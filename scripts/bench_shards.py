"""What sharing a stage among shards costs: one after the other, both at once, and one of nothing.

::

    python scripts/bench_shards.py DATA/medquad --out FOLDER --json docs/units.json

``index --encoder`` and ``rerank`` by two shards of one thread each, whole processes. If two cores
are as good as one each, both at once take as long as the longer one alone and as many CPU seconds
as in turns. A shard of nothing is one whose parts are all made: seconds until it knows. Parts are
made smaller than they are (``--part``), so that a few minutes' work has several; all else is the
command line. The results of both ways must be the same bytes. The figures go into the file beside
the unit costs, with the load that the machine had, and are printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _bench

PROGRAM = """
import sys
from negmine import cli
from negmine.inputs import limits
from negmine.stages.retrieve import mining
from negmine.table import documents
size = int(sys.argv.pop(1))
limits.MAX_BATCH_ROWS = documents.PART_DOCUMENTS = size
mining.PART_ROWS = 4 * size
cli.main()
"""
SHARDS = 2
ONE = ("--threads", "1", "--quiet")
PER_SOURCE = 20


def negmine(part: int, *words: object) -> _bench.Ran:
    """A command whose parts are of so many documents, measured."""
    return _bench.whole([sys.executable, "-c", PROGRAM, str(part), *map(str, words)])


def in_turns(part: int, words: Sequence[object]) -> list[_bench.Ran]:
    """Each shard when the one before has ended."""
    return [negmine(part, *words, "--shard", f"{one}/{SHARDS}") for one in range(SHARDS)]


def at_once(part: int, words: Sequence[object]) -> tuple[list[_bench.Ran], float]:
    """All shards at the same time, and the seconds until the last one has ended."""
    started = time.perf_counter()
    with ThreadPoolExecutor(SHARDS) as pool:
        ran = [
            pool.submit(negmine, part, *words, "--shard", f"{one}/{SHARDS}")
            for one in range(SHARDS)
        ]
        found = [one.result() for one in ran]
    return found, time.perf_counter() - started


def parts(folder: Path) -> dict[str, bytes]:
    """All parts below a folder."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("part-*")}
    if len(found) < SHARDS:
        raise SystemExit(f"{folder}: too few parts to share")
    return found


def compared(
    name: str, part: int, words: Sequence[object], places: Sequence[Path]
) -> dict[str, Any]:
    """A stage by shards in turns, in one place, and at once, in another.

    Args:
        name: of the stage.
        part: documents of a part.
        words: its command line without ``-o``.
        places: where the results go.
    """
    turns = in_turns(part, [*words, "-o", places[0]])
    load = os.getloadavg()[0]
    once, seconds = at_once(part, [*words, "-o", places[1]])
    nothing = negmine(part, *words, "-o", places[1], "--shard", f"0/{SHARDS}")
    collected = [negmine(part, "collect", place, "--quiet") for place in places]
    if parts(places[0]) != parts(places[1]):
        raise SystemExit(f"{name}: shards in turns and at once differ")
    return {
        "turns_seconds": sum(one.seconds for one in turns),
        "turns_cpu_seconds": sum(one.cpu_seconds for one in turns),
        "at_once_seconds": seconds,
        "at_once_cpu_seconds": sum(one.cpu_seconds for one in once),
        "speed_up": sum(one.seconds for one in turns) / seconds,
        "nothing_seconds": nothing.seconds,
        "nothing_cpu_seconds": nothing.cpu_seconds,
        "collect_cpu_seconds": collected[1].cpu_seconds,
        "load_before": load,
    }


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both stages."""
    data, out, part = arguments.data, arguments.out, arguments.part
    corpus = ["index", "--corpus", data, "--limit", arguments.documents, *ONE]
    encoded = [*corpus, "--no-bm25", "--encoder", f"encoder={arguments.encoder}"]
    encoded += ["--runtime", arguments.runtime]
    places = [out / "index-turns", out / "index-once"]
    for place in places:
        negmine(part, *corpus, "--no-bm25", "-o", place)
    found = {"index --encoder": compared("index", part, encoded, places)}
    negmine(part, *corpus, "-o", out / "index")
    asked = ["--queries", data, "--qrels", data, "-k", PER_SOURCE, "--limit", arguments.queries]
    negmine(part, "retrieve", out / "index", *asked, *ONE, "-o", out / "candidates")
    scored = ["rerank", out / "candidates", "--scorer", f"ce={arguments.scorer}", *ONE]
    scored += ["--top", arguments.top]
    places = [out / "scored-turns", out / "scored-once"]
    found["rerank"] = compared("rerank", part, scored, places)
    return found


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, help="folder in BEIR layout")
    parser.add_argument("--out", type=Path, required=True, help="new work folder")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--part", type=int, default=60, help="documents of a part; rows: 4 times")
    parser.add_argument("--encoder", default=_bench.MINILM)
    parser.add_argument("--scorer", default=_bench.RERANKER)
    parser.add_argument("--runtime", default="openvino", help="what runs the encoder")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; a benchmark needs a fresh folder")
    os.environ["OMP_NUM_THREADS"] = "1"
    found = {
        stage: {key: round(value, 2) for key, value in one.items()}
        for stage, one in measured(arguments).items()
    }
    facts = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    facts["shards"] = found
    arguments.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    head = ("figure", *found)
    rows = [(key, *(one[key] for one in found.values())) for key in next(iter(found.values()))]
    print(f"{_bench.machine('negmine', 'torch', 'onnxruntime')}\n\n{_bench.table(head, rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
