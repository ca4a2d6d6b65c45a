"""A pair of axes in a picture: which values they span, and where each lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from negmine.commands.plot.marks import Panel, percent, ticks


@dataclass(frozen=True)
class Axes:
    """Values of a panel as places of a picture.

    Attributes:
        low: the x value at the left end.
        high: the x value at the right end; what lies beyond either end is drawn at it.
        x_ticks: x values that are named.
        y_ticks: y values that are named; the first lies on the floor, the last at the top.
        left: where the axes begin, in the picture's units.
        right: where they end.
        top: where they end above.
        floor: where they end below.
    """

    low: float
    high: float
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    left: float
    right: float
    top: float
    floor: float

    def across(self, x: float) -> float:
        """Where an x value lies."""
        inside = min(max(x, self.low), self.high)
        return self.left + (inside - self.low) / (self.high - self.low) * (self.right - self.left)

    def up(self, y: float) -> float:
        """Where a y value lies."""
        share = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return self.floor - share * (self.floor - self.top)

    def places(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Where (x, y) points lie."""
        return [(self.across(x), self.up(y)) for x, y in points]


def y_told(panel: Panel, y: float) -> str:
    """A tick of the y axis in words."""
    return percent(y) if panel.y_percent else f"{y:.3g}"


def spanned(panel: Panel) -> tuple[float, float]:
    """The x values that a panel spans: those asked for, else all that are drawn, and a little."""
    values = list(panel.x_range or ()) or _x_values(panel)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-12:
        return low - 0.5, high + 0.5
    if not panel.x_range and not panel.steps:
        # Dots on the frame would be cut in half.
        return low - 0.04 * (high - low), high + 0.04 * (high - low)
    return low, high


def _x_values(panel: Panel) -> list[float]:
    values = [point.x for series in panel.series for point in series.points]
    values += [x for steps in panel.steps for x in steps.edges]
    values += [x for band in panel.bands for x, _, _ in band.points]
    return values + [marker.x for marker in panel.markers]


def y_values(panel: Panel) -> list[float]:
    """The y values that are drawn."""
    points = [point for series in panel.series for point in series.points]
    values = [point.y for point in points]
    values += [point.high for point in points if point.high is not None]
    values += [y for steps in panel.steps for y in steps.heights]
    return values + [y for band in panel.bands for point in band.points for y in point[1:]]


def inner_ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range."""
    return [x for x in ticks([low, high]) if low - 1e-9 <= x <= high + 1e-9]
