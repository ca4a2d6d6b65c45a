"""Trials of :mod:`kill_harness` by shards: processes in any order make one artifact, some die.

Each process of a stage (the shards, before them whoever stores the documents, and the one that
collects) may be killed, before a call that changes the work folder, amid one, or at a random
moment; it is started again later, beside what the others have made meanwhile. Now and then
somebody collects too early.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kill_trials import Bench, Result, Trial

COUNT = 4
#: Kills in a trial, about: the planned one, and those of other processes.
KILLS = 2.5
_OTHERS = 0.25
_MOST = 6
#: Share of the trials in which somebody collects too early.
_EARLY = 0.3
#: The step that makes what no shard can, and the one that collects.
FIRST, LAST, EARLY = "first", "collect", "early"
#: Exit code of who collects too early.
_MISSING = 4


def steps(stage: str) -> list[str]:
    """The processes of a stage, in the order in which they are measured."""
    shards = [str(index) for index in range(COUNT)]
    return [*([FIRST] if stage.startswith("index") else []), *shards, LAST]


def command(bench: Bench, stage: str, step: str, work: Path) -> list[str]:
    """The command line of a process."""
    plain = stage.removesuffix("-shards")
    if step in (LAST, EARLY):
        return ["collect", str(bench.result_of(plain, work))]
    words = bench.command(plain, work)
    if step == FIRST:
        # Without the models that the shards run.
        return [*words[: words.index("--keep") + 2], *words[-2:]]
    return [*words, "--shard", f"{step}/{COUNT}"]


def _order(stage: str, chance: random.Random) -> list[str]:
    """The processes of a trial."""
    shards = [step for step in steps(stage) if step.isdigit()]
    chance.shuffle(shards)
    if stage.startswith("retrieve"):
        # It has the documents scored for the anchor queries.
        shards.sort(key=lambda step: step != "0")
    if chance.random() < _EARLY:
        shards.insert(chance.randrange(1, len(shards)), EARLY)
    return [*([FIRST] if FIRST in steps(stage) else []), *shards, LAST]


def _planned(trial: Trial, calls: dict[str, int], chance: random.Random) -> tuple[str, Any]:
    """Which process is killed, and how: its call is the trial's among those of all."""
    if trial.after is not None:
        return chance.choice(list(calls)), {"after": trial.after, "signum": trial.signum}
    at = trial.at
    for step, number in calls.items():
        if at <= number:
            return step, {"mode": trial.mode, "at": at}
        at -= number
    return LAST, {"mode": trial.mode, "at": calls[LAST]}


def attempt(bench: Bench, trial: Trial) -> Result:
    """Kill processes of a stage, start them again, collect, compare."""
    from kill_trials import Result

    chance = random.Random(trial.seed)
    result, work = Result(trial), bench.begin(trial.stage)
    calls = bench.shares[trial.stage]
    queue = _order(trial.stage, chance)
    kept: dict[Path, tuple[int, int]] = {}
    fated, fate = _planned(trial, calls, chance)
    while queue:
        step = queue.pop(0)
        how: dict[str, Any] = {}
        by_plan = step == fated
        if by_plan:
            how, fated = fate, ""
        elif result.kills < _MOST and chance.random() < _OTHERS:
            most = max(1, calls.get(step, calls[LAST]))
            how = {"mode": chance.choice("kt"), "at": chance.randint(1, most)}
        ended = bench.start_as(result, command(bench, trial.stage, step, work), work, **how)
        if ended.killed:
            _count(result, trial, by_plan)
            kept |= bench.left(result, work)
            _again(queue, step, trial.stage, chance)
        elif ended.code not in ((0, _MISSING) if step == EARLY else (0,)):
            result.losses.append(f"{step}: exit {ended.code}: {ended.output}")
            return result
    bench.compare_kept(result, kept)
    bench.compare(result, work)
    return result


def _count(result: Result, trial: Trial, by_plan: bool) -> None:
    if not by_plan:
        result.kills_while_resuming += 1
    elif trial.after is None:
        result.kills_at_boundaries += 1
    else:
        result.kills_at_random_moments += 1


def _again(queue: list[str], step: str, stage: str, chance: random.Random) -> None:
    """Start a killed process again: at once where others need it, else some time."""
    if step == EARLY:
        return
    at_once = step in (FIRST, LAST) or (step == "0" and stage.startswith("retrieve"))
    queue.insert(0 if at_once else chance.randrange(len(queue)), step)
