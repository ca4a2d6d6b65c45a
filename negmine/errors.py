"""The errors a user can meet, each with the exit code the shell sees.

Every error says *what* is wrong, *where*, and *how to mend it*; the command line prints these
three and never a traceback. Anything that is not a :class:`NegmineError` is a bug (exit 1).
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

from negmine.addresses import shown


class NegmineError(Exception):
    """A mistake that the user can mend.

    Args:
        what: one sentence naming the problem.
        where: the file, line, field or option it was found in.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.hint:
            lines.append(self.hint)
        return shown("\n".join(lines))


class InvariantError(NegmineError):
    """A count does not add up: a bug in negmine, never the user's mistake."""

    exit_code = 1


class UsageError(NegmineError):
    """An option or a recipe key that is unknown, missing or contradictory."""

    exit_code = 2


class MissingDependencyError(NegmineError):
    """A package or a Java runtime that the asked-for work needs is not installed."""

    exit_code = 3


class MissingInputError(NegmineError):
    """A file, folder, model or artifact that does not exist or is unfinished."""

    exit_code = 4


class InvalidDataError(NegmineError):
    """An input or an artifact whose content is wrong."""

    exit_code = 5


class ConflictError(NegmineError):
    """The output exists with other settings, or another process is writing it."""

    exit_code = 6


class OvertakenError(ConflictError):
    """Another process has made what this one was about to make."""


class MachineError(NegmineError):
    """The machine does not let negmine go on: disk full, no permission, out of memory."""

    exit_code = 7


class EmptyResultError(NegmineError):
    """The work was done, and nothing came out that could be trained on."""

    exit_code = 8


class PausedError(NegmineError):
    """Stopped before the end as was asked for: a budget is spent, or answers are awaited."""

    exit_code = 9


class AwaitedError(PausedError):
    """Answers of a batch are awaited; what else will be asked may be gathered meanwhile."""


class EndpointError(NegmineError):
    """The server of a model does not answer, or lets nobody in."""

    exit_code = 10


EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_MACHINE_HINTS = {
    errno.ENOSPC: "Free some space, then run the same command again: it continues.",
    errno.EDQUOT: "Free some space, then run the same command again: it continues.",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), then run the same command again.",
    errno.EROFS: "Choose an -o on a file system that can be written.",
    errno.EACCES: "Check the permissions, or choose another -o.",
    errno.EPERM: "Check the permissions, or choose another -o.",
    errno.ENOTDIR: "Choose another -o: a part of this path is a file.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n).",
    errno.ENOMEM: "Free memory or raise its limit, then run the same command again: it continues.",
}


#: What libraries say when memory is used up: PyTorch, CUDA's own, cuBLAS, C++, onnxruntime, oneDNN.
_EXHAUSTED = (
    *("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed"),
    *("bad_alloc", "failed to allocate memory", "bfcarena::allocaterawinternal"),
    "could not allocate",
)

#: What CPython says where an allocation inside it failed and its MemoryError was lost on the way.
_LOST = ("error return without exception set", "returned null without setting an exception")


def exhausted(error: BaseException) -> bool:
    """Whether a library ran out of memory, of the machine or of a GPU, or the interpreter did."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, SystemError):
        # "... returned a result with an exception set" has that exception as its cause.
        lost = any(told in str(error).lower() for told in _LOST)
        return lost or isinstance(error.__cause__, MemoryError)
    # onnxruntime's errors are no RuntimeErrors, and have no public base.
    foreign = type(error).__module__.startswith("onnxruntime")
    if not foreign and not isinstance(error, RuntimeError):
        return False
    said = str(error).lower()
    return "OutOfMemoryError" in type(error).__name__ or any(told in said for told in _EXHAUSTED)


def machine_error(error: Exception) -> MachineError | None:
    """What the machine refused, as a message; None where it is not its doing."""
    if exhausted(error) or _no_room_to_import(error):
        return MachineError(
            "out of memory",
            hint="Lower --batch-size or free memory, then run the same command again.",
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return MachineError(
            "no more threads can be started",
            hint="Raise the limits on memory or processes (ulimit -v, -u), then run the same "
            "command again: it continues.",
        )
    # Libraries raise OSError for mistakes of other kinds too, but then without a number.
    if not isinstance(error, OSError) or error.errno is None:
        return None
    name = error.filename
    return MachineError(
        os.strerror(error.errno),
        where=os.fsdecode(name) if isinstance(name, (str, bytes)) else None,
        hint=_MACHINE_HINTS.get(error.errno, "Mend the cause, then run the same command again."),
    )


def _no_room_to_import(error: Exception) -> bool:
    """Whether a library could not be loaded for want of memory, in the loader's words."""
    said = ("failed to map", os.strerror(errno.ENOMEM))
    return isinstance(error, ImportError) and any(told in str(error) for told in said)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"Did you mean 'x'? Known: a, b, x."``, the suggestion only where one is near."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    suggestion = f"Did you mean '{near[0]}'? " if near else ""
    return f"{suggestion}Known: {', '.join(known) if known else '(none)'}."
