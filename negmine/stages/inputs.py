"""What stages share when they take a user's files."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negmine import memory
from negmine.errors import UsageError
from negmine.models.resolve import ModelRef, weight_bytes
from negmine.table import artifact as artifacts
from negmine.table.readers import origin


def column_map(entries: tuple[str, ...]) -> dict[str, str]:
    """``--column text=body`` as {"text": "body"}.

    Raises:
        UsageError: an entry without "=", or a target given twice.
    """
    result: dict[str, str] = {}
    for entry in entries:
        target, separator, source = entry.partition("=")
        if not separator or not target or not source:
            raise UsageError(
                f"--column {entry!r} is not TARGET=SOURCE", hint="For example: --column text=body"
            )
        if target in result:
            raise UsageError(f"--column names the target '{target}' twice")
        result[target] = source
    return result


@dataclass
class Inputs:
    """The users' inputs of the artifact in ``folder``, for its plan.

    Attributes:
        files: their records by role, for ``Plan.files``.
        again: what takes their digests anew, for ``Plan.again``.
    """

    folder: Path
    files: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    again: dict[str, Callable[[], str]] = field(default_factory=dict)

    def add(self, spec: str, kind: str, role: str | None = None) -> None:
        """Record what ``spec`` holds now; ``role`` is its name where that is not its kind."""
        role = role or kind
        found = origin(spec, kind, artifacts.recorded_file(self.folder, role))
        self.files[role], self.again[role] = found.record, found.again


def models_memory(references: Iterable[ModelRef]) -> dict[str, int]:
    """What models take whatever the blocks, for :func:`negmine.memory.budget`."""
    # What other packages' scorers take is not known.
    references = [reference for reference in references if reference.backend != "plugin"]
    backends = {reference.backend for reference in references}
    return {
        "torch": memory.TORCH if "torch" in backends else 0,
        "onnxruntime": memory.ONNX if "onnx" in backends else 0,
        "the_models": sum(map(weight_bytes, references)),
    }


def copy_of_stdin() -> Path:
    """Standard input as a temporary JSONL file, so that it can be digested and read twice.

    The copy is removed when the process ends.
    """
    with tempfile.NamedTemporaryFile(
        prefix="negmine-stdin-", suffix=".jsonl", delete=False
    ) as spooled:
        copy = Path(spooled.name)
        atexit.register(copy.unlink, missing_ok=True)
        shutil.copyfileobj(sys.stdin.buffer, spooled)
    return copy
