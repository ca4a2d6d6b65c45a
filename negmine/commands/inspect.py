"""``negmine inspect``: what an artifact is, where it comes from, and some of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from negmine.errors import MissingInputError
from negmine.log import printable, printable_json
from negmine.table import artifacts
from negmine.table.artifacts.disk import JOURNAL, MANIFEST
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates
from negmine.table.names import meta_column

_TEXT_WIDTH = 160


def show(path: Path, *, rows: int, verify: bool, as_json: bool) -> None:
    """Print the artifact at ``path``, or every artifact of a work folder.

    Raises:
        MissingInputError: nothing is there.
        InvalidDataError: with ``verify``, a file does not match its checksum.
    """
    found = list(_artifacts(path, verify))
    if not found:
        raise MissingInputError(
            "holds no negmine artifact",
            where=str(path),
            hint="Give the folder of an artifact, or a work folder with artifacts in it.",
        )
    reports = [_report(artifact, rows, verify) for artifact in found]
    if as_json:
        shown = reports[0] if len(reports) == 1 else reports
        print(printable_json(shown, indent=2))
        return
    for number, report in enumerate(reports):
        if number:
            print()
        _print(report)


def _artifacts(path: Path, unfinished: bool) -> Iterator[Artifact]:
    """The artifact at ``path``; else those below it, nearest first.

    Args:
        path: an artifact, an exported file, or a folder of such.
        unfinished: an unfinished artifact on the way is an error, and is not passed over.
    """
    if (path / MANIFEST).is_file() or (path / JOURNAL).is_file():
        opened = artifacts.open_artifact(path)
        yield opened
        if opened.stage == "index":
            for role in opened.inputs:
                yield opened.input(role)
        return
    if path.is_file():
        yield Artifact(path.parent, artifacts.file_manifest(path))
        return
    for child in sorted(path.iterdir()) if path.is_dir() else []:
        if child.is_dir() and not child.name.startswith("."):
            if unfinished or not (child / JOURNAL).is_file() or (child / MANIFEST).is_file():
                yield from _artifacts(child, unfinished)
        elif child.is_file() and artifacts.has_file_manifest(child):
            yield Artifact(path, artifacts.file_manifest(child))


def _report(artifact: Artifact, rows: int, verify: bool) -> dict[str, Any]:
    manifest = artifact.manifest
    report: dict[str, Any] = {
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
        report["verified_files"] = artifact.verify()
    tables = [name for name in manifest["files"] if name.endswith(".parquet")]
    if tables:
        schema = pq.read_schema(artifact.file(tables[0]))
        report["schema"] = {field.name: str(field.type) for field in schema}
    if rows and artifact.stage in ("retrieve", "rerank", "filter"):
        report["rows"] = _joined(artifact, rows)
    return report


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
    doc_texts = dict(zip(docids.to_pylist(), documents.texts(docids).to_pylist(), strict=True))
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


def _print(report: dict[str, Any]) -> None:
    rows = report.pop("rows", [])
    for key, value in report.items():
        if isinstance(value, dict) and value:
            print(f"{key}:")
            for name, item in value.items():
                print(printable(f"  {name}: {item}"))
        elif isinstance(value, list) and value:
            print(f"{key}:")
            for item in value:
                print(printable(f"  {item}"))
        elif value not in ({}, []):
            print(printable(f"{key}: {value}"))
    for row in rows:
        print("row:")
        for name, value in row.items():
            text = value if isinstance(value, str) else "" if value is None else str(value)
            text = " ".join(text.split())
            if len(text) > _TEXT_WIDTH:
                text = text[: _TEXT_WIDTH - 1] + "…"
            print(printable(f"  {name}: {text}"))
