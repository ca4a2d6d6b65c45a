"""Panels side by side, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from negmine.commands.plot.axes import Axes, y_told
from negmine.commands.plot.marks import COLOURS, Panel, Series, ticks

_WIDTH, _HEIGHT = 460, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 40, 52
_ROW = 16


def svg(panels: Sequence[Panel]) -> str:
    """The panels side by side, with one legend below them."""
    names = list(dict.fromkeys(series.name for panel in panels for series in panel.series))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
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
    lows = [point.y if point.low is None else point.low for point in marks]
    highs = [point.y if point.high is None else point.high for point in marks]
    # From zero, unless something lies below it.
    y_ticks = ticks([0.0, *(low for low in lows if low < 0), *highs])

    axes = Axes(
        x_ticks[0],
        x_ticks[-1],
        x_ticks,
        y_ticks,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        floor=_HEIGHT - _BOTTOM,
    )
    lines = _drawn_axes(panel, axes)
    for series in panel.series:
        lines += _drawn_series(series, colours[series.name], axes)
    return lines


def _drawn_axes(panel: Panel, axes: Axes) -> list[str]:
    """The title, the grid with its numbers, and the names of the axes."""
    lines = [_text(_WIDTH / 2, 20, panel.title, "middle", 'font-size="13" font-weight="bold"')]
    for x in axes.x_ticks:
        at, floor = axes.across(x), axes.floor
        lines.append(_line(at, floor, at, axes.top, "#e5e5e5"))
        lines.append(_text(at, floor + 16, f"{x:g}", "middle"))
    for y in axes.y_ticks:
        at = axes.up(y)
        lines.append(_line(axes.left, at, axes.right, at, "#e5e5e5"))
        lines.append(_text(axes.left - 6, at + 4, y_told(panel, y), "end"))
    lines.append(_text(_WIDTH / 2, _HEIGHT - 14, panel.x_label, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turn = f'transform="rotate(-90 14 {middle:.1f})"'
    lines.append(_text(14, middle, panel.y_label, "middle", turn))
    return lines


def _drawn_series(series: Series, colour: str, axes: Axes) -> list[str]:
    """A line through the points, the points with their names, and the names of its ends."""
    lines = []
    places = axes.places([(point.x, point.y) for point in series.points])
    if len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    for point, (x, y) in zip(series.points, places, strict=True):
        if point.low is not None and point.high is not None:
            bottom, top = axes.up(point.low), axes.up(point.high)
            lines.append(_line(x, bottom, x, top, colour, 'stroke-opacity="0.35"'))
        lines.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
            f"<title>{escape(series.told(point))}</title></circle>"
        )
    # Only the ends are named on the picture: the rest is in the tooltips and the table.
    for index in dict.fromkeys((0, len(places) - 1)) if places else ():
        x, y = places[index]
        inward = x > axes.right - 40
        x, anchor = (x - 5, "end") if inward else (x + 5, "start")
        lines.append(_text(x, y - 5, series.points[index].label, anchor, f'fill="{colour}"'))
    return lines


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, extra: str = "") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {extra}/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'
