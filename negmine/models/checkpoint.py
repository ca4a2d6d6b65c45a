"""Rows of a model's output that an interrupted run has left, so that they are not made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from negmine.models.tokens import Ints


class Checkpoint(Protocol):
    """Keeps finished rows of one output array."""

    def restore(self, out: np.ndarray) -> np.ndarray:
        """Fill in the rows of ``out`` that are finished; True for these, bool [rows]."""

    def add(self, rows: Ints, values: np.ndarray) -> None:
        """Keep some rows: their numbers, and what was made of them."""


def resumed(
    batches: list[Ints],
    work: Callable[[Ints], None],
    out: np.ndarray,
    checkpoint: Checkpoint | None,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Ints], Callable[[Ints], None]]:
    """The batches that are left, and work that keeps what it makes.

    A batch of which a row is missing is made again as a whole: what else is in a batch shows in the
    last digits of a model's output.

    Args:
        batches: row numbers of all batches.
        work: fills in some rows of ``out``.
        out: the output, a row each.
        checkpoint: what an interrupted run has left; None = nothing is kept.
        progress: told how many rows are there already.
    """
    if checkpoint is None:
        return batches, work
    done = checkpoint.restore(out)
    left = [rows for rows in batches if not done[rows].all()]
    if progress is not None and (there := sum(map(len, batches)) - sum(map(len, left))):
        progress(there)

    def kept(rows: Ints) -> None:
        work(rows)
        checkpoint.add(rows, out[rows])

    return left, kept
