"""The loop of every model: batches of similar length, each made once, told and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from negmine.errors import InvalidDataError
from negmine.models.base import Settings
from negmine.models.batching import length_batches
from negmine.models.checkpoint import Checkpoint, resumed
from negmine.models.counting import ByTokens, Progress
from negmine.models.devices import Placement
from negmine.models.resolve import ModelRef
from negmine.models.room import Room
from negmine.models.tokens import Ints


class Loaded(Protocol):
    """A model that is in memory."""

    @property
    def ref(self) -> ModelRef:
        """Which one."""

    @property
    def settings(self) -> Settings:
        """How it is run."""

    @property
    def placement(self) -> Placement:
        """Where it runs, in which format."""

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens of a batch."""

    @property
    def room(self) -> Room:
        """What its memory turned out to hold."""


def fill(
    out: npt.NDArray[np.float32],
    model: Loaded,
    lengths: Ints,
    make: Callable[[Ints], npt.NDArray[np.float32]],
    progress: Progress | None,
    checkpoint: Checkpoint | None,
) -> None:
    """Fill in every row of ``out`` with what a model makes of it.

    Args:
        out: a value or a vector per row.
        model: whose batches these are.
        lengths: tokens per row, by which batches are cut.
        make: runs the model on the rows of these numbers.
        progress: told of rows as their tokens are read; None = nobody.
        checkpoint: rows that it has are not made again; None = nothing is kept.

    Raises:
        InvalidDataError: the model gives what is not a finite number.
        MachineError: there is not enough memory for a single row.
    """

    def work(rows: Ints) -> None:
        values = make(rows)
        check_finite(values, model.ref)
        out[rows] = values

    go_through(out, model, lengths, work, progress, checkpoint)


def go_through(
    out: npt.NDArray[np.float32],
    model: Loaded,
    lengths: Ints,
    work: Callable[[Ints], None],
    progress: Progress | None,
    checkpoint: Checkpoint | None,
) -> None:
    """Have a model read every row once, in batches of similar length.

    Args:
        out: what ``work`` fills in.
        model: whose batches these are.
        lengths: tokens per row, by which batches are cut.
        work: reads the rows of these numbers; it may be called again with some of them.
        progress: told of rows as their tokens are read; None = nobody.
        checkpoint: rows that it has are not read again; None = nothing is kept.

    Raises:
        MachineError: there is not enough memory for a single row.
    """
    counted = ByTokens(progress, lengths)

    def told(rows: Ints) -> None:
        work(rows)
        counted.made(rows)

    batches = length_batches(lengths, model.settings.batch_size, model.batch_tokens)
    batches, kept = resumed(batches, told, out, checkpoint, counted.there)
    model.room.run(batches, lengths, kept, model.placement)


def check_finite(values: npt.NDArray[np.float32], ref: ModelRef) -> None:
    """Stop at the first output that is not a number."""
    if not np.isfinite(values).all():
        raise InvalidDataError(
            "the model gave a value that is not a finite number",
            where=ref.spec,
            hint="Try --dtype float32; if that does not help, the model's weights are broken.",
        )
