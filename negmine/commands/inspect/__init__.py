"""``negmine inspect``: what an artifact is, what was chosen and what was dropped in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from negmine.addresses import shown
from negmine.commands.inspect import manifests, screen, verdict
from negmine.commands.inspect.places import Place, places
from negmine.errors import MissingInputError
from negmine.log import printable_json


def show(path: Path, *, rows: int, verify: bool, verbose: bool, as_json: bool) -> None:
    """Print the artifact at ``path``, or every artifact of a work folder.

    Args:
        path: an artifact, an exported file, or a folder of such.
        rows: queries of a table, or rows of a training file, to show.
        verify: check every file, and tell of each artifact whether it is whole.
        verbose: the manifest in the place of the screen.
        as_json: likewise, as JSON.

    Raises:
        MissingInputError: nothing is there.
        InvalidDataError: with ``verify``, a file does not match its checksum.
    """
    found = _each_once(places(path, unfinished=verify))
    if not found:
        raise MissingInputError(
            "holds no negmine artifact",
            where=str(path),
            hint="Give the folder of an artifact, or a work folder with artifacts in it.",
        )
    if as_json or verbose:
        reports = [manifests.report(place.opened(), rows, verify) for place in found]
        if as_json:
            print(printable_json(reports[0] if len(reports) == 1 else reports, indent=2))
        else:
            print(shown("\n".join(map(manifests.readable, reports))), end="")
    elif verify:
        verdict.verify(found)
    elif len(found) == 1 or found[0].path == path:
        children = [place.opened() for place in found[1:]]
        print(shown(screen.of_artifact(found[0].opened(), children, rows)))
    else:
        print(shown(screen.of_folder(path, [(place.path, place.opened()) for place in found])))


def _each_once(found: Iterable[Place]) -> list[Place]:
    """Places in their order, each once: of an index that another one names (``--base``), too."""
    seen: dict[Path, Place] = {}
    for place in found:
        seen.setdefault(place.path.resolve(), place)
    return list(seen.values())


__all__ = ["show"]
