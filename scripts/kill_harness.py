"""Kill negmine at every write, rename and fsync, and at random moments; resume; compare.

    python scripts/kill_harness.py OUT --kills 400 --full 100 --interrupts 60
    python scripts/kill_harness.py OUT --seconds 300 --seed 3 --report all.json    # a round
    python scripts/kill_harness.py OUT --stages filter,export-file --kills 20 --plain
    python scripts/kill_harness.py OUT --stages filter-shards,rerank-shards --kills 100
    python scripts/kill_harness.py OUT --stages filter-shards --bucket --every 0/4
    python scripts/kill_harness.py OUT --stages filter-shards --plain --learns --kills 60

A stage (or the whole chain, ``run``; or one that replaces the result of other settings,
``STAGE-force``) is started in a process group of its own, which is killed with SIGKILL: just
before the n-th call that changes its output folder (a small library, ``killpoint.c``, is
preloaded and counts the calls of Python, Arrow and Java alike; every other kill tears the write
that it hits in two), or after a random time. Some trials are killed again while they resume. Then
the same command runs to its end (of ``STAGE-shards``: those of four processes in any order, each
of which may be killed, and ``negmine collect``), and

* every file is byte-identical to that of an uninterrupted run. Manifests are compared without
  their ``run`` section (times, memory); a Lucene index, whose segments carry random ids, by the
  candidates that come out of it;
* no file is missing, and none is left over;
* a part that the killed run had finished is the same file still: not made again;
* right after a kill every file under a final name is whole.

With ``--full`` the n-th call that needs space, and every one after it, fails with ENOSPC: one
message and exit code 7 are expected; with ``--interrupts`` SIGINT and SIGTERM come at random
moments (exit codes 130 and 143). Both end with the same resumption and comparison.

With ``--bucket`` the work folder is in a bucket (:mod:`kill_buckets`), and what is counted are the
requests that change it. With ``--every 0/1`` there is one trial before, and one amid, every call;
with ``--every I/N`` of every N-th, beginning with number I, so that all of them may be cut up, too.

A long run may be cut into rounds: another ``--seed`` draws other moments, and a ``--report`` that
is there already gains a round and new sums. Every trial that lost something is kept under
``OUT/failures`` with its command lines, logs, and the work folder as each of its runs left it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kill_buckets import BucketBench
from kill_shards import KILLS as KILLS_BY_SHARDS
from kill_trials import ALL, ROOT, TWICE_SHARE, Bench, Result, Trial, by_shards, product_digest

#: Share of the kills that come at a random moment.
RANDOM_SHARE = 0.25
#: Stages that start Java each time, which takes seconds, get fewer of the trials than others (3).
WEIGHTS = {"index": 2, "retrieve": 2, "run": 2, "export-file": 1}
FAULTS = ("kills", "full", "interrupts")


def main() -> int:
    """Parse, run, report; 0 when nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="scratch folder, made when missing")
    parser.add_argument("--kills", type=int, default=400, help="how many kills, about")
    parser.add_argument("--full", type=int, default=0, help="how many times the disk is full")
    parser.add_argument("--interrupts", type=int, default=0, help="how many SIGINT and SIGTERM")
    parser.add_argument("--stages", default=",".join(ALL), help="which, between commas")
    parser.add_argument("--plain", action="store_true", help="no models: much faster")
    parser.add_argument("--learns", action="store_true", help="filter learns of the whole table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no trial after")
    parser.add_argument(
        "--patience", type=float, default=600.0, help="seconds; a run that takes longer hangs"
    )
    parser.add_argument("--report", type=Path, help="JSON; a file that is there gains a round")
    parser.add_argument("--bucket", action="store_true", help="the work folder is in a bucket")
    parser.add_argument("--every", metavar="I/N", help="kill at every N-th call, both ways")
    given = parser.parse_args()
    if given.bucket and given.full:
        parser.error("--full is of disks")
    stages = given.stages.split(",")
    if unknown := set(stages) - set(ALL):
        parser.error(f"unknown stages {sorted(unknown)}; known: {', '.join(ALL)}")
    if "killpoint" not in os.environ.get("LD_PRELOAD", ""):
        return _again_with_library(given.out)
    started = time.monotonic()
    kind = BucketBench if given.bucket else Bench
    bench = kind(
        given.out.resolve(), plain=given.plain, learns=given.learns, patience=given.patience
    )
    bench.prepare(stages)
    wanted = {fault: getattr(given, fault) for fault in FAULTS}
    earlier = _rounds(given.report)
    round_: dict[str, Any] = {}
    # After every trial, so that a run that is stopped has told what it knew.
    for round_ in run(bench, stages, given.every or wanted, given.seed, started + given.seconds):
        if given.report:
            _write(given.report, [*earlier, round_])
    print(json.dumps({k: v for k, v in round_.items() if k != "stages"}, indent=2))
    return 1 if round_["losses"] else 0


