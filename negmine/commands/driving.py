"""A chain of stages by an engine: one process drives, workers make the parts.

For each stage the driver runs the stage itself with a share of nothing: that decides whether it is
up to date, what is replaced, and takes over what is made already; if parts are missing it names
their units. These go to workers in leases, each of which runs the same stage with those units. Then
the driver runs it once more, finds everything made, and commits as a single process does. What
cannot be shared the driver makes itself on the way.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from negmine import __version__, errors, interrupts, log, memory, processors
from negmine.addresses import located, shown
from negmine.engine.crew import Crew, LostUnitError, Work
from negmine.engine.engines import Asked, Call, Engine
from negmine.engine.leases import Lease, Leases
from negmine.engine.shares import COLLECTING, LeftToOthers, Share, Units
from negmine.errors import (
    ConflictError,
    InvariantError,
    MachineError,
    MissingInputError,
    NegmineError,
    OvertakenError,
    UsageError,
    machine_error,
)
from negmine.models import shared
from negmine.params import Params
from negmine.stages.outcome import Outcome
from negmine.stages.stage import STAGES, Step
from negmine.table.artifacts import disk, shards
from negmine.table.artifacts.replace import Replace

#: A look at what is there, for the bar alone, takes at most one in so many seconds: of a folder of
#: many files, or pages of a bucket's listings, it may take some.
_SELDOM = 20
#: Runs a stage: (what may be replaced, which share).
RunsStage = Callable[[Replace, Share], Outcome]


# --- in the driver ----------------------------------------------------------------------------


@contextmanager
def driver(asked: Asked, command: Sequence[str]) -> Iterator[Driver]:
    """The driver of a chain, whose workers end with the block.

    Args:
        asked: which engine.
        command: the words of the command line.

    Raises:
        NegmineError: there is no such engine here.
    """
    engine = _opened(asked)
    folder = os.getcwd()
    crew = Crew(engine, Call(prepare, (__version__, folder, engine.beside)))
    try:
        yield Driver(crew, folder, tuple(command))
    finally:
        crew.close()


def _opened(asked: Asked) -> Engine:
    if asked.engine == "ray":
        from negmine.engine.on_ray import RayEngine

        return RayEngine(asked.address, asked.workers, asked.gpus, log.event)
    from negmine.engine.local import LocalEngine

    if asked.gpus:
        return LocalEngine(*_on_gpus(asked.gpus, asked.workers))
    assert asked.workers is not None
    return LocalEngine(asked.workers, [_threads(asked.workers)] * asked.workers)


def _threads(workers: int) -> dict[str, str]:
    """The environment of a worker that has a share of the cores."""
    own = processors.shared_by(workers)
    return {} if own is None else {"OMP_NUM_THREADS": str(own)}


def _on_gpus(each: int, workers: int | None) -> tuple[int, list[dict[str, str]]]:
    """How many workers, and the environment in which each sees its own GPUs alone.

    Raises:
        UsageError: there are not so many.
    """
    import torch

    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = said.split(",") if said else [str(one) for one in range(torch.cuda.device_count())]
    count = len(there) // each if workers is None else workers
    if not count or count * each > len(there):
        raise UsageError(
            f"{count or 1} workers with {each} GPUs each, and this machine has {len(there)}",
            hint="Fewer --workers or --gpus-per-worker.",
        )
    threads = _threads(count)
    every = [",".join(there[one * each : (one + 1) * each]) for one in range(count)]
    return count, [{**threads, "CUDA_VISIBLE_DEVICES": own} for own in every]


@dataclass
class Driver:
    """Drives stages, one after the other.

    Attributes:
        crew: the workers.
        folder: in which relative paths are meant.
        command: the words of the command line, for who finds its parts uncollected.
    """

    crew: Crew
    folder: str
    command: tuple[str, ...]

    def run(
        self,
        runs: RunsStage,
        step: Step,
        source: Path | None,
        names: Sequence[Params],
        replacing: Replace,
    ) -> Outcome:
        """Make a stage.

        Args:
            runs: runs it in this process.
            step: the stage.
            source: what it reads.
            names: what names its models.
            replacing: what may be replaced.

        Raises:
            NegmineError: what the stage raises, here or in a worker.
            MachineError: a part of it ends every worker.
        """
        work = StageWork.of(step, source, names, self.folder, self.command)
        before: LeftToOthers | None = None
        with log.once():
            while True:
                try:
                    return runs(replacing, COLLECTING)
                except LeftToOthers as left:
                    if before is not None and before.others == left.others:
                        raise _not_made(step, left) from None
                    before = left
                # What lies there now is what the workers make.
                replacing = min(replacing, Replace.OTHER)
                self._hand_out(step, work, before)

    def _hand_out(self, step: Step, work: StageWork, left: LeftToOthers) -> None:
        """Have workers make what is missing."""
        named: dict[int, list[str]] = {}
        for unit, name in left.others:
            named.setdefault(unit, []).append(name)
        parts, of = len(left.others), left.made + len(left.others)
        # A unit is made by one worker: what is too little for all is made by some.
        busy = f"{len(named)} of " if len(named) < self.crew.engine.count else ""
        log.event(
            f"{step.stage}: {parts:,} of {of:,} parts are made by {busy}{self.crew.engine.words}",
            stage=step.stage,
            parts=parts,
            workers=self.crew.engine.count,
        )
        with log.progress(f"{step.stage}, by workers", parts, " parts") as bar:
            made = _Made(step, named, bar)
            try:
                self.crew.hand_out(
                    Leases(named, self.crew.engine.count),
                    Work(partial(_call, work), made.missing, _heard, made.lost, made.look),
                )
            except LostUnitError as lost:
                raise _lost_unit(step, lost, named[lost.unit]) from None
            disk.look_anew(step.out)
            made.look(now=True)


def _not_made(step: Step, left: LeftToOthers) -> NegmineError:
    names = ", ".join(name for _, name in left.others[:8])
    return InvariantError(f"workers have not made {names}", where=str(step.out))


def _lost_unit(step: Step, lost: LostUnitError, names: Sequence[str]) -> MachineError:
    what = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return MachineError(
        f"{what} ended {lost.times} workers (the last one: {lost.how})",
        where=str(step.out),
        hint="All other finished parts stay. Where memory ran out, fewer --workers, a lower "
        "--memory or smaller batches help; then run the same command again: it continues.",
    )


@dataclass
class _Made:
    """What of a stage is made, as the markers tell.

    Attributes:
        step: the stage.
        names: the parts of each unit.
        bar: told of each part.
    """

    step: Step
    names: dict[int, list[str]]
    bar: log.Progress
    _seen: set[str] = field(default_factory=set)
    _next: float = 0.0

    def missing(self, lease: Lease) -> Lease:
        """Units of which a part is not there."""
        disk.look_anew(self.step.out)
        there = shards.marked_of(
            self.step.out, (name for unit in lease for name in self.names[unit])
        )
        return tuple(unit for unit in lease if not there.issuperset(self.names[unit]))

    def lost(self, how: str, missing: Lease) -> None:
        """Tell of a worker that has ended."""
        again = sum(len(self.names[unit]) for unit in missing)
        log.event(
            f"{self.step.stage}: a worker ended ({how}); {again:,} of its parts go to others",
            level=30,
            stage=self.step.stage,
            parts=again,
        )

    def look(self, *, now: bool = False) -> None:
        """Tell how many parts are there.

        Args:
            now: also if the last look was a moment ago, for how long that took.
        """
        interrupts.check()
        started = time.monotonic()
        if not now and started < self._next:
            return
        there = shards.marked_of(
            self.step.out, (name for own in self.names.values() for name in own)
        )
        self.bar.update(len(there - self._seen))
        self._seen |= there
        ended = time.monotonic()
        self._next = ended + _SELDOM * (ended - started)


def _call(work: StageWork, lease: Lease) -> Call:
    return Call(make, (work, lease))


def _heard(answer: Answer) -> bool:
    """Say what a worker said; whether its units are made.

    Raises:
        NegmineError: what the stage raised there.
    """
    for line in answer.said:
        line.say()
    if isinstance(answer.error, OvertakenError):
        log.warn([f"{answer.error.what}: another command makes the same; this one goes on"])
        return False
    if answer.error is not None:
        raise answer.error
    return True


# --- in a worker ------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageWork:
    """What a worker must know of a stage.

    Attributes:
        stage: its name.
        params: its parameters.
        out: where its result goes; where a mirror lies is each machine's own, so of one its
            address.
        source: what it reads, in the same way.
        names: what names its models.
        folder: in which relative paths are meant.
        command: the words of the driver's command line.
    """

    stage: str
    params: Params
    out: str
    source: str | None
    names: tuple[Params, ...]
    folder: str
    command: tuple[str, ...]

    @classmethod
    def of(
        cls,
        step: Step,
        source: Path | None,
        names: Sequence[Params],
        folder: str,
        command: tuple[str, ...],
    ) -> StageWork:
        """What of a stage is told."""
        read = None if source is None else shown(str(source))
        out = shown(str(step.out))
        return cls(step.stage, step.params, out, read, tuple(names), folder, command)


@dataclass(frozen=True)
class Answer:
    """What a worker says when it is through.

    Attributes:
        said: its warnings.
        error: why it stopped, where it was not through.
    """

    said: tuple[log.Line, ...] = ()
    error: NegmineError | None = None


_kept: shared.Kept | None = None
#: What lives as long as the worker does.
_life = ExitStack()


def prepare(version: str, folder: str, beside: int) -> Answer:
    """Make this process a worker.

    Args:
        version: of negmine, where it is driven.
        folder: in which relative paths are meant.
        beside: how many workers this machine has.
    """
    global _kept
    host = socket.gethostname()
    if version != __version__:
        return Answer(
            error=ConflictError(
                f"a worker has negmine {__version__}, and what drives it is {version}",
                where=host,
                hint="Install the same version on every machine.",
            )
        )
    try:
        os.chdir(folder)
    except OSError as error:
        return Answer(
            error=MissingInputError(
                f"a worker has no such folder ({os.strerror(error.errno or 0)})",
                where=f"{folder} on {host}",
                hint="Run the command in a folder that all machines have, at the same place.",
            )
        )
    memory.share_among(beside)
    if _kept is None:
        _kept = _life.enter_context(shared.between_stages(gpus=True))
    return Answer()


def make(work: StageWork, units: Lease) -> Answer:
    """Make some units of a stage; whatever a user can mend is in the answer."""
    with log.gathered() as said:
        try:
            _made(work, units)
        except NegmineError as error:
            return Answer(tuple(said), _plain(error))
        except Exception as error:  # the libraries' errors have no common base
            known = machine_error(error)
            if known is None:
                raise
            return Answer(tuple(said), known)
    return Answer(tuple(said))


def _made(work: StageWork, units: Lease) -> None:
    assert _kept is not None
    out = located(work.out)
    # What the driver wrote a moment ago is there.
    disk.look_anew(out)
    if not disk.is_far(out) and not out.parent.is_dir():
        raise MissingInputError(
            "a worker does not see this folder",
            where=f"{out.parent.resolve()} on {socket.gethostname()}",
            hint="Every machine must see the work folder, at the same place: on a shared disk, or "
            "in a bucket.",
        )
    # The next lease is of this stage, too.
    _kept.turn(work.names, work.names)
    share = Units(frozenset(units), work.command, work.folder)
    source = None if work.source is None else located(work.source)
    try:
        STAGES[work.stage].run(work.params, source, out, Replace.NOTHING, share)
    except LeftToOthers:
        return


def _plain(error: NegmineError) -> NegmineError:
    """The same error of a class that every process has."""
    kind = next(one for one in type(error).__mro__ if one.__module__ == errors.__name__)
    assert issubclass(kind, NegmineError)
    return kind(error.what, where=error.where, hint=error.hint)
