"""A chain by local workers whose processes are killed at random: the bytes of one process.

Each trial runs a small chain (BM25, many parts) by workers, kills one of
its processes after a random time, a worker or the driver, and goes on until the chain is made; then
every file is compared with those that one process made::

    python scripts/kill_engines.py WORK --trials 20 --workers 2
    python scripts/kill_engines.py WORK --trials 20 --bucket

With ``--bucket`` the work folder is in a bucket of an S3 stand-in, and every driver, with its
workers, starts with an empty cache.
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
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kill_buckets import BUCKET, Store

from tests.chains import make_data
from tests.small_workers import (
    begun,
    contents,
    ended,
    leftovers,
    workers_path,
    write_recipe,
)


def main() -> int:
    """Run the trials; 1 if one of them differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path, help="a folder of the trials' own")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="a kill comes within so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bucket", action="store_true", help="the work folder is in a bucket")
    options = parser.parse_args()
    store = Store() if options.bucket else None
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    path = workers_path(options.work / "workers")
    data = make_data(options.work / "data")
    write_recipe(data)
    shutil.copytree(data, options.work / "whole")
    ended(begun(options.work / "whole", path=path))
    whole = contents(options.work / "whole" / "work")
    rng = random.Random(options.seed)
    counts: Counter[str] = Counter()
    for trial in range(options.trials):
        folder = options.work / f"trial-{trial}"
        shutil.copytree(data, folder)
        if store is not None:
            store.clear()
            recipe = folder / "recipe.toml"
            recipe.write_text(recipe.read_text().replace('"work"', f'"s3://{BUCKET}/work"'))
        counts += _trial(folder, path, options, rng)
        if store is not None:
            store.get(folder / "work")
        same = contents(folder / "work") == whole and not leftovers(folder / "work")
        counts["trials" if same else "losses"] += 1
        print(
            f"trial {trial}: {'the same bytes' if same else 'DIFFERS'}; {dict(counts)}", flush=True
        )
        if same:
            shutil.rmtree(folder)
    return 1 if counts["losses"] else 0


def _trial(
    folder: Path, path: str, options: argparse.Namespace, rng: random.Random
) -> Counter[str]:
    """A chain, whatever is killed; how often what was."""
    counts: Counter[str] = Counter()
    while True:
        words = ("--engine", "local", "--workers", str(options.workers))
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as cache:
            env = {"SLOW_PARTS": "0.1", "NEGMINE_CACHE": cache}
            driver = begun(folder, *words, path=path, env=env)
            said = _ended(driver, options, rng, counts)
        if driver.returncode == 0:
            return counts
        if driver.returncode != -signal.SIGKILL:
            raise SystemExit(said)


def _ended(
    driver: subprocess.Popen[str],
    options: argparse.Namespace,
    rng: random.Random,
    counts: Counter[str],
) -> str:
    """Kill a worker or the driver after some time; what the driver said when it had ended."""
    until = time.monotonic() + rng.uniform(0, options.seconds)
    while time.monotonic() < until and driver.poll() is None:
        time.sleep(0.05)
    workers = _workers(driver.pid)
    if workers and rng.random() < 0.6:
        counts["workers killed"] += 1
        with suppress(ProcessLookupError):
            os.kill(rng.choice(workers), signal.SIGKILL)
    elif driver.poll() is None:
        counts["drivers killed"] += 1
        driver.kill()
    _, said = driver.communicate()
    return said


def _workers(driver: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-ww", "--ppid", str(driver), "-o", "pid=,args="],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, words in lines if "multiprocessing-fork" in words]


if __name__ == "__main__":
    sys.exit(main())
