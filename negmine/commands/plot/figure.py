"""Charts as SVG text: the few marks that ``audit``, ``report`` and the benchmarks need.

Written by hand so that a picture costs no dependency, and is the same bytes for the same numbers.
:func:`svg` makes a picture that stands alone, with colours of its own. :func:`figure` makes one for
a page: marks have classes instead of colours, so that the page's style sheet decides (dark, light,
print), and it has a name and a description for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from negmine.commands.plot.axes import Axes, inner_ticks, spanned, y_told, y_values
from negmine.commands.plot.marks import COLOURS, Marker, Panel, Series, Steps, ticks

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
    low, high = spanned(panel)
    left, right = _FIGURE_LEFT, _FIGURE_WIDTH - _FIGURE_RIGHT
    shown = [marker for marker in panel.markers if low <= marker.x <= high]
    levels = _levels([left + (m.x - low) / (high - low) * (right - left) for m in shown], shown)
    axes = Axes(
        low,
        high,
        inner_ticks(low, high),
        ticks([0.0, *y_values(panel)], about=4),
        left,
        right,
        top=_FIGURE_TOP + _LINE * (max(levels, default=-1) + 1),
        floor=_FIGURE_HEIGHT - _FIGURE_BOTTOM,
    )
    total = _FIGURE_HEIGHT + (_LINE * len(roles) if panel.legend else 0)
    lines = [
        f'<svg viewBox="0 0 {_FIGURE_WIDTH} {total}" role="img" '
        f'aria-labelledby="{ident}-title {ident}-desc">',
        f'<title id="{ident}-title">{escape(panel.title)}</title>',
        f'<desc id="{ident}-desc">{escape(description)}</desc>',
        *_drawn_axes(panel, axes),
    ]
    lines += [_outline(steps, axes) for steps in panel.steps]
    for band in panel.bands:
        corners = [(x, y) for x, _, y in band.points]
        corners += [(x, y) for x, y, _ in reversed(band.points)]
        lines.append(_path(f"area {band.role}", axes.places(corners), closed=True))
    # The first on top: it is the one that the others are compared with.
    for series in reversed(panel.series):
        lines += _drawn_series(series, roles[series.name], axes, ends_named=panel.legend)
    for marker, level in zip(shown, levels, strict=True):
        lines += _drawn_marker(marker, axes, _FIGURE_TOP + _LINE * level)
    lines += _legend(panel, roles) if panel.legend else []
    return "\n".join([*lines, "</svg>"])


def _drawn_axes(panel: Panel, axes: Axes) -> list[str]:
    """The grid, its numbers, and the names of the axes."""
    lines = []
    for y in axes.y_ticks:
        kind = "grid zero" if y == axes.y_ticks[0] else "grid"
        lines.append(_path(kind, [(axes.left, axes.up(y)), (axes.right, axes.up(y))]))
        told = _minus(y_told(panel, y))
        lines.append(_label("axis", axes.left - 6, axes.up(y) + 4, told, "end"))
    for x in axes.x_ticks:
        at, floor = axes.across(x), axes.floor
        lines.append(_path("grid tick", [(at, floor), (at, floor + 4)]))
        lines.append(_label("axis", at, floor + 17, _minus(f"{x:g}"), "middle"))
    middle = axes.left + (axes.right - axes.left) / 2
    lines.append(_label("axis name", middle, _FIGURE_HEIGHT - 8, panel.x_label, "middle"))
    lines.append(_label("axis name", 0, 12, panel.y_label))
    return lines


def _drawn_series(series: Series, role: str, axes: Axes, *, ends_named: bool) -> list[str]:
    """A line through the points, the points with their names, and the names of its ends."""
    lines = []
    places = axes.places([(point.x, point.y) for point in series.points])
    role += " single" if len(places) == 1 else ""
    if len(places) > 1:
        lines.append(_path(f"line {role}", places))
    for point, (x, y) in zip(series.points, places, strict=True):
        if point.low is not None and point.high is not None:
            whisker = [(x, axes.up(point.low)), (x, axes.up(point.high))]
            lines.append(_path(f"whisker {role}", whisker))
        lines.append(
            f'<circle class="dot {role}" cx="{x:.1f}" cy="{y:.1f}" '
            f'r="{5 if len(places) == 1 else 3}"><title>{escape(series.told(point))}</title>'
            "</circle>"
        )
    for index in (0, len(places) - 1) if ends_named and len(places) > 1 else ():
        x, y = places[index]
        inward = x > axes.right - 40
        x, anchor = (x - 6, "end") if inward else (x + 6, "start")
        lines.append(_label("axis", x, y - 6, series.points[index].label, anchor))
    return lines


def _drawn_marker(marker: Marker, axes: Axes, y: float) -> list[str]:
    """A vertical line with its name at a height, and the range about it."""
    lines, x, top, floor = [], axes.across(marker.x), axes.top, axes.floor
    if marker.low is not None and marker.high is not None:
        left, right = axes.across(marker.low), axes.across(marker.high)
        corners = [(left, top), (right, top), (right, floor), (left, floor)]
        lines.append(_path("area marker", corners))
    lines.append(_path("marker", [(x, y + 3), (x, floor)]))
    return [*lines, _label("marker", *_anchored(x, y, marker.label))]


def _legend(panel: Panel, roles: Mapping[str, str]) -> list[str]:
    """The names of the series, a line each, below the picture."""
    lines = []
    single = {series.name for series in panel.series if len(series.points) == 1}
    for number, (name, role) in enumerate(roles.items()):
        at, y = _FIGURE_LEFT + 4, _FIGURE_HEIGHT + _LINE * number + 4
        kind = role + (" single" if name in single else "")
        lines.append(f'<circle class="dot {kind}" cx="{at}" cy="{y - 4}" r="4"/>')
        lines.append(_label("legend", at + 10, y, name))
    return lines


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


def _outline(steps: Steps, axes: Axes) -> str:
    base = list(steps.base) or [0.0] * len(steps.heights)

    def walk(heights: Sequence[float]) -> list[tuple[float, float]]:
        return [
            (axes.across(edge), axes.up(height))
            for number, height in enumerate(heights)
            for edge in (steps.edges[number], steps.edges[number + 1])
        ]

    if steps.filled:
        return _path(
            f"area {steps.role}", [*walk(steps.heights), *reversed(walk(base))], closed=True
        )
    first, last = steps.edges[0], steps.edges[-1]
    ends = axes.places([(first, base[0]), (last, base[-1])])
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
