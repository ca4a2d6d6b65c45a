"""What there is to say of shards: what one has made, what is missing, how it is collected."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine import log
from negmine.engine.shares import LeftToOthers, Share
from negmine.errors import MissingInputError, UsageError
from negmine.stages.outcome import Outcome
from negmine.stages.stage import Step
from negmine.table import artifacts
from negmine.table.artifacts import shards

#: So many missing parts, and commands that make them, are named.
_NAMED = 8


@dataclass(frozen=True)
class Command:
    """A command line without the program's name, and the folder in which it was typed."""

    words: tuple[str, ...]
    folder: str


def left(step: Step, left: LeftToOthers, share: Share) -> Outcome:
    """What is said of a stage that ended because the rest is others' to make.

    Raises:
        MissingInputError: nobody has made it, and this process was to collect it.
    """
    if share.whole:
        raise _missing(step.out, left)
    what = f"{step.stage}: shard {share} of {step.out} is made"
    rest = f"{len(left.others):,} parts are other shards', and not all there yet"
    log.event(f"{what} ({rest})" if left.others else what, stage=step.stage, shard=str(share))
    log.event(f"when all shards are: negmine collect {shlex.quote(str(step.out))}")
    return Outcome(step.out, {}, shared=True)


def _missing(out: Path, left: LeftToOthers) -> MissingInputError:
    names = [name for _, name in left.others]
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    told = f"{len(names):,} of {left.made + len(names):,} parts are missing: "
    found = next(iter(_headers(out)), None)
    hint = "Run the shards that make them."
    if found is not None and found.get("shards"):
        count = int(found["shards"])
        missing = sorted({unit % count for unit, _ in left.others})
        command = shlex.join(["negmine", *found["command"]])
        lines = [f"{command} --shard {index}/{count}" for index in missing[:_NAMED]]
        if len(missing) > _NAMED:
            lines.append(f"... (shards {', '.join(map(str, missing))} of {count})")
        hint = "Make them:\n  " + "\n  ".join(lines)
    return MissingInputError(told + ", ".join(names[:_NAMED]) + more, where=str(out), hint=hint)


def _headers(path: Path) -> list[Mapping[str, Any]]:
    """What shards at ``path``, or in what lies in it, say that they make."""
    places = [path, *sorted(path.glob("*/")), *sorted(path.glob("*/*/"))]
    found = (shards.header(place) for place in places)
    return [one for one in found if one is not None]


def commands_of(path: Path) -> list[Command]:
    """The command whose shards lie at ``path``; none where all is collected.

    Raises:
        MissingInputError: nothing is there.
        UsageError: they were not made by shards that somebody started one by one.
    """
    headers = _headers(path)
    if not headers:
        artifacts.open_artifact(path, purpose="what shards have made")
        log.event(f"{path} is collected already", up_to_date=True)
        return []
    found = headers[0]
    if not found.get("command"):
        raise UsageError("nobody wrote down which command made these shards", where=str(path))
    return [Command(tuple(found["command"]), str(found["folder"]))]
