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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from negmine import addresses

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


@dataclass(frozen=True)
class Line:
    """A line of the log, as another process says it again.

    Attributes:
        level: as of :mod:`logging`.
        message: the text.
        fields: what travels with it.
    """

    level: int
    message: str
    fields: dict[str, Any]

    def say(self) -> None:
        """Log it here."""
        event(self.message, self.level, **self.fields)


class _Gathering(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", {})
        self.lines.append(Line(record.levelno, record.getMessage(), dict(fields)))


@contextmanager
def gathered(level: int = logging.WARNING) -> Iterator[list[Line]]:
    """Keep the lines from this level on, and show none: who asked for the work says them."""
    kept = _Gathering()
    before, handlers, propagate = logger.level, list(logger.handlers), logger.propagate
    logger.handlers[:], logger.propagate = [kept], False
    logger.setLevel(level)
    try:
        yield kept.lines
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(before)


@contextmanager
def once() -> Iterator[None]:
    """Say no line twice meanwhile, where the same work is looked at several times."""
    said: set[tuple[int, str]] = set()

    def new(record: logging.LogRecord) -> bool:
        line = (record.levelno, record.getMessage())
        # Progress is told again and again, with other numbers in its fields.
        again = line in said and "event" not in getattr(record, "fields", {})
        said.add(line)
        return not again

    logger.addFilter(new)
    try:
        yield
    finally:
        logger.removeFilter(new)


@contextmanager
def silenced() -> Iterator[None]:
    """Let errors through alone: what a command tries on the way is not the user's own run."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def printable(text: str) -> str:
    """``text`` with terminal control characters escaped, so that data cannot drive a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in addresses.shown(text)
    )


def printable_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON with every terminal control character escaped, as JSON escapes them."""
    text = addresses.shown(json.dumps(value, ensure_ascii=False, default=str, indent=indent))
    # JSON's own rule stops at U+001F: DEL, C1 controls and bidirectional overrides pass it.
    return "".join(
        char
        if char.isprintable() or char == "\n"
        else json.dumps(char)[1:-1]
        if ord(char) > 0x7F
        else f"\\u{ord(char):04x}"
        for char in text
    )


#: Seconds until a bar or the first event is shown, and between two events, and between two lines
#: where stderr is neither a terminal nor JSON.
_DELAY, _EVERY, _LINE_EVERY = 1.0, 5.0, 30.0


@dataclass(frozen=True)
class Place:
    """Which stage works, for whom progress is told.

    Attributes:
        stage: its name.
        output: where its result goes.
        number: its place in a chain; 0 where it stands alone.
        of: how many stages the chain has.
    """

    stage: str
    output: str
    number: int = 0
    of: int = 0

    def words(self) -> str:
        """For people: nothing where a stage stands alone."""
        return f"stage {self.number} of {self.of}, {self.stage}" if self.of else ""

    def fields(self) -> dict[str, Any]:
        """For machines."""
        chain = {"stage_number": self.number, "stages": self.of} if self.of else {}
        return {"stage": self.stage, "output": self.output, **chain}


_place: Place | None = None


@contextmanager
def working_on(place: Place) -> Iterator[None]:
    """Have every progress told meanwhile say where it belongs; in a chain, say that it begins."""
    global _place
    before, _place = _place, place
    if place.of:
        event(f"{place.words()}: {place.output}", **place.fields())
    try:
        yield
    finally:
        _place = before


class Progress:
    """A counter: a tqdm bar on a terminal or in a notebook, events in JSON logs, else lines.

    What takes less than a second is not shown, and nothing is under ``--quiet``. Where stderr is a
    file or a pipe, a line every half a minute tells all that is going on. Whether it is shown is
    decided when it is made. A thread tells of it also while nothing is finished.

    Attributes:
        what: the work, for people.
        total: units in all; None = not known.
        unit: what is counted, with a leading space; nothing where only the time passes.
        done: units finished.
    """

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._there = 0
        self._part: tuple[int, int] | None = None
        # Several GPUs tell of their batches in as many threads, and another one tells the time.
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._last: float | None = None
        self._place = _place
        shown = logger.isEnabledFor(logging.INFO)
        self._events = shown and _json_logs()
        draws = shown and not self._events and _draws()
        self._bar: Any = _bar(what, total, unit) if draws else None
        self._lines = shown and not self._events and not draws
        self._closed = threading.Event()
        if self._lines:
            _told.open(self)
        if shown:
            # Where no thread can be started any more the time is not told, and the work goes on.
            with suppress(RuntimeError):
                threading.Thread(target=self._tick, name="negmine-progress", daemon=True).start()

    def update(self, count: int) -> None:
        """Add ``count`` finished units."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.update(count)
            else:
                self._show()

    def there(self, count: int) -> None:
        """Add ``count`` units that an earlier run has finished: they say nothing of the speed."""
        with self._lock:
            self._there += count
            if self._bar is not None:
                self._bar.initial += count
        self.update(count)

    __call__ = update

    def part(self, number: int, of: int) -> None:
        """Say which part is worked on: 1, 2, ... ``of``."""
        self._part = (number, of)
        if self._bar is not None:
            self._bar.set_postfix_str(f"part {number}/{of}", refresh=False)

    def close(self) -> None:
        """Remove the bar; where events were due, a last one says how far it came."""
        self._closed.set()
        with self._lock:
            if self._bar is not None:
                self._bar.close()
            elif self._events and time.monotonic() - self._started >= _DELAY:
                self._tell(time.monotonic())
            elif self._lines:
                _told.close(self)
            self._bar, self._events, self._lines = None, False, False

    def line(self, now: float) -> str:
        """How far it is, for people: ``encoding: 300 of 900 docs, 10 docs/s, 1 min 0 s left``."""
        if not self.unit:
            return f"{self.what}: for {duration(now - self._started)}"
        rate, left = self._speed(now)
        of = "" if self.total is None else f" of {self.total:,}"
        told = [f"{self.what}: {self.done:,}{of}{self.unit}"]
        if self._part is not None:
            told.append(f"part {self._part[0]} of {self._part[1]}")
        if rate:
            told.append(f"{rate:,.0f}{self.unit}/s" if rate >= 10 else f"{rate:.2g}{self.unit}/s")
        if left is not None:
            told.append(f"{duration(left)} left")
        return ", ".join(told)

    def _speed(self, now: float) -> tuple[float, float | None]:
        """Units a second, and the seconds that are left, where that can be said."""
        rate = (self.done - self._there) / max(now - self._started, 1e-9)
        if self.total is None or not rate:
            return rate, None
        return rate, max(0, self.total - self.done) / rate

    def _tick(self) -> None:
        while not self._closed.wait(_DELAY or 1.0):
            with self._lock:
                if self._bar is not None:
                    self._bar.update(0)
                elif not self._closed.is_set():
                    self._show()

    def _show(self) -> None:
        """Tell of it, if that is due."""
        now = time.monotonic()
        if self._events:
            due = self._last is None or now - self._last >= _EVERY
            if now - self._started >= _DELAY and due:
                self._tell(now)
        elif self._lines and (line := _told.due(now)) is not None:
            place = self._place.words() if self._place is not None else ""
            _say(f"{place}: {line}" if place else line, {})

    def _tell(self, now: float) -> None:
        self._last = now
        rate, left = self._speed(now)
        fields: dict[str, Any] = {
            "event": "progress",
            "done": self.done,
            "total": self.total,
            "unit": self.unit.strip(),
            "rate": round(rate, 3),
            "eta": None if left is None else round(left, 1),
        }
        if self._part is not None:
            fields["part"], fields["parts"] = self._part
        if self._place is not None:
            fields |= self._place.fields()
        _say(self.what, fields)


