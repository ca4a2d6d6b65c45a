"""Results that are not thrown away: they step aside, and come back when they are asked for again.

What was paid for row by row is kept: where a plan of other settings takes its folder, the folder is
renamed, its fingerprint behind its name, and stays beside the new one. A plan of that fingerprint
finds it there and takes it back, finished or not.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from negmine.errors import ConflictError
from negmine.log import event
from negmine.table.artifacts import disk, shards
from negmine.table.artifacts.disk import JOURNAL, MANIFEST, flush_to_disk, load_json
from negmine.table.artifacts.journal import journal_lines, lock_journal
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace

_DIGITS = 12


def kept_name(path: Path, fingerprint: str) -> Path:
    """Where the artifact of this fingerprint stands when it had to leave ``path``."""
    return path.with_name(f"{path.name}-{fingerprint[:_DIGITS]}")


def free_name(path: Path, fingerprint: str) -> Path:
    """Where it goes when it has to leave; with a number where that place is taken."""
    kept = kept_name(path, fingerprint)
    names = (kept.with_name(f"{kept.name}-{number}") for number in range(2, 1 << 30))
    return kept if not disk.exists(kept) else next(one for one in names if not disk.exists(one))


def found_aside(path: Path, plan: Plan, replacing: Replace) -> Path | None:
    """Where :func:`exchange` would take the artifact of this plan from, if anywhere."""
    if replacing is Replace.ALL:
        return None
    kept, held = kept_name(path, plan.fingerprint), worth_keeping(path)
    if held is not None and not steps_aside(held, plan, replacing):
        return None
    if held is None and disk.exists(path) and not _is_bare(path):
        return None
    found = worth_keeping(kept)
    return kept if found is not None and found["fingerprint"] == plan.fingerprint else None


def steps_aside(held: Mapping[str, Any], plan: Plan, replacing: Replace) -> bool:
    """Whether what is worth keeping has to leave its place for a plan, and may."""
    may = Replace.NOTHING < replacing < Replace.ALL
    return may and bool(held["fingerprint"] != plan.fingerprint)


def exchange(path: Path, plan: Plan, replacing: Replace) -> None:
    """Move what has other settings away from ``path``, and back to it what has these.

    Raises:
        ConflictError: another process is writing it.
    """
    kept, held = found_aside(path, plan, replacing), worth_keeping(path)
    if held is not None and steps_aside(held, plan, replacing):
        target = _moved(path, held["fingerprint"], None)
        event(
            f"{path} was made with other settings ({plan.differences(held, path)}): kept as "
            f"{target}, remove it when it is not wanted any more",
            kept=str(target),
        )
    if kept is not None:
        if disk.exists(path):
            _give_up(path)
        _moved(kept, plan.fingerprint, path)
        event(f"{path} was made with these settings before: taken back from {kept}")


def worth_keeping(path: Path) -> dict[str, Any] | None:
    """What made the artifact, or the finished parts, at ``path``; None where there are none."""
    manifest = load_json(path / MANIFEST)
    if manifest is not None and "fingerprint" in manifest:
        return manifest
    found = shards.header(path)
    if found is not None and shards.marked(path):
        return found
    if not disk.exists(path / JOURNAL):
        return None
    lines, _ = journal_lines(path / JOURNAL)
    if not lines or "fingerprint" not in lines[0] or any(line.get("stale") for line in lines):
        return None
    begun = any("name" in line for line in lines) or disk.checkpoints_in(path)
    return lines[0] if begun else None


def _moved(path: Path, fingerprint: str, target: Path | None) -> Path:
    """Rename an artifact's folder, unless it is being written; its new name.

    Args:
        path: the folder.
        fingerprint: of what was seen there.
        target: where it goes; None = to a name that is free.

    Raises:
        ConflictError: another process writes it, or has exchanged it meanwhile.
    """
    try:
        lock = lock_journal(path / JOURNAL, path)
    except FileNotFoundError:
        raise _meanwhile(path) from None
    with lock:
        if disk.exists(path / MANIFEST):
            disk.remove_file(path / JOURNAL)
        held = worth_keeping(path)
        if held is None or held["fingerprint"] != fingerprint:
            raise _meanwhile(path)
        target = free_name(path, fingerprint) if target is None else target
        try:
            disk.rename(path, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise _meanwhile(target) from None
        flush_to_disk(target.parent)
    return target


def _meanwhile(path: Path) -> ConflictError:
    return ConflictError(
        "another process has written, moved or removed something there meanwhile",
        where=str(path),
        hint="Run the same command again.",
    )


def _give_up(path: Path) -> None:
    """Remove a folder in which a run began and finished nothing.

    Raises:
        ConflictError: another process wrote something there meanwhile.
    """
    try:
        lock = lock_journal(path / JOURNAL, path)
    except FileNotFoundError:
        return
    with lock:
        if not _is_bare(path):
            raise _meanwhile(path)
        disk.remove_file(path / JOURNAL)
        disk.remove_empty(path)


def _is_bare(path: Path) -> bool:
    """Whether nothing is in a folder, or no more than a run's first line."""
    return disk.is_folder(path) and set(disk.names_in(path)) <= {JOURNAL}
