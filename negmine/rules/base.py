"""What a rule sees, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from negmine.params import FilterParams
from negmine.table import schema as schemas
from negmine.table.names import rank_column, score_column


@dataclass(frozen=True)
class View:
    """A part of the scored table as aligned arrays, one entry per row.

    Attributes:
        query: number of the row's query within the part, 0, 1, 2, ... in table order.
        starts: first row of each query.
        positive: True for known positives.
        score: the score that rules read; NaN where the scorer did not see the row.
        positive_score: the score of the row's query's positives (their minimum, mean or
            maximum); NaN where the query has no positive, or a positive without a score.
        rank: retrieval rank, 1 = best; int32's maximum where no source retrieved the row.
        docid: codes that compare as the docids do.
    """

    query: np.ndarray
    starts: np.ndarray
    positive: np.ndarray
    score: np.ndarray
    positive_score: np.ndarray
    rank: np.ndarray
    docid: np.ndarray


@dataclass(frozen=True)
class Rule:
    """A reason to drop candidates.

    Attributes:
        name: what ``dropped_by`` says.
        active: whether the parameters ask for it.
        drop: True for the rows it drops; pure and vectorised.
    """

    name: str
    active: Callable[[FilterParams], bool]
    drop: Callable[[View, FilterParams], np.ndarray]


def view(
    table: pa.Table, by: str, rank_by: str | None, against: Literal["min", "mean", "max"]
) -> View:
    """The arrays of one part."""
    codes, _ = schemas.string_codes(table.column("qid"))
    starts = schemas.group_starts(codes)
    lengths = np.diff(np.append(starts, len(codes)))
    positive = table.column("label").to_numpy() == 1
    score = table.column(score_column(by)).to_numpy().astype(np.float64)
    if rank_by is None:
        rank = schemas.best_rank(table)
    else:
        column = table.column(rank_column(rank_by))
        rank = column.fill_null(np.iinfo(np.int32).max).to_numpy()
    return View(
        query=np.repeat(np.arange(len(starts)), lengths),
        starts=starts,
        positive=positive,
        score=score,
        positive_score=np.repeat(positive_scores(score, positive, starts, against), lengths),
        rank=rank,
        docid=schemas.string_codes(table.column("docid"))[0],
    )


def positive_scores(
    score: np.ndarray, positive: np.ndarray, starts: np.ndarray, against: str
) -> np.ndarray:
    """Minimum, mean or maximum score of each query's positives, float64 [queries].

    NaN for a query without positives, and for one with a positive that has no score: a threshold
    is never guessed.
    """
    if len(starts) == 0:
        return np.empty(0)
    count = np.add.reduceat(positive.astype(np.int64), starts)
    if against == "min":
        found = np.minimum.reduceat(np.where(positive, score, np.inf), starts)
    elif against == "max":
        found = np.maximum.reduceat(np.where(positive, score, -np.inf), starts)
    else:
        total = np.add.reduceat(np.where(positive, score, 0.0), starts)
        found = total / np.maximum(count, 1)
    return np.where(count > 0, found, np.nan)
