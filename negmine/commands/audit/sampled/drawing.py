"""Which negatives are drawn, with known probability, and in which order they are read.

A row's draw is a hash of its query, its document and the seed. Of a stratum those with the smallest
are taken, which is a simple random sample without replacement, whatever else the ledger holds.
Strata are the judge's verdicts: what it says yes to, or nothing of, is drawn more densely than what
it says no to, because there is more to be learned there (Neyman's allocation).

The order in which a person reads is part of the design: the strata are mixed evenly, so that the
first rows of a sheet are a stratified sample as well, and who stops early has an answer, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: A negative that may be drawn.
ROWS = pa.schema(
    [
        pa.field("qid", pa.string()),
        pa.field("docid", pa.string()),
        pa.field("verdict", pa.int8()),
        pa.field("stratum", pa.int8()),
        pa.field("draw", pa.float64()),
        pa.field("part", pa.string()),
    ]
)
#: What is expected of the spread of the truth where the judge says no, yes, or neither: that one in
#: twenty is relevant, and a half.
_SPREAD = np.array([0.22, 0.5, 0.5])
#: Fewest rows of a stratum, where it has as many.
_FEWEST = 10


@dataclass(frozen=True)
class Draw:
    """What decides which rows are drawn, and how they are told on a sheet.

    Attributes:
        size: rows that were asked for.
        seed: of the draw.
        judge: by whose verdicts the strata are; empty = one stratum.
    """

    size: int
    seed: int
    judge: str = ""

    @property
    def told(self) -> str:
        """The draw in the words of the options."""
        judge = f" --judge {self.judge}" if self.judge else ""
        return f"--sample {self.size} --sample-seed {self.seed}{judge}"


def smallest(rows: pa.Table, most: int) -> pa.Table:
    """Of each stratum the rows with the smallest draws, ``most`` at most, in their order."""
    order = [("stratum", "ascending"), ("draw", "ascending")]
    rows = rows.sort_by([*order, ("qid", "ascending"), ("docid", "ascending")])
    stratum = rows.column("stratum").to_numpy()
    first = np.searchsorted(stratum, stratum)
    return rows.filter(pa.array(np.arange(len(stratum)) - first < most))


def allocate(sizes: np.ndarray, total: int) -> np.ndarray:
    """How many rows of each stratum are drawn, int64 [strata].

    In proportion to the stratum's size and the spread that is expected in it (Neyman, 1934), at
    least ten where there are as many, and never more than there are.

    Args:
        sizes: rows of each stratum: of one, or of those that the judge denies, affirms, leaves.
        total: rows that are drawn in all; of fewer, all are.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    total = min(total, int(sizes.sum()))
    weight = sizes * (_SPREAD if len(sizes) == len(_SPREAD) else np.ones(len(sizes)))
    fewest = np.minimum(sizes, min(_FEWEST, total // max(1, int((sizes > 0).sum()))))
    found = fewest.copy()
    while found.sum() < total:
        open_ = found < sizes
        share = np.where(open_, weight, 0.0)
        wanted = share / share.sum() * total - found
        # One at a time to who lacks most: exact, and a sample is read by people.
        found[int(np.argmax(np.where(open_, wanted, -np.inf)))] += 1
    return found


def drawn(candidates: pa.Table, number: np.ndarray) -> pa.Table:
    """The rows of a sample in the order in which they are read.

    The r-th of n rows of a stratum stands at (r - 1/2)/n of the sheet.

    Args:
        candidates: rows of each stratum by their draws (:func:`smallest`).
        number: how many of each stratum.
    """
    stratum = candidates.column("stratum").to_numpy()
    place = np.arange(len(stratum)) - np.searchsorted(stratum, stratum)
    taken = place < number[stratum]
    key = (place[taken] + 0.5) / number[stratum[taken]]
    order = np.lexsort((stratum[taken], key))
    return candidates.filter(pa.array(taken)).take(pa.array(order))


def pairs(rows: pa.Table) -> list[tuple[str, str]]:
    """(qid, docid) of each row."""
    columns = (pc.cast(rows.column(name), pa.string()).to_pylist() for name in ("qid", "docid"))
    return list(zip(*columns, strict=True))
