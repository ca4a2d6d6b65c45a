"""What a chain takes by workers: what they share, what each does, and what one process does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from negmine.commands.estimate.cost import Cost
from negmine.engine.engines import Asked
from negmine.engine.leases import setups
from negmine.errors import UsageError
from negmine.log import duration

#: What of a stage's breakdown grows with its parts, which workers share: how the name begins.
_SHARED = {
    "index": ("encode ", "signatures"),
    "retrieve": ("search", "score with "),
    "rerank": ("score ", "tables", "texts"),
    "filter": ("rules",),
}
#: What every worker does for itself, once: the model stays loaded.
_EACH = "load "


@dataclass(frozen=True)
class Share:
    """The seconds of a stage by workers.

    Attributes:
        stage: its name.
        alone: of the process that drives.
        each: of each worker, whatever the others do.
        shared: of all workers together.
        workers: how many.
        setups: how often a worker sets the stage up; what one takes is not known.
    """

    stage: str
    alone: float
    each: float
    shared: float
    workers: int
    setups: int

    @property
    def worker(self) -> float:
        """Of one worker."""
        return self.each + self.shared / self.workers

    @property
    def seconds(self) -> float:
        """Until the stage is made."""
        return self.alone + self.worker

    @property
    def spent(self) -> float:
        """Of all processes together."""
        return self.alone + self.each * self.workers + self.shared


def among(costs: Sequence[Cost], asked: Asked) -> list[Share]:
    """What each stage takes by so many workers, each as fast as this machine is alone.

    Raises:
        UsageError: it is not said how many.
    """
    if asked.workers is None:
        raise UsageError(
            "--dry-run asks no cluster how many workers it has room for",
            hint="Say how many: --workers 8.",
        )
    return [_share(cost, asked.workers) for cost in costs]


def _share(cost: Cost, workers: int) -> Share:
    names = _SHARED.get(cost.stage, ())
    shared = sum(spent for name, spent in cost.breakdown.items() if name.startswith(names))
    each = 0.0
    if names:
        each = sum(spent for name, spent in cost.breakdown.items() if name.startswith(_EACH))
    alone = cost.seconds - shared - each
    return Share(cost.stage, alone, each, shared, workers, setups(workers) if shared else 0)


def facts(shares: Sequence[Share]) -> dict[str, Any]:
    """As plain values, for JSON."""
    return {
        "workers": shares[0].workers,
        "stages": [
            {
                "stage": one.stage,
                "alone_seconds": round(one.alone, 2),
                "worker_seconds": round(one.worker, 2),
                "seconds": round(one.seconds, 2),
            }
            for one in shares
        ],
        "worker_seconds": round(sum(one.worker for one in shares), 2),
        "seconds": round(sum(one.seconds for one in shares), 2),
        "spent_seconds": round(sum(one.spent for one in shares), 2),
    }


def lines(shares: Sequence[Share]) -> list[str]:
    """For people: a line for each stage that workers share, and one for all."""
    workers = shares[0].workers
    told = []
    for one in shares:
        if one.shared:
            told.append(
                f"{one.stage} by {workers} workers: {duration(one.worker)} each, and "
                f"{duration(one.alone)} by the process that drives, of {duration(one.shared)} "
                "that they share"
            )
        elif one.seconds:
            told.append(f"{one.stage}: by the process that drives, {duration(one.alone)}")
    seconds = sum(one.seconds for one in shares)
    each = sum(one.worker for one in shares)
    spent = sum(one.spent for one in shares)
    told.append(
        f"all by {workers} workers: {duration(seconds)}; each works {duration(each)}, all "
        f"processes together {duration(spent)}"
    )
    return [
        *told,
        "guessed: every worker is as fast as this process is alone; that it sets a stage up some "
        f"{setups(workers)} times is not counted",
    ]
