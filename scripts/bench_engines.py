"""What workers gain: one and two, each with one thread, on the same chain; and what a part costs.

Every run is a whole ``negmine run`` in a process of its own: BM25 candidates of a collection, then
vectors (``index``) and scores (``rerank``) by workers. The seconds of a stage are from its first
line of the log to its last, with the start of the workers and the loading of the models. So every
number of workers makes two collections, little and more of one (``scripts/slice_collection.py``):
the difference is the work, and what is left of the smaller one is what comes before. The CPU
seconds are of all processes together: beside other work they tell what the clock does not::

    python scripts/slice_collection.py DATA/medquad LITTLE --queries 10 --documents 80
    python scripts/slice_collection.py DATA/medquad MORE --queries 32 --documents 240
    python scripts/bench_engines.py LITTLE MORE WORK --json docs/units.json

What the machine's cores give at all is told by products of matrices (``torch``, one thread each) in
one process and in as many as there are workers, all at once.

``--parts`` measures an engine's own share instead: a chain without a model in few parts and in
many, by one process and by one worker::

    python scripts/bench_engines.py MORE MORE WORK --parts --json docs/units.json

Parts are made smaller than they are, so that little work has several; all else is the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _bench

#: Read by Python when it starts: the driver's parts and the workers' are small.
IN_PROCESSES = """
import os, sys
words = " ".join(sys.orig_argv)
if "multiprocessing-fork" in words or "-m negmine" in words:
    from negmine.inputs import limits
    from negmine.stages.retrieve import mining
    from negmine.table import documents
    limits.MAX_BATCH_ROWS = documents.PART_DOCUMENTS = int(os.environ["PART_DOCUMENTS"])
    mining.PART_ROWS = int(os.environ["PART_ROWS"])
    mining.GROUP_HITS = 2 * mining.PART_ROWS
"""
#: Stages whose parts workers make with models, and without one, with where their parts lie.
MODELS = {"index": "index/vectors/*", "rerank": "scored"}
BARE = {"retrieve": "candidates", "filter": "ledger"}
#: Seconds of each measurement of products, and how wide the matrices are.
PRODUCTS, WIDE = 5.0, 1024
MULTIPLIES = """
import sys, time, torch
torch.set_num_threads(1)
wide, seconds, begin = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
one, other = torch.randn(wide, wide), torch.randn(wide, wide)
for _ in range(3):
    one @ other
time.sleep(max(0.0, begin - time.time()))
started, count = time.perf_counter(), 0
while time.perf_counter() - started < seconds:
    one @ other
    count += 1
print(2e-9 * wide**3 * count / (time.perf_counter() - started))
"""


@dataclass(frozen=True)
class Run:
    """One chain.

    Attributes:
        seconds: of each stage, from its first line of the log to its last.
        parts: of each stage.
        cpu: CPU seconds of all processes.
    """

    seconds: Mapping[str, float]
    parts: Mapping[str, int]
    cpu: float


def recipe(options: argparse.Namespace, data: Path, models: bool) -> str:
    """The chain of a collection."""
    index = f'encoder = {{ model = "{options.encoder}" }}\nruntime = "torch"' if models else ""
    rerank = f'[rerank]\nscorer = {{ ce = "{options.scorer}" }}\nthreads = 1' if models else ""
    return f"""work = "work"
