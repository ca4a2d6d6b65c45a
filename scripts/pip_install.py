"""``pip install`` with a line of progress: what it is at, and for how long already.

On a terminal the line is written over; elsewhere there is one every ten seconds. What pip said is
shown where it failed::

    python scripts/pip_install.py -c constraints.txt -e .
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

#: How the lines of pip begin that say what it is at.
STEPS = ("Collecting", "Downloading", "Using cached", "Building", "Preparing", "Installing")
#: Seconds between two lines where there is no terminal.
EVERY = 10.0
WIDTH = 78


def main(arguments: Sequence[str]) -> int:
    """Run pip; its exit status."""
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *arguments]
    started = time.monotonic()
    last = started - EVERY
    terminal = sys.stderr.isatty()
    said = []
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        step, now = line.strip(), time.monotonic()
        if not step.startswith(STEPS) or not (terminal or now - last >= EVERY):
            continue
        last = now
        shown = f"pip, {now - started:3.0f} s: {step}"[:WIDTH]
        _tell(f"\r{shown:{WIDTH}}" if terminal else f"{shown}\n")
    code = process.wait()
    if terminal:
        _tell(f"\r{'':{WIDTH}}\r")
    if code:
        _tell("".join(said))
    else:
        _tell(f"pip: done in {time.monotonic() - started:.0f} s\n")
    return code


def _tell(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
