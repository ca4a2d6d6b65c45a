"""What ``--source NAME=metadata:...`` says: conditions on kept columns, and who ranks what fits.

A condition is one of these; several are joined by ``&`` and must all hold::

    topic          the value of a known positive of the query
    kind=  kind!=  the query's own value, or another one
    date<          smaller than the query's own value (also <=, >, >=)
    date~30d       near a known positive's value: a number, or a date with s, min, h, d, w or y
    lat,lon~50km   near a known positive's place (km, m or mi)

After them ``/NAME`` has a source of the index rank what fits, ``/NAME>`` takes of it only what that
source scores above the query's positives. A column whose name has signs that mean something here
stands in double quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from negmine.errors import UsageError

Operator = Literal["", "=", "!=", "<", "<=", ">", ">=", "~"]
#: Seconds of a unit of time; a year is a Julian one.
TIMES = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31557600.0}
#: Metres of a unit of length.
LENGTHS = {"m": 1.0, "km": 1000.0, "mi": 1609.344}
USAGE = "metadata:COLUMN[<|=|!=|~RADIUS][&...][/SOURCE]"
_NAME = r'(?:"[^"]+"|[^"&/~<>=!,]+)'
_CONDITION = re.compile(
    rf"(?P<first>{_NAME})"
    rf"(?:,(?P<second>{_NAME}))?"
    r"(?:~(?P<radius>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>[a-z]*)|(?P<sign><=|>=|!=|<|>|=))?"
)
_BY = re.compile(r"/(?P<name>[A-Za-z][A-Za-z0-9_]*)(?P<above>>?)")
_EXAMPLES = "topic, kind=, kind!=, date<, date~30d or lat,lon~50km, joined by &"


@dataclass(frozen=True)
class Condition:
    """One condition on the documents' values.

    Attributes:
        columns: the kept column, or two of a place: latitude and longitude.
        operator: how values are compared; nothing stands for a positive's own value.
        radius: how far away a value may be, in the unit: seconds, metres or the column's own.
        unit: what it was written in: time, length, or nothing for numbers.
    """

    columns: tuple[str, ...]
    operator: Operator = ""
    radius: float = 0.0
    unit: Literal["", "time", "length"] = ""

    @property
    def ordered(self) -> bool:
        """Whether it compares by size with the query's own value."""
        return self.operator in ("<", "<=", ">", ">=")

    @property
    def equal(self) -> bool:
        """Whether it asks whether values are the same."""
        return self.operator in ("", "=", "!=")


@dataclass(frozen=True)
class Spec:
    """What a source of documents by their metadata finds.

    Attributes:
        conditions: all must hold.
        by: the source of the index that ranks what fits; without one it is drawn by chance.
        above: only what that source scores above the query's positives.
    """

    conditions: tuple[Condition, ...]
    by: str | None = None
    above: bool = False

    @property
    def columns(self) -> list[str]:
        """Every kept column of the corpus that it reads, once."""
        return list(dict.fromkeys(c for condition in self.conditions for c in condition.columns))

    @property
    def purpose(self) -> str:
        """The conditions in one way of writing: what is drawn by them is drawn for this."""
        return "&".join(
            f"{','.join(one.columns)}{one.operator}"
            + (f"{one.radius!r} {one.unit}" if one.operator == "~" else "")
            for one in self.conditions
        )


def parse(option: str, rest: str) -> Spec:
    """Parse what stands behind ``metadata:``.

    Args:
        option: the option as the user wrote it, for messages.
        rest: the conditions and who ranks.

    Raises:
        UsageError: it is none of these.
    """
    conditions: list[Condition] = []
    at = 0
    while True:
        found = _CONDITION.match(rest, at)
        if found is None:
            raise _refusal(option, rest, at)
        conditions.append(_condition(option, found))
        at = found.end()
        if at == len(rest):
            return Spec(tuple(conditions))
        if rest[at] == "&":
            at += 1
            continue
        by = _BY.fullmatch(rest, at)
        if by is None:
            raise _refusal(option, rest, at)
        return Spec(tuple(conditions), by["name"], bool(by["above"]))


def _refusal(option: str, rest: str, at: int) -> UsageError:
    left = rest[at:]
    what = f"'{left}' is no condition on a column" if left else "a condition is missing at the end"
    return UsageError(
        f"--source {option}: {what}",
        hint=f"Write conditions such as {_EXAMPLES}; then perhaps /SOURCE, which ranks what fits. "
        "A column whose name has such signs stands in double quotes.",
    )


def _condition(option: str, found: re.Match[str]) -> Condition:
    """One condition as it was written.

    Raises:
        UsageError: a unit that it cannot have, or two columns that are no place.
    """
    columns = tuple(name.strip('"') for name in (found["first"], found["second"]) if name)
    radius, unit, sign = found["radius"], found["unit"], found["sign"] or ""
    if radius is None:
        if len(columns) > 1:
            raise UsageError(
                f"--source {option}: two columns are a place, and a place is near another",
                hint=f"Write {found[0].rstrip('<>=!')}~50km.",
            )
        return Condition(columns, sign)  # type: ignore[arg-type]
    units = LENGTHS if len(columns) > 1 else {"": 1.0, **TIMES}
    if unit not in units:
        kind = "place" if len(columns) > 1 else "number or a date"
        told = ", ".join(one for one in units if one)
        raise UsageError(
            f"--source {option}: '{unit}' is no unit for a {kind}"
            if unit
            else f"--source {option}: a distance between places has a unit",
            hint=f"Units are {told}; a number has none."
            if len(columns) == 1
            else f"Units are {told}.",
        )
    measures: Literal["", "time", "length"] = ""
    if unit:
        measures = "length" if len(columns) > 1 else "time"
    return Condition(columns, "~", float(radius) * units[unit], measures)
