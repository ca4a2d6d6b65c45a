"""The data set card beside an exported folder: how to load it, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What a card tells.

    Attributes:
        format: the layout.
        counts: rows, queries and losses.
        columns: type of each column.
        settings: parameters per stage.
        made_with: version of negmine.
    """

    format: str
    counts: Mapping[str, Any]
    columns: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]]
    made_with: str


def metadata(*, held_out: str | None, sidecars: bool, suffix: str) -> str:
    """What ``datasets.load_dataset`` reads of a folder, as YAML.

    Without it what is held out, and the texts by id, would be taken for examples.

    Args:
        held_out: pattern of the held-out files, without their suffix.
        sidecars: queries and documents lie beside the examples.
        suffix: suffix of the files.
    """
    split = [("train", f"part-*{suffix}")]
    if held_out is not None:
        split.append(("validation", held_out + suffix))
    configs = [("train" if sidecars else "default", split)]
    if sidecars:
        configs += [
            (name, [("train", f"_{name}/part-*.parquet")]) for name in ("queries", "documents")
        ]
    lines = ["task_categories:", "- sentence-similarity", "tags:", "- hard-negatives", "- negmine"]
    lines.append("configs:")
    for name, patterns in configs:
        lines += [f"- config_name: {name}", "  data_files:"]
        for part, pattern in patterns:
            lines += [f"  - split: {part}", f"    path: {json.dumps(pattern)}"]
    return "\n".join(lines) + "\n"


def text(facts: Facts, metadata: str) -> str:
    """The card as Markdown, headed by the metadata as the hub wants it."""
    lines = [
        f"---\n{metadata}---",
        "",
        f"# Hard negatives, as `{facts.format}`",
        "",
        f"Mined with negmine {facts.made_with}. "
        "`_manifest.json` holds the full lineage: parameters, inputs, models, checksums.",
        "",
        "| column | type |",
        "|---|---|",
        *(f"| `{name}` | `{kind}` |" for name, kind in facts.columns.items()),
        "",
        "| count | |",
        "|---|---:|",
        *(f"| {name} | {_shown(value)} |" for name, value in facts.counts.items()),
    ]
    for stage, settings in facts.settings.items():
        shown = json.dumps(settings, indent=2, ensure_ascii=False)
        lines += ["", f"Settings of `{stage}`:", "", "```json", shown, "```"]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return f"{value:,}"
