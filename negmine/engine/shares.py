"""Which parts of an artifact this process makes, where others make the rest.

A *unit* is what is made together: a part, or the parts whose texts are in the same batches of a
model. Units have numbers, so that any number of processes, in whatever order, make the same parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from negmine.errors import UsageError

#: What tells a task of a job array which one it is: Slurm's, Kubernetes' (an Indexed Job).
_SLURM, _KUBERNETES = "SLURM_ARRAY_TASK_", "JOB_COMPLETION_INDEX"


class Share(Protocol):
    """What a process makes."""

    @property
    def whole(self) -> bool:
        """Whether it says, at the end, what the whole artifact is: only one process may."""

    def mine(self, unit: int) -> bool:
        """Whether this process makes the unit of this number, counted from 0."""

    def told(self) -> Mapping[str, Any]:
        """What those who collect the parts should know of those who make them, as JSON."""


@dataclass(frozen=True)
class Alone:
    """All of it, or nothing of what others have made: this process says what the whole is.

    Attributes:
        makes: whether it makes the units, too.
    """

    makes: bool

    @property
    def whole(self) -> bool:
        """It commits, if nothing is missing."""
        return True

    def mine(self, unit: int) -> bool:
        """Every unit is, or none."""
        return self.makes

    def told(self) -> Mapping[str, Any]:
        """Nobody else collects."""
        return {}

    def __str__(self) -> str:
        return "all" if self.makes else "none"


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th unit, beginning with number ``index``.

    Attributes:
        index: which shard, counted from 0.
        count: how many there are.
        command: words that make it, without which shard it is.
        folder: where they are to be said.
    """

    index: int
    count: int
    command: tuple[str, ...] = field(default=(), compare=False)
    folder: str = field(default="", compare=False)

    @property
    def whole(self) -> bool:
        """Others make the rest."""
        return False

    def mine(self, unit: int) -> bool:
        """Whether the unit's number leaves the shard's index."""
        return unit % self.count == self.index

    def told(self) -> Mapping[str, Any]:
        """How many there are, and the command that makes them."""
        return {"shards": self.count, "command": list(self.command), "folder": self.folder}

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True)
class Units:
    """Units that somebody hands out.

    Attributes:
        numbers: theirs.
        command: words that make all of the artifact.
        folder: where they are to be said.
    """

    numbers: frozenset[int]
    command: tuple[str, ...] = field(default=(), compare=False)
    folder: str = field(default="", compare=False)

    @property
    def whole(self) -> bool:
        """Others make the rest."""
        return False

    def mine(self, unit: int) -> bool:
        """Whether it is one of them."""
        return unit in self.numbers

    def told(self) -> Mapping[str, Any]:
        """The command that hands them out."""
        return {"command": list(self.command), "folder": self.folder}

    def __str__(self) -> str:
        return f"units {', '.join(map(str, sorted(self.numbers)))}"


#: What ``--shard`` is given in the place of I/N to collect.
COLLECT = "collect"
WHOLE, COLLECTING = Alone(makes=True), Alone(makes=False)


class LeftToOthers(Exception):
    """What a process was to make of an artifact is made; the rest is not its own to make.

    Attributes:
        made: how many parts it has made, or found finished.
        others: (unit, part) of what is neither finished nor its own, in order.
    """

    def __init__(self, made: int, others: Sequence[tuple[int, str]]) -> None:
        super().__init__(f"{made} parts are made, {len(others)} are others'")
        self.made, self.others = made, tuple(others)


def parse(text: str, environ: Mapping[str, str]) -> Shard:
    """The shard that ``--shard`` names.

    Args:
        text: ``I/N``, counted from 0; ``auto/N``: I as the job array tells; ``auto``: both.
        environ: the environment.

    Raises:
        UsageError: it is none, or nothing tells which task of an array this is.
    """
    index, slash, count = text.partition("/")
    if index == "auto" and (not slash or count.isdigit()):
        shard = _of_array(int(count) if slash else None, environ)
    elif re.fullmatch(r"\d+/\d+", text):
        shard = Shard(int(index), int(count))
    else:
        raise UsageError(
            f"--shard {text!r} is neither I/N nor auto",
            hint="For example --shard 0/8, the first of eight; auto in a job array.",
        )
    if not 0 <= shard.index < shard.count:
        raise UsageError(
            f"--shard {text}: there is no shard {shard.index} of {shard.count}",
            hint=f"Shards are counted from 0: 0/{max(1, shard.count)} is the first"
            + (f", {shard.count - 1}/{shard.count} the last." if shard.count else "."),
        )
    return shard


def _of_array(count: int | None, environ: Mapping[str, str]) -> Shard:
    """The shard of the job array's task that this process is.

    Raises:
        UsageError: it is none, or the array does not tell how many there are.
    """
    if f"{_SLURM}ID" in environ:
        names = ("ID", "MIN", "MAX", "COUNT", "STEP")
        told = {name: environ.get(f"{_SLURM}{name}", "") for name in names}
        numbers = {name: int(text) for name, text in told.items() if text.isdigit()}
        index = numbers.get("ID", 0)
        if count is not None:
            return Shard(index, count)
        first, step = numbers.get("MIN", 0), numbers.get("STEP", 1) or 1
        last, tasks = numbers.get("MAX", -1), numbers.get("COUNT", 0)
        if not tasks or first != 0 or (last - first) // step + 1 != tasks:
            raise UsageError(
                f"--shard auto: the array's tasks are {told['MIN'] or '?'} to "
                f"{told['MAX'] or '?'}, {told['COUNT'] or '?'} of them: of how many shards "
                "they are some is not told",
                hint="Count the tasks from 0 (--array=0-7); where only some run again, say of how "
                "many: --shard auto/8.",
            )
        return Shard(index // step, tasks)
    index_text = environ.get(_KUBERNETES, "")
    if index_text.isdigit():
        if count is None:
            raise UsageError(
                f"--shard auto: {_KUBERNETES} is {index_text}, and nothing tells of how many",
                hint="Say how many completions the Job has: --shard auto/8.",
            )
        return Shard(int(index_text), count)
    raise UsageError(
        "--shard auto: this is no task of a job array",
        hint=f"Neither {_SLURM}ID nor {_KUBERNETES} is set; say which shard: --shard 0/8.",
    )
