"""How many threads a run takes: the cores that this process may use.

That is what its affinity and the quota of its control groups allow, and not what the machine has:
in a container with two of 64 cores' time, 64 threads wait for each other. How busy the machine is
does not count, because the number of threads can show in what comes out (PyTorch in bfloat16 gives
other last digits with four threads than with two); it is told, with the option that settles it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from negmine import control_groups


@dataclass(frozen=True)
class Machine:
    """What is known of the processors.

    Attributes:
        cores: of the machine.
        allowed: cores that this process may run on.
        quota: cores whose time its control groups let it use; None = no limit.
        busy: cores that others keep busy, about.
    """

    cores: int
    allowed: int
    quota: float | None
    busy: float


@dataclass(frozen=True)
class Choice:
    """How many threads are taken.

    Attributes:
        threads: so many.
        hint: what may be better, for people; None where nothing speaks against them.
    """

    threads: int
    hint: str | None = None


def choose(asked: int | None, machine: Machine, openmp: str | None = None) -> Choice:
    """The threads that were asked for, or one for each core that may be used, at least one.

    Args:
        asked: what the user gave.
        machine: the processors.
        openmp: what ``OMP_NUM_THREADS`` says: whoever set it has decided.
    """
    if asked is not None:
        return Choice(asked)
    usable = machine.allowed
    if machine.quota is not None:
        usable = min(usable, max(1, int(machine.quota)))
    if openmp is not None and openmp.isdecimal() and int(openmp) > 0:
        return Choice(min(usable, int(openmp)))
    if usable == 1 or machine.busy < machine.cores:
        return Choice(usable)
    return Choice(
        usable,
        f"the machine is busy (load {machine.busy:.1f} on {machine.cores} cores): models fight for "
        f"the cores with {usable} threads; --threads 1 may be faster",
    )


def look(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Machine:
    """The processors as they are now.

    Args:
        proc: where the kernel tells about the machine and this process.
        groups: where it tells about control groups.
    """
    return Machine(os.cpu_count() or 1, allowed(), quota(proc, groups), busy(proc))


def allowed() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy(proc: Path) -> float:
    """Cores that others keep busy: the load of the last minute, or what runs now if that is less.

    The load still holds what ended a moment ago, such as the stage before this one.
    """
    try:
        words = (proc / "loadavg").read_text().split()
        # This process runs, too.
        return max(0.0, min(float(words[0]), int(words[3].partition("/")[0]) - 1))
    except (OSError, ValueError, IndexError):
        return 0.0


def quota(proc: Path, groups: Path) -> float | None:
    """The least quota of this process's control groups, in cores; None where there is none."""
    limits = map(_limit, control_groups.folders("cpu", proc, groups))
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(folder: Path) -> float | None:
    """Time that a control group may use each period, over the period."""
    try:
        if (folder / "cpu.max").is_file():
            most, period = (folder / "cpu.max").read_text().split()
        else:
            most = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(most) / int(period) if int(most) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


# --- what this process takes ------------------------------------------------------------------

#: What the user's environment says; afterwards it says what was taken.
_OPENMP = os.environ.get("OMP_NUM_THREADS")
#: What is taken now, and what was decided where nobody asked for a number.
_taken: int | None = None
_default: int | None = None


def take(asked: int | None) -> Choice:
    """Decide how many threads the models and searches of this process take from now on.

    Without a number the first decision stands, and its hint is given once.
    """
    global _taken, _default
    if asked is not None:
        _taken = asked
        return Choice(asked)
    if _default is not None:
        _taken = _default
        return Choice(_default)
    found = choose(None, look(), _OPENMP)
    _taken = _default = found.threads
    return found


def shared_by(processes: int) -> int | None:
    """The threads of each of so many processes that have this machine to themselves.

    Returns:
        At least one; None where the user's environment says how many: whoever set it has decided.
    """
    if _OPENMP is not None:
        return None
    return max(1, choose(None, look()).threads // processes)


def threads() -> int | None:
    """What :func:`take` decided; None where nobody asked."""
    return _taken
