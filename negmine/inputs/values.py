"""The checks: whole columns at once, value by value only to name a culprit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.inputs import limits
from negmine.inputs.chunks import MISSING, Chunk
from negmine.inputs.columns import short
from negmine.inputs.grades import hint as grade_hint
from negmine.inputs.kinds import PAIRS, Input, Target
from negmine.inputs.label_words import label_number
from negmine.inputs.problems import Problems
from negmine.inputs.wrappings import mend_encoding
from negmine.table.documents import full_text
from negmine.table.ids import content_ids

_GRADE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
#: Grades are levels; what is larger is another column.
_LARGEST_GRADE = 1 << 31
#: Integers beyond this are not exact as floats, so such a float names no id.
_EXACT_FLOAT = 1 << 53


def batches(
    kind: Input, chunks: Iterator[Chunk], path: str, problems: Problems
) -> Iterator[pa.RecordBatch]:
    """Checked record batches: whole columns at once, row by row only to name a culprit."""
    for chunk in chunks:
        if any(target.made and target.name not in chunk.sources for target in kind.targets):
            yield from map(_with_ids, _of_chunk(kind, chunk, path, problems))
        else:
            yield from _of_chunk(kind, chunk, path, problems)


def _with_ids(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Documents with ids made from what they hold."""
    return batch.set_column(0, batch.schema.field(0), content_ids(full_text(batch)))


def _of_chunk(kind: Input, chunk: Chunk, path: str, problems: Problems) -> Iterator[pa.RecordBatch]:
    arrays = []
    for target in kind.targets:
        array = _whole_column(target, chunk)
        if array is None:
            yield from _row_by_row(kind, chunk, path, problems)
            return
        arrays.append(array)
    yield from bounded(pa.RecordBatch.from_arrays(arrays, schema=kind.schema))


def bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """``batch``, in pieces where a few long texts make it too large."""
    if batch.num_rows > 1 and batch.nbytes > limits.MAX_BATCH_BYTES:
        half = batch.num_rows // 2
        yield from bounded(batch.slice(0, half))
        yield from bounded(batch.slice(half))
    elif batch.num_rows:
        yield batch


def _whole_column(target: Target, chunk: Chunk) -> pa.Array | None:
    """The column as an array if every value is good, else None."""
    values = chunk.columns.get(target.name)
    if values is None:
        return _default(target, len(chunk.lines))
    late = target.made or target.kind in ("grade", "score", "rank")
    if late and target.name not in chunk.sources:
        return None
    if isinstance(values, list):
        types = set(map(type, values))
        if target.kind == "kept":
            try:
                kept = [kept_value(value, target.name, target.lists) for value in values]
                return pa.array(kept, pa.string())
            except BadValueError:
                return None
        if target.kind == "id" and types <= {str, int}:
            values = list(map(str, values)) if int in types else values
        elif target.kind == "title" and types <= {str, type(None)}:
            values = [value or "" for value in values] if type(None) in types else values
        elif target.kind == "grade":
            return _grades(values, types)
        elif target.kind == "score":
            return _scores(values, types)
        elif target.kind == "rank":
            return _ranks(values)
        elif types != {str}:
            return None
        try:
            array = pa.array(values, pa.string())
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
            return None
    else:
        array = values
    return None if target.kind == "id" and _has_bad_id(array) else array


def _grades(values: list[Any], types: set[type]) -> pa.Array | None:
    """Grades as numbers, if all of them are plain ones."""
    try:
        if types == {str}:
            written = pc.utf8_trim_whitespace(pa.array(values, pa.string()))
            plain = pc.all(pc.match_substring_regex(written, f"^({_GRADE.pattern})$"))
            grades = written.cast(pa.float64()) if plain.as_py() else None
        else:
            grades = pa.array(values, pa.float64()) if types <= {int, float} else None
    except (pa.ArrowInvalid, UnicodeEncodeError, OverflowError):
        return None
    if grades is None or grades.null_count or len(grades) == 0:
        return grades
    small = pc.all(pc.less(pc.abs(grades), _LARGEST_GRADE))
    return grades if small.as_py() else None


def _scores(values: list[Any], types: set[type]) -> pa.Array | None:
    """Scores as numbers, if all of them are finite ones."""
    if not types <= {int, float, str}:
        return None
    try:
        numbers = np.array(values, dtype=np.float64)
    except (ValueError, OverflowError):
        return None
    with np.errstate(over="ignore"):
        scores = numbers.astype(np.float32)
    return pa.array(scores) if np.isfinite(scores).all() else None


