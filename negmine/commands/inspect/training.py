"""A training set, or an evaluation set, on one screen: its files and their first rows."""

from __future__ import annotations

import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from negmine.commands.shortened import counted, headed, one_line, warned
from negmine.stages.export import beir
from negmine.table.artifacts import disk
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import WRITTEN
from negmine.table.writers import suffix_of

#: Files and fields that are shown of many.
_FILES = 3
_FIELDS = 8


def file_of(artifact: Artifact) -> Path | None:
    """The file itself where a training set is one file; None of a folder."""
    if artifact.stage not in ("export", WRITTEN) or disk.is_file(artifact.path / disk.MANIFEST):
        return None
    return artifact.path / next(iter(artifact.files))


def lines(artifact: Artifact, wanted: int, width: int) -> list[str]:
    """What an export is, and the first rows of its files.

    Args:
        artifact: it.
        wanted: rows of its first file; of the next two files one is shown.
        width: columns of a line.

    Raises:
        InvalidDataError: a file is missing or changed.
    """
    counts = artifact.counts
    facts = [
        f"{name.replace('_', ' ')} {number:,}"
        for name, number in counts.items()
        if type(number) is int and number
    ]
    found = headed(f"{file_of(artifact) or artifact.path}: {_what(artifact)}", facts, width)
    found += warned(artifact.warnings, width)
    names = [name for name in artifact.files if suffix_of(Path(name)) is not None]
    for number, name in enumerate(names[:_FILES] if wanted else []):
        rows = _first(artifact.file(name), wanted if number == 0 else 1)
        for place, row in enumerate(rows, 1):
            found += ["", f"{name}, row {place}:"]
            found += [f"  {line}" for line in _row(row, width - 2)]
    if len(names) > _FILES:
        found += ["", f"... and {counted(len(names) - _FILES, 'other file')}"]
    return found


def _what(artifact: Artifact) -> str:
    if artifact.stage == beir.STAGE:
        return "an evaluation set in BEIR's layout"
    if artifact.stage == WRITTEN:
        return f"training data with written texts, {artifact.params['kind']}"
    return f"training data as {artifact.params.get('format', 'an unknown format')}"


def _first(path: Path, wanted: int) -> list[Any]:
    """The first rows: by field where the file names them, else as lines."""
    if path.suffix == ".parquet":
        with disk.mapped(path) as file:
            batches = pq.ParquetFile(file).iter_batches(batch_size=wanted)
            return next((batch.to_pylist() for batch in batches), [])
    with io.TextIOWrapper(pa.input_stream(str(path)), encoding="utf-8") as text:
        read = [line.rstrip("\n") for line in islice(text, wanted)]
    return [json.loads(line) for line in read] if ".jsonl" in path.name else read


def _row(row: Any, width: int) -> list[str]:
    """A row, a line for each field."""
    if not isinstance(row, dict):
        return [one_line(_said(row), width)]
    fields = [one_line(f"{name}: {_said(value)}", width) for name, value in row.items()]
    left = len(fields) - _FIELDS
    return fields if left <= 0 else [*fields[:_FIELDS], f"... and {counted(left, 'other field')}"]


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
