"""Telling of a model's progress by the work that is done, not by the rows.

Batches come longest first, so a tenth of the rows may be half of the work.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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