def _ranks(values: list[Any]) -> pa.Array:
    """Ranks as numbers; null for what is none."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        numbers = np.array([_number(value) for value in values], dtype=np.float64)
    return pa.array(numbers, mask=~np.isfinite(numbers))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan


def _default(target: Target, rows: int) -> pa.Array:
    if target.kind in ("score", "rank"):
        return pa.nulls(rows, pa.float32() if target.kind == "score" else pa.float64())
    return pa.repeat(pa.scalar(1.0) if target.kind == "grade" else pa.scalar(""), rows)


def _has_bad_id(ids: pa.Array) -> bool:
    return bool(
        pc.any(pc.equal(pc.binary_length(ids), 0)).as_py()
        or pc.any(pc.match_substring(ids, "\0")).as_py()
    )


class BadValueError(Exception):
    """A value that its target cannot take.

    Args:
        what: what is wrong.
        hint: how to mend it.
        unclear: it is a label that an option explains.
    """

    def __init__(self, what: str, hint: str | None = None, *, unclear: bool = False) -> None:
        super().__init__(what)
        self.hint = hint
        self.unclear = unclear


def _row_by_row(
    kind: Input, chunk: Chunk, path: str, problems: Problems
) -> Iterator[pa.RecordBatch]:
    """The good records of a chunk in which something needs a closer look."""
    kept: list[tuple[Any, ...]] = []
    size = 0
    names = [target.name for target in kind.targets if target.name in chunk.columns]
    columns = [
        values if isinstance(values, list) else values.to_pylist()
        for values in (chunk.columns[name] for name in names)
    ]
    for index, values in enumerate(zip(*columns, strict=True)):
        given = dict(zip(names, values, strict=True))
        try:
            record = [_value(target, given, chunk.sources) for target in kind.targets]
        except BadValueError as error:
            where = chunk.where(path, index)
            problems.report(where, str(error), error.hint, unclear=error.unclear)
            continue
        for row in _expanded(kind, record):
            kept.append(row)
            size += sum(len(value) for value in row if isinstance(value, str))
            # Lists of positives repeat their query: what was bounded as read may grow here.
            if len(kept) >= limits.MAX_BATCH_ROWS or size >= limits.MAX_BATCH_BYTES:
                yield from bounded(_from_rows(kind, kept))
                kept, size = [], 0
    if kept:
        yield from bounded(_from_rows(kind, kept))


def _from_rows(kind: Input, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(list(column), field.type)
        for column, field in zip(columns, kind.schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=kind.schema)


def _expanded(kind: Input, record: list[Any]) -> Iterator[tuple[Any, ...]]:
    if kind.name == PAIRS.name:
        query, positives, *kept = record
        yield from ((query, positive, *kept) for positive in positives)
    else:
        yield tuple(record)


def _value(target: Target, given: dict[str, Any], sources: dict[str, str]) -> Any:
    """A target's value in one record, or what is wrong with it."""
    source = sources.get(target.name)
    value = given.get(target.name, MISSING)
    if source is None:
        if value is not MISSING:
            raise BadValueError(
                f"a {target.name} where the first record has none: all must have it, or none"
            )
        if target.kind in ("score", "rank"):
            return None
        return 1.0 if target.kind == "grade" else ""
    if target.kind == "kept":
        return kept_value(value, source, target.lists)
    if value is MISSING:
        raise BadValueError(f"field '{source}' is missing")
    if target.kind == "id":
        return id_value(value, source)
    if target.kind == "grade":
        return _grade_value(value, source)
    if target.kind == "score":
        try:
            return score_value(value, source)
        except BadValueError as error:
            raise BadValueError(str(error), error.hint or _without(sources)) from None
    if target.kind == "rank":
        return _ranks([value])[0].as_py()
    if target.kind == "title" and (value is None or is_nan(value)):
        return ""
    if target.kind == "passages":
        if not isinstance(value, list):
            return [text_value(value, source)]
        if not value:
            raise BadValueError(f"field '{source}' is an empty list")
        return [text_value(item, f"{source}[{at}]") for at, item in enumerate(value)]
    return text_value(value, source)


