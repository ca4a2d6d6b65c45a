"""Messages for people (stderr) and for machines (``--log-format json``).

stdout is kept for results, so every line written here goes to stderr. One logger serves the
package; progress bars share its stream and are shown only on a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
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


class Progress:
    """A counter shown as a tqdm bar on a terminal and as events in JSON logs."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._started = self._last = time.monotonic()
        self._bar: Any = None
        # A dumb terminal cannot go back to the beginning of a line.
        dumb = os.environ.get("TERM") == "dumb"
        shown = sys.stderr.isatty() and not dumb and logger.isEnabledFor(logging.INFO)
        if shown and not _json_logs():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=what, unit=unit, unit_scale=True, delay=1, leave=False
            )

    def update(self, count: int) -> None:
        """Add ``count`` finished units."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if _json_logs() and now - self._last >= 5:
            self._last = now
            event(
                self.what,
                event="progress",
                done=self.done,
                total=self.total,
                unit=self.unit,
                per_second=round(self.done / (now - self._started), 3),
            )

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


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
