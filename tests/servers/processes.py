"""Servers as processes of their own, which tests may kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def started(module: str, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a module that prints its URL as the first line of stdout; it is killed at the end."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http"), f"the server did not start (exit code {process.wait(60)})"
        yield process, url
    finally:
        process.kill()
        process.wait()
