"""Paths that a file names relative to its own folder, as those of a recipe are."""

from __future__ import annotations

import os

from negmine.inputs import catalogues
from negmine.inputs.places import is_pattern, is_url, place


def joined(folder: str, written: str) -> str:
    """What a file in ``folder`` names, seen from the current folder.

    What is no path of this machine (a URL, an id, stdin, a package's model) stays as it is.
    """
    no_path = is_url(written) or written.startswith((catalogues.PREFIX, "pkg:", "~"))
    return written if no_path or written in ("", "-") else os.path.join(folder, written)


def named_from(folder: str, path: str) -> str:
    """What a file in ``folder`` calls what ``path`` is, seen from the current folder."""
    if folder == "." or os.path.isabs(path) or joined(folder, path) == path:
        return path
    return os.path.relpath(path, folder)


def is_there(spec: str) -> bool:
    """Whether there is such a file or folder, ``FOLDER:SPLIT`` and patterns included."""
    if os.path.exists(spec) or os.path.isdir(spec.rpartition(":")[0]):
        return True
    return is_pattern(spec) and any(place(spec).matching())