def build_library(folder: Path) -> Path:
    """Compile ``killpoint.c`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder.resolve() / "killpoint.so"
    source = ROOT / "scripts" / "killpoint.c"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


def _again_with_library(out: Path) -> int:
    """Start this script once more with the library loaded before all others."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(build_library(out)),
        # Forked processes: no thread may run in the parent, and the trials share two cores.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        # What is tested is the code beside this script, wherever another is installed.
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


def run(
    bench: Bench, stages: list[str], wanted: dict[str, int] | str, seed: int, deadline: float
) -> Iterator[dict[str, Any]]:
    """All trials in random order, as many as the time allows; the report so far after each.

    Args:
        bench: where they take place.
        stages: of which stages.
        wanted: how many of each fault, or at which of all calls a kill.
        seed: what is drawn comes from it.
        deadline: none is begun after it.
    """
    started = time.monotonic()
    boundaries, times = bench.measure(stages)
    facts = {"revision": revision(), "product": product_digest(), "seed": seed}
    tallies = {stage: Counter({"boundaries": boundaries[stage]}) for stage in stages}
    losses: list[str] = []
    chance = random.Random(seed)
    planned = [
        trial
        for stage in stages
        for trial in (
            at_every(stage, wanted, boundaries[stage], seed)
            if isinstance(wanted, str)
            else plan(stage, _shares(stage, stages, wanted), boundaries, times, seed, chance)
        )
    ]
    chance.shuffle(planned)
    yield _round(facts, tallies, losses, len(planned), started)
    for number, trial in enumerate(planned):
        if time.monotonic() > deadline:
            break
        result = bench.attempt(trial, boundaries[trial.stage])
        if result.losses:
            folder = bench.base / "failures" / f"{seed}-{number}-{trial.stage}"
            bench.keep(result, folder, **facts)
            told = [f"{trial.stage}: {trial.told}: {loss}" for loss in result.losses]
            losses += told
            print("\n".join([*told, f"kept in {folder}"]), file=sys.stderr, flush=True)
        _count(tallies[trial.stage], result)
        yield _round(facts, tallies, losses, len(planned), started)


def _shares(stage: str, stages: list[str], wanted: dict[str, int]) -> dict[str, float]:
    plain = {one: one.removesuffix("-force").removesuffix("-shards") for one in stages}
    weights = {one: WEIGHTS.get(plain[one], 3) for one in stages}
    share = weights[stage] / sum(weights.values())
    return {fault: share * number for fault, number in wanted.items()}


def at_every(stage: str, which: str, calls: int, seed: int) -> list[Trial]:
    """Two trials for each of so many calls, of which only every so-manieth is asked for."""
    first, _, step = which.partition("/")
    numbers = range(1 + int(first), calls + 1, int(step))
    return [Trial(stage, f"{seed}/{stage}/{mode}{n}", mode, n) for n in numbers for mode in "kt"]