output = "train.parquet"
[index]
corpus = "{data.resolve()}"
{index}
signatures = {"false" if models else "true"}
threads = 1
[retrieve]
queries = "{data.resolve()}"
qrels = "{data.resolve()}"
source = ["bm25"]
k = {options.depth}
threads = 1
{rerank}
[filter]
num-negatives = 4
[export]
format = "triplet"
"""


def environment(work: Path, documents: int, rows: int) -> dict[str, str]:
    """That of a process whose parts have so many documents and rows."""
    path = work / "path"
    path.mkdir(exist_ok=True)
    (path / "sitecustomize.py").write_text(IN_PROCESSES)
    paths = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
    sizes = {"PART_DOCUMENTS": str(documents), "PART_ROWS": str(rows)}
    return {**os.environ, **sizes, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def chain(
    work: Path, written: str, workers: int, env: Mapping[str, str], stages: Mapping[str, str]
) -> Run:
    """A chain that is made anew by so many workers; 0 = by one process."""
    shutil.rmtree(work / "work", ignore_errors=True)
    (work / "recipe.toml").write_text(written)
    words = ["--engine", "local", "--workers", str(workers)] if workers else []
    command = [sys.executable, "-m", "negmine", "run", str(work / "recipe.toml"), *words]
    said = work / "said.jsonl"
    with said.open("w") as log:
        process = subprocess.Popen(
            [*command, "--log-format", "json"], stderr=log, stdout=subprocess.DEVNULL, env=env
        )
        # Of the workers, too: the driver waits for them.
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said.read_text())
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    for line in said.read_text().splitlines():
        event = json.loads(line)
        if (stage := event.get("stage")) is not None:
            begun.setdefault(stage, event["time"])
            ended[stage] = event["time"]
    parts = {
        stage: sum(1 for folder in (work / "work").glob(place) for _ in folder.glob("part-*"))
        for stage, place in stages.items()
    }
    seconds = {stage: ended[stage] - begun[stage] for stage in stages}
    return Run(seconds, parts, usage.ru_utime + usage.ru_stime)


def least(runs: Sequence[Run], stage: str) -> float:
    """Seconds of a stage where least else was going on."""
    return min(run.seconds[stage] for run in runs)


# --- work with models -------------------------------------------------------------------------


def products(processes: int) -> float:
    """GFLOP/s of so many processes together, each with one thread."""
    begin = time.time() + 8
    command = [sys.executable, "-c", MULTIPLIES, str(WIDE), str(PRODUCTS), str(begin)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        for _ in range(processes)
    ]
    return sum(float(one.communicate()[0]) for one in started)


def of_models(options: argparse.Namespace) -> dict[str, Any]:
    """Each number of workers with little and with more, in turns."""
    env = environment(options.work, options.part_documents, options.part_rows)
    data = (options.little, options.more)
    runs: dict[int, tuple[list[Run], list[Run]]] = {count: ([], []) for count in options.workers}
    for _ in range(options.rounds):
        for count, both in runs.items():
            for one, seen in zip(data, both, strict=True):
                seen.append(chain(options.work, recipe(options, one, True), count, env, MODELS))
    most = max(options.workers)
    together = products(most) / products(1)
    found: dict[str, Any] = {"products_speed_up": together, "workers": most}
    for stage in MODELS:
        works = {}
        for count, (few, many) in runs.items():
            parts = [seen[0].parts[stage] for seen in (few, many)]
            work = (least(many, stage) - least(few, stage)) / (parts[1] - parts[0])
            works[count] = work
            found[f"{stage}_{count}"] = {
                "parts": parts[1],
                "seconds": least(many, stage),
                "seconds_per_part": work,
                "before_seconds": least(few, stage) - work * parts[0],
                "cpu_seconds_whole_run": min(run.cpu for run in many),
            }
        found[f"{stage}_speed_up"] = works[min(filter(None, options.workers))] / works[most]
    return found


def shown_models(found: Mapping[str, Any]) -> str:
    """A row for each stage and number of workers."""
    rows = []
    for name, one in found.items():
        if isinstance(one, dict):
            stage, _, count = name.partition("_")
            words = {"0": "one process", "1": "1 worker"}
            who = words.get(count, f"{count} workers")
            numbers = (f"{one[key]:.2f}" for key in ("seconds", "seconds_per_part"))
            before, cpu = f"{one['before_seconds']:.1f}", f"{one['cpu_seconds_whole_run']:.0f}"
            rows.append((stage, who, one["parts"], *numbers, before, cpu))
    head = ("stage", "who", "parts", "s", "s a part", "s before", "CPU s, whole run")
    gained = [(f"`{stage}`", f"{found[f'{stage}_speed_up']:.2f}") for stage in MODELS]
    gained.append(("products of matrices, nothing of negmine", f"{found['products_speed_up']:.2f}"))
    times = _bench.table((f"by {found['workers']} at once", "times as fast as by one"), gained)
    return f"{_bench.table(head, rows)}\n\n{times}"


# --- parts without work -----------------------------------------------------------------------


def of_parts(options: argparse.Namespace) -> dict[str, Any]:
    """Few parts and many of the same rows, by one process and by one worker."""
    written = recipe(options, options.more, False)
    runs: dict[int, tuple[list[Run], list[Run]]] = {0: ([], []), 1: ([], [])}
    for _ in range(options.rounds):
        for count, both in runs.items():
            for rows, seen in zip((50 * options.part_rows, options.part_rows), both, strict=True):
                env = environment(options.work, 1_000_000, rows)
                seen.append(chain(options.work, written, count, env, BARE))
    found: dict[str, Any] = {}
    for stage in BARE:
        each = []
        for few, many in runs.values():
            more = many[0].parts[stage] - few[0].parts[stage]
            each.append((least(many, stage) - least(few, stage)) / more)
        found[stage] = {
            "parts": runs[0][1][0].parts[stage],
            "seconds_per_part": each[0],
            "seconds_per_part_by_worker": each[1],
            "own_seconds_per_part": each[1] - each[0],
            "own_seconds_per_stage": least(runs[1][0], stage) - least(runs[0][0], stage),
        }
    return found


def shown_parts(found: Mapping[str, Any]) -> str:
    """A row for each stage, and milliseconds."""
    keys = ("seconds_per_part", "seconds_per_part_by_worker", "own_seconds_per_part")
    rows = [
        (
            stage,
            one["parts"],
            *(f"{1e3 * one[key]:.1f}" for key in keys),
            f"{one['own_seconds_per_stage']:.2f}",
        )
        for stage, one in found.items()
        if isinstance(one, dict)
    ]
    head = ("stage", "parts", "one process, ms a part", "a worker", "the engine's own")
    return _bench.table((*head, "and once a stage, s"), rows)


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("little", type=Path, help="corpus, queries and judgements: some of them")
    parser.add_argument("more", type=Path, help="and more of them")
    parser.add_argument("work", type=Path, help="a folder of the benchmark's own")
    parser.add_argument("--parts", action="store_true", help="what parts cost, without models")
    parser.add_argument("--json", type=Path, help="where the figures go, beside what is there")
    parser.add_argument("--encoder", default=_bench.MINILM)
    parser.add_argument("--scorer", default=_bench.RERANKER)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0: one process")
    parser.add_argument("--depth", type=int, default=4, help="candidates of a query")
    parser.add_argument("--part-documents", type=int, default=20)
    parser.add_argument("--part-rows", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    found = of_parts(options) if options.parts else of_models(options)
    found["load_before"] = load
    if options.json is not None:
        facts = json.loads(options.json.read_text()) if options.json.exists() else {}
        facts["engine_parts" if options.parts else "engines"] = _bench.significant(found)
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{_bench.machine('torch', 'sentence-transformers')}\nload before: {load:.1f}\n")
    print(shown_parts(found) if options.parts else shown_models(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
