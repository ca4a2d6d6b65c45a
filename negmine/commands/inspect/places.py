"""Where artifacts lie: at a path, or in the folders below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from negmine.errors import NegmineError
from negmine.table import artifacts
from negmine.table.artifacts.disk import JOURNAL, MANIFEST, plain
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
    if (path / MANIFEST).is_file() or (path / JOURNAL).is_file():
        yield from _folder(path)
        return
    if path.is_file():
        yield _file(path)
        return
    for child in sorted(path.iterdir()) if path.is_dir() else []:
        if child.is_dir() and not child.name.startswith("."):
            if unfinished or not (child / JOURNAL).is_file() or (child / MANIFEST).is_file():
                yield from places(child, unfinished=unfinished)
        elif child.is_file() and artifacts.has_file_manifest(child):
            yield _file(child)


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
            yield Place(path / record["path"], error)
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
