"""What reading users' files costs: a million records of each format, here and at another revision.

    python scripts/bench_readers.py --against main
    python scripts/bench_readers.py --against 3f737d7 --rows 100000 --repeat 3 --only corpus.jsonl

Files of made-up texts are written once (about 1.3 GB for a million records) and read through the
functions that the stages call. Every reading is a process of its own, the two trees in turns, so
that what else goes on in the machine hits both; the other revision is checked out in a temporary
git worktree. Told is the least of all rounds: CPU seconds, seconds, and their ratio to the other
revision's. The process ends with 1 where the CPU seconds of a format are more than ``--most`` times
those of the other revision.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
#: What one process does: import first, so that only the reading counts.
_WORKER = """
import json, sys, time
try:
    from negmine import inputs as readers
except ImportError:  # revisions of before
    from negmine.table import readers
role, path = sys.argv[1:]
read = getattr(readers, "read_" + role)
if role == "pairs":
    # What the stages read pairs with; older revisions have no other.
    read = getattr(readers, "read_examples", read)
started, spent = time.perf_counter(), time.process_time()
rows = sum(batch.num_rows for batch in read(path, {}, readers.Problems("fail")))
print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started,
                  "cpu": time.process_time() - spent}))
"""
_BATCH = 50_000


def main() -> int:
    """Make the files, read them in turns, tell the least; 1 where it got slower."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5, help="rounds; the least of them counts")
    parser.add_argument("--against", metavar="REV", help="another revision of this repository")
    parser.add_argument("--only", action="append", choices=sorted(FILES), help="repeatable")
    parser.add_argument("--work", type=Path, help="keep the files here, and use those that are")
    parser.add_argument("--most", type=float, default=1.05, help="largest ratio of CPU seconds")
    parser.add_argument("--report", type=Path, help="JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, _trees(given.against, temporary) as trees:
        folder = given.work or Path(temporary) / "data"
        folder.mkdir(parents=True, exist_ok=True)
        found = {
            name: _measured(name, _file(folder, name, given.rows), trees, given.repeat)
            for name in given.only or FILES
        }
    slow = [name for name, row in found.items() if row.get("cpu_ratio", 0) > given.most]
    report = {"rows": given.rows, "against": given.against, "files": found, "slower": slow}
    if given.report is not None:
        given.report.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 1 if slow else 0


@contextmanager
def _trees(against: str | None, folder: str) -> Iterator[dict[str, Path]]:
    """This tree, and a worktree of the other revision."""
    if against is None:
        yield {"here": ROOT}
        return
    other = Path(folder) / "tree"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(other), against], check=True)
    try:
        yield {"here": ROOT, "there": other}
    finally:
        subprocess.run([*git, "remove", "--force", str(other)], check=True)


def _measured(name: str, path: Path, trees: dict[str, Path], repeat: int) -> dict[str, Any]:
    """The least CPU seconds and seconds of each tree, and their ratio."""
    runs: dict[str, list[dict[str, float]]] = {tree: [] for tree in trees}
    for number in range(repeat):
        order = list(trees) if number % 2 == 0 else list(reversed(trees))
        for tree in order:
            runs[tree].append(_read(trees[tree], FILES[name][0], path))
    rows = {run["rows"] for found in runs.values() for run in found}
    if len(rows) != 1:
        raise SystemExit(f"{name}: the revisions read different numbers of records: {rows}")
    least = {
        f"{tree}_{what}": round(min(run[what] for run in found), 3)
        for tree, found in runs.items()
        for what in ("cpu", "seconds")
    }
    ratios = {
        f"{what}_ratio": round(least[f"here_{what}"] / least[f"there_{what}"], 3)
        for what in ("cpu", "seconds")
        if "there" in trees
    }
    return {"megabytes": path.stat().st_size >> 20, **least, **ratios}


def _read(tree: Path, role: str, path: Path) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, role, str(path)],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


# --- the files ------------------------------------------------------------------------------------

_WORDS = [
    *("river", "stone", "plant", "sugar", "light", "thunder", "salt", "engine", "valve", "glucose"),
    *("the", "of", "and", "a", "in", "to", "is", "was", "for", "naïve", "42", "it's", '"so"', "né"),
]


def _texts(rng: random.Random, least: int, most: int) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(least, most)))


def _documents(rows: int) -> Iterator[dict[str, str]]:
    rng = random.Random(1)
    for number in range(rows):
        text = _texts(rng, 30, 90)
        yield {"_id": f"d{number}", "title": _texts(rng, 2, 6), "text": text}


def _pairs(rows: int) -> Iterator[dict[str, str]]:
    rng = random.Random(2)
    for _ in range(rows):
        yield {"query": _texts(rng, 4, 12), "positive": _texts(rng, 30, 90)}


def _judged(rows: int) -> Iterator[dict[str, str]]:
    rng = random.Random(3)
    for number in range(rows):
        document = rng.randrange(10 * rows)
        yield {"query-id": f"q{number // 3}", "corpus-id": f"d{document}", "score": "1"}


def _jsonl(path: Path, records: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as sink:
        sink.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _csv(path: Path, records: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as sink:
        first = next(records)
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerows([list(first), list(first.values())])
        writer.writerows(list(record.values()) for record in records)


def _tsv(path: Path, records: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as sink:
        first = next(records)
        sink.write("\t".join(first) + "\n" + "\t".join(first.values()) + "\n")
        sink.writelines("\t".join(record.values()) + "\n" for record in records)


def _parquet(path: Path, records: Iterator[dict[str, str]]) -> None:
    writer: pq.ParquetWriter | None = None
    rows: list[dict[str, str]] = []

    def flush() -> None:
        nonlocal writer
        table = pa.Table.from_pylist(rows)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        rows.clear()

    for record in records:
        rows.append(record)
        if len(rows) == _BATCH:
            flush()
    if rows:
        flush()
    if writer is not None:
        writer.close()


_Make = Callable[[int], Iterator[dict[str, str]]]
_Write = Callable[[Path, Iterator[dict[str, str]]], None]
#: Each file: what it is read as, its records, how they are written.
FILES: dict[str, tuple[str, _Make, _Write]] = {
    "corpus.jsonl": ("corpus", _documents, _jsonl),
    "corpus.csv": ("corpus", _documents, _csv),
    "corpus.tsv": ("corpus", _documents, _tsv),
    "corpus.parquet": ("corpus", _documents, _parquet),
    "qrels.tsv": ("qrels", _judged, _tsv),
    "pairs.jsonl": ("pairs", _pairs, _jsonl),
    "pairs.csv": ("pairs", _pairs, _csv),
}


def _file(folder: Path, name: str, rows: int) -> Path:
    """The file with so many records, made unless it is there."""
    path = folder / f"{rows}-{name}"
    if not path.exists():
        _, make, write = FILES[name]
        made = path.with_name(f"making-{path.name}")
        write(made, make(rows))
        made.rename(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
