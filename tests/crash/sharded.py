"""What the tests of shards share: a small chain, run in this process, and what came of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.chains import small_parts
from tests.conftest import Invoke

COUNT = 3
FILTER = ("filter", "work/candidates", "--num-negatives", "3", "-o", "work/ledger")


class Here:
    """The command line with small parts, in this process and in some folder."""

    def __init__(self, invoke: Invoke, patch: pytest.MonkeyPatch) -> None:
        self._invoke, self._patch = invoke, patch

    def ends(self, code: int, *words: object, cwd: Path) -> str:
        """What a command says on stderr; it must end with this exit code."""
        self._patch.chdir(cwd)
        with small_parts():
            found = self._invoke(*words)
        assert found.exit_code == code, found.stderr
        said: str = found.stderr
        assert "Traceback" not in said
        return said

    def done(self, *words: object, cwd: Path) -> str:
        """What a command says that does what it is asked."""
        return self.ends(0, *words, cwd=cwd)


def contents(folder: Path) -> dict[str, Any]:
    """Every file of an artifact: bytes, of manifests what is not of the run itself."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(folder))
        if path.name != "_manifest.json":
            # Lucene's own files have times in them.
            found[name] = path.read_bytes() if "lucene" not in name else None
            continue
        manifest = json.loads(path.read_text())
        manifest.pop("run")
        for record in manifest["inputs"].values():
            record.pop("path"), record.pop("inode", None), record.pop("mtime_ns", None)
        found[name] = json.loads(json.dumps(manifest)) if "lucene" not in str(manifest) else None
    return found


def copied(data: Path, folder: Path) -> Path:
    """A folder of the same files, which are not copied."""
    for path in sorted(data.rglob("*")):
        target = folder / path.relative_to(data)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return folder
