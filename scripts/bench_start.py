"""Start-up: ``negmine --help`` against ``python -c 'import typer'``, in turns::

python scripts/bench_start.py --rounds 15
"""

from __future__ import annotations

import argparse
import statistics
import sys

import _bench

SIDES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import typer'": [sys.executable, "-c", "import typer"],
    "negmine --help": [sys.executable, "-m", "negmine", "--help"],
    "negmine filter --help": [sys.executable, "-m", "negmine", "filter", "--help"],
}
PEER = "python -c 'import typer'"


def main() -> int:
    """Run every command in turns and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for turn in range(options.rounds + 1):
        for name, command in SIDES.items():
            ran = _bench.whole(command)
            # The first turn fills the file cache.
            if turn:
                seconds[name].append(ran.seconds)
    print(_bench.machine("typer", "click", "negmine") + "\n")
    peer = statistics.median(seconds[PEER])
    rows = [
        (
            f"`{name}`",
            f"{1000 * statistics.median(found):.0f} ({1000 * min(found):.0f})",
            f"{statistics.median(found) / peer:.2f}",
        )
        for name, found in seconds.items()
    ]
    print(_bench.table(("command", "milliseconds, median (least)", "times the peer's"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
