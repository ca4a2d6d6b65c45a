"""The page's charts: from facts to panels, each with a description and a table of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from negmine.commands import plot
from negmine.commands.report.collect import GROUPS, Distribution, Facts, Ranks
from negmine.commands.report.compare import Comparison, Overlaid
from negmine.commands.report.histogram import Histogram
from negmine.commands.report.slices import DROPPED, FATES, POSITIVE, SELECTED, SURVIVED
from negmine.commands.report.words import number, percent

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Cells of a drawn histogram, and of one with few rows.
_CELLS, _FEW_CELLS, _FEW = 40, 24, 500
#: The share of a distribution that may lie beyond an axis, on each side.
_BEYOND = 0.002
#: Likewise of margins as a share: a positive near 0 makes shares so great that the many
#: others would stand in a few cells.
_BEYOND_OF_SHARES = 0.1
#: A bucket with fewer rows has no quartiles worth a mark.
_FEWEST = 5


@dataclass(frozen=True)
class Chart:
    """A picture with what it shows in words and in numbers.

    Attributes:
        title: what it is.
        svg: the picture, safe to put into a page.
        heads: the table's heads.
        rows: its rows: a name, then values.
        note: what must be known to read it.
    """

    title: str
    svg: str
    heads: list[str]
    rows: list[list[str]]
    note: str = ""


def distribution(found: Distribution, ident: str) -> Chart | None:
    """A measure's histogram per group, with the rules' lines; None where nothing has a value."""
    names = [name for name in GROUPS if found.groups[name].total()]
    if found.measure.kind != "score":
        # A positive's margin to itself is 0: a spike that tells nothing.
        names = [name for name in names if name != "positive"]
    if not names:
        return None
    relative = found.measure.kind == "relative"
    edges = _edges(
        [found.groups[name] for name in names],
        [limit.value for limit in found.limits] + ([0.0] if found.measure.kind != "score" else []),
        _BEYOND_OF_SHARES if relative else _BEYOND,
    )
    title = f"Score {found.measure.told}"
    panel = plot.Panel(
        title,
        found.measure.told,
        "share of the group",
        [],
        y_percent=True,
        steps=_outlines(found, names, edges),
        markers=_lines(found),
        x_range=(float(edges[0]), float(edges[-1])),
    )
    told = [
        f"{name}: median {number(found.groups[name].quantiles([0.5])[0])}, 90% between "
        f"{number(found.groups[name].quantiles([0.05])[0])} and "
        f"{number(found.groups[name].quantiles([0.95])[0])}"
        for name in names
    ]
    told += [f"limit of {limit.rule}: {number(limit.value)}" for limit in found.limits]
    rows = [_quantile_row(name, found.groups[name]) for name in names]
    rows += [
        [f"limit: {limit.rule}", "", "", *map(number, (limit.low, limit.value, limit.high)), "", ""]
        for limit in found.limits
    ]
    svg = plot.figure(panel, ident, "Histogram. " + "; ".join(told) + ".")
    note = "What lies beyond the axis is counted at its ends." if relative else ""
    return Chart(title, svg, _quantile_heads(), rows, note)


def _outlines(found: Distribution, names: Sequence[str], edges: np.ndarray) -> list[plot.Steps]:
    """The groups' histograms, those behind first: what is chosen must be seen."""
    order = [name for name in ("random", "dropped", "positive", "selected") if name in names]
    steps = [
        plot.Steps(name, name, *_shape(found.groups[name], edges), filled=name == "random")
        for name in order
    ]
    steps.insert(
        len(steps) - 1 if "selected" in names else len(steps),
        plot.Steps("selected", "selected", *_shape(found.groups["selected"], edges), filled=True),
    )
    return steps


def _lines(found: Distribution) -> list[plot.Marker]:
    """The rules' limits, and on a margin the positive itself."""
    markers = [
        plot.Marker(limit.value, _label(limit.rule, limit.low is not None), limit.low, limit.high)
        for limit in found.limits
    ]
    return markers if found.measure.kind == "score" else [plot.Marker(0.0, "positive"), *markers]


def _shape(histogram: Histogram, edges: np.ndarray) -> tuple[list[float], list[float]]:
    return edges.tolist(), histogram.shares(edges).tolist()


def _label(rule: str, varies: bool) -> str:
    name = rule.replace("_", "-")
    return f"{name} (median)" if varies else name


def _quantile_heads() -> list[str]:
    return ["group", "rows", *(f"p{round(100 * q)}" for q in QUANTILES), "no score"]


