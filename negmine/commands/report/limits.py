"""Where the rules draw their lines on a distribution: a number, or quartiles over queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.commands.report.histogram import Histogram
from negmine.commands.report.slices import Measure, Reader, Slice
from negmine.rules import Border, borders

#: Limits that differ by less, relative to their size, differ by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Limit:
    """Where a rule draws its line.

    Attributes:
        rule: its name.
        value: the limit, or the median over queries.
        low: the lower quartile over queries; None where the limit is the same for all.
        high: the upper quartile.
    """

    rule: str
    value: float
    low: float | None = None
    high: float | None = None


class Limits:
    """Every rule's limits on some measures, collected part by part."""

    def __init__(self, spans: dict[Measure, tuple[float, float]], reader: Reader) -> None:
        self._spans, self._reader = spans, reader
        self._lines: dict[tuple[Measure, str], _Line] = {}

    def add(self, part: Slice) -> None:
        """Count the limits of a part's queries."""
        for rule, border in borders(part.view, self._reader.params).items():
            for measure in self._spans:
                limit = self._on(measure, border, part)
                if limit is not None:
                    line = self._lines.setdefault((measure, rule), _Line(*self._spans[measure]))
                    line.add(_per_query(part, limit))

    def _on(self, measure: Measure, border: Border, part: Slice) -> np.ndarray | None:
        """The limits as values of a measure, per row; None where they are none."""
        read = {"score": self._reader.rule_measure.score, "guide": self._reader.params.guide}
        if read.get(border.unit) != measure.score:
            return None
        if measure.kind == "score":
            return border.told_limit
        positive = part.view.positive_score
        if border.unit == "guide":
            positive = part.view.positive_guide
        difference = border.told_limit - positive
        if measure.kind == "margin":
            return difference
        with np.errstate(divide="ignore", invalid="ignore"):
            return difference / np.abs(positive)

    def of(self, measure: Measure) -> list[Limit]:
        """The lines on a measure; on margins those that are the same for all queries."""
        limits = [line.limit(rule) for (of, rule), line in self._lines.items() if of == measure]
        return [
            limit
            for limit in limits
            if limit is not None and (measure.kind == "score" or limit.low is None)
        ]


class _Line:
    """One rule's limits over queries."""

    def __init__(self, low: float, high: float) -> None:
        # A limit may lie beyond all scores: a margin below the lowest positive.
        width = max(high - low, 1e-6)
        self._over = Histogram(low - width, high + width)
        self._least, self._most = np.inf, -np.inf

    def add(self, limit: np.ndarray) -> None:
        limit = limit[np.isfinite(limit)]
        if len(limit):
            self._over.add(limit)
            self._least = min(self._least, float(limit.min()))
            self._most = max(self._most, float(limit.max()))

    def limit(self, rule: str) -> Limit | None:
        if self._least > self._most:
            return None
        if self._most - self._least <= _ROUNDING * max(1.0, abs(self._most)):
            return Limit(rule, (self._least + self._most) / 2)
        low, middle, high = self._over.quantiles((0.25, 0.5, 0.75))
        return None if middle is None else Limit(rule, middle, low, high)


def _per_query(part: Slice, limit: np.ndarray) -> np.ndarray:
    """Each query's limits: one, or where its rows have several each once."""
    query, starts = part.view.query, part.view.starts
    first = limit[starts]
    if not (limit != first[query]).any():
        return first
    order = np.lexsort((limit, query))
    query, limit = query[order], limit[order]
    new = np.ones(len(limit), dtype=bool)
    new[1:] = (query[1:] != query[:-1]) | (limit[1:] != limit[:-1])
    return limit[new]
