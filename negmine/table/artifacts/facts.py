"""Facts of a run: time, memory, versions."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from functools import cache
from typing import Any

from negmine import __version__
from negmine.log import warn
from negmine.memory import exceeded, peak_memory
from negmine.processors import threads


class RunFacts:
    """When a run began, and what it took."""

    def __init__(self) -> None:
        self._clock = time.monotonic()
        self._processor = time.process_time()
        self._started = time.time()

    def facts(self, ceiling: int | None) -> tuple[dict[str, Any], list[str]]:
        """Seconds, CPU seconds, peak memory, machine, versions; a warning if it was exceeded."""
        peak = peak_memory()
        told = exceeded(peak, ceiling)
        warn([told] if told else [])
        facts = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(time.monotonic() - self._clock, 3),
            "cpu_seconds": round(time.process_time() - self._processor, 3),
            "peak_rss_bytes": peak,
            "memory_ceiling_bytes": ceiling,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "versions": library_versions(),
        }
        # Stages that neither run models nor search take no number of threads.
        if (taken := threads()) is not None:
            facts["threads"] = taken
        return facts, [told] if told else []


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change what comes out."""
    return {"negmine": __version__, **_installed()}


@cache
def _installed() -> dict[str, str]:
    """Versions of other packages, looked up once: a run writes many artifacts."""
    versions = {}
    for package in (
        "pyserini",
        "torch",
        "sentence-transformers",
        "transformers",
        "onnxruntime",
        "tokenizers",
        "faiss-cpu",
        "pyarrow",
        "numpy",
    ):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