def _quantile_row(name: str, histogram: Histogram) -> list[str]:
    quantiles = [number(q) for q in histogram.quantiles(QUANTILES)]
    return [name, number(histogram.total()), *quantiles, number(histogram.unknown)]


def _edges(
    histograms: Sequence[Histogram], others: Sequence[float], beyond: float = _BEYOND
) -> np.ndarray:
    """Cells that hold nearly all of every histogram, and the other values too where near."""
    ends = [h.quantiles([beyond, 1 - beyond]) for h in histograms if h.total()]
    lows = [low for low, _ in ends if low is not None]
    highs = [high for _, high in ends if high is not None]
    low, high = min(lows), max(highs)
    span = max(high - low, 1e-9)
    near = [value for value in others if low - span < value < high + span]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.02 * max(high - low, 1e-6)
    few = min(h.total() for h in histograms if h.total()) < _FEW
    return np.linspace(low - pad, high + pad, (_FEW_CELLS if few else _CELLS) + 1)


def fates_by_rank(ranks: Ranks, ident: str) -> Chart | None:
    """What became of the rows that a source found, by rank."""
    counts = ranks.bucketed()
    total = counts.sum(axis=0)
    if not total.sum():
        return None
    shares = counts / np.maximum(total, 1)
    edges = [edge - 0.5 for edge in ranks.edges]
    base = np.zeros(ranks.buckets)
    steps = []
    for fate in (POSITIVE, SELECTED, SURVIVED, DROPPED):
        top = base + shares[fate]
        name = FATES[fate]
        steps.append(
            plot.Steps(name, f"{name} stack", edges, top.tolist(), base.tolist(), filled=True)
        )
        base = top
    title = f"What became of the ranks of {ranks.source}"
    panel = plot.Panel(
        title, f"rank in {ranks.source}", "share of the rank's rows", [], True, steps=steps
    )
    first = ", ".join(f"{FATES[f]} {percent(shares[f, 0], 1)}" for f in range(len(FATES)))
    last = ", ".join(f"{FATES[f]} {percent(shares[f, -1], 1)}" for f in range(len(FATES)))
    told = f"Stacked areas. {_ranks_told(ranks, 0)}: {first}. "
    told += f"{_ranks_told(ranks, ranks.buckets - 1)}: {last}."
    rows = [
        [_ranks_told(ranks, n), *(number(int(counts[fate, n])) for fate in range(len(FATES)))]
        for n in range(ranks.buckets)
    ]
    return Chart(title, plot.figure(panel, ident, told), ["rank", *FATES], rows)


def _ranks_told(ranks: Ranks, bucket: int) -> str:
    first = ranks.edges[bucket]
    last = min(first + ranks.width - 1, ranks.counts.shape[1])
    return f"rank {first}" if last <= first else f"ranks {first}–{last}"


def hardness(ranks: Ranks, told_margin: str, ident: str) -> Chart | None:
    """Margin to the positive by rank: quartiles of all candidates, medians of the selected."""
    rows, band, middle, chosen = [], [], [], []
    for bucket in range(ranks.buckets):
        x = ranks.edges[bucket] + (ranks.width - 1) / 2
        low, mid, high = ranks.candidates.quantiles((0.25, 0.5, 0.75), bucket)
        candidates = ranks.candidates.total(bucket)
        one = ranks.selected.quantiles([0.5], bucket)[0]
        if low is not None and mid is not None and high is not None and candidates >= _FEWEST:
            band.append((x, low, high))
            middle.append(plot.Point(x, mid, f"{_ranks_told(ranks, bucket)}, {number(mid)}"))
        if one is not None and ranks.selected.total(bucket) >= _FEWEST:
            chosen.append(plot.Point(x, one, f"{_ranks_told(ranks, bucket)}, {number(one)}"))
        rows.append(
            [
                _ranks_told(ranks, bucket),
                *(number(v) for v in (candidates, low, mid, high)),
                *(number(v) for v in (ranks.selected.total(bucket), one)),
            ]
        )
    if not middle:
        return None
    title = f"Margin to the positive by rank in {ranks.source}"
    panel = plot.Panel(
        title,
        f"rank in {ranks.source}",
        told_margin,
        [
            plot.Series("candidates", middle, "candidates"),
            plot.Series("selected", chosen, "selected"),
        ],
        bands=[plot.Band("candidates", "candidates", band)],
        x_range=(0.5, ranks.edges[-1] - 0.5),
    )
    told = f"Line. Median margin of the candidates: {middle[0].label} to {middle[-1].label}"
    if chosen:
        told += f"; of the selected: {chosen[0].label} to {chosen[-1].label}"
    heads = ["rank", "candidates", "p25", "p50", "p75", "selected", "p50 of them"]
    return Chart(title, plot.figure(panel, ident, told + "."), heads, rows)


