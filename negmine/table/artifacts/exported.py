"""Exported files, each with its manifest beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from negmine.errors import ConflictError
from negmine.table.artifacts import disk
from negmine.table.artifacts.disk import (
    digest,
    flush_to_disk,
    hidden_name,
    load_json,
    manifest_of,
    name_place,
)
from negmine.table.artifacts.facts import RunFacts
from negmine.table.artifacts.journal import lock_in_new
from negmine.table.artifacts.plan import Plan
from negmine.table.artifacts.replace import Replace
from negmine.table.artifacts.state import is_exported


class FileWriter:
    """Writes one file (an export) with its manifest beside it; made by :func:`begin_file`."""

    def __init__(
        self, path: Path, plan: Plan, lock: IO[str], before: Mapping[str, Any] | None
    ) -> None:
        self.path = path
        self.hidden = hidden_name(path)
        self.plan = plan
        self._lock = lock
        self._before = before
        self._committed = False
        self._run = RunFacts()

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, _: object = None, error: BaseException | None = None, *__: object) -> None:
        name_place(error, self.path)
        if not self._committed:
            disk.remove_file(self.hidden)
        self._lock.close()

    def add_text(self, text: str) -> None:
        """Fill the hidden file with UTF-8 text."""
        disk.write_text(self.hidden, text)

    def commit(
        self,
        counts: Mapping[str, Any],
        *,
        warnings: Iterable[str] = (),
        ceiling: int | None = None,
        of_run: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Write the manifest, then give the hidden file its name, which makes it finished.

        Args:
            counts: what was written and left out.
            warnings: what is to be known of it.
            ceiling: bytes that the process was allowed.
            of_run: what else is true of this run alone.
            more: further entries.
        """
        flush_to_disk(self.hidden)
        record = {"bytes": disk.size_of(self.hidden), "digest": digest(self.hidden)}
        manifest = self.plan.identity(self.path.parent)
        manifest["counts"] = dict(counts)
        facts, exceeded = self._run.facts(ceiling)
        manifest["warnings"] = [*warnings, *exceeded]
        manifest["files"] = {self.path.name: record}
        manifest |= more
        manifest["run"] = {**facts, **(of_run or {})}
        # A file of other settings goes first, so that no manifest ever stands beside another file.
        disk.remove_file(self.path)
        disk.finish(manifest_of(self.path), manifest, self.path, before=self._before)
        disk.publish(self.path)
        self._committed = True
        flush_to_disk(self.path.parent)


def begin_file(
    path: Path, plan: Plan, *, replacing: Replace = Replace.NOTHING
) -> FileWriter | None:
    """Start an exported file; None when it is up to date, and has a new time now.

    Raises:
        ConflictError: the file is there with other settings, or another process is writing it.
    """
    if disk.is_folder(path):
        raise ConflictError("is a folder", where=str(path), hint="Choose another -o.")
    if is_exported(path, plan, replacing):
        _touch(path)
        return None
    _, lock = lock_in_new(path.parent, hidden_name(path), path)
    try:
        # Another process may have finished between the first look and the lock.
        if is_exported(path, plan, replacing):
            disk.remove_file(hidden_name(path))
            lock.close()
            _touch(path)
            return None
        return FileWriter(path, plan, lock, load_json(manifest_of(path)))
    except BaseException:
        lock.close()
        raise


def _touch(path: Path) -> None:
    # The file last: it is what others wait for.
    disk.touch(manifest_of(path))
    disk.touch(path)
