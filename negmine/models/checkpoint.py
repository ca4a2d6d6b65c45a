"""Rows of a model's output that an interrupted run has left, so that they are not made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from negmine.models.tokens import Ints


class Checkpoint(Protocol):
    """Keeps finished rows of one output array."""

    def restore(self, out: np.ndarray) -> np.ndarray:
        """Fill in the rows of ``out`` that are finished; True for these, bool [rows]."""

    def add(self, rows: Ints) -> None:
        """Keep some rows of that array, which are made now and do not change any more."""


@runtime_checkable
class Flushes(Checkpoint, Protocol):
    """One that waits with what it writes, unless it is told not to."""

    def flush(self) -> None:
        """Have all that was added on the disk."""


def resumed(
    batches: list[Ints],
    work: Callable[[Ints], None],
    out: np.ndarray,
    checkpoint: Checkpoint | None,
    there: Callable[[Ints], None] | None = None,
) -> tuple[list[Ints], Callable[[Ints], None]]:
    """The batches that are left, and work that keeps what it makes.

    A batch of which a row is missing is made again as a whole: what else is in a batch shows in the
    last digits of a model's output.

    Args:
        batches: row numbers of all batches.
        work: fills in some rows of ``out``.
        out: the output, a row each.
        checkpoint: what an interrupted run has left; None = nothing is kept.
        there: told which rows are there already.
    """
    if checkpoint is None:
        return batches, work
    done = checkpoint.restore(out)
    left = []
    for rows in batches:
        if not done[rows].all():
            left.append(rows)
        elif there is not None:
            there(rows)

    def kept(rows: Ints) -> None:
        work(rows)
        checkpoint.add(rows)

    return left, kept
