"""A chain by workers that are killed at random: the bytes of one process.

Each trial runs a small chain (BM25, a scorer without a model, many parts) by an engine's workers,
kills something after a random time (a worker, the driver; on Ray one of three machines), and goes
on until the chain is made; then every file is compared with those that one process made::

    python scripts/kill_engines.py WORK --kills 100
    python scripts/kill_engines.py WORK --engine ray --kills 100
    python scripts/kill_engines.py WORK --kills 100 --bucket
    python scripts/kill_engines.py WORK --engine ray --kills 30 --bucket

With ``--bucket`` the work folder is in a bucket of an S3 stand-in, and every driver starts with an
empty cache: the workers of this machine share it, a machine of Ray has its own.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kill_buckets import BUCKET, Store, environment

from tests.ray_machines import STORE, Cluster, machines
from tests.small_workers import (
    begun,
    children,
    contents,
    copied,
    ended,
    leftovers,
    move_work,
    scorers_path,
    until,
    without_models,
)

#: What is killed, and how often of ten times.
ODDS = {"workers": 5, "drivers": 3, "machines": 2}
#: What is said where a part, or the beginning of a worker, was killed three times by chance.
GIVEN_UP = ("ended 3 workers (", "3 workers in a row ended before")
#: Seconds that a worker sleeps before each part, and within which one that has begun is killed.
SLOW, MOMENT = "0.1", 2.0


@dataclass(frozen=True)
class Bench:
    """How an engine runs here.

    Attributes:
        begin: the chain in a folder.
        workers: its workers, of this driver.
        cluster: where they are, if not on this machine alone.
        store: where the work folders are, if not on the disk.
    """

    begin: Callable[[Path], subprocess.Popen[str]]
    workers: Callable[[subprocess.Popen[str]], list[int]]
    cluster: Cluster | None = None
    store: Store | None = None

    def kill(self, driver: subprocess.Popen[str], rng: random.Random) -> str | None:
        """End something of a chain that is being made; what it was, None where it came to an end.

        A worker is waited for: it is there for a part of the time.
        """
        odds = {what: often for what, often in ODDS.items() if what != "machines" or self.cluster}
        (what,) = rng.choices(list(odds), list(odds.values()))
        if what == "workers":
            until(lambda: driver.poll() is not None or self.workers(driver))
            time.sleep(rng.uniform(0, MOMENT))
            workers = self.workers(driver)
            if not workers:
                return None
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
        elif what == "machines" and self.cluster is not None:
            self.cluster.kill(rng.choice(self.cluster.others))
            self.cluster.add()
        elif driver.poll() is not None:
            return None
        else:
            driver.kill()
        return what

    def trial(self, folder: Path, seconds: float, rng: random.Random) -> Counter[str]:
        """A chain, whatever is killed within so many seconds each; how often what was.

        Raises:
            SystemExit: a driver ends by itself before all is made.
        """
        counts: Counter[str] = Counter()
        while True:
            driver = self.begin(folder)
            while driver.poll() is None:
                moment = time.monotonic() + rng.uniform(0, seconds)
                while time.monotonic() < moment and driver.poll() is None:
                    time.sleep(0.05)
                if driver.poll() is None and (what := self.kill(driver, rng)):
                    counts[f"{what} killed"] += 1
                    # One that is killed has not ended yet.
                    time.sleep(0.2)
            _, said = driver.communicate()
            if driver.returncode == 0:
                return counts
            if driver.returncode != -signal.SIGKILL:
                if not any(words in said for words in GIVEN_UP):
                    raise SystemExit(f"{folder}: exit {driver.returncode}\n{said}")
                counts["given up and begun again"] += 1


@contextmanager
def bench_of(engine: str, path: str, workers: int, in_bucket: bool) -> Iterator[Bench]:
    """The engine, ready to make chains."""
    words = ("--engine", "local", "--workers", str(workers))

    def begin(folder: Path) -> subprocess.Popen[str]:
        cache = {"NEGMINE_CACHE": tempfile.mkdtemp(dir=folder)}
        if cluster is not None:
            return cluster.run(folder, env={"PYTHONPATH": path, **cache})
        return begun(folder, *words, path=path, env={"SLOW_PARTS": SLOW, **cache})

    def found(driver: subprocess.Popen[str]) -> list[int]:
        return children(driver.pid) if cluster is None else cluster.workers()

    cluster = None
    with ExitStack() as ends:
        if engine == "ray":
            there = environment(f"http://127.0.0.1:{STORE}") if in_bucket else {}
            cluster = ends.enter_context(machines(path, SLOW, there))
            ends.enter_context(cluster.network())
        yield Bench(begin, found, cluster, Store(STORE if cluster else 0) if in_bucket else None)


def main() -> int:
    """Run the trials; 1 if one of them differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path, help="a folder of the trials' own")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, default=20, help="begin no trial after so many")
    parser.add_argument("--workers", type=int, default=2, help="of the local engine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bucket", action="store_true", help="the work folder is in a bucket")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    path = scorers_path(options.work / "path")
    data = without_models(options.work / "data")
    alone = copied(data, options.work / "whole")
    ended(begun(alone, path=path))
    rng = random.Random(options.seed)
    try:
        with bench_of(options.engine, path, options.workers, options.bucket) as bench:
            return _trials(bench, data, contents(alone / "work"), options.kills, rng)
    except pytest.skip.Exception as lacking:
        raise SystemExit(str(lacking)) from None


def _trials(
    bench: Bench,
    data: Path,
    whole: dict[str, object],
    kills: int,
    rng: random.Random,
) -> int:
    """Trials until so much was killed; 1 if one of them differs."""
    store, begin = bench.store, time.monotonic()
    ended(bench.begin(_new(data, "undisturbed", store)))
    seconds = time.monotonic() - begin
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    counts: Counter[str] = Counter()
    while sum(count for what, count in counts.items() if what.endswith("killed")) < kills:
        folder = _new(data, f"trial-{counts['trials']}", store)
        counts += bench.trial(folder, seconds / 2, rng)
        if store is not None:
            store.get(folder / "work")
        found = contents(folder / "work")
        same = found == whole and not leftovers(folder / "work")
        counts["trials"] += 1
        counts["files compared"] += len(found)
        counts["losses"] += not same
        print(f"{'the same bytes' if same else f'{folder} DIFFERS'}; {dict(counts)}", flush=True)
        if same:
            shutil.rmtree(folder)
    return 1 if counts["losses"] else 0


def _new(data: Path, name: str, store: Store | None) -> Path:
    """A folder of the data, whose work folder is empty, here or in the bucket."""
    folder = copied(data, data.parent / name)
    if store is not None:
        store.clear()
        move_work(folder, f"s3://{BUCKET}/work")
    return folder


if __name__ == "__main__":
    sys.exit(main())
