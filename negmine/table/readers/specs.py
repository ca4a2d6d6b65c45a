"""What a user names as one input: a file, a folder or an id, or several, read in their order."""

from __future__ import annotations

import os
from collections.abc import Sequence

from negmine.errors import UsageError
from negmine.table.readers.kinds import Input
from negmine.table.readers.layouts import Found, find

#: One input as a user names it: a spec, or several.
Specs = str | Sequence[str]


def as_tuple(specs: Specs) -> tuple[str, ...]:
    """The specs of an input, one by one."""
    return (specs,) if isinstance(specs, str) else tuple(specs)


def shown(specs: Specs) -> str:
    """The specs of an input in a message."""
    named = as_tuple(specs)
    if len(named) <= 3:
        return ", ".join(named)
    return f"{', '.join(named[:2])} and {len(named) - 2} more"


def find_all(kind: Input, specs: Specs) -> tuple[Found, ...]:
    """Look for all that an input is read from, in order.

    Raises:
        MissingInputError: some of it is not there.
        UsageError: a format is not known, several files could be meant, or one is named twice.
    """
    found = tuple(find(kind, spec) for spec in as_tuple(specs))
    seen: set[str] = set()
    for one in found:
        for address in addresses(one):
            if address in seen:
                raise UsageError(
                    f"named twice as {kind.name}",
                    where=address,
                    hint="Every file is read once: name it once, also among those of a pattern.",
                )
            seen.add(address)
    return found


def addresses(found: Found) -> list[str]:
    """What tells the files of an input apart, whatever they were named by."""
    if not found.files:
        return [found.spec]
    return [
        file.name if file.fs is not None or file.is_stdin else os.path.realpath(file.path)
        for file in found.files
    ]
