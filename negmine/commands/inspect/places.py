"""Where artifacts lie: at a path, or in the folders below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from negmine.errors import NegmineError
from negmine.table import artifacts
from negmine.table.artifacts.disk import JOURNAL, plain, reached
from negmine.table.artifacts.reading import Artifact


@dataclass(frozen=True)
class Place:
    """An artifact, or why it cannot be opened.

    Attributes:
        path: its folder, or the exported file.
        found: it, or the error.
    """

    path: Path
    found: Artifact | NegmineError

    def opened(self) -> Artifact:
        """The artifact.

        Raises:
            NegmineError: it cannot be opened.
        """
        if isinstance(self.found, NegmineError):
            raise self.found
        return self.found


def places(path: Path, *, unfinished: bool) -> Iterator[Place]:
    """The artifact at ``path``, of an index its children too; else those below it, nearest first.

    Args:
        path: an artifact, an exported file, or a folder of such.
        unfinished: an unfinished artifact on the way is a place too, and is not passed over.
    """
    if artifacts.is_finished(path) or _is_unfinished(path):
        yield from _folder(path)
        return
    if artifacts.is_file(path):
        yield _file(path)
        return
    for child in (path / name for name in _names(path)):
        if artifacts.is_folder(child) and not child.name.startswith("."):
            if unfinished or not _is_unfinished(child):
                yield from places(child, unfinished=unfinished)
        elif artifacts.is_file(child) and artifacts.has_file_manifest(child):
            yield _file(child)


def _names(path: Path) -> list[str]:
    return artifacts.names_in(path) if artifacts.is_folder(path) else []


def _is_unfinished(path: Path) -> bool:
    """Whether a run makes, or left, what is no artifact yet."""
    return artifacts.is_file(path / JOURNAL) and not artifacts.is_finished(path)


def _folder(path: Path) -> Iterator[Place]:
    try:
        opened = artifacts.open_artifact(path)
    except NegmineError as error:
        yield Place(path, error)
        return
    yield Place(path, opened)
    if opened.stage != "index":
        return
    for role, record in opened.inputs.items():
        try:
            child = opened.input(role)
        except NegmineError as error:
            yield Place(reached(path, record["path"]), error)
        else:
            yield Place(_short(child.path), child)


def _short(path: Path) -> Path:
    """A path without ``..``, unless links make that another one."""
    short = plain(path)
    return short if short.resolve() == path.resolve() else path


def _file(path: Path) -> Place:
    try:
        return Place(path, Artifact(path.parent, artifacts.file_manifest(path)))
    except NegmineError as error:
        return Place(path, error)
