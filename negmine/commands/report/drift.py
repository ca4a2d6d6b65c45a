"""What another round changed: which negatives stayed, and how their scores moved since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.report.slices import Reader
from negmine.rules import solved
from negmine.table.names import score_column
from negmine.table.part import Part


@dataclass
class Drift:
    """The score that the rules of two ledgers read, on what they chose.

    Attributes:
        score: its name.
        pairs: negatives that both chose and both scored.
        before, after: sums of their scores in the first and in the second.
        lower: of how many it fell.
        chosen: negatives with a score whose query's positives have one, in the first and second.
        above: those of them that score above one of the positives.
    """

    score: str
    pairs: int = 0
    before: float = 0.0
    after: float = 0.0
    lower: int = 0
    chosen: list[int] = field(default_factory=lambda: [0, 0])
    above: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def columns(self) -> list[str]:
        """Columns that are read of both."""
        return [score_column(self.score)]

    def add(self, first: pa.Table, second: pa.Table, at: np.ndarray) -> None:
        """Count rows of the same queries.

        Args:
            first: rows of the first ledger, grouped by query.
            second: rows of the second, likewise.
            at: of each row of the first the same pair's row of the second, -1 where it has none.
        """
        scores = [Part(table).score(self.score) for table in (first, second)]
        taken = [pc.is_valid(table.column("selected")).to_numpy() for table in (first, second)]
        taken = [mask.astype(bool) for mask in taken]
        both = np.flatnonzero(taken[0] & (at >= 0))
        both = both[taken[1][at[both]]]
        before, after = scores[0][both], scores[1][at[both]]
        known = ~np.isnan(before) & ~np.isnan(after)
        self.pairs += int(known.sum())
        self.before += float(before[known].sum())
        self.after += float(after[known].sum())
        self.lower += int((after[known] < before[known]).sum())
        for number, table in enumerate((first, second)):
            positive = Part(table).positive_score(scores[number], "min")
            judged = taken[number] & ~np.isnan(scores[number]) & ~np.isnan(positive)
            self.chosen[number] += int(judged.sum())
            self.above[number] += int((judged & (scores[number] > positive)).sum())


def of(first: Reader, second: Reader) -> Drift | None:
    """What is to be counted of two ledgers; None where their rules read different scores."""
    return Drift(first.by) if first.by == second.by else None


def gone(fates: Mapping[tuple[str, str], int]) -> list[tuple[str, int]]:
    """What became in the second ledger of negatives that the first alone chose, most first."""
    told: Counter[str] = Counter()
    for (before, after), count in fates.items():
        if before == "selected" and after != "selected":
            told[_WORDS.get(after, f"dropped by {after}")] += count
    return told.most_common()


_WORDS = {
    solved.RULE.name: "solved: it has become easy",
    "survived": "no rule's, but others were taken",
    "positive": "a known positive now",
    "not a candidate": "no source found it",
}
