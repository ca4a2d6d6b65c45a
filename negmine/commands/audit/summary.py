"""A sweep in ten lines: what none beats, the cleanest with enough negatives, its recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: At most this share of the queries may be short for a setting to have enough negatives.
ENOUGH = 0.1
_FRONT = 4


@dataclass(frozen=True)
class Tried:
    """A setting under every scheme in which positives were hidden.

    Attributes:
        name: the setting.
        options: what it changes of the filter's defaults.
        rates: by scheme, the share of the chosen that are hidden positives.
        intervals: by scheme, between which that share lies; what is not known is left out.
        per_query: negatives per query under the first scheme.
        short: share of the queries with fewer than were asked for, likewise.
        margin: median of the negatives' minus the positive's score; None = unknown.
    """

    name: str
    options: dict[str, Any]
    rates: dict[str, float]
    per_query: float
    short: float
    margin: float | None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The highest rate over the schemes: labels are not missing by chance."""
        return max(self.rates.values())

    def beats(self, other: Tried) -> bool:
        """Whether it is no worse in cleanness, yield and hardness, and better in one."""
        mine, theirs = self._merits(), other._merits()
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))

    def _merits(self) -> tuple[float, float, float]:
        hard = float("-inf") if self.margin is None else self.margin
        return -self.worst, self.per_query, hard


def tried(report: Mapping[str, Any]) -> list[Tried]:
    """The settings of a report that could be measured under every scheme, in its order."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        by_name.setdefault(row["setting"], []).append(row)
    found = []
    for name, rows in by_name.items():
        if any("error" in row or row["contamination"]["value"] is None for row in rows):
            continue
        first = rows[0]
        found.append(
            Tried(
                name,
                first["options"],
                {row["hidden"]: row["contamination"]["value"] for row in rows},
                first["negatives_per_query"]["value"] or 0.0,
                first["short_queries"]["value"] or 0.0,
                first["margin"]["p50"],
                {row["hidden"]: between for row in rows if (between := _interval(row)) is not None},
            )
        )
    return found


def _interval(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Between which a row's contamination lies; None where that is not known."""
    low, high = (row["contamination"].get(name) for name in ("low", "high"))
    return None if low is None or high is None else (low, high)


def front(settings: Sequence[Tried]) -> list[Tried]:
    """The settings that no other beats, cleanest first; of equal ones the first."""
    best: list[Tried] = []
    for one in sorted(settings, key=lambda t: (t.worst, -t.per_query)):
        if not any(other.beats(one) or other._merits() == one._merits() for other in best):
            best = [*(kept for kept in best if not one.beats(kept)), one]
    return best


def cleanest(settings: Sequence[Tried]) -> tuple[Tried, bool]:
    """The cleanest setting with enough negatives; where none has enough, the least short.

    Args:
        settings: at least one.

    Returns:
        (setting, whether it has enough).
    """
    enough = [one for one in settings if one.short <= ENOUGH]
    if enough:
        return min(enough, key=lambda t: (t.worst, -t.per_query)), True
    return min(settings, key=lambda t: (t.short, t.worst)), False


def summary(report: Mapping[str, Any], files: Sequence[str]) -> str | None:
    """The sweep in about ten lines; None where nothing was swept or measured.

    Args:
        report: the audit's.
        files: where all of it lies, the pictures last.
    """
    settings = tried(report)
    if not settings or not any(row["sweep"] for row in report["rows"]):
        return None
    best = front(settings)
    pick, enough = cleanest(settings)
    lines = [
        f"{len(settings)} settings measured; {len(best)} that no other beats in cleanness, "
        "yield and hardness at once:"
    ]
    lines += [f"  {_told(one)}" for one in _spread(best)]
    given = next((one for one in settings if one.name == "as given"), None)
    if given is not None and given not in _spread(best):
        lines.append(f"  {_told(given)}")
    why = f"the cleanest with at most {ENOUGH:.0%} of the queries short"
    if not enough:
        why = f"none leaves at most {ENOUGH:.0%} of the queries short; the least short"
    lines.append(f"{why}: {pick.name}. In the recipe:")
    lines += [f"  {line}" for line in _recipe(pick, given)]
    lines.append(f"all settings: {', '.join(files)}")
    return "\n".join(lines)


def _spread(best: list[Tried]) -> list[Tried]:
    """A few of the front from its cleanest to its dirtiest."""
    if len(best) <= _FRONT:
        return best
    return [best[round(n * (len(best) - 1) / (_FRONT - 1))] for n in range(_FRONT)]


def _told(one: Tried) -> str:
    rates = ", ".join(f"{told_rate(one, scheme)} {scheme}" for scheme in one.rates)
    hard = "" if one.margin is None else f", median margin {one.margin:.3g}"
    return (
        f"{one.name}: likely false {rates}; {one.per_query:.2f} per query, {one.short:.0%} "
        f"short{hard}"
    )


def told_rate(one: Tried, scheme: str) -> str:
    """A setting's rate under a scheme and between what it lies: ``3.8% [2.5-5.5]``."""
    told = f"{one.rates[scheme]:.1%}"
    if scheme not in one.intervals:
        return told
    low, high = one.intervals[scheme]
    return f"{told} [{100 * low:.1f}-{100 * high:.1f}]"


def _recipe(pick: Tried, given: Tried | None) -> list[str]:
    """What the setting changes of those that were given, as lines of TOML."""
    before = {} if given is None else given.options
    if pick.options == before:
        return ["# as it was given"]
    lines = ["[filter]"]
    for name, value in pick.options.items():
        if name not in before or before[name] != value:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    gone = [name for name in before if name not in pick.options]
    return [*lines, *(f"# without {name}" for name in gone)]
