"""What a panel holds: series, steps, bands, markers, and its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Okabe and Ito's colours, which people with colour-blindness tell apart too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")


@dataclass(frozen=True)
class Point:
    """A mark: where it is, what it is called, and its interval on the y axis."""

    x: float
    y: float
    label: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Marks of one colour; two or more are joined in the given order.

    ``role`` is the class of its marks in a :func:`figure`; by default they are numbered.
    """

    name: str
    points: Sequence[Point] = field(default_factory=list)
    role: str = ""

    def told(self, point: Point) -> str:
        """One of its points in words."""
        return f"{self.name}: {point.label}" if point.label else self.name


@dataclass(frozen=True)
class Steps:
    """A histogram's outline, for :func:`figure`.

    Attributes:
        name: what it shows.
        role: the class that the page styles, such as ``selected``.
        edges: [n + 1] cell borders, ascending.
        heights: [n] heights.
        base: [n] where each cell stands; 0 when empty. Heights are counted from 0, not from there.
        filled: an area rather than a line.
    """

    name: str
    role: str
    edges: Sequence[float]
    heights: Sequence[float]
    base: Sequence[float] = ()
    filled: bool = False


@dataclass(frozen=True)
class Band:
    """An area between two lines, for :func:`figure`; ``points`` are (x, low, high)."""

    name: str
    role: str
    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Marker:
    """A vertical line with a name, for :func:`figure`, and the range about it."""

    x: float
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes. What has a default is drawn by :func:`figure` only, but ``y_percent``."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    y_percent: bool = False
    steps: Sequence[Steps] = ()
    bands: Sequence[Band] = ()
    markers: Sequence[Marker] = ()
    x_range: tuple[float, float] | None = None
    legend: bool = False


def ticks(values: Sequence[float], about: int = 6) -> list[float]:
    """Round numbers that cover ``values``, at least two."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def percent(value: float) -> str:
    """A share as people write it."""
    return f"{100 * value:.3g}%"
