"""The entry point."""

from __future__ import annotations

import signal
import sys

from negmine import interrupts, log
from negmine.cli.app import app
from negmine.errors import EXIT_INTERRUPTED, MachineError, machine_error


def _interrupt(signum: int, frame: object) -> None:
    # While the command line is read there is nothing to tidy up, and nobody who would tell.
    log.event("interrupted", level=40)
    raise SystemExit(EXIT_INTERRUPTED)


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, interrupts.terminated)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except Exception as error:
        # While the command line was read: too early for guarded(). What used up memory looks like
        # has no common base, and all else is raised again.
        known = machine_error(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        raise SystemExit(MachineError.exit_code) from None