class _Told:
    """What is going on where lines tell of it: one line for all, the outermost work first."""

    def __init__(self) -> None:
        self._open: list[Progress] = []
        self._last = 0.0
        self._lock = threading.Lock()

    def open(self, progress: Progress) -> None:
        with self._lock:
            if not self._open:
                self._last = time.monotonic()
            self._open.append(progress)

    def close(self, progress: Progress) -> None:
        with self._lock:
            self._open.remove(progress)

    def due(self, now: float) -> str | None:
        """The line, if half a minute has passed since the last one."""
        with self._lock:
            if now - self._last < _LINE_EVERY:
                return None
            self._last = now
            return "; ".join(progress.line(now) for progress in self._open)


_told = _Told()


def _say(message: str, fields: dict[str, Any]) -> None:
    """Log past the level: an audit silences the stages that it runs, but not its own progress."""
    record = logger.makeRecord(
        logger.name, logging.INFO, "", 0, message, (), None, extra={"fields": fields}
    )
    logger.handle(record)


def duration(seconds: float) -> str:
    """Seconds for people: ``4.2 s``, ``12 s``, ``3 min 20 s`` or ``5 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _bar(what: str, total: int | None, unit: str) -> Any:
    """A bar; only a name and the time where nothing is counted."""
    from tqdm.auto import tqdm

    # Batches come seldom and differ in cost: every one redraws, and the rate is the mean.
    return tqdm(
        total=total,
        desc=addresses.shown(what),
        unit=unit,
        unit_scale=True,
        delay=_DELAY,
        miniters=0,
        smoothing=0,
        leave=False,
        file=sys.stderr,
        bar_format=None if unit else "{desc} [{elapsed}]",
    )


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


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Name a wait in which nothing can be counted, such as the loading of a model."""
    with progress(what, None, ""):
        yield
