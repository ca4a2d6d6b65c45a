"""What a user names as one input: a file, a folder or an id, or several, read in their order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from negmine.errors import MissingInputError, UsageError
from negmine.inputs import catalogues
from negmine.inputs.folders import find_in_folder
from negmine.inputs.kinds import KINDS, Input
from negmine.inputs.layouts import Found, format_of
from negmine.inputs.parts import hidden, missing_shards, natural
from negmine.inputs.places import Place, is_pattern, is_url, place

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
    found = tuple(one for spec in as_tuple(specs) for one in _expanded(kind, spec))
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
    notes = _shards_left_out(found)
    return (replace(found[0], notes=(*found[0].notes, *notes)), *found[1:]) if notes else found


def _shards_left_out(found: Sequence[Found]) -> list[str]:
    """What the names of files tell of others that are not read; those of a folder are complete."""
    folders: dict[str, list[str]] = {}
    for one in found:
        if one.folder is None:
            for file in one.files:
                folders.setdefault(file.name.rpartition("/")[0], []).append(_name(file))
    return [
        f"{_counted(len(missing), 'shard')} beside {names[0]} left out: {missing[0]} ..."
        for names in folders.values()
        if (missing := missing_shards(names))
    ]


def find(kind: Input, spec: str) -> Found:
    """Look for an input where a user says that it is, which is one place and no pattern.

    Raises:
        MissingInputError: it is not there.
        UsageError: its format is not known, or several files could be meant.
    """
    if spec.startswith(catalogues.PREFIX):
        return Found("catalogue", spec)
    source, selection = opened(spec)
    if source.is_stdin:
        return Found("jsonl", spec, (source,))
    if selection is not None or source.is_dir():
        return find_in_folder(kind, spec, source, selection)
    format_, compression = format_of(source, kind)
    if not source.exists():
        raise MissingInputError("no such file", where=source.name)
    return Found(format_, spec, (source,), compression)


def opened(spec: str) -> tuple[Place, str | None]:
    """The place that a user names, and what of it where it is ``FOLDER:SPLIT``.

    Raises:
        NegmineError: as :func:`negmine.inputs.places.place`.
    """
    address, selection = _selection(spec)
    if selection is not None and is_url(spec):
        # First, as the hub's file system fails for a colon in a repository's name.
        folder = place(address)
        if folder.is_dir():
            return folder, selection
    source = place(spec)
    if selection is not None and not is_url(spec) and not source.exists():
        folder = place(address)
        if folder.is_dir():
            return folder, selection
    return source, None


def _selection(spec: str) -> tuple[str, str | None]:
    """``FOLDER:SPLIT`` or ``FOLDER:CONFIG/SPLIT`` as its two parts."""
    scheme, separator, rest = spec.rpartition("://")
    host, slash, path = rest.partition("/") if separator else ("", "", rest)
    folder, colon, selection = path.rpartition(":")
    if not colon or not folder or not selection:
        return spec, None
    return f"{scheme}{separator}{host}{slash}{folder}", selection.strip("/")


def _expanded(kind: Input, spec: str) -> list[Found]:
    """What a spec stands for: one input, or each file and folder of a pattern."""
    if not is_pattern(spec) or spec.startswith(catalogues.PREFIX):
        return [find(kind, spec)]
    pattern = place(spec)
    if pattern.exists():
        return [find(kind, spec)]
    shown = _shown(pattern)
    found = [_matched(kind, one) for one in shown]
    return [replace(found[0], notes=(*_told(pattern, shown, found), *found[0].notes)), *found[1:]]


def matching(spec: str) -> list[str]:
    """What a pattern stands for, one by one; of anything else, itself.

    Raises:
        MissingInputError: the pattern stands for nothing.
    """
    if not is_pattern(spec) or place(spec).exists():
        return [spec]
    return [one.name for one in _shown(place(spec))]


def _shown(pattern: Place) -> list[Place]:
    """What a pattern stands for, in natural order, without what is hidden."""
    found = sorted(pattern.matching(), key=lambda one: natural(one.name))
    shown = [one for one in found if not hidden(_name(one)) or hidden(_name(pattern))]
    if not shown:
        raise MissingInputError(
            "no file matches this pattern",
            where=pattern.name,
            hint="Files that begin with '_' or '.' are passed over." if found else None,
        )
    return shown


def _matched(kind: Input, one: Place) -> Found:
    if one.is_dir():
        return find_in_folder(kind, one.name, one, None)
    format_, compression = format_of(one, kind)
    return Found(format_, one.name, (one,), compression)


def _told(pattern: Place, shown: Sequence[Place], found: Sequence[Found]) -> list[str]:
    """What a pattern was taken for."""
    names = [_name(one) for one in shown]
    files = sum(len(one.files) for one in found)
    notes = [f"'{pattern.name}' is {_counted(files, 'file')}, from {names[0]} to {names[-1]}"]
    if any(one.is_dir() for one in shown) and len(shown) > 1:
        notes.append(
            f"{_counted(len(shown), 'folder')} are read as one collection: an id that two of them "
            "have must mean the same"
        )
    return notes


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _name(one: Place) -> str:
    return one.name.rstrip("/").rsplit("/", 1)[-1]


def input_file(path: str, role: str) -> Path:
    """The one local file that reading ``path`` as ``role`` would read.

    Raises:
        MissingInputError: there is none.
        UsageError: there are several, or it is not a local one.
    """
    files = find(KINDS[role], path).files
    if len(files) != 1 or files[0].fs is not None:
        raise UsageError(f"{role} must be one local file here", where=path)
    return Path(files[0].path)


def addresses(found: Found) -> list[str]:
    """What tells the files of an input apart, whatever they were named by."""
    if not found.files:
        return [found.spec]
    return [
        file.name if file.fs is not None or file.is_stdin else os.path.realpath(file.path)
        for file in found.files
    ]
