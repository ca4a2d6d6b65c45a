"""``--dry-run``: what stages would read, write, hold and take, from a few seconds of trials.

Nothing is written but a temporary folder, which is removed. A stage of its own is tried on the
artifact that it is given; in a recipe, a stage whose input is not there yet is tried on what the
trial of the stage before it made, and says what it had to guess.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from negmine import log
from negmine.commands.estimate.chain import Chain, open_table
from negmine.commands.estimate.cost import Cost, Watch
from negmine.commands.estimate.export import cost_of_export
from negmine.commands.estimate.filter import cost_of_filter
from negmine.commands.estimate.index import cost_of_index
from negmine.commands.estimate.rerank import cost_of_rerank
from negmine.commands.estimate.retrieve import cost_of_retrieve
from negmine.commands.estimate.several import among
from negmine.commands.estimate.write import cost_of_write
from negmine.stages.stage import Step
from negmine.table.artifacts.replace import Replace

__all__ = ["COSTS", "among", "estimate"]

#: What a stage would cost: (chain, parameters, result).
COSTS: Mapping[str, Callable[[Chain, Any, Path], Cost]] = {
    "index": cost_of_index,
    "write": cost_of_write,
    "retrieve": cost_of_retrieve,
    "rerank": cost_of_rerank,
    "filter": cost_of_filter,
    "export": cost_of_export,
}


def estimate(
    steps: Sequence[Step], source: Path | None, replacing: Replace, imported: float = 0.0
) -> list[Cost]:
    """The costs of consecutive stages.

    Args:
        steps: the stages.
        source: the artifact that the first one reads; None for ``index``.
        replacing: what may be replaced.
        imported: seconds that importing the stages took.

    Raises:
        NegmineError: what the stages themselves would refuse.
    """
    costs = []
    with tempfile.TemporaryDirectory(prefix="negmine-dry-run-") as folder:
        chain = Chain(Path(folder), replacing)
        if source is not None and steps[0].stage == "retrieve":
            chain.index, chain.real = source, True
        elif source is not None and steps[0].stage == "write":
            chain.given, chain.real = source, True
        elif source is not None:
            allowed = {"export": ["filter"]}.get(steps[0].stage, ["retrieve", "rerank"])
            open_table(chain, source, allowed)
        for step in steps:
            log.event(f"trying {step.stage} on a sample", stage=step.stage)
            with log.silenced():
                costs.append(COSTS[step.stage](chain, step.params, step.out))
    for cost in costs:
        if not cost.skipped:
            cost.add("start", _start() + imported)
            break
    return costs


def _start() -> float:
    """Seconds until Python has read a negmine command line."""
    with Watch() as watch:
        subprocess.run(
            [sys.executable, "-m", "negmine", "--version"], capture_output=True, check=False
        )
    return watch.seconds
