"""The data set card beside an exported folder: how to load it, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

#: What tells a data set that negmine made.
TAG = "negmine"


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


def metadata(
    *,
    held_out: str | None,
    sidecars: bool,
    suffix: str,
    features: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What ``datasets.load_dataset`` reads of a folder, as YAML.

    Without it what is held out, and the texts by id, would be taken for examples.

    Args:
        held_out: pattern of the held-out files, without their suffix.
        sidecars: queries and documents lie beside the examples.
        suffix: suffix of the files.
        features: types of the columns (see :func:`features_of`); left out, files tell them.
    """
    split = [("train", f"part-*{suffix}")]
    if held_out is not None:
        split.append(("validation", held_out + suffix))
    configs = [("train" if sidecars else "default", split)]
    if sidecars:
        configs += [
            (name, [("train", f"_{name}/part-*.parquet")]) for name in ("queries", "documents")
        ]
    lines = ["task_categories:", "- sentence-similarity", "tags:", "- hard-negatives", f"- {TAG}"]
    lines.append("configs:")
    for name, patterns in configs:
        lines += [f"- config_name: {name}", "  data_files:"]
        for part, pattern in patterns:
            lines += [f"  - split: {part}", f"    path: {json.dumps(pattern)}"]
    if features:
        lines += ["dataset_info:", f"- config_name: {configs[0][0]}", "  features:"]
        lines += [f"  - {json.dumps(feature, ensure_ascii=False)}" for feature in features]
    return "\n".join(lines) + "\n"


#: Arrow's names of numbers that ``datasets`` calls otherwise.
_NUMBERS = {"float": "float32", "double": "float64", "halffloat": "float16"}


def features_of(schema: pa.Schema, *, widened: bool) -> list[dict[str, Any]]:
    """The types of columns as ``datasets`` writes them into a card.

    Args:
        schema: of the examples.
        widened: the files are lines of JSON, whose numbers have 64 bits.
    """
    return [{"name": field.name, **_feature(field.type, widened)} for field in schema]


def _feature(kind: pa.DataType, widened: bool) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return {"struct": [{"name": one.name, **_feature(one.type, widened)} for one in fields]}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _feature(kind.value_type, widened)
        # One of a single key stands for itself.
        short = inner.get("dtype") or inner.get("struct")
        return {"list": short or inner}
    if pa.types.is_integer(kind) and widened:
        return {"dtype": "int64"}
    if pa.types.is_floating(kind) and widened:
        return {"dtype": "float64"}
    if pa.types.is_large_string(kind) and widened:
        return {"dtype": "string"}
    return {"dtype": _NUMBERS.get(str(kind), str(kind))}


def text(facts: Facts, metadata: str, *, lineage: bool = True) -> str:
    """The card as Markdown, headed by the metadata as the hub wants it.

    Args:
        facts: what it tells.
        metadata: its head.
        lineage: the manifest lies beside it.
    """
    told = "`_manifest.json` holds the full lineage: parameters, inputs, models, checksums."
    lines = [
        f"---\n{metadata}---",
        "",
        f"# Hard negatives, as `{facts.format}`",
        "",
        f"Mined with negmine {facts.made_with}." + (f" {told}" if lineage else ""),
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
