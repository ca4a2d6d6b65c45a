"""Ctrl-C and SIGTERM: each is raised, and remembered.

What a signal's handler raises is lost where somebody ignores exceptions: a destructor, a bare
``except``. It was seen twice while Java starts; which code ignored it was not found. So whoever is
about to write, or has just started Java, asks :func:`check`, which raises it again.
"""

from __future__ import annotations

import signal
import threading

from negmine.errors import EXIT_TERMINATED
from negmine.log import event

#: The signals that asked this process to end, in order.
_asked: list[int] = []


def interrupted(signum: int, frame: object) -> None:
    """A handler of SIGINT.

    Raises:
        KeyboardInterrupt: always.
    """
    _asked.append(signum)
    raise KeyboardInterrupt


def terminated(signum: int, frame: object) -> None:
    """A handler of SIGTERM, which also says so.

    Raises:
        SystemExit: always, with its exit code.
    """
    _asked.append(signum)
    event("terminated: run the same command again to continue", level=40)
    raise SystemExit(EXIT_TERMINATED)


def check() -> None:
    """Raise what a signal raised before, if one did; in other threads than the main one, nothing.

    Raises:
        KeyboardInterrupt: after SIGINT.
        SystemExit: after SIGTERM.
    """
    if _asked and threading.current_thread() is threading.main_thread():
        if _asked[-1] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(EXIT_TERMINATED)


def forget() -> None:
    """Let signals of a command that has ended not end the next one in this process."""
    _asked.clear()
