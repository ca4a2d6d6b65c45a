"""What workers gain: one and two, each with one thread, on the same chain; and what a part costs.

Every run is a whole ``negmine run`` in a process of its own: BM25 candidates of a collection, then
vectors (``index``) and scores (``rerank``) by workers. The seconds of a stage are from its first
line of the log to its last, with the start of the workers and the loading of the models. The CPU
seconds are of all processes together: beside other work they tell what the clock does not::

    python scripts/bench_engines.py DATA/medquad WORK --encoder MODEL --scorer MODEL
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import _bench

#: Stages whose parts workers make with models.
_STAGES = ("index", "rerank")
_SHOWN = (*_STAGES, "cpu")


def main() -> int:
    """Run each number of workers in turns, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="corpus, queries and judgements")
    parser.add_argument("work", type=Path, help="a folder of the benchmark's own")
    parser.add_argument("--encoder", default=_bench.MINILM)
    parser.add_argument("--scorer", default=_bench.RERANKER)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--depth", type=int, default=10, help="candidates of a query")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    recipe = _recipe(options)
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in [0, *options.workers]}
    for _ in range(options.rounds):
        for count, seen in runs.items():
            seen.append(_run(recipe, options.work, count))
    print(_bench.machine("torch", "sentence-transformers"))
    print(f"load of the last minute: {os.getloadavg()[0]:.1f}\n")
    rows = []
    for count, seen in runs.items():
        who = f"{count} workers" if count else "one process"
        rows.append((who, *(f"{min(run[what] for run in seen):.1f}" for what in _SHOWN)))
    print(_bench.table(("", *(f"{stage} s" for stage in _STAGES), "CPU s, whole run"), rows))
    return 0


def _recipe(options: argparse.Namespace) -> Path:
    options.work.mkdir(parents=True, exist_ok=True)
    path: Path = options.work / "recipe.toml"
    path.write_text(
        f"""work = "work"
output = "train.parquet"
[index]
corpus = "{options.data.resolve()}"
encoder = {{ model = "{options.encoder}" }}
runtime = "torch"
signatures = false
threads = 1
[retrieve]
queries = "{options.data.resolve()}"
qrels = "{options.data.resolve()}"
source = ["bm25"]
k = {options.depth}
[rerank]
scorer = {{ ce = "{options.scorer}" }}
threads = 1
[filter]
num-negatives = 4
[export]
format = "triplet"
"""
    )
    return path


def _run(recipe: Path, work: Path, workers: int) -> dict[str, float]:
    """Seconds of each stage of a chain that is made anew."""
    shutil.rmtree(work / "work", ignore_errors=True)
    words = ["--engine", "local", "--workers", str(workers)] if workers else []
    command = [sys.executable, "-m", "negmine", "run", str(recipe), *words]
    said = work / "said.jsonl"
    with said.open("w") as log:
        process = subprocess.Popen(
            [*command, "--log-format", "json"], stderr=log, stdout=subprocess.DEVNULL
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
    seconds = {stage: ended[stage] - begun[stage] for stage in begun}
    return {**seconds, "cpu": usage.ru_utime + usage.ru_stime}


if __name__ == "__main__":
    sys.exit(main())