def text_value(value: Any, source: str) -> str:
    """``value`` if it is a text of valid UTF-8.

    Raises:
        BadValueError: it is not.
    """
    if not isinstance(value, str):
        raise BadValueError(
            f"field '{source}' must be a string, found {type_name(value)}", _missing(value)
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _not_utf8(value, error.start, source) from None
    return value


def _not_utf8(value: str, at: int, source: str) -> BadValueError:
    """What is wrong with a text that holds half a character, or a byte that is none."""
    code = ord(value[at])
    if 0xDC80 <= code <= 0xDCFF:
        byte = code - 0xDC00
        return BadValueError(
            f"field '{source}' is not valid UTF-8: byte 0x{byte:02x} at its character {at + 1}",
            mend_encoding(byte, "FILE"),
        )
    return BadValueError(
        f"field '{source}' is not valid UTF-8: a lone surrogate at its character {at + 1}",
        "It is half of a character, left where a text was cut: write the text anew.",
    )


def is_nan(value: Any) -> bool:
    """Whether a value is NaN, which pandas writes for what is missing."""
    return isinstance(value, float) and math.isnan(value)


def _missing(value: Any) -> str | None:
    if value is None:
        return "--on-error skip leaves such records out."
    if not isinstance(value, float) or math.isfinite(value):
        return None
    return "pandas writes it for what is missing: dropna(), or fillna('') where empty is right."


def id_value(value: Any, source: str) -> str:
    """An id as a string.

    Raises:
        BadValueError: the value is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        if not (abs(value) < _EXACT_FLOAT and value == math.floor(value)):
            found = value if math.isfinite(value) else type_name(value)
            raise BadValueError(
                f"field '{source}' must be a string or an integer, found {found}", _missing(value)
            )
        return str(int(value))
    if not isinstance(value, str):
        raise BadValueError(
            f"field '{source}' must be a string or an integer, found {type_name(value)}"
        )
    if not value:
        raise BadValueError(f"field '{source}' is empty: an id is needed")
    if "\0" in value:
        raise BadValueError(f"field '{source}' has a NUL character: not allowed in an id")
    return text_value(value, source)


def kept_value(value: Any, source: str, lists: bool = False) -> str | None:
    """A value of a kept column as a string; None where there is none.

    Args:
        value: what stands there.
        source: the column, for messages.
        lists: whether it may be a list of texts, which is told as JSON.

    Raises:
        BadValueError: it is nothing that can be kept.
    """
    if lists and isinstance(value, list):
        told = [one for one in (kept_value(one, source) for one in value) if one is not None]
        return json.dumps(told, ensure_ascii=False) if told else None
    if value is None or value == "" or value is MISSING or is_nan(value):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        exact = abs(value) < _EXACT_FLOAT and value == math.floor(value)
        return str(int(value)) if exact else str(value)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise BadValueError(
            f"field '{source}' must be a string, a number or a boolean, found {type_name(value)}"
        )
    return text_value(value, source)


def _grade_value(value: Any, source: str) -> float:
    grade: float | None = None
    if isinstance(value, str):
        told = value.strip()
        if _COMMA.fullmatch(told):
            raise BadValueError(
                f"field '{source}' must be a number, found '{short(told)}': "
                f"write {told.replace(',', '.')}"
            )
        grade = float(told) if _GRADE.fullmatch(told) else label_number(told)
        found = f"'{short(value)}'"
    elif isinstance(value, int | float):
        grade = float(value)
        found = str(value)
    else:
        found = type_name(value)
    if grade is None or not abs(grade) < _LARGEST_GRADE:
        word = isinstance(value, str) and any(map(str.isalpha, value))
        raise BadValueError(
            f"field '{source}' must be a number, found {found}",
            grade_hint(value) if word else None,
            unclear=word,
        )
    return grade


def score_value(value: Any, source: str) -> float:
    """A finite number, in float32.

    Raises:
        BadValueError: the value is none.
    """
    scores = None
    if not isinstance(value, bool):
        scores = _scores([value], {type(value)})
    if scores is None:
        found = repr(value) if isinstance(value, (str, float)) else type_name(value)
        raise BadValueError(
            f"field '{source}' must be a finite number, found {found}", _score_hint(value)
        )
    score: float = scores[0].as_py()
    return score


def _without(sources: dict[str, str]) -> str:
    """How to go on without a record's score."""
    told = "--on-error skip leaves such records out"
    return (
        f"{told}; --ignore run.{sources['score']} goes by rank alone."
        if "rank" in sources
        else f"{told}."
    )


def _score_hint(value: Any) -> str | None:
    """How to mend a score."""
    if isinstance(value, str) and _COMMA.fullmatch(value.strip()):
        return f"Write {value.strip().replace(',', '.')}."
    return None


def type_name(value: Any) -> str:
    """What JSON calls the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")