def plan(
    stage: str,
    wanted: dict[str, float],
    boundaries: dict[str, int],
    times: dict[str, float],
    seed: int,
    chance: random.Random,
) -> list[Trial]:
    """The trials of a stage: at calls spread over the whole run, and at random moments."""
    calls, seconds = boundaries[stage], times[stage]

    def points(count: float) -> list[int]:
        number = min(calls, math.ceil(count))
        step = calls / max(1, number)
        return [1 + int((i + chance.random()) * step) for i in range(number)]

    if by_shards(stage):
        # Kills only: what the disk and signals do to one process is tried with the others.
        wanted = {"kills": wanted["kills"], "full": 0, "interrupts": 0}
    # A trial that is killed twice stands for two.
    kills = wanted["kills"] / (KILLS_BY_SHARDS if by_shards(stage) else 1 + TWICE_SHARE)
    found: list[dict[str, Any]] = [
        {"mode": "kt"[number % 2], "at": at}
        for number, at in enumerate(points(kills * (1 - RANDOM_SHARE)))
    ]
    found += [{"after": chance.uniform(0, seconds)} for _ in range(math.ceil(kills * RANDOM_SHARE))]
    found += [{"mode": "e", "at": at} for at in points(wanted["full"])]
    found += [
        {"after": chance.uniform(0, seconds), "signum": (signal.SIGINT, signal.SIGTERM)[n % 2]}
        for n in range(math.ceil(wanted["interrupts"]))
    ]
    return [Trial(stage, f"{seed}/{stage}/{n}", **how) for n, how in enumerate(found)]


# --- reports ------------------------------------------------------------------------------------


def _count(tally: Counter[str], result: Result) -> None:
    tally["trials"] += 1
    tally["disks_full"] += result.trial.fault == "full"
    tally["interrupts"] += result.trial.fault == "interrupt"
    for name in (
        *("kills", "kills_at_boundaries", "kills_at_random_moments", "kills_while_resuming"),
        *("parts_kept", "files_compared"),
    ):
        tally[name] += getattr(result, name)
    tally["trials_with_losses"] += bool(result.losses)


def _round(
    facts: dict[str, Any],
    tallies: dict[str, Counter[str]],
    losses: list[str],
    planned: int,
    started: float,
) -> dict[str, Any]:
    sums: Counter[str] = Counter()
    for tally in tallies.values():
        sums.update({name: count for name, count in tally.items() if name != "boundaries"})
    return {
        **facts,
        "planned": planned,
        **sums,
        "losses": list(losses),
        "seconds": round(time.monotonic() - started),
        "stages": {name: dict(tally) for name, tally in tallies.items()},
    }


def _rounds(report: Path | None) -> list[dict[str, Any]]:
    """The rounds that a report has already."""
    if report is None or not report.is_file():
        return []
    rounds: list[dict[str, Any]] = json.loads(report.read_text())["rounds"]
    return rounds


def _write(report: Path, rounds: list[dict[str, Any]]) -> None:
    """Write the report: sums over all rounds, in all and by stage, then the rounds."""
    sums: Counter[str] = Counter()
    stages: dict[str, Counter[str]] = {}
    for round_ in rounds:
        for name, counts in round_["stages"].items():
            tally = stages.setdefault(name, Counter())
            tally.update({k: n for k, n in counts.items() if k != "boundaries"})
            tally["boundaries"] = counts["boundaries"]
            sums.update({k: n for k, n in counts.items() if k != "boundaries"})
    whole = {
        "revisions": sorted({round_["revision"] for round_ in rounds}),
        **sums,
        "losses": [loss for round_ in rounds for loss in round_["losses"]],
        "seconds": sum(round_["seconds"] for round_ in rounds),
        "stages": stages,
        "rounds": rounds,
    }
    hidden = report.with_suffix(".tmp")
    hidden.write_text(json.dumps(whole, indent=2) + "\n")
    hidden.rename(report)


def revision() -> str:
    """The commit under test, with a mark when files differ from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")


if __name__ == "__main__":
    sys.exit(main())
