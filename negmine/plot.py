"""Charts as SVG text: the few marks that ``audit``, ``report`` and the benchmarks need.

Written by hand so that a picture costs no dependency, and is the same bytes for the same numbers.
:func:`svg` makes a picture that stands alone, with colours of its own. :func:`figure` makes one for
a page: marks have classes instead of colours, so that the page's style sheet decides (dark, light,
print), and it has a name and a description for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

#: Okabe and Ito's colours, which people with colour-blindness tell apart too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
_WIDTH, _HEIGHT = 460, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 40, 52
_ROW = 16


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


def svg(panels: Sequence[Panel]) -> str:
    """The panels side by side, with one legend below them."""
    names = list(dict.fromkeys(series.name for panel in panels for series in panel.series))
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    # Long names take a row each.
    columns = max(1, len(panels) * (2 if max(map(len, names), default=0) < 30 else 1))
    rows = math.ceil(len(names) / columns)
    width, height = _WIDTH * len(panels), _HEIGHT + rows * _ROW + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        lines.append(f'<g transform="translate({number * _WIDTH} 0)">')
        lines += _panel(panel, colours)
        lines.append("</g>")
    for number, name in enumerate(names):
        x = 20 + (number % columns) * (width - 20) // columns
        y = _HEIGHT + 10 + (number // columns) * _ROW
        lines.append(f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{colours[name]}"/>')
        lines.append(_text(x + 10, y, name))
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def _panel(panel: Panel, colours: dict[str, str]) -> list[str]:
    marks = [point for series in panel.series for point in series.points]
    x_ticks = ticks([point.x for point in marks])
    y_ticks = ticks([0.0, *(point.high or point.y for point in marks)])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    lines = [_text(_WIDTH / 2, 20, panel.title, "middle", 'font-size="13" font-weight="bold"')]
    for x in x_ticks:
        at, floor = place(x, y_ticks[0])
        lines.append(_line(at, floor, at, _TOP, "#e5e5e5"))
        lines.append(_text(at, floor + 16, f"{x:g}", "middle"))
    for y in y_ticks:
        wall, at = place(x_ticks[0], y)
        lines.append(_line(wall, at, _WIDTH - _RIGHT, at, "#e5e5e5"))
        told = _percent(y) if panel.y_percent else f"{y:.3g}"
        lines.append(_text(wall - 6, at + 4, told, "end"))
    lines.append(_text(_WIDTH / 2, _HEIGHT - 14, panel.x_label, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turn = f'transform="rotate(-90 14 {middle:.1f})"'
    lines.append(_text(14, middle, panel.y_label, "middle", turn))
    for series in panel.series:
        colour = colours[series.name]
        places = [place(point.x, point.y) for point in series.points]
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            lines.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            )
        for point, (x, y) in zip(series.points, places, strict=True):
            if point.low is not None and point.high is not None:
                bottom, top = place(point.x, point.low)[1], place(point.x, point.high)[1]
                lines.append(_line(x, bottom, x, top, colour, 'stroke-opacity="0.35"'))
            told = f"{series.name}: {point.label}" if point.label else series.name
            lines.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
                f"<title>{escape(told)}</title></circle>"
            )
        # Only the ends are named on the picture: the rest is in the tooltips and the table.
        for index in dict.fromkeys((0, len(places) - 1)) if places else ():
            x, y = places[index]
            inward = x > _WIDTH - _RIGHT - 40
            x, anchor = (x - 5, "end") if inward else (x + 5, "start")
            lines.append(_text(x, y - 5, series.points[index].label, anchor, f'fill="{colour}"'))
    return lines


_FIGURE_WIDTH, _FIGURE_HEIGHT = 460, 250
_FIGURE_LEFT, _FIGURE_RIGHT, _FIGURE_TOP, _FIGURE_BOTTOM = 50, 12, 24, 42
_LETTER, _LINE = 7.2, 15


def figure(panel: Panel, ident: str, description: str) -> str:
    """A panel as an inline picture for a page, without any colour of its own.

    Classes: ``grid``, ``axis`` (its labels), ``marker``, ``legend``; areas, lines and dots have
    ``area``, ``line`` or ``dot`` and their role (``c0``, ``c1``, ... where they have none).

    Args:
        panel: what to draw; its title becomes the picture's accessible name.
        ident: letters and digits, another one for every picture of the page.
        description: what the picture shows, in words.
    """
    roles = {s.name: s.role or f"c{i % len(_COLOURS)}" for i, s in enumerate(panel.series)}
    marks = [point for series in panel.series for point in series.points]
    x_values = list(panel.x_range or ())
    if not x_values:
        x_values = [point.x for point in marks]
        x_values += [x for steps in panel.steps for x in steps.edges]
        x_values += [x for band in panel.bands for x, _, _ in band.points]
        x_values += [marker.x for marker in panel.markers]
    y_values = [point.y for point in marks]
    y_values += [point.high for point in marks if point.high is not None]
    y_values += [y for steps in panel.steps for y in steps.heights]
    y_values += [y for band in panel.bands for point in band.points for y in point[1:]]
    low, high = (min(x_values), max(x_values)) if x_values else (0.0, 1.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    elif not panel.x_range and not panel.steps:
        # Dots on the frame would be cut in half.
        low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    x_ticks = [x for x in ticks([low, high]) if low - 1e-9 <= x <= high + 1e-9]
    y_ticks = ticks([0.0, *y_values], about=4)

    span = _FIGURE_WIDTH - _FIGURE_LEFT - _FIGURE_RIGHT
    shown = [marker for marker in panel.markers if low <= marker.x <= high]
    levels = _levels([_FIGURE_LEFT + (m.x - low) / (high - low) * span for m in shown], shown)
    top = _FIGURE_TOP + _LINE * (max(levels, default=-1) + 1)
    floor = _FIGURE_HEIGHT - _FIGURE_BOTTOM
    entries = list(roles) if panel.legend else []
    total = _FIGURE_HEIGHT + _LINE * len(entries)

    def across(x: float) -> float:
        return _FIGURE_LEFT + (min(max(x, low), high) - low) / (high - low) * span

    def up(y: float) -> float:
        return floor - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (floor - top)

    lines = [
        f'<svg viewBox="0 0 {_FIGURE_WIDTH} {total}" role="img" '
        f'aria-labelledby="{ident}-title {ident}-desc">',
        f'<title id="{ident}-title">{escape(panel.title)}</title>',
        f'<desc id="{ident}-desc">{escape(description)}</desc>',
    ]
    for y in y_ticks:
        kind = "grid zero" if y == y_ticks[0] else "grid"
        lines.append(_path(kind, [(_FIGURE_LEFT, up(y)), (_FIGURE_WIDTH - _FIGURE_RIGHT, up(y))]))
        told = _percent(y) if panel.y_percent else f"{y:.3g}"
        lines.append(_label("axis", _FIGURE_LEFT - 6, up(y) + 4, _minus(told), "end"))
    for x in x_ticks:
        lines.append(_path("grid tick", [(across(x), floor), (across(x), floor + 4)]))
        lines.append(_label("axis", across(x), floor + 17, _minus(f"{x:g}"), "middle"))
    middle = _FIGURE_LEFT + span / 2
    lines.append(_label("axis name", middle, _FIGURE_HEIGHT - 8, panel.x_label, "middle"))
    lines.append(_label("axis name", 0, 12, panel.y_label))
    for steps in panel.steps:
        lines.append(_outline(steps, across, up))
    for band in panel.bands:
        corners = [(across(x), up(y)) for x, _, y in band.points]
        corners += [(across(x), up(y)) for x, y, _ in reversed(band.points)]
        lines.append(_path(f"area {band.role}", corners, closed=True))
    # The first on top: it is the one that the others are compared with.
    for series in reversed(panel.series):
        role = roles[series.name]
        role += " single" if len(series.points) == 1 else ""
        places = [(across(point.x), up(point.y)) for point in series.points]
        if len(places) > 1:
            lines.append(_path(f"line {role}", places))
        for point, (x, y) in zip(series.points, places, strict=True):
            if point.low is not None and point.high is not None:
                lines.append(_path(f"whisker {role}", [(x, up(point.low)), (x, up(point.high))]))
            told = f"{series.name}: {point.label}" if point.label else series.name
            lines.append(
                f'<circle class="dot {role}" cx="{x:.1f}" cy="{y:.1f}" '
                f'r="{5 if len(places) == 1 else 3}"><title>{escape(told)}</title></circle>'
            )
        for index in (0, len(places) - 1) if panel.legend and len(places) > 1 else ():
            x, y = places[index]
            inward = x > _FIGURE_WIDTH - _FIGURE_RIGHT - 40
            x, anchor = (x - 6, "end") if inward else (x + 6, "start")
            lines.append(_label("axis", x, y - 6, series.points[index].label, anchor))
    for marker, level in zip(shown, levels, strict=True):
        x, y = across(marker.x), _FIGURE_TOP + _LINE * level
        if marker.low is not None and marker.high is not None:
            left, right = across(marker.low), across(marker.high)
            lines.append(
                _path("area marker", [(left, top), (right, top), (right, floor), (left, floor)])
            )
        lines.append(_path("marker", [(x, y + 3), (x, floor)]))
        lines.append(_label("marker", *_anchored(x, y, marker.label)))
    single = {series.name for series in panel.series if len(series.points) == 1}
    for number, name in enumerate(entries):
        y = _FIGURE_HEIGHT + _LINE * number + 4
        at = _FIGURE_LEFT + 4
        kind = roles[name] + (" single" if name in single else "")
        lines.append(f'<circle class="dot {kind}" cx="{at}" cy="{y - 4}" r="4"/>')
        lines.append(_label("legend", at + 10, y, name))
    return "\n".join([*lines, "</svg>"])


def _levels(places: Sequence[float], markers: Sequence[Marker]) -> list[int]:
    """The line of text that each marker's label goes to, so that none covers another."""
    taken: list[list[tuple[float, float]]] = []
    found = []
    for place, marker in zip(places, markers, strict=True):
        x, _, _, anchor = _anchored(place, 0, marker.label)
        width = _LETTER * len(marker.label) + 8
        left = x - width if anchor == "end" else x
        level = next(
            (
                number
                for number, spans in enumerate(taken)
                if all(left + width < a or left > b for a, b in spans)
            ),
            len(taken),
        )
        if level == len(taken):
            taken.append([])
        taken[level].append((left, left + width))
        found.append(level)
    return found


