"""Which files of a folder hold an input.

A folder is a collection (BEIR's layout, and those of MTEB and CoIR on the hub: ``corpus``,
``queries`` and ``qrels`` as files or as folders of shards), a data set saved by ``datasets``, or
one table in parts, such as an export of negmine's or a split of the hub. What is more than one of
these is not chosen among: it must be named, as ``FOLDER:SPLIT`` or ``FOLDER:CONFIG/SPLIT``.
"""

from __future__ import annotations

from collections.abc import Sequence

from negmine.errors import MissingInputError, NegmineError, UsageError, did_you_mean
from negmine.inputs import saved
from negmine.inputs.kinds import PAIRS, QRELS, Input
from negmine.inputs.layouts import COMPRESSIONS, FORMATS, Found, SeveralError, format_of
from negmine.inputs.parts import Table, check_complete, hidden, pattern_of, tables
from negmine.inputs.places import Place

#: What a collection's files and folders are called.
_ROLES = ("corpus", "queries", "qrels")
#: Folders of the hub that hold judgements where nothing is called so.
_HUB_QRELS = ("default", "data")
#: Sub-folders that are looked into, to see what a folder is.
_MOST_FOLDERS = 200


def find_in_folder(kind: Input, spec: str, folder: Place, selection: str | None) -> Found:
    """The files of a folder that hold an input.

    Args:
        kind: the input.
        spec: what the user named.
        folder: the folder.
        selection: the split, or configuration and split, that the user named behind a colon.

    Raises:
        MissingInputError: it holds none, or not all of it.
        SeveralError: it holds several that could be meant.
    """
    files, folders = folder.entries()
    if saved.SPLITS in files:
        folder = saved.split_of(kind, folder, selection)
        files, selection = folder.files(), None
    if saved.STATE in files:
        if selection is not None:
            raise UsageError("the data set has no splits", where=folder.name)
        return Found("arrow", spec, saved.shards_of(folder), folder=folder)
    folders = [name for name in folders if not hidden(name)][:_MOST_FOLDERS]
    found = _candidates(kind, folder, files, folders)
    if selection is not None:
        found = _selected(found, selection) or _selected(_all(folder, files, folders), selection)
    if not found:
        raise _nothing(kind, folder, files, folders, selection)
    if len(found) > 1:
        choices = [_choice(folder, table) for table in found]
        shown = [choice.removeprefix(folder.name).lstrip("/:") for choice in choices]
        raise SeveralError(
            f"several files hold {kind.name}: {', '.join(shown)}",
            where=folder.name,
            choices=choices,
        )
    return _found(kind, spec, found[0])


def _found(kind: Input, spec: str, table: Table) -> Found:
    notes = check_complete(table)
    files = table.files
    format_, compression = format_of(files[0], kind)
    if len(files) == 1:
        return Found(format_, spec, files, compression, notes=tuple(notes))
    order = f"{len(files)} files of {table.folder.name}, from {table.names[0]} to {table.names[-1]}"
    return Found(format_, spec, files, compression, table.folder, (order, *notes))


def _choice(folder: Place, table: Table) -> str:
    """What a user names to mean this table."""
    if len(table.names) == 1:
        return table.files[0].name
    if table.name:
        return f"{folder.name}:{table.name}"
    return folder.child(pattern_of(table)).name


def _selected(found: Sequence[Table], selection: str) -> list[Table]:
    """The tables that a selection names: in full, by the split, or by the configuration."""
    return (
        [table for table in found if table.name == selection]
        or [table for table in found if table.last == selection]
        or [table for table in found if table.name.startswith(f"{selection}/")]
    )


# --- what may hold an input -----------------------------------------------------------------------


def _candidates(
    kind: Input, folder: Place, files: Sequence[str], folders: Sequence[str]
) -> list[Table]:
    """What may hold this kind of input, where nothing is selected."""
    own = tables(folder, "", files)
    found = [table for table in own if _is_called(table.name, kind.name)]
    if kind is QRELS or not found:
        for name in folders:
            if _is_called(name, kind.name):
                found += _below(folder, name)
    if found:
        return found
    if _is_collection(files, folders, folder):
        return _of_the_hub(kind, folder, folders)
    return own or _inner(folder, files, folders)


