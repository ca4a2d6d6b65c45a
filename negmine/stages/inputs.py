"""What stages share when they take a user's files."""

from __future__ import annotations

import atexit
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negmine import memory
from negmine.models.devices import openvino_installed
from negmine.models.resolve import ModelRef, weight_bytes
from negmine.table import artifact as artifacts
from negmine.table.readers import Specs, origin
from negmine.table.readers.places import Place
from negmine.table.readers.wrappings import unwrapped


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

    def add(self, specs: Specs, kind: str, role: str | None = None) -> None:
        """Record what ``specs`` hold now; ``role`` is its name where that is not its kind."""
        role = role or kind
        found = origin(specs, kind, artifacts.recorded_file(self.folder, role))
        self.files[role], self.again[role] = found.record, found.again


def models_memory(references: Iterable[ModelRef]) -> dict[str, int]:
    """What models take whatever the blocks, for :func:`negmine.memory.budget`."""
    # What other packages' scorers take is not known.
    references = [reference for reference in references if reference.backend != "plugin"]
    backends = {reference.backend for reference in references}
    return {
        "torch": memory.TORCH if "torch" in backends else 0,
        "OpenVINO": memory.OPENVINO if "torch" in backends and openvino_installed() else 0,
        "onnxruntime": memory.ONNX if "onnx" in backends else 0,
        "the_models": sum(map(weight_bytes, references)),
    }


def _suffix(head: bytes, option: str) -> str:
    """The suffix of the format that standard input begins like."""
    if head.startswith(b"PAR1"):
        return ".parquet"
    if option == "exclude":
        return ".txt"
    first = re.split(rb"[\r\n]", head.removeprefix(b"\xef\xbb\xbf").lstrip(), maxsplit=1)[0]
    if not first or first[:1] in b"{[":
        return ".jsonl"
    if first[:1] == b"<":
        return ".topics"
    if first.lower().startswith((b"sep=", b'"sep=')):
        return ".csv"
    tables = option in ("corpus", "queries", "pairs")
    if tables and b"\t" not in first and (b"," in first or b";" in first):
        return ".csv"
    return ".tsv"


def copy_of_stdin(option: str) -> Path:
    """Standard input as a temporary file, so that it can be digested and read twice.

    Its beginning, unpacked, tells what it is: JSON, Parquet, topics, CSV, or else fields between
    tabs (TREC's between blanks); for ``exclude`` it may be a plain list. The copy is removed when
    the process ends.
    """
    with tempfile.NamedTemporaryFile(prefix="negmine-stdin-", delete=False) as spooled:
        unnamed = Path(spooled.name)
        atexit.register(unnamed.unlink, missing_ok=True)
        shutil.copyfileobj(sys.stdin.buffer, spooled)
    # Packed or in another encoding, it is told by what is in it.
    text, head, _ = unwrapped(Place("stdin", str(unnamed)), None, "")
    suffix = f".{text.format}" if text.format else _suffix(head, option)
    copy = unnamed.with_name(unnamed.name + suffix)
    atexit.register(copy.unlink, missing_ok=True)
    return unnamed.rename(copy)
