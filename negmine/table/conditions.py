"""Conditions on a row's columns, as users write them: ``judge > 0.9 and verdict_judge = yes``.

A condition is comparisons joined by ``and``. On the left stands a score's name or a column of the
table; on the right a number, a word, or ``positive``, the score of the query's known positives in
the same column, with a number added or taken off (``judge >= positive - 0.1``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError, did_you_mean
from negmine.table.names import score_column
from negmine.table.part import Part

_COMPARED: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
    "=": np.equal,
    "!=": np.not_equal,
}
_FORM = re.compile(r"\s*([A-Za-z]\w*)\s*(>=|<=|!=|==|=|>|<)\s*(.+?)\s*")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_POSITIVE = re.compile(rf"positive(?:\s*([+-])\s*({_NUMBER}))?")
#: Outside of quotes: behind it every quote that is opened is closed.
_AND = re.compile(r"""(?:\s+and\s+|\s*&&?\s*)(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", re.IGNORECASE)
_QUOTED = re.compile(r"""(["'])(.*)\1""")
#: What no text holds that stands without quotes.
_SIGNS = re.compile(r"""[\s<>=!"'&]""")


@dataclass(frozen=True)
class Comparison:
    """A column compared with something.

    Attributes:
        column: a score's name, or a column of the table.
        sign: ``>``, ``>=``, ``<``, ``<=``, ``=`` or ``!=``.
        value: a number, or a text.
        of_positive: whether the number is added to the score of the query's known positives.
    """

    column: str
    sign: str
    value: float | str
    of_positive: bool = False

    def __str__(self) -> str:
        if not self.of_positive:
            value = _quoted(self.value) if isinstance(self.value, str) else _number(self.value)
            return f"{self.column} {self.sign} {value}"
        assert isinstance(self.value, float)
        sign = "-" if self.value < 0 else "+"
        added = f" {sign} {_number(abs(self.value))}" if self.value else ""
        return f"{self.column} {self.sign} positive{added}"


#: Comparisons that must all hold.
Condition = tuple[Comparison, ...]


def parse(text: str, option: str) -> Condition:
    """The condition that a user wrote.

    Args:
        text: the condition.
        option: where it stands, for messages.

    Raises:
        UsageError: it is none.
    """
    return tuple(_comparison(piece, text, option) for piece in _AND.split(text.strip()))


def _comparison(piece: str, text: str, option: str) -> Comparison:
    found = _FORM.fullmatch(piece)
    if found is None:
        raise UsageError(
            f"{option}: '{text}' is no condition",
            hint="Write COLUMN SIGN VALUE, several joined by 'and': 'judge > 0.9', "
            "'ce >= positive - 1 and bm25 < 30', 'verdict_judge = yes'.",
        )
    column, sign, value = found.groups()
    sign = "=" if sign == "==" else sign
    relative = _POSITIVE.fullmatch(value)
    if relative is not None:
        added = float(relative[2] or 0)
        return Comparison(column, sign, -added if relative[1] == "-" else added, of_positive=True)
    if re.fullmatch(_NUMBER, value):
        return Comparison(column, sign, float(value))
    quoted = _QUOTED.fullmatch(value)
    if quoted is None and _SIGNS.search(value):
        raise UsageError(
            f"{option}: '{value}' is no number and no word",
            where=None,
            hint="Put a text of several words between quotes.",
        )
    if sign not in ("=", "!="):
        raise UsageError(
            f"{option}: '{text}' compares with the text {value}",
            hint="A text is compared by = or !=; after > and < stands a number.",
        )
    return Comparison(column, sign, quoted[2] if quoted else value)


def _number(value: float) -> str:
    """A number as it is read again, in as few digits as say it."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _quoted(text: str) -> str:
    """A text as it is read again: between quotes where it would be taken for something else."""
    other = re.fullmatch(_NUMBER, text) or _POSITIVE.fullmatch(text) or _SIGNS.search(text)
    if text and other is None:
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'


def told(condition: Condition) -> str:
    """A condition in one spelling, the same for all ways to write it; :func:`parse` reads it."""
    return " and ".join(map(str, condition))


def check(condition: Condition, schema: pa.Schema, option: str) -> None:
    """See that a table has what a condition compares.

    Raises:
        UsageError: there is no such column, or it is of another type than the value.
    """
    for one in condition:
        column = _named(one.column, schema.names)
        if column is None:
            prefix = score_column("")
            known = [name.removeprefix(prefix) for name in schema.names]
            raise UsageError(
                f"{option}: the table has no '{one.column}'", hint=did_you_mean(one.column, known)
            )
        kind = schema.field(column).type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        texts = isinstance(one.value, str)
        if number == texts and not (pa.types.is_boolean(kind) and one.value in ("true", "false")):
            raise UsageError(
                f"{option}: '{one}' compares {column}, which holds {kind}",
                hint="Compare it with a " + ("number." if number else "text."),
            )
        if one.of_positive and not column.startswith(score_column("")):
            raise UsageError(
                f"{option}: '{one}': positives are compared by their scores, and {column} is none",
                hint="Name a score on the left.",
            )


def columns(conditions: Sequence[Condition], schema: pa.Schema) -> list[str]:
    """The columns that conditions read, each once."""
    named = (_named(one.column, schema.names) for condition in conditions for one in condition)
    found = [name for name in named if name is not None]
    if any(one.of_positive for condition in conditions for one in condition):
        found += ["qid", "label"]
    return list(dict.fromkeys(found))


def _named(column: str, names: Collection[str]) -> str | None:
    """The column of a table that a name stands for: a score's, before one that is called so."""
    return next((name for name in (score_column(column), column) if name in names), None)


def holds(
    condition: Condition, part: Part, against: str = "min", positive: np.ndarray | None = None
) -> np.ndarray:
    """The rows for which a condition holds, bool [rows]; what is null fulfils no comparison.

    Args:
        condition: what must hold.
        part: the rows.
        against: ``min``, ``mean`` or ``max`` of the positives' scores.
        positive: which rows are the positives that are compared with; by default the known ones.
    """
    found = np.ones(len(part), dtype=bool)
    for one in condition:
        if isinstance(one.value, str):
            values = pc.cast(part.table.column(_column(one, part)), pa.string())
            compare = pc.equal if one.sign == "=" else pc.not_equal
            found &= pc.fill_null(compare(values, one.value), False).to_numpy()
            continue
        numbers, limit = compared(one, part, against, positive)
        found &= part.valid(_column(one, part)) & _COMPARED[one.sign](numbers, limit)
        # No positive with a score: there is nothing to compare with.
        found &= ~np.isnan(limit)
    return found


def compared(
    one: Comparison, part: Part, against: str = "min", positive: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of both sides of a comparison with a number, float64 [rows], NaN = none.

    Args:
        one: the comparison.
        part: see :func:`holds`.
        against: see :func:`holds`.
        positive: see :func:`holds`.
    """
    assert isinstance(one.value, float)
    values = part.table.column(_column(one, part)).cast(pa.float64()).to_numpy()
    limit = np.full(len(part), one.value)
    if one.of_positive:
        known = part if positive is None else part.relabelled(positive)
        limit += known.positive_score(values, against)
    return values, limit


def _column(one: Comparison, part: Part) -> str:
    column = _named(one.column, part.table.schema.names)
    assert column is not None, "check() saw it"
    return column
