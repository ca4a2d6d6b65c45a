"""The control groups of this process, where the kernel tells what a container may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def folders(controller: str, proc: Path, groups: Path) -> Iterator[Path]:
    """Folders of the groups that limit this process, each before the group that it is in.

    Args:
        controller: what is limited, such as ``cpu`` or ``memory``.
        proc: where the kernel tells about this process (``/proc``).
        groups: where it tells about control groups (``/sys/fs/cgroup``).
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Version 2 has one tree without controllers' names, version 1 a tree for each.
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        folder = root / path.strip("/")
        for place in (folder, *folder.parents):
            yield place
            if place == root:
                break
