"""Where in the users' files an id stands that has several texts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pyarrow as pa

from negmine.inputs.chunks import Chunk
from negmine.inputs.columns import Account, Columns
from negmine.inputs.dispatch import files, read_chunks
from negmine.inputs.kinds import KINDS, Target
from negmine.inputs.problems import Problems
from negmine.inputs.specs import Specs
from negmine.inputs.values import BadValueError, id_value


def places(role: str, specs: Specs, columns: Columns, ids: Collection[str]) -> dict[str, list[str]]:
    """The first place (file and line) of each of the texts of some ids, at most two each.

    Reads the input once more, up to the last of them.

    Args:
        role: what it is read as: corpus or queries.
        specs: the input.
        columns: what the user said of its columns.
        ids: what to look for.
    """
    kind = KINDS[role]
    key = next(target for target in kind.targets if target.kind == "id")
    asked = replace(columns, strict=False, account=Account())
    found: dict[str, dict[Any, str]] = {one: {} for one in ids}
    for one in files(kind, specs):
        for name, chunk in read_chunks(kind, one, asked, Problems("skip")):
            _look(chunk, name, key, found)
            if all(len(texts) > 1 for texts in found.values()):
                return {one: list(texts.values())[:2] for one, texts in found.items()}
    return {one: list(texts.values())[:2] for one, texts in found.items()}


def _look(chunk: Chunk, path: str, key: Target, found: dict[str, dict[Any, str]]) -> None:
    columns = {name: _listed(values) for name, values in chunk.columns.items()}
    texts = [values for name, values in columns.items() if name != key.name]
    for at, value in enumerate(columns.get(key.name, ())):
        try:
            known = found.get(id_value(value, key.name))
        except BadValueError:
            continue
        if known is not None:
            known.setdefault(repr([values[at] for values in texts]), chunk.where(path, at))


def _listed(values: Any) -> list[Any]:
    return values.to_pylist() if isinstance(values, pa.Array) else list(values)
