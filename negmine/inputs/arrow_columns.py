"""Arrow columns, of Parquet or of Arrow files, as values of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from negmine.errors import InvalidDataError
from negmine.inputs.chunks import Chunk, resolve
from negmine.inputs.columns import Columns, short
from negmine.inputs.kinds import Input, Target
from negmine.inputs.label_words import FIELDS, class_names, named
from negmine.inputs.places import Place, file_errors
from negmine.inputs.suspects import LOOKED_AT, Look


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        # Some writers leave out the mark that says UTF-8.
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_null(kind)
    )


def _is_date(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def check_type(target: Target, field: pa.Field, path: str) -> None:
    """Refuse a column of which no value could be right."""
    types = pa.types
    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    fits = _is_text(kind) or target.kind == "raw"
    if target.kind in ("id", "grade", "score", "rank", "kept"):
        fits = fits or types.is_integer(kind) or types.is_floating(kind)
        # Databases export ids as decimals without a fraction.
        whole = types.is_decimal(kind) and kind.scale == 0
        fits = fits or whole or (types.is_decimal(kind) and target.kind != "id")
        fits = fits or (target.kind in ("grade", "kept") and types.is_boolean(kind))
        fits = fits or (target.kind == "kept" and _is_date(kind))
        if target.lists and (types.is_list(kind) or types.is_large_list(kind)):
            fits = _is_text(kind.value_type)
    elif target.kind == "passages" and (types.is_list(kind) or types.is_large_list(kind)):
        fits = _is_text(kind.value_type)
    if not fits:
        wanted = {
            "id": "strings or integers",
            "grade": "numbers or booleans",
            "score": "numbers",
            "rank": "numbers",
            "passages": "strings or lists of strings",
            "kept": "strings, numbers, booleans or dates",
        }.get(target.kind, "strings")
        raise InvalidDataError(
            f"column '{field.name}' is of type {field.type}, '{target.name}' needs {wanted}",
            where=path,
        )


def column_values(target: Target, column: pa.Array, where: str) -> Any:
    """A string array where all values are fit for it, else Python objects to check.

    Args:
        target: what is read.
        column: the values.
        where: the file and the column, for errors.

    Raises:
        InvalidDataError: values are damaged.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string() if column.type.scale == 0 else pa.float64())
    if target.kind == "kept" and _is_date(column.type):
        column = column.cast(pa.string())
    if target.kind == "raw":
        return _raw_values(column, where)
    if column.null_count or target.kind == "kept":
        return _python_values(column, where)
    try:
        if target.kind in ("score", "rank", "grade"):
            return _python_values(column, where)
        if _is_text(column.type) or pa.types.is_integer(column.type):
            strings = column.cast(pa.string())
            # Reading Parquet takes the writer's word for it that strings are UTF-8.
            strings.validate(full=True)
            return strings
    except pa.ArrowInvalid:
        pass
    return _python_values(column, where)


def _raw_values(column: pa.Array, where: str) -> list[Any]:
    """Python objects; texts in lists and structs are known to be UTF-8."""
    if _is_text(column.type):
        return _python_values(column, where)
    try:
        # Reading Parquet takes the writer's word for it that strings are UTF-8.
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InvalidDataError(f"damaged values: {error}", where=where) from None
    return _listed(column, where)


def _python_values(column: pa.Array, where: str) -> list[Any]:
    if _is_text(column.type) and not pa.types.is_null(column.type):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [
            value if value is None else value.decode("utf-8", "surrogateescape") for value in raw
        ]
    return _listed(column, where)


def _listed(column: pa.Array, where: str) -> list[Any]:
    """Python objects; of times, where Python's types do not reach, the numbers that they are."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"damaged values: {error}", where=where) from None
    except (OverflowError, ValueError):
        if not pa.types.is_temporal(column.type):
            raise InvalidDataError(
                f"of type {column.type}, with times outside of the years 1 to 9999", where=where
            ) from None
        whole = pa.int32() if column.type.bit_width == pa.int32().bit_width else pa.int64()
        values = column.view(whole).to_pylist()
    return values


def sources_of(kind: Input, file: Place, schema: pa.Schema, columns: Columns) -> dict[str, str]:
    """The column that each target is read from, of a type that it can be read from."""
    with file_errors(file):
        # Arrow decodes names only here, where damaged ones show.
        names = schema.names
    sources = resolve(kind, file.name, names, columns)
    for target in kind.targets:
        if target.name in sources:
            check_type(target, schema.field(sources[target.name]), file.name)
    for source, names in _named_labels(sources, schema).items():
        columns.account.note(
            f"{file.name}: the numbers of '{short(source)}' stand for {short(', '.join(names))}"
        )
    return sources


def _named_labels(sources: Mapping[str, str], schema: pa.Schema) -> dict[str, Sequence[str]]:
    """The columns of labels whose numbers have names, with these."""
    known = class_names(schema)
    return {
        source: known[source]
        for target, source in sources.items()
        if target in FIELDS and source in known
    }


def looker(file: Place, first: Callable[[str], pa.RecordBatch | None]) -> Look:
    """What gives the values of a column in the first record batch, as Python objects."""

    def look(name: str) -> Sequence[Any]:
        with file_errors(file):
            batch = first(name)
            # Not there under a nested name, and several under one that occurs more than once.
            at = -1 if batch is None else batch.schema.get_field_index(name)
            if batch is None or at < 0:
                return []
            column = batch.column(at).slice(0, LOOKED_AT)
            column.validate(full=True)
            return _objects(column, _where(file, name))

    return look


def _objects(column: pa.Array, where: str) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return _python_values(column, where)


def _where(file: Place, name: str) -> str:
    return f"{file.name}: column '{short(name)}'"


def chunk_of(
    kind: Input, file: Place, sources: dict[str, str], batch: pa.RecordBatch, row: int
) -> Chunk:
    """A record batch of a file, the first row of which has this number there."""
    columns = {}
    for target in kind.targets:
        if (source := sources.get(target.name)) is not None:
            where = _where(file, source)
            columns[target.name] = column_values(target, batch.column(source), where)
    labels = _named_labels(sources, batch.schema)
    for name, source in sources.items():
        if source in labels and name in FIELDS:
            columns[name] = named(columns[name], labels[source])
    return Chunk(
        columns,
        sources,
        range(row, row + batch.num_rows),
        "{path}: row {line}",
    )
