"""What there is to say of shards: what one has made, what is missing, how it is collected."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negmine import log
from negmine.addresses import is_address
from negmine.engine.shares import LeftToOthers, Share
from negmine.errors import MissingInputError, UsageError
from negmine.sources.child import DOCUMENTS
from negmine.stages.outcome import Outcome
from negmine.stages.stage import Step
from negmine.table import artifacts
from negmine.table.artifacts import shards, writing

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
    parts = "part is" if len(left.others) == 1 else "parts are"
    rest = f"{len(left.others):,} {parts} left to others, and not there yet"
    log.event(f"{what} ({rest})" if left.others else what, stage=step.stage, shard=str(share))
    log.event(f"when all shards are: negmine collect {shlex.quote(str(step.out))}")
    return Outcome(step.out, {}, shared=True)


def _missing(out: Path, left: LeftToOthers) -> MissingInputError:
    names = [name for _, name in left.others]
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    parts = "part is" if left.made + len(names) == 1 else "parts are"
    told = f"{len(names):,} of {left.made + len(names):,} {parts} missing: "
    found = next((one for _, one in _headers(out)), None)
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


def _headers(path: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    """Where shards of the artifact at ``path``, or of an index's own, lie, and what they make."""
    found = ((place, shards.header(place)) for place in _places(path))
    return [(place, one) for place, one in found if one is not None]


def _places(path: Path) -> list[Path]:
    """Where shards may lie of the artifact at ``path``: there, and of an index inside."""
    inside = _folders(path) if artifacts.is_folder(path / DOCUMENTS) else []
    return [path, *inside, *(one for folder in inside for one in _folders(folder))]


def _folders(path: Path) -> list[Path]:
    if not artifacts.is_folder(path):
        return []
    return [one for name in artifacts.names_in(path) if artifacts.is_folder(one := path / name)]


def commands_of(path: Path) -> list[Command]:
    """The commands whose shards lie at ``path``; none where all is collected.

    Raises:
        MissingInputError: nothing is there.
        UsageError: they were not made by shards that somebody started one by one, or lie elsewhere
            than where those were told to put them.
    """
    headers = _headers(path)
    if not headers:
        artifacts.open_artifact(path, purpose="what shards have made")
        for place in _places(path):
            # Who collected may have been killed behind the last word.
            writing.tidy(place)
        log.event(f"{path} is collected already", up_to_date=True)
        return []
    # Of one index several commands may have made shards.
    return list(dict.fromkeys(_command(place, found) for place, found in headers))


def _command(place: Path, found: Mapping[str, Any]) -> Command:
    """The command that made shards, and the folder from which it finds what it names.

    Raises:
        UsageError: as :func:`commands_of`.
    """
    words = tuple(found.get("command", ()))
    if not words or "shards" not in found:
        hint = f"Run it once more: {shlex.join(['negmine', *words])}" if words else None
        raise UsageError(
            "no --shard made these parts, but a command that collects them itself",
            where=str(place),
            hint=hint,
        )
    if is_address(str(found["place"])):
        # It is the same wherever it is called; what else the command names may not be.
        folder = str(found["folder"])
        return Command(words, folder if os.path.isdir(folder) else os.getcwd())
    there = os.path.relpath(str(found["place"]), str(found["folder"]))
    for folder in (str(found["folder"]), os.getcwd()):
        if os.path.isdir(os.path.join(folder, there)) and os.path.samefile(
            os.path.join(folder, there), place
        ):
            return Command(words, folder)
    command = shlex.join(["negmine", *words])
    raise UsageError(
        f"its shards were made as {there} of {found['folder']}, and do not lie there",
        where=str(place),
        hint=f"Call collect where {there} leads to it, and the files lie that this names: "
        f"{command}",
    )
