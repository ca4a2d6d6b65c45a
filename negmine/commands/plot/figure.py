"""Charts as SVG text: the few marks that ``audit``, ``report`` and the benchmarks need.

Written by hand so that a picture costs no dependency, and is the same bytes for the same numbers.
:func:`svg` makes a picture that stands alone, with colours of its own. :func:`figure` makes one for
a page: marks have classes instead of colours, so that the page's style sheet decides (dark, light,
print), and it has a name and a description for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from negmine.commands.plot.marks import COLOURS, Marker, Panel, Steps, percent, ticks

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
    roles = {s.name: s.role or f"c{i % len(COLOURS)}" for i, s in enumerate(panel.series)}
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
        told = percent(y) if panel.y_percent else f"{y:.3g}"
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
