"""What stages cost that several processes make: shards of one stage, workers of a whole chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from negmine import processors
from negmine.commands.estimate.cost import Cost
from negmine.engine.engines import Asked
from negmine.engine.leases import setups
from negmine.errors import UsageError
from negmine.log import duration
from negmine.stages.stage import STAGES, Step

_LOAD = "load "
#: What comes of the summaries of all parts, where processes learn of the whole table together.
OF_ALL = "learn from all parts"
#: What each process does for itself, whatever its share.
_EACH = ("start", "read", _LOAD, OF_ALL)
#: What of an index is made part by part; the rest one process makes, before or when it collects.
_OF_INDEX = ("encode ", "signatures")
#: What of other stages one process makes before the parts.
_BEFORE = ("score anchors of ",)


@dataclass(frozen=True)
class _Divided:
    """The seconds of a stage: of each process, of all together, and of what is made once."""

    each: float
    shared: float
    once: float


def _divided(cost: Cost) -> _Divided:
    each, once = _spent(cost, *_EACH), _spent(cost, *_BEFORE)
    if cost.stage == "index":
        once = cost.seconds - each - _spent(cost, *_OF_INDEX)
    return _Divided(each, cost.seconds - each - once, once)


def _spent(cost: Cost, *names: str) -> float:
    """Seconds of that of the breakdown whose name begins so."""
    return sum(seconds for what, seconds in cost.breakdown.items() if what.startswith(names))


def _largest(cost: Cost, count: int) -> Fraction:
    """What share of all units the process makes that has most of them, of so many processes."""
    return Fraction(-(-cost.units // count), cost.units) if cost.units else Fraction(1, count)


# --- shards of a stage ------------------------------------------------------------------------


@dataclass(frozen=True)
class Shared:
    """What a stage costs that several processes make.

    Attributes:
        count: how many processes.
        one: seconds of one of them, of those that have most to make.
        all: seconds of all of them, one after the other.
        rest: seconds of what is made once: before them, or by who collects.
        calls: requests to servers by one of them.
        price: what its unanswered ones cost; None = not known.
    """

    count: int
    one: float
    all: float
    rest: float
    calls: int
    price: float | None

    def facts(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            name: round(value, 2) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def shared(cost: Cost, count: int) -> Shared:
    """What a stage costs by so many processes."""
    found, largest = _divided(cost), _largest(cost, count)
    return Shared(
        count,
        found.each + found.shared * float(largest),
        count * found.each + found.shared,
        found.once,
        ceil(cost.calls * largest),
        None if cost.price is None else cost.price * float(largest),
    )


def told(cost: Cost, share: str, found: Shared) -> str:
    """The same in words."""
    said = (
        f"{cost.stage}: shard {share} {duration(found.one)}; all {found.count} together "
        f"{duration(found.all)}"
    )
    if found.rest:
        said += f", and {duration(found.rest)} for what one process makes"
    if cost.calls:
        price = "not known (--price)" if found.price is None else f"{found.price:.6g}"
        said += f"; {found.calls:,} calls each, price {price} each"
    if 0 < cost.units < found.count:
        said += f"; only {cost.units} of them have something to make"
    return said


# --- workers of a chain -----------------------------------------------------------------------


@dataclass(frozen=True)
class ByWorkers:
    """The seconds of a stage by workers.

    Attributes:
        stage: its name.
        alone: of the process that drives.
        each: of each worker that has something to make, whatever the others do.
        shared: of all workers together.
        longest: of that, of the one with most to make.
        slower: how many times as long it takes for something as this process.
        workers: how many there are.
        busy: how many of them have something to make.
    """

    stage: str
    alone: float
    each: float = 0.0
    shared: float = 0.0
    longest: float = 0.0
    slower: float = 1.0
    workers: int = 1
    busy: int = 0

    @property
    def worker(self) -> float:
        """Of the worker with most to make."""
        return self.each + self.longest

    @property
    def seconds(self) -> float:
        """Until the stage is made."""
        return self.alone + self.worker

    @property
    def spent(self) -> float:
        """Of all processes together."""
        return self.alone + self.each * self.busy + self.shared


def among(steps: Sequence[Step], costs: Sequence[Cost], asked: Asked) -> list[ByWorkers]:
    """What each stage takes by so many workers.

    Raises:
        UsageError: it is not said how many.
    """
    if asked.workers is None:
        raise UsageError(
            "--dry-run asks no cluster how many workers it has room for",
            hint="Say how many: --workers 8.",
        )
    pairs = zip(steps, costs, strict=True)
    return [_by_workers(step, cost, asked, asked.workers) for step, cost in pairs]


def _by_workers(step: Step, cost: Cost, asked: Asked, workers: int) -> ByWorkers:
    if not STAGES[step.stage].by_parts:
        return ByWorkers(step.stage, cost.seconds, workers=workers)
    found = _divided(cost)
    # The model stays loaded, and what was learned is told; what else it takes to set the stage up
    # is not known for each lease.
    each = _spent(cost, _LOAD, OF_ALL)
    slower = _slower(step, asked, workers)
    shared = found.shared * slower
    busy = min(workers, cost.units) if cost.units else workers
    return ByWorkers(
        step.stage,
        alone=found.once + found.each - each,
        each=each,
        shared=shared,
        longest=shared * float(_largest(cost, workers)),
        slower=slower,
        workers=workers,
        busy=busy,
    )


def _slower(step: Step, asked: Asked, workers: int) -> float:
    """How many times as long a worker takes as this process: it has a share of the cores."""
    threads = getattr(step.params, "threads", 1)
    if asked.engine != "local" or asked.gpus or threads is not None:
        return 1.0
    all_, own = processors.shared_by(1), processors.shared_by(workers)
    return 1.0 if all_ is None or own is None else all_ / own


def facts(found: Sequence[ByWorkers]) -> dict[str, Any]:
    """As plain values, for JSON."""
    return {
        "workers": found[0].workers,
        "stages": [
            {
                "stage": one.stage,
                "alone_seconds": round(one.alone, 2),
                "workers": one.busy,
                "worker_seconds": round(one.worker, 2),
                "seconds": round(one.seconds, 2),
            }
            for one in found
        ],
        "worker_seconds": round(sum(one.worker for one in found), 2),
        "seconds": round(sum(one.seconds for one in found), 2),
        "spent_seconds": round(sum(one.spent for one in found), 2),
    }


def lines(found: Sequence[ByWorkers]) -> list[str]:
    """For people: a line for each stage that workers share, one for all, and what was guessed."""
    workers = found[0].workers
    said = []
    for one in found:
        if one.shared:
            some = "" if one.busy == workers else f"{one.busy} of "
            said.append(
                f"{one.stage} by {some}{workers} workers: {duration(one.worker)} each, and "
                f"{duration(one.alone)} by the process that drives, of {duration(one.shared)} "
                "that they share"
            )
        elif one.seconds:
            said.append(f"{one.stage}: by the process that drives, {duration(one.alone)}")
    seconds = sum(one.seconds for one in found)
    each = sum(one.worker for one in found)
    spent = sum(one.spent for one in found)
    said.append(
        f"all by {workers} workers: {duration(seconds)}; each works {duration(each)}, all "
        f"processes together {duration(spent)}"
    )
    slower = max(one.slower for one in found)
    pace = "every worker is as fast as this process is alone"
    if slower > 1:
        pace = (
            f"with its share of the cores a worker takes {slower:.3g} times as long as this "
            "process with all of them"
        )
    setting_up = f"that it sets a stage up some {setups(workers)} times is not counted"
    return [*said, f"guessed: {pace}; {setting_up}"]
