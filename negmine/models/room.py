"""Batches that do not fit in a model's memory: halved, and the work goes on.

What else is in a batch shows in the last digits of a model's output, so a run that had to halve
differs there from one that had not; it says so once, and its manifest says how far it went.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from negmine import log
from negmine.errors import MachineError, exhausted
from negmine.models.devices import Placement
from negmine.models.tokens import Ints


@dataclass
class Room:
    """What the memory of a loaded model turned out to hold.

    Attributes:
        model: the model's name, for messages.
        unit: what a row of a batch is: ``text`` or ``pair``.
        tokens: most padded tokens of a batch, once one did not fit.
    """

    model: str
    unit: str
    tokens: int | None = None

    def run(
        self,
        batches: Iterable[Ints],
        lengths: Ints,
        work: Callable[[Ints], None],
        placement: Placement,
    ) -> None:
        """Call ``work`` with the rows of every batch; what does not fit is tried in halves.

        Args:
            batches: row numbers, the longest row of each batch first.
            lengths: tokens per row.
            work: runs the model; what it raises for want of memory is caught.
            placement: where the model runs.

        Raises:
            MachineError: a single row does not fit.
        """
        for batch in batches:
            start = 0
            while start < len(batch):
                most = len(batch)
                if self.tokens is not None:
                    most = max(1, self.tokens // max(1, int(lengths[batch[start]])))
                rows = batch[start : start + most]
                if self._fits(rows, lengths, work, placement):
                    start += len(rows)

    def _fits(
        self, rows: Ints, lengths: Ints, work: Callable[[Ints], None], placement: Placement
    ) -> bool:
        longest = max(1, int(lengths[rows[0]]))
        try:
            work(rows)
        except Exception as error:  # the libraries' errors have no common base
            if not exhausted(error):
                raise
            if len(rows) == 1:
                raise MachineError(
                    f"out of memory: not even one {self.unit} of {longest} tokens fits on "
                    f"{placement.device}",
                    where=self.model,
                    hint="Lower --max-length, free memory there, or choose another --device; the "
                    "same command continues.",
                ) from error
        else:
            return True
        # Only here does nothing hold what the batch had there any more.
        _release(placement)
        self._told(len(rows), placement)
        self.tokens = len(rows) * longest // 2
        return False

    def _told(self, rows: int, placement: Placement) -> None:
        """Warn of the first time; a detail after that."""
        log.event(
            f"{self.model}: a batch of {rows} {self.unit}s does not fit in the memory of "
            f"{placement.device}; smaller ones are tried (a lower --batch-size starts with them). "
            "What else is in a batch shows in the last digits of the scores",
            logging.WARNING if self.tokens is None else logging.DEBUG,
        )

    def facts(self) -> dict[str, object]:
        """What a manifest says of it: nothing, where all batches fitted."""
        return {} if self.tokens is None else {"batch_tokens_that_fit": self.tokens}


def _release(placement: Placement) -> None:
    """Give back what PyTorch keeps of a GPU's memory for itself."""
    if placement.runtime == "torch" and placement.device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


@contextmanager
def loading(model: str, placement: Placement) -> Iterator[None]:
    """Tell a model that does not fit from a mistake.

    Raises:
        MachineError: there is not enough memory for it where it should run.
    """
    try:
        yield
    except Exception as error:  # the libraries' errors have no common base
        if not exhausted(error):
            raise
        raise MachineError(
            f"out of memory: the model does not fit on {placement.device}",
            where=model,
            hint="Free memory there, or choose another --device or --dtype; the same command "
            "continues.",
        ) from error
