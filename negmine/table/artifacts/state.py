"""What lies at a path, and whether a plan may take it, go on with it or must refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from negmine.errors import ConflictError, InvalidDataError
from negmine.table.artifacts import disk, shards
from negmine.table.artifacts.aside import found_aside, free_name, steps_aside, worth_keeping
from negmine.table.artifacts.disk import (
    JOURNAL,
    MANIFEST,
    SHARDS,
    load_json,
    manifest_of,
)
from negmine.table.artifacts.journal import (
    finished_files,
    journal_header,
    journal_lines,
    lock_is_held,
    recorded,
    refuse_written,
)
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.replace import Replace


def recorded_file(folder: Path, role: str) -> Mapping[str, Any] | None:
    """What an earlier run into ``folder`` recorded of a user's file, for :func:`external_input`."""
    recorded = load_json(folder / MANIFEST) or journal_header(folder / JOURNAL)
    if recorded is None:
        return None
    known = recorded.get("inputs", {}).get(role)
    return known if isinstance(known, dict) and "digest" in known else None


@dataclass(frozen=True)
class State:
    """What :func:`begin` would do.

    Attributes:
        kind: ``made`` (up to date), ``resume``, ``start`` or ``refused``.
        done: names of the files that an interrupted run has finished.
        reason: why it would be refused, and how to mend it; or what becomes of what is there.
        aside: the folder that it would be taken back from.
    """

    kind: Literal["made", "resume", "start", "refused"]
    done: tuple[str, ...] = ()
    reason: str = ""
    aside: Path | None = None


def state_of(
    path: Path, plan: Plan, *, replacing: Replace = Replace.NOTHING, keep: bool = False
) -> State:
    """Tell what :func:`begin` would do, and change nothing.

    The files of an interrupted run are counted as their journal records them; ``begin`` checks
    their digests too.
    """
    if keep and replacing is not Replace.ALL and not lock_is_held(path):
        return _state_of_kept(path, plan, replacing)
    return _state(path, plan, replacing, keep)


def _state_of_kept(path: Path, plan: Plan, replacing: Replace) -> State:
    """What :func:`begin` would do with ``keep``, which throws nothing away."""
    aside, held = found_aside(path, plan, replacing), worth_keeping(path)
    if aside is not None:
        return dataclasses.replace(_state(aside, plan, replacing), aside=aside)
    if held is not None and steps_aside(held, plan, replacing):
        kept = free_name(path, held["fingerprint"])
        return State("start", reason=f"what is there is kept as {kept}")
    state = _state(path, plan, replacing, keep=True)
    manifest = load_json(path / MANIFEST)
    if state.kind == "start" and manifest is not None:
        # It is damaged, and continued from what is whole.
        return State("resume", tuple(finished_files(path, recorded_lines(manifest))))
    return state


def _state(path: Path, plan: Plan, replacing: Replace, keep: bool = False) -> State:
    try:
        if disk.exists(path) and not disk.is_folder(path):
            raise ConflictError("exists and is not a folder", where=str(path))
        if is_made(path, plan, replacing, keep):
            return State("made")
        refuse_foreign(path)
        refuse_written(path)
        of_shards = () if shards.refuse_other(path, plan, replacing) else tuple(shards.marked(path))
        if not disk.exists(path / JOURNAL):
            return State("resume" if of_shards else "start", of_shards)
        lines, _ = journal_lines(path / JOURNAL)
        replaced = load_json(path / MANIFEST) is not None
        if replaced or not continues(path, lines, plan, replacing, keep):
            return State("resume" if of_shards else "start", of_shards)
        names = [line["name"] for line in recorded(lines)]
        done = [name for name in names if disk.exists(path / name)]
        done += [name for name in of_shards if name not in done]
        return State("resume" if done else "start", tuple(done))
    except (ConflictError, InvalidDataError) as error:
        return State("refused", reason=str(error))


def state_of_file(path: Path, plan: Plan, *, replacing: Replace = Replace.NOTHING) -> State:
    """Tell what :func:`begin_file` would do, and change nothing."""
    try:
        if disk.is_folder(path):
            raise ConflictError("is a folder", where=str(path), hint="Choose another -o.")
        return State("made" if is_exported(path, plan, replacing) else "start")
    except (ConflictError, InvalidDataError) as error:
        return State("refused", reason=str(error))


def is_begun(path: Path) -> bool:
    """Whether something lies at ``path`` that a plan would have to be compared with."""
    return disk.is_file(path) or (disk.is_folder(path) and bool(disk.names_in(path)))


