"""Data sets saved by Hugging Face ``datasets``.

``state.json`` names the Arrow files of one; of a folder of such data sets (``dataset_dict.json``)
the split called like the input is taken, or the only one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from negmine.errors import InvalidDataError, MissingInputError, did_you_mean
from negmine.inputs.kinds import Input
from negmine.inputs.layouts import SeveralError
from negmine.inputs.places import Place, file_errors

STATE = "state.json"
SPLITS = "dataset_dict.json"


def split_of(kind: Input, folder: Place, selection: str | None) -> Place:
    """The one split of a folder of splits that can be meant.

    Args:
        kind: what it is to be read as.
        folder: holds ``dataset_dict.json``.
        selection: the split that the user named, if any.

    Raises:
        InvalidDataError: the file is damaged.
        MissingInputError: there is no such split.
        SeveralError: there are several that could be meant.
    """
    splits = json_object(folder.child(SPLITS)).get("splits")
    if not isinstance(splits, list) or not splits or not all(isinstance(s, str) for s in splits):
        raise InvalidDataError("it names no splits", where=folder.child(SPLITS).name)
    if selection is not None:
        if selection not in splits:
            raise MissingInputError(
                f"no split '{selection}'",
                where=folder.name,
                hint=did_you_mean(selection, splits),
            )
        return folder.child(selection)
    if kind.name in splits:
        return folder.child(kind.name)
    if len(splits) == 1:
        return folder.child(splits[0])
    raise SeveralError(
        f"the data set has several splits: {', '.join(splits)}",
        where=folder.name,
        choices=[folder.child(name).name for name in splits],
    )


def shards_of(folder: Place) -> tuple[Place, ...]:
    """The Arrow files of a saved data set, in order.

    Raises:
        InvalidDataError: ``state.json`` is damaged, or its rows are chosen by another file.
    """
    where = folder.child(STATE)
    state = json_object(where)
    entries = state.get("_data_files")
    listed = entries if isinstance(entries, list) else []
    named = [entry.get("filename") for entry in listed if isinstance(entry, dict)]
    names = [name for name in named if isinstance(name, str) and name == Path(name).name]
    if entries is not listed or len(names) != len(listed):
        raise InvalidDataError("it names no data files of this folder", where=where.name)
    if state.get("_indices_data_files"):
        raise InvalidDataError(
            "the data set's rows are chosen by an indices file, which is not read",
            where=where.name,
            hint="Call flatten_indices() and save it again with the version of datasets that wrote "
            "it (1.x): newer ones take all rows.",
        )
    return tuple(folder.child(name) for name in names)


def json_object(file: Place) -> dict[str, Any]:
    """A small file's JSON object.

    Raises:
        InvalidDataError: it holds none.
    """
    with file.open() as stream, file_errors(file):
        data = stream.read()
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidDataError(f"not valid JSON: {error}", where=file.name) from None
    if not isinstance(value, dict):
        raise InvalidDataError("expected a JSON object", where=file.name)
    return value
