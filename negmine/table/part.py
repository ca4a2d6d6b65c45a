"""A part of the table: which rows belong to which query, positives, scores, ranks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from negmine.table.names import rank_column, score_column
from negmine.table.ranking import Codes, query_numbers
from negmine.table.schemas import scorer_names, searched_names

#: Rank of a row that no source retrieved.
UNRANKED = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a candidates table, grouped by query, as aligned arrays.

    Nothing is computed before it is asked for, and what all readers share only once. A part with
    other labels or columns is another ``Part``.

    Attributes:
        table: the rows; equal ``qid`` are neighbours. Columns that nobody asks for may be missing.
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def _numbers(self) -> tuple[np.ndarray, np.ndarray]:
        return query_numbers(self.table.column("qid"))

    @property
    def query(self) -> np.ndarray:
        """Number of each row's query, 0, 1, 2, ... in table order, int64 [rows]."""
        return self._numbers[0]

    @property
    def starts(self) -> np.ndarray:
        """First row of each query, int64 [queries]."""
        return self._numbers[1]

    @property
    def queries(self) -> int:
        """How many queries it has."""
        return len(self.starts)

    @cached_property
    def qids(self) -> pa.Array:
        """Id of each query, in table order."""
        return self.table.column("qid").combine_chunks().take(pa.array(self.starts))

    @cached_property
    def positive(self) -> np.ndarray:
        """True for known positives, bool [rows]."""
        return np.asarray(self.table.column("label").to_numpy() == 1, dtype=bool)

    @cached_property
    def docid(self) -> Codes:
        """Codes that compare as the docids do, indexed by row numbers."""
        return Codes(self.table.column("docid"))

    def score(self, name: str, transform: str = "none") -> np.ndarray:
        """A score as float64 [rows], NaN where it is null.

        Args:
            name: the score's name.
            transform: ``sigmoid`` maps logits to (0, 1).
        """
        score = self.table.column(score_column(name)).to_numpy().astype(np.float64)
        return expit(score) if transform == "sigmoid" else score

    def rank(self, source: str | None = None) -> np.ndarray:
        """A source's retrieval rank, or the best over all; :data:`UNRANKED` where there is none."""
        if source is None:
            return self.best_rank
        return self.table.column(rank_column(source)).fill_null(UNRANKED).to_numpy()

    @cached_property
    def best_rank(self) -> np.ndarray:
        """Best rank over the sources that search; :data:`UNRANKED` where none found the row."""
        return np.minimum.reduce([self.rank(name) for name in searched_names(self.table.schema)])

    @property
    def found(self) -> np.ndarray:
        """True for rows that a source retrieved."""
        return self.best_rank < UNRANKED

    @cached_property
    def seen(self) -> np.ndarray:
        """True for rows that every scorer saw, bool [rows]."""
        seen = np.ones(len(self), dtype=bool)
        for name in scorer_names(self.table.schema):
            seen &= self.valid(score_column(name))
        return seen

    def valid(self, column: str) -> np.ndarray:
        """True for rows that have a value in a column, bool [rows]."""
        return np.asarray(self.table.column(column).is_valid().to_numpy(), dtype=bool)

    def positive_score(self, score: np.ndarray, against: str) -> np.ndarray:
        """Each row's query's :func:`positive_scores`, float64 [rows]."""
        return positive_scores(score, self.positive, self.starts, against)[self.query]

    def relabelled(self, label: np.ndarray) -> Part:
        """The same rows with other labels."""
        index = self.table.schema.get_field_index("label")
        changed = pa.array(label.astype(np.int8))
        return Part(self.table.set_column(index, self.table.schema.field(index), changed))


def positive_scores(
    score: np.ndarray,
    positive: np.ndarray,
    starts: np.ndarray,
    against: str,
) -> np.ndarray:
    """Minimum, mean or maximum score of each query's positives, float64 [queries].

    NaN for a query without positives, and for one with a positive that has no score: a threshold
    is never guessed.
    """
    if len(starts) == 0:
        return np.empty(0)
    count = np.add.reduceat(positive.astype(np.int64), starts)
    if against == "min":
        extreme = np.minimum.reduceat(np.where(positive, score, np.inf), starts)
    elif against == "max":
        extreme = np.maximum.reduceat(np.where(positive, score, -np.inf), starts)
    else:
        total = np.add.reduceat(np.where(positive, score, 0.0), starts)
        extreme = total / np.maximum(count, 1)
    return np.where(count > 0, extreme, np.nan)


def known_scores(tables: Iterable[pa.Table], name: str, transform: str = "none") -> np.ndarray:
    """The scores of all known positives that have one, ascending.

    Args:
        tables: the table's parts; ``label`` and the score's column suffice.
        name: the score's name.
        transform: see :meth:`Part.score`.
    """
    scores = (positives_scores(table, name, transform) for table in tables)
    return np.sort(np.concatenate([np.empty(0), *scores]))


def positives_scores(table: pa.Table, name: str, transform: str = "none") -> np.ndarray:
    """Likewise those of one part, as they come."""
    known = Part(table.filter(pc.equal(table.column("label"), 1)))
    score = known.score(name, transform)
    return score[~np.isnan(score)]