def refuse_foreign(path: Path) -> None:
    """Refuse a folder that holds something else than an artifact, finished or not.

    Raises:
        ConflictError: it does.
    """
    # In this order: a run that begins meanwhile makes its journal, or the folder of its shards, in
    # what was empty; one that finishes writes its manifest, then removes its journal.
    names = set(disk.names_in(path)) if disk.is_folder(path) else set()
    if (
        names
        and names.isdisjoint((JOURNAL, SHARDS))
        and not disk.exists(path / JOURNAL)
        and not disk.exists(path / SHARDS)
        and load_json(path / MANIFEST) is None
    ):
        raise ConflictError(
            "exists and is not a negmine artifact",
            where=str(path),
            hint="Choose another -o; negmine deletes only what it wrote.",
        )


def continues(
    path: Path, lines: list[dict[str, Any]], plan: Plan, replacing: Replace, keep: bool = False
) -> bool:
    """Whether a journal's run is of this plan, so that its files can stay.

    Args:
        path: its folder.
        lines: the journal's.
        plan: what is to be made.
        replacing: what may be replaced.
        keep: whether it would step aside; for the message.

    Raises:
        ConflictError: it is of another plan, and may not be replaced.
    """
    header = lines[0] if lines and "fingerprint" in lines[0] else None
    stale = any(line.get("stale") for line in lines)
    same = header is not None and header["fingerprint"] == plan.fingerprint and not stale
    finished = any("name" in line for line in lines)
    refused = replacing is Replace.NOTHING
    if header is not None and not same and not stale and finished and refused:
        raise ConflictError(
            f"holds an unfinished run with other settings ({plan.differences(header, path)})",
            where=str(path),
            hint="Repeat that command to finish it, or add --force to start anew"
            + (": what is finished is kept beside it." if keep else "."),
        )
    return same


def is_made(path: Path, plan: Plan, replacing: Replace, keep: bool = False) -> bool:
    """Whether the folder holds this very artifact, finished.

    One of other settings that would go is read, to see that nobody changed it.

    Args:
        path: its folder.
        plan: what is to be made.
        replacing: what may be replaced.
        keep: whether one of other settings would step aside; for the message.

    Raises:
        ConflictError: it holds one of other settings, which may not be replaced.
        InvalidDataError: a part is missing or was changed, and it may not be replaced.
    """
    manifest = load_json(path / MANIFEST)
    if manifest is None or replacing is Replace.ALL:
        return False
    same = manifest.get("fingerprint") == plan.fingerprint
    if not same and replacing is Replace.NOTHING:
        raise ConflictError(
            f"holds an artifact made with other settings ({plan.differences(manifest, path)})",
            where=str(path),
            hint="Choose another -o, or add --force: it is kept beside the new one, and comes back "
            "when its settings are asked for again."
            if keep
            else "Choose another -o, or add --force to replace it.",
        )
    if replacing is Replace.DAMAGED:
        return same and _is_whole(path, manifest)
    _check_complete(path, manifest)
    if not same:
        found = Artifact(path, manifest)
        for name in found.files:
            with found.held(name):
                pass
    return same


def is_exported(path: Path, plan: Plan, replacing: Replace) -> bool:
    """Whether the file is there, made with this plan.

    Raises:
        ConflictError: it is of other settings or of someone else, and may not be replaced.
        InvalidDataError: it was changed, and may not be replaced.
    """
    if not disk.exists(path) or replacing is Replace.ALL:
        return False
    manifest = load_json(manifest_of(path))
    same = manifest is not None and manifest.get("fingerprint") == plan.fingerprint
    if replacing is Replace.DAMAGED:
        return same and manifest is not None and _is_whole(path.parent, manifest)
    if manifest is None:
        raise ConflictError(
            "exists and was not made by negmine",
            where=str(path),
            hint="Choose another -o, or add --force to replace it.",
        )
    if not same and replacing is Replace.NOTHING:
        raise ConflictError(
            f"was exported with other settings ({plan.differences(manifest, path.parent)})",
            where=str(path),
            hint="Choose another -o, or add --force to replace it.",
        )
    recorded = manifest["files"][path.name]["bytes"]
    # One that would go is read: a change by hand may leave its size.
    if not (disk.has_size(path, recorded) if same else _is_whole(path.parent, manifest)):
        raise InvalidDataError(
            "changed since it was written",
            where=str(path),
            hint="Add --force to export it again.",
        )
    return same


def recorded_lines(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a manifest as a journal records them."""
    return [{"name": name, **record} for name, record in manifest["files"].items()]


def _is_whole(path: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every file is there, byte for byte."""
    return len(finished_files(path, recorded_lines(manifest))) == len(manifest["files"])


def _check_complete(path: Path, manifest: Mapping[str, Any]) -> None:
    for name, record in manifest["files"].items():
        file = path / name
        if not (disk.has_size(file, record["bytes"]) if "bytes" in record else disk.exists(file)):
            raise InvalidDataError(
                "a part is missing or was changed",
                where=str(file),
                hint="Add --force to make the artifact again.",
            )
