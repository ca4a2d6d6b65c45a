"""An audit as a table and as JSON, and the JSON as an audit again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from negmine import log
from negmine.commands.audit.curves import curves
from negmine.commands.audit.hiding import Scheme
from negmine.commands.audit.settings import Setting
from negmine.errors import MissingInputError, UsageError
from negmine.params.filter import FilterParams
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact

REPORT = "audit.json"
#: What is told of changed labels.
_CHANGED = ("recall", "known_right", "demoted")


# --- telling ----------------------------------------------------------------------------------


def row_of(setting: Setting, scheme: Scheme) -> dict[str, Any]:
    """What a setting changes, and under which scheme it is tried, as a row of the report."""
    changed = {
        field.name.replace("_", "-"): getattr(setting.params, field.name)
        for field in fields(FilterParams)
        if getattr(setting.params, field.name) != field.default
    }
    return {
        "setting": setting.label,
        "options": changed,
        "sweep": setting.sweep.replace("_", "-") if setting.sweep else None,
        "value": setting.value,
        "hidden": scheme.name,
        "runs": scheme.runs,
    }


def stored(path: Path) -> tuple[Artifact, dict[str, Any]]:
    """An audit that was written, a folder or a file, and its report.

    Raises:
        UsageError: it is no audit.
        NegmineError: it is missing, damaged or has no report.
    """
    as_file = artifacts.is_file(path)
    found = (
        Artifact(path.parent, artifacts.file_manifest(path))
        if as_file
        else artifacts.open_artifact(path, ["audit"], purpose="the audit")
    )
    if found.stage != "audit":
        raise UsageError(
            "is not an audit", where=str(path), hint="Make one with: negmine audit SCORED"
        )
    name = path.name if as_file else REPORT
    if name not in found.files:
        raise MissingInputError(f"has no {name}", where=str(path), hint="Audit again.")
    return found, json.loads(found.file(name).read_text(encoding="utf-8"))


def as_json(report: dict[str, Any]) -> str:
    """The report as JSON."""
    return log.printable_json(report, indent=1) + "\n"


def files_of(report: dict[str, Any]) -> dict[str, str]:
    """The report's files: JSON, table, and a picture per scheme where something was swept."""
    texts = {REPORT: as_json(report), "audit.txt": log.printable(table(report))}
    for scheme in dict.fromkeys(row["hidden"] for row in report["rows"]):
        picture = curves(report, scheme)
        if picture is not None:
            texts[f"{scheme.replace(':', '-')}.svg"] = picture
    return texts


def table(report: Mapping[str, Any]) -> str:
    """The report as a table in plain text."""
    queries = report["queries"]
    how = "the only positive hidden of half of them at a time"
    if not report["held_out"]:
        how = f"{report['keep']} positive{'s' * (report['keep'] > 1)} of each revealed"
    lines = [
        f"{queries['queries_audited']} of {queries['queries']} queries audited, {how}; "
        f"hardness in score '{report['teacher']}'; "
        f"[..] are {round(100 * report['confidence'])}% intervals over queries",
        "",
    ]
    heads = ["setting", "hidden", "survival", "contamination", "per query", "short"]
    heads += [f"rank {name}" for name in report["sources"]]
    heads += ["margin"]
    changed = any("relabelled" in row for row in report["rows"])
    heads += ["brought back", "known right", "demoted"] if changed else []
    rows = [heads]
    for row in report["rows"]:
        if "error" in row:
            rows.append([row["setting"], row["hidden"], "cannot be measured"])
            continue
        per_query, margin = row["negatives_per_query"]["value"], row["margin"]["p50"]
        cells = [
            row["setting"],
            row["hidden"],
            _share(row["survival"]),
            _share(row["contamination"]),
            "-" if per_query is None else f"{per_query:.2f}",
            _share(row["short_queries"], interval=False),
        ]
        for name in report["sources"]:
            rank = row["rank"][name]["p50"]
            cells.append("-" if rank is None else f"{rank:.0f}")
        cells.append("-" if margin is None else f"{margin:.3g}")
        told = row.get("relabelled", {})
        rows.append([*cells, *(_share(told[name]) for name in _CHANGED if told)])
    lines += _aligned(rows)
    lines += [
        "",
        "survival: hidden positives in the pool that the rules let through. contamination: chosen",
        "negatives that are hidden positives (positives that nobody ever labelled come on top).",
        "rank, margin: medians over the chosen; margin = negative's minus positive's score.",
    ]
    if changed:
        lines += [
            "brought back: hidden positives in the pool that were promoted. known right: promoted",
            "ones that are hidden positives (others may be right, too: nobody labelled them).",
            "demoted: known positives that were taken away.",
        ]
    lines += _sources_told(report)
    return "\n".join(lines) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, the first of which has all columns, as lines."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    padded = ([cell.ljust(w) for cell, w in zip(row, widths, strict=False)] for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


@dataclass(frozen=True)
class BySource:
    """What was chosen of what one source found, under the settings as they were given.

    Attributes:
        source: its name.
        chosen: negatives per run that it found.
        alone: likewise, that no other source found.
        margin: median of their minus the positive's score; None = unknown.
        rates: by the way of hiding, the share of them that are hidden positives, with its interval.
    """

    source: str
    chosen: float
    alone: float
    margin: float | None
    rates: dict[str, dict[str, float | None]]


def by_source(report: Mapping[str, Any]) -> list[BySource]:
    """Every source of an audit; nothing where there is one alone, or an older audit."""
    rows = [row for row in report["rows"] if row["sweep"] is None and "by_source" in row]
    names = list(rows[0]["by_source"]) if rows else []
    if len(names) < 2:
        return []
    told = []
    for name in names:
        first, runs = rows[0]["by_source"][name], max(1, rows[0]["runs"])
        rates = {row["hidden"]: row["by_source"][name]["contamination"] for row in rows}
        chosen, alone = first["chosen"] / runs, first["alone"] / runs
        told.append(BySource(name, chosen, alone, first["margin"]["p50"], rates))
    return told


def _sources_told(report: Mapping[str, Any]) -> list[str]:
    """The sources as lines of a table."""
    sources = by_source(report)
    if not sources:
        return []
    rows = [["found by", "chosen", "alone", "margin", *sources[0].rates]]
    for one in sources:
        margin = "-" if one.margin is None else f"{one.margin:.3g}"
        told = [_share(rate) for rate in one.rates.values()]
        rows.append([one.source, f"{one.chosen:.0f}", f"{one.alone:.0f}", margin, *told])
    return [
        "",
        "contamination of what each source found, as given; what several found counts for each:",
        "",
        *_aligned(rows),
    ]


def _share(estimate: dict[str, float | None], *, interval: bool = True) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    told = f"{100 * value:.1f}%"
    return f"{told} [{100 * low:.1f}-{100 * high:.1f}]" if interval else told
