"""An audit as pictures: contamination against yield and hardness."""

from __future__ import annotations

from typing import Any

from negmine.commands import plot
from negmine.commands.audit.hiding import RANDOM


def curves(report: dict[str, Any], scheme: str) -> str | None:
    """The panels of one scheme as a picture; None without a sweep."""
    found = panels(report, scheme)
    return plot.svg(found) if found else None


def panels(report: dict[str, Any], scheme: str) -> list[plot.Panel]:
    """Contamination against yield and against hardness, a line per rule; none without a sweep."""
    # Dense ranks tell most: they are what the trained model will rank by.
    source = next((n for n in report["sources"] if n != "bm25"), report["sources"][0])
    rows = [row for row in report["rows"] if row["hidden"] == scheme and "error" not in row]
    if not any(row["sweep"] for row in rows):
        return []

    def series(x: Any) -> list[plot.Series]:
        found: dict[str, list[plot.Point]] = {}
        for row in rows:
            at, share = x(row), row["contamination"]
            if at is None or share["value"] is None:
                continue
            label = "" if row["sweep"] is None else row["setting"].partition("=")[2]
            point = plot.Point(at, share["value"], label, share["low"], share["high"])
            found.setdefault(row["sweep"] or row["setting"], []).append(point)
        return [plot.Series(name, points) for name, points in found.items()]

    how = "at random" if scheme == RANDOM else scheme
    return [
        plot.Panel(
            f"Yield (positives hidden: {how})",
            "negatives per query",
            "contamination",
            series(lambda row: row["negatives_per_query"]["value"]),
            y_percent=True,
        ),
        plot.Panel(
            f"Hardness (positives hidden: {how})",
            f"median rank in {source} (left is harder)",
            "contamination",
            series(lambda row: row["rank"][source]["p50"]),
            y_percent=True,
        ),
    ]
