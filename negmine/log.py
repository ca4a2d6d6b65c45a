"""Messages for people (stderr) and for machines (``--log-format json``).

stdout is kept for results, so every line written here goes to stderr. One logger serves the
package; progress bars share its stream and are shown only on a terminal or in a notebook.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger("negmine")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        event.update(getattr(record, "fields", {}))
        return printable_json(event)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "warning: " if record.levelno == logging.WARNING else ""
        return prefix + printable(record.getMessage())


def setup(*, quiet: bool = False, verbose: bool = False, log_format: str = "text") -> None:
    """Send negmine's log to stderr: warnings only when quiet, debug lines too when verbose."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


@contextmanager
def shown(verbose: bool) -> Iterator[None]:
    """Show log and progress of a call from Python: all of it, or warnings only.

    Whoever set up a handler, for this logger or for all, gets the lines there; else they go to
    stderr. Bars are shown on terminals and in notebooks.
    """
    level, handlers, propagate = logger.level, list(logger.handlers), logger.propagate
    if not logger.hasHandlers():
        setup(quiet=not verbose)
    elif not verbose:
        logger.setLevel(logging.WARNING)
    elif logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def event(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log ``message``; the fields travel with it in the JSON format."""
    logger.log(level, message, extra={"fields": fields})


def warn(messages: Iterable[str]) -> None:
    """Log each message as a warning."""
    for message in messages:
        event(message, logging.WARNING)


def printable(text: str) -> str:
    """``text`` with terminal control characters escaped, so that data cannot drive a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def printable_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON with every terminal control character escaped, as JSON escapes them."""
    text = json.dumps(value, ensure_ascii=False, default=str, indent=indent)
    # JSON's own rule stops at U+001F: DEL, C1 controls and bidirectional overrides pass it.
    return "".join(
        char
        if char.isprintable() or char == "\n"
        else json.dumps(char)[1:-1]
        if ord(char) > 0x7F
        else f"\\u{ord(char):04x}"
        for char in text
    )


#: Seconds until a bar or the first event is shown, and between two events.
_DELAY, _EVERY = 1.0, 5.0


class Progress:
    """A counter shown as a tqdm bar on a terminal or in a notebook, and as events in JSON logs.

    What takes less than a second is not shown, and neither is anything under ``--quiet`` or, in
    text logs, where stderr is no terminal and there is no notebook. Whether it is shown is decided
    when it is made.

    Attributes:
        what: the work, for people.
        total: units in all; None = not known.
        unit: what is counted, with a leading space.
        done: units finished.
    """

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._part: tuple[int, int] | None = None
        # Several GPUs tell of their batches in as many threads.
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._last: float | None = None
        shown = logger.isEnabledFor(logging.INFO)
        self._events = shown and _json_logs()
        self._bar: Any = None
        if shown and not self._events and _draws():
            from tqdm.auto import tqdm

            # Batches come seldom and differ in cost: every one redraws, and the rate is the mean.
            self._bar = tqdm(
                total=total,
                desc=what,
                unit=unit,
                unit_scale=True,
                delay=_DELAY,
                miniters=1,
                smoothing=0,
                leave=False,
                file=sys.stderr,
            )

    def update(self, count: int) -> None:
        """Add ``count`` finished units."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.update(count)
            elif self._events:
                now = time.monotonic()
                shown = self._last is None or now - self._last >= _EVERY
                if now - self._started >= _DELAY and shown:
                    self._tell(now)

    def part(self, number: int, of: int) -> None:
        """Say which part is worked on: 1, 2, ... ``of``."""
        self._part = (number, of)
        if self._bar is not None:
            self._bar.set_postfix_str(f"part {number}/{of}", refresh=False)

    def close(self) -> None:
        """Remove the bar; where events were due, a last one says how far it came."""
        if self._bar is not None:
            self._bar.close()
        elif self._events and time.monotonic() - self._started >= _DELAY:
            self._tell(time.monotonic())
        self._bar, self._events = None, False

    def _tell(self, now: float) -> None:
        self._last = now
        rate = self.done / max(now - self._started, 1e-9)
        left = None if self.total is None else max(0, self.total - self.done)
        fields: dict[str, Any] = {
            "event": "progress",
            "done": self.done,
            "total": self.total,
            "unit": self.unit.strip(),
            "rate": round(rate, 3),
            "eta": round(left / rate, 1) if left is not None and rate else None,
        }
        if self._part is not None:
            fields["part"], fields["parts"] = self._part
        # Past the level: an audit silences the stages that it runs, but not its own progress.
        record = logger.makeRecord(
            logger.name, logging.INFO, "", 0, self.what, (), None, extra={"fields": fields}
        )
        logger.handle(record)


def _draws() -> bool:
    """Whether a bar can be drawn: on a terminal, or in a notebook."""
    if sys.stderr.isatty():
        # A dumb terminal cannot go back to the beginning of a line.
        return os.environ.get("TERM") != "dumb"
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config


def _json_logs() -> bool:
    return any(isinstance(handler.formatter, _JsonFormatter) for handler in logger.handlers)


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Progress]:
    """A :class:`Progress` that is removed at the end, whatever happens."""
    shown = Progress(what, total, unit)
    try:
        yield shown
    finally:
        shown.close()
