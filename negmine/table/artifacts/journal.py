"""The journal of a run that goes on, and its lock."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from negmine.engine.shares import COLLECTING, WHOLE, Share
from negmine.errors import ConflictError
from negmine.table.artifacts import disk
from negmine.table.artifacts.disk import JOURNAL, digest
from negmine.table.artifacts.plan import Plan

#: What holds for all parts and is no part of the plan: such as what runs a model.
CHOSEN = "chosen"
#: Files that were recorded, and are not what they were.
LOST = "lost"
#: Of who writes: that it takes over what others have made.
_COLLECTS = "collects"
#: How often a folder is made again that others remove.
_TRIES = 4


def journal_entry(plan: Plan, path: Path, share: Share) -> dict[str, Any]:
    """A journal's first line: what is made, and who makes it."""
    return {**plan.identity(path), **process(share)}


def process(share: Share) -> dict[str, Any]:
    """Who writes, for those who find the artifact locked."""
    told: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
    return {**told, _COLLECTS: True} if share is COLLECTING else told


def append_entry(journal: IO[str], *lines: Mapping[str, Any]) -> None:
    """Add lines to the journal; they are on the disk when this returns."""
    if not lines:
        return
    disk.append(journal, "".join(json.dumps(line) + "\n" for line in lines))


def lock_journal(file: Path, target: Path) -> IO[str]:
    """Open ``file`` and lock it for writing ``target``; the lock dies with the process.

    Raises:
        ConflictError: another process holds it.
    """
    try:
        return disk.open_locked(file)
    except disk.LockedError as error:
        raise _is_written(file, error.inode, target) from error


def lock_in_new(folder: Path, file: Path, target: Path) -> tuple[list[Path], IO[str]]:
    """Make a folder, if there is none, and lock a file in it.

    Args:
        folder: which.
        file: see :func:`lock_journal`.
        target: likewise.

    Returns:
        (new folders, the innermost first; the locked file).

    Raises:
        ConflictError: another process holds the lock.
    """
    for _ in range(_TRIES):
        # Who made it and finished nothing there removes it, who has other settings may rename it.
        with suppress(FileNotFoundError):
            return disk.make_folder(folder), lock_journal(file, target)
    return disk.make_folder(folder), lock_journal(file, target)


def refuse_written(path: Path, share: Share = WHOLE) -> None:
    """Refuse an artifact that a living process writes; nothing is locked or made.

    Args:
        path: its folder.
        share: what is to be made there. Shards go on while somebody collects, and begin then, too:
            where all is not there it is too early, and they have nothing to wait for.

    Raises:
        ConflictError: one does.
    """
    file = path / JOURNAL
    with suppress(FileNotFoundError):
        inode = disk.status_of(file).st_ino
        if disk.is_locked(file) and (share.whole or not _is_collected(file)):
            raise _is_written(file, inode, path)


def _is_collected(file: Path) -> bool:
    return any(line.get(_COLLECTS) for line in _writers(file)[-1:])


def _writers(file: Path) -> list[dict[str, Any]]:
    """Who wrote a journal, in order: the last one has its lock, if anybody has."""
    return [line for line in journal_lines(file)[0] if "pid" in line]


def _is_written(file: Path, inode: int, target: Path) -> ConflictError:
    return ConflictError(
        f"another process is writing it ({_holder(file, inode)})",
        where=str(target),
        hint="Wait for it, or choose another -o.",
    )


def _holder(file: Path, inode: int) -> str:
    """Who holds the lock of ``file``: as its journal says, else as the kernel does."""
    if file.name == JOURNAL:
        told = _writers(file)
        if told:
            return f"pid {told[-1]['pid']} on {told[-1]['host']}"
    return f"pid {disk.lock_holder(inode) or 'unknown'}"


def lock_is_held(path: Path) -> bool:
    """Whether a living process writes this artifact."""
    return disk.is_locked(path / JOURNAL)


def journal_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The journal's whole lines and their bytes; a torn last one (a crash in mid-write) is not."""
    lines, whole = [], 0
    for line in disk.whole_lines(path):
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
        whole += len(line) + 1
    return lines, whole


def journal_header(path: Path) -> dict[str, Any] | None:
    """A journal's first line; None where there is none."""
    try:
        lines, _ = journal_lines(path)
    except OSError:
        return None
    return lines[0] if lines else None


def chosen_before(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What the run whose lines these are chose for all parts, by name."""
    chosen: dict[str, Any] = {}
    for line in lines:
        chosen |= line.get(CHOSEN, {})
    return chosen


def recorded(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of finished files, without those that were found missing or damaged since."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        for name in line.get(LOST, ()):
            found.pop(name, None)
        if "name" in line:
            found[line["name"]] = line
    return list(found.values())


def finished_files(
    path: Path, lines: list[dict[str, Any]], *, by_size: bool = False
) -> dict[str, Any]:
    """Files that the journal records and that are there, byte for byte.

    Args:
        path: the artifact's folder.
        lines: those of finished files.
        by_size: look at their sizes alone.
    """
    done = {}
    for line in lines:
        record = dict(line)
        name = record.pop("name")
        inner = record.get("files")
        checks = {name: record} if inner is None else {f"{name}/{k}": v for k, v in inner.items()}
        if all(_is_whole(path / file, expected, by_size) for file, expected in checks.items()):
            done[name] = record
    return done


def _is_whole(file: Path, expected: Mapping[str, Any], by_size: bool) -> bool:
    if not disk.has_size(file, expected["bytes"]):
        return False
    if by_size:
        return True
    disk.fetch(file, anew=True)
    return digest(file) == str(expected["digest"])
