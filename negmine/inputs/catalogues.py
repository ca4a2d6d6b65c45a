"""Collections by their id in ``ir_datasets``: documents, queries, judgements and runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from negmine.errors import InvalidDataError, MissingDependencyError, MissingInputError
from negmine.inputs import limits
from negmine.inputs.chunks import Chunk, resolve
from negmine.inputs.columns import Columns
from negmine.inputs.kinds import Input
from negmine.inputs.suspects import settle

PREFIX = "ir_datasets:"
_ENTITY = {"corpus": "docs", "queries": "queries", "qrels": "qrels", "run": "scoreddocs"}
#: A stand-in for a text field, where the records have none but know their text.
_DEFAULT_TEXT = "default_text()"
#: Rows asked for at a time: their size is not known before they are there.
_ROWS = 1024


def load(spec: str) -> Any:
    """The data set behind ``ir_datasets:ID``.

    Raises:
        MissingDependencyError: the package is not installed.
        MissingInputError: it knows no such id.
    """
    try:
        import ir_datasets
    except ImportError:
        raise MissingDependencyError(
            "the package ir_datasets is not installed",
            where=spec,
            hint="pip install 'negmine[ir-datasets]'",
        ) from None
    name = spec.removeprefix(PREFIX)
    try:
        return ir_datasets.load(name)
    except KeyError:
        near = difflib.get_close_matches(name, list(ir_datasets.registry), n=3)
        raise MissingInputError(
            f"ir_datasets knows no '{name}'",
            where=spec,
            hint=f"Near: {', '.join(near)}." if near else "See https://ir-datasets.com.",
        ) from None


def version() -> str:
    """The version of the package that reads the collections."""
    import ir_datasets

    return str(ir_datasets.__version__)


def check(kind: Input, spec: str) -> Any:
    """The data set, known to have this kind of input."""
    data = load(spec)
    entity = _ENTITY.get(kind.name)
    if entity is None or not data.has(entity):
        has = [name for name, wanted in _ENTITY.items() if data.has(wanted)]
        raise MissingInputError(
            f"it has no {kind.name}", where=spec, hint=f"It has: {', '.join(has) or 'nothing'}."
        )
    return data


def catalogue_chunks(kind: Input, spec: str, columns: Columns) -> Iterator[Chunk]:
    """The records of a data set, some at a time."""
    data = check(kind, spec)
    entity = _ENTITY[kind.name]
    record = getattr(data, f"{entity}_cls")()
    header = list(record._fields)
    text = next((target for target in kind.targets if target.kind == "text"), None)
    known = {*columns, *header}
    if (
        text is not None
        and text.name not in columns
        and known.isdisjoint(text.aliases)
        and hasattr(record, "default_text")
    ):
        columns = columns.with_named({text.name: _DEFAULT_TEXT})
        header.append(_DEFAULT_TEXT)
    sources = resolve(kind, spec, header, columns)
    # The fields of a collection are documented: told by their names alone.
    settle(kind, spec, header, sources, columns, lambda _: ())
    row = 1
    found = _records(data, entity, spec)
    while rows := list(islice(found, min(_ROWS, limits.MAX_BATCH_ROWS))):
        values = {
            name: [
                item.default_text() if source == _DEFAULT_TEXT else getattr(item, source)
                for item in rows
            ]
            for name, source in sources.items()
        }
        yield Chunk(values, sources, range(row, row + len(rows)), "{path}: record {line}")
        row += len(rows)


def _records(data: Any, entity: str, spec: str) -> Iterator[Any]:
    """What the package yields; what it raises becomes a message."""
    number = 1
    try:
        records = iter(getattr(data, f"{entity}_iter")())
        while True:
            item = next(records, None)
            if item is None:
                return
            yield item
            number += 1
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        raise InvalidDataError(
            f"ir_datasets could not read it: {type(error).__name__}: {error}",
            where=f"{spec}: record {number}",
            hint="Check the network and the space on disk: it downloads on the first use.",
        ) from error
