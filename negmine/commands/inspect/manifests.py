"""An artifact's manifest as a report: schema, lineage, settings, counts, rows as stored."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from negmine.commands.shortened import one_line
from negmine.log import printable
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import STAGES, Candidates
from negmine.table.names import meta_column

_TEXT_WIDTH = 160


def report(artifact: Artifact, rows: int, verify: bool) -> dict[str, Any]:
    """All that is recorded of an artifact.

    Args:
        artifact: it, opened.
        rows: rows of a candidates table to add, with their texts.
        verify: check every file, and say how many there are.

    Raises:
        InvalidDataError: with ``verify``, a file does not match its checksum.
    """
    manifest = artifact.manifest
    found: dict[str, Any] = {
        "path": str(artifact.path),
        "stage": manifest["stage"],
        "fingerprint": manifest["fingerprint"],
        "made_with": f"negmine {manifest['negmine']}, schema {manifest['schema']}",
        "lineage": _lineage(artifact),
        "params": manifest["params"],
        "models": manifest.get("models", {}),
        "counts": manifest["counts"],
        "warnings": manifest["warnings"],
        "run": {k: v for k, v in manifest["run"].items() if k != "versions"},
    }
    if verify:
        found["verified_files"] = artifact.verify()
    tables = [name for name in manifest["files"] if name.endswith(".parquet")]
    if tables:
        schema = pq.read_schema(artifact.file(tables[0]))
        found["schema"] = {field.name: str(field.type) for field in schema}
    if rows and artifact.stage in STAGES:
        found["rows"] = _joined(artifact, rows)
    return found


def _lineage(artifact: Artifact) -> list[str]:
    """One line per input, indented by how far back it is."""
    lines: list[str] = []

    def walk(current: Artifact, depth: int) -> None:
        for role, record in current.inputs.items():
            indent = "  " * depth
            if "stage" in record:
                lines.append(f"{indent}{role}: {record['path']} ({record['fingerprint'][:12]})")
                if depth < 4:
                    walk(current.input(role), depth + 1)
            else:
                lines.append(f"{indent}{role}: {record['path']} ({record['bytes']:,} bytes)")

    walk(artifact, 0)
    return lines


def _joined(artifact: Artifact, rows: int) -> list[dict[str, Any]]:
    """The first rows with the texts of query and document."""
    name = artifact.parts[0]
    candidates = Candidates(artifact)
    table = candidates.read(name).slice(0, rows)
    documents = candidates.documents
    docids = table.column("docid").combine_chunks().unique()
    doc_texts = documents.texts_by_id(docids.to_pylist())
    queries = candidates.queries(name)
    query_texts = dict(
        zip(queries.column("qid").to_pylist(), queries.column("text").to_pylist(), strict=True)
    )
    kept = {
        meta_column(name): dict(
            zip(docids.to_pylist(), documents.values(name, docids).to_pylist(), strict=True)
        )
        for name in documents.kept
    }
    return [
        {
            **row,
            "query": query_texts[row["qid"]],
            **{name: values[row["docid"]] for name, values in kept.items()},
            "document": doc_texts[row["docid"]],
        }
        for row in table.to_pylist()
    ]


def readable(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    lines: list[str] = []
    for key, value in report.items():
        if key == "rows":
            continue
        if isinstance(value, dict) and value:
            lines += [f"{key}:", *(f"  {name}: {item}" for name, item in value.items())]
        elif isinstance(value, list) and value:
            lines += [f"{key}:", *(f"  {item}" for item in value)]
        elif value not in ({}, []):
            lines.append(f"{key}: {value}")
    for row in report.get("rows", ()):
        lines.append("row:")
        for name, value in row.items():
            text = value if isinstance(value, str) else "" if value is None else str(value)
            lines.append(f"  {name}: {one_line(text, _TEXT_WIDTH)}")
    return printable("\n".join(lines)) + "\n"
