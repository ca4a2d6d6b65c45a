"""Bad records: the first one stops the run, or all are counted."""

from __future__ import annotations

from typing import Literal

from negmine.errors import InvalidDataError, UsageError

MAX_EXAMPLES = 20


class UnclearSetError(InvalidDataError):
    """Labels that say nothing until an option of ``retrieve`` tells what they mean."""


class UnheldSetError(UsageError):
    """A training set whose records cannot be written back as they lie.

    Args:
        why: what it is.
        where: the file.
    """

    def __init__(self, why: str, *, where: str | None = None) -> None:
        super().__init__(
            f"this training set cannot be written back as it is: {why}",
            where=where,
            hint="Write another layout: export --format flagembedding (run --set "
            "export.format=flagembedding) holds any number of positives and negatives.",
        )


class Problems:
    """What becomes of a bad record: the first one stops the run, or all are counted and skipped.

    Args:
        mode: ``"fail"`` raises at the first bad record, ``"skip"`` leaves it out.
    """

    def __init__(self, mode: Literal["fail", "skip"]) -> None:
        """Start with no problem."""
        self.mode = mode
        #: How many records were skipped.
        self.count = 0
        #: The first of their messages.
        self.examples: list[str] = []

    def report(
        self, where: str, message: str, hint: str | None = None, *, unclear: bool = False
    ) -> None:
        """Note a bad record, or raise :class:`InvalidDataError` in fail mode.

        Args:
            where: its place.
            message: what is wrong.
            hint: how to mend it.
            unclear: a label that an option explains: :class:`UnclearSetError` is raised.
        """
        if self.mode == "fail":
            kind = UnclearSetError if unclear else InvalidDataError
            raise kind(message, where=where, hint=hint)
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{where}: {message}")
