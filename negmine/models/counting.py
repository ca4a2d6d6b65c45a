"""Telling of a model's progress by the work that is done, not by the rows.

Batches come longest first, so a tenth of the rows may be half of the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from negmine.models.tokens import Ints


class Progress(Protocol):
    """Told how many more units are finished."""

    def __call__(self, count: int, /) -> object:
        """Add ``count`` units."""


@runtime_checkable
class TellsResumed(Protocol):
    """One that tells apart what an earlier run has finished, which says nothing of the speed."""

    def there(self, count: int) -> None:
        """Add ``count`` units that were finished before."""


def tell_resumed(progress: Progress, count: int) -> None:
    """Tell of units that were finished before, as what they are where that is understood."""
    if isinstance(progress, TellsResumed):
        progress.there(count)
    else:
        progress(count)


@runtime_checkable
class TellsTokens(Protocol):
    """One that is told how long what a model reads is, before it is read."""

    def reads(self, tokens: int, at_limit: int) -> None:
        """Add tokens that are read, and rows that have as many as the model reads, or more."""


def tell_tokens(progress: object, lengths: Ints, most: int) -> None:
    """Tell who wants to know how long rows are.

    Args:
        progress: who may want to.
        lengths: tokens of each row, none of them cut off beyond ``most``.
        most: tokens of a row that the model reads.
    """
    if isinstance(progress, TellsTokens):
        progress.reads(int(lengths.sum()), int((lengths >= most).sum()))


class Reading:
    """Progress that also counts what is read.

    Args:
        progress: whom it is told further.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._read: dict[str, int] = {}

    def __call__(self, count: int) -> None:
        """Add finished units."""
        self._progress(count)

    def there(self, count: int) -> None:
        """Add units that an earlier run has finished."""
        tell_resumed(self._progress, count)

    def reads(self, tokens: int, at_limit: int) -> None:
        """Add tokens that are read, and rows that have as many as the model reads, or more."""
        for name, more in zip(READ, (tokens, at_limit), strict=True):
            self._read[name] = self._read.get(name, 0) + more

    def counts(self) -> dict[str, int]:
        """What was told, by the names of :data:`READ`; nothing of who counts no tokens."""
        return dict(self._read)


#: Counts of what a model reads: tokens, and rows of which it may not have read all.
READ = ("tokens", "at_limit")
AT_LIMIT = READ[1]


def read_of(stats: Iterable[Mapping[str, Any]], of: str = "") -> dict[str, int]:
    """The sums of what was read of several parts; nothing where it was not counted of all.

    Args:
        stats: the counts of each part.
        of: who has read it, where a part has counts of several: ``.NAME`` behind each.
    """
    every = list(stats)
    return {
        name: sum(int(one[f"{name}{of}"]) for one in every)
        for name in READ
        if every and all(f"{name}{of}" in one for one in every)
    }


class Scaled:
    """Progress counted in one unit and told in another; all of one is all of the other.

    Args:
        progress: whom it is told; None = nobody.
        whole: units counted here, in all.
        units: units told, in all.
    """

    def __init__(self, progress: Progress | None, whole: int, units: int) -> None:
        self._progress, self._whole, self._units = progress, max(1, whole), units
        self._done = self._told = 0

    def __call__(self, count: int) -> None:
        """Add finished units."""
        if self._progress is not None and (more := self._more(count)):
            self._progress(more)

    def there(self, count: int) -> None:
        """Add units that an earlier run has finished."""
        if self._progress is not None and (more := self._more(count)):
            tell_resumed(self._progress, more)

    def reads(self, tokens: int, at_limit: int) -> None:
        """Tell of what is read, which is no unit of either."""
        if isinstance(self._progress, TellsTokens):
            self._progress.reads(tokens, at_limit)

    def _more(self, count: int) -> int:
        self._done += count
        before, self._told = self._told, self._units * self._done // self._whole
        return self._told - before


class ByTokens:
    """Rows of a model told as its tokens are read.

    Args:
        progress: whom it is told, in rows; None = nobody.
        lengths: tokens per row.
    """

    def __init__(self, progress: Progress | None, lengths: Ints) -> None:
        self._tokens = np.maximum(lengths, 1)
        self._scaled = Scaled(progress, int(self._tokens.sum()), len(lengths))

    def made(self, rows: Ints) -> None:
        """Add rows that the model has read."""
        self._scaled(int(self._tokens[rows].sum()))

    def there(self, rows: Ints) -> None:
        """Add rows that an earlier run has left."""
        self._scaled.there(int(self._tokens[rows].sum()))