def _inner(folder: Place, files: Sequence[str], folders: Sequence[str]) -> list[Table]:
    """The tables below a folder that is no collection and has no files of its own.

    Raises:
        SeveralError: collections lie in it.
    """
    collections = _collections(folder, folders)
    if collections:
        named = ", ".join(collections)
        raise SeveralError(
            f"several collections lie in its folders, and their ids may be the same: {named}",
            where=folder.name,
            choices=[folder.child(name).name for name in collections],
            hint=f" Where equal ids mean the same, all of them are '{folder.child('*').name}'.",
        )
    inner = _below(folder, "data") if "data" in folders else []
    return inner or _all(folder, files, folders)


def contents(folder: Place) -> list[str] | None:
    """What to name each table of a folder by; None where it is a collection.

    Raises:
        SeveralError: collections lie in it.
    """
    files, folders = folder.entries()
    folders = [name for name in folders if not hidden(name)][:_MOST_FOLDERS]
    if _is_collection(files, folders, folder):
        return None
    found = tables(folder, "", files) or _inner(folder, files, folders)
    if len(found) == 1 and found[0].folder == folder and len(found[0].names) > 1:
        return [folder.name]
    return [_choice(folder, table) for table in found]


def _of_the_hub(kind: Input, folder: Place, folders: Sequence[str]) -> list[Table]:
    """The input in a collection whose parts are configurations or splits of the hub's."""
    if "data" in folders:
        named = [table for table in _below(folder, "data") if table.last == kind.name]
        if named:
            return named
    if kind is QRELS:
        for name in _HUB_QRELS:
            if name in folders:
                found = _below(folder, name)
                return [table for table in found if table.last not in _ROLES]
    return []


def _is_called(name: str, role: str) -> bool:
    """``queries``, and what generators such as GPL's call theirs: ``qgen-queries``."""
    return name == role or name.endswith(f"-{role}")


def _is_collection(files: Sequence[str], folders: Sequence[str], folder: Place) -> bool:
    """Whether a folder has files or folders that are called as a collection's are."""
    names = {table.name for table in tables(folder, "", files)} | set(folders)
    if any(_is_called(name, role) for name in names for role in _ROLES):
        return True
    if "data" not in folders:
        return False
    return any(table.last in _ROLES for table in _below(folder, "data"))


def _collections(folder: Place, folders: Sequence[str]) -> list[str]:
    """The sub-folders that are collections of their own, such as CQADupStack's."""
    found = []
    for name in folders:
        child = folder.child(name)
        names = child.files()
        if saved.STATE in names or saved.SPLITS in names:
            continue
        if {"corpus", "queries"} & {table.name for table in tables(child, "", names)}:
            found.append(name)
    return found


def _below(folder: Place, name: str) -> list[Table]:
    """The tables of a sub-folder, and of the folders in it where it has none: ``test/0000``."""
    child = folder.child(name)
    files, folders = child.entries()
    found = tables(child, name, files)
    if found:
        return found
    for inner in folders[:_MOST_FOLDERS]:
        if not hidden(inner):
            grandchild = child.child(inner)
            found += tables(grandchild, f"{name}/{inner}", grandchild.files())
    return found


def _all(folder: Place, files: Sequence[str], folders: Sequence[str]) -> list[Table]:
    """Every table of a folder and of the folders in it."""
    found = tables(folder, "", files)
    for name in folders:
        found += _below(folder, name)
    return found


def _nothing(
    kind: Input,
    folder: Place,
    files: Sequence[str],
    folders: Sequence[str],
    selection: str | None,
) -> NegmineError:
    """Why a folder does not hold an input."""
    if selection is not None:
        names = [table.name for table in _all(folder, files, folders) if table.name]
        return MissingInputError(
            f"no '{selection}' in this directory",
            where=folder.name,
            hint=did_you_mean(selection, names),
        )
    if kind is PAIRS and _is_collection(files, folders, folder):
        return UsageError(
            "pairs are read from a file or a folder of parts, not a directory of a corpus, "
            "queries and qrels",
            where=folder.name,
            hint="Give it as --corpus, --queries and --qrels.",
        )
    layout = f"{kind.name}.jsonl" if kind is not QRELS else "qrels.tsv or qrels/*.tsv"
    return MissingInputError(
        f"no {kind.name} in this directory",
        where=folder.name,
        hint=f"Expected {layout}, or another of {', '.join(FORMATS)}, possibly with "
        f"{', '.join(COMPRESSIONS)}, or parts of such a file.",
    )