def rank_quantiles(facts: Facts) -> tuple[list[str], list[list[str]]]:
    """Quantiles of the selected's ranks, a row per source."""
    rows = []
    for ranks in facts.ranks:
        found = int(ranks.counts[SELECTED].sum())
        quantiles = [number(q) for q in ranks.quantiles(SELECTED, QUANTILES)]
        rows.append(
            [ranks.source, number(found), *quantiles, number(facts.selected - found)],
        )
    return ["source", "selected", *(f"p{round(100 * q)}" for q in QUANTILES), "not found"], rows


def overlaid(found: Overlaid, names: tuple[str, str], ident: str) -> Chart | None:
    """The selected of two ledgers, and the positives, on one axis."""
    groups = [found.first, found.second]
    if not all(group.total() for group in groups):
        return None
    scale = [*groups, *([found.positive] if found.measure.kind == "score" else [])]
    edges = _edges(scale, [0.0] if found.measure.kind != "score" else [])
    steps = [
        plot.Steps(names[0], "first", *_shape(found.first, edges), filled=True),
        plot.Steps(names[0], "first", *_shape(found.first, edges)),
        plot.Steps(names[1], "second", *_shape(found.second, edges)),
    ]
    if found.measure.kind == "score" and found.positive.total():
        steps.insert(0, plot.Steps("positive", "positive", *_shape(found.positive, edges)))
    markers = [plot.Marker(0.0, "positive")] if found.measure.kind != "score" else []
    title = f"Score {found.measure.told}"
    panel = plot.Panel(
        title,
        found.measure.told,
        "share of the selected",
        [],
        y_percent=True,
        steps=steps,
        markers=markers,
        x_range=(float(edges[0]), float(edges[-1])),
    )
    told = "; ".join(
        f"{name}: median {number(group.quantiles([0.5])[0])}"
        for name, group in zip(names, groups, strict=True)
    )
    rows = [_quantile_row(name, group) for name, group in zip(names, groups, strict=True)]
    rows.append(_quantile_row("positive", found.positive))
    svg = plot.figure(panel, ident, f"Histogram of the selected. {told}.")
    return Chart(title, svg, _quantile_heads(), rows)


def agreement(found: Comparison, ident: str) -> Chart:
    """Queries by how much their negatives agree."""
    cells = len(found.agreement)
    edges = [n / cells for n in range(cells + 1)]
    total = max(1, int(found.agreement.sum()))
    steps = [plot.Steps("queries", "first", edges, (found.agreement / total).tolist(), filled=True)]
    title = "Agreement of the chosen negatives, per query"
    panel = plot.Panel(
        title,
        "shared negatives / all negatives of the two",
        "share of the queries",
        [],
        y_percent=True,
        steps=steps,
        x_range=(0.0, 1.0),
    )
    told = f"Histogram. {found.identical} of {total} queries have the same negatives in both."
    rows = [
        [f"{edges[n]:.2f}–{edges[n + 1]:.2f}", number(int(count))]
        for n, count in enumerate(found.agreement)
        if count
    ]
    return Chart(title, plot.figure(panel, ident, told), ["agreement", "queries"], rows)


def audit(report: dict[str, Any], panels: Sequence[plot.Panel], ident: str) -> list[Chart]:
    """The audit's curves as pictures of the page."""
    charts = []
    for at, panel in enumerate(panels):
        rows = [
            [
                series.name,
                point.label,
                number(point.x),
                f"{100 * point.y:.1f}%",
                "–" if point.low is None else f"{100 * point.low:.1f}%",
                "–" if point.high is None else f"{100 * point.high:.1f}%",
            ]
            for series in panel.series
            for point in series.points
        ]
        told = (
            f"Lines. {panel.y_label} against {panel.x_label}, a line per rule; the lowest "
            f"contamination is {min((p.y for s in panel.series for p in s.points), default=0):.1%}."
        )
        confidence = round(100 * report["confidence"])
        heads = ["rule", "value", panel.x_label, "contamination"]
        heads += [f"low ({confidence}%)", "high"]
        legend = replace(panel, legend=True)
        charts.append(Chart(panel.title, plot.figure(legend, f"{ident}{at}", told), heads, rows))
    return charts