def _anchored(x: float, y: float, label: str) -> tuple[float, float, str, str]:
    """Where a marker's label stands: right of its line unless it would leave the picture."""
    if x + 4 + _LETTER * len(label) > _FIGURE_WIDTH:
        return x - 4, y + 10, label, "end"
    return x + 4, y + 10, label, "start"


def _outline(steps: Steps, across: Callable[[float], float], up: Callable[[float], float]) -> str:
    base = list(steps.base) or [0.0] * len(steps.heights)

    def walk(heights: Sequence[float]) -> list[tuple[float, float]]:
        return [
            (across(edge), up(height))
            for number, height in enumerate(heights)
            for edge in (steps.edges[number], steps.edges[number + 1])
        ]

    if steps.filled:
        return _path(
            f"area {steps.role}", [*walk(steps.heights), *reversed(walk(base))], closed=True
        )
    first, last = steps.edges[0], steps.edges[-1]
    ends = (across(first), up(base[0])), (across(last), up(base[-1]))
    return _path(f"line {steps.role}", [ends[0], *walk(steps.heights), ends[1]])


def _path(kind: str, places: Sequence[tuple[float, float]], *, closed: bool = False) -> str:
    walk = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return f'<path class="{kind}" d="M{walk}{"Z" if closed else ""}"/>'


def _label(kind: str, x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>'
        f"{escape(text)}</text>"
    )


def _minus(number: str) -> str:
    return number.replace("-", "−")


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


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, extra: str = "") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {extra}/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'
