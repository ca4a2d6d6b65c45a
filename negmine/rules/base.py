"""What a rule sees, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.table import ranking
from negmine.table.names import rank_column
from negmine.table.part import Part

#: The place of a negative that a training set brought along.
GIVEN = rank_column("given")


@dataclass(frozen=True)
class View:
    """A part of the scored table as aligned arrays, one entry per row.

    Attributes:
        query: number of the row's query within the part, 0, 1, 2, ... in table order.
        starts: first row of each query.
        positive: True for known positives.
        pseudo: True for positives that the filter itself chose.
        score: the score that rules read; NaN where the scorer did not see the row.
        positive_score: the score of the row's query's positives (their minimum, mean or
            maximum); NaN where the query has no positive, or a positive without a score.
        rank: retrieval rank, 1 = best; int32's maximum where no source retrieved the row.
        docid: codes that compare as the docids do, indexed by row numbers.
        guide: the guide's score; NaN where it did not see the row or there is none.
        positive_guide: the guide's score of the query's positives, like ``positive_score``.
        flags: per rule, rows about which texts, vectors or other parts have something to say.
        group: the row's group in the calibration.
        fit: what was learned from the whole table.
        unscored: no row of the whole table has a score, so that none is dropped for want of it.
        brought: True for negatives that a training set brought along, where these come first:
            windows over the ranking are for what was mined.
    """

    query: np.ndarray
    starts: np.ndarray
    positive: np.ndarray
    pseudo: np.ndarray
    score: np.ndarray
    positive_score: np.ndarray
    rank: np.ndarray
    docid: np.ndarray | ranking.Codes
    guide: np.ndarray
    positive_guide: np.ndarray
    flags: Mapping[str, np.ndarray]
    group: np.ndarray
    fit: Fit = field(default_factory=Fit)
    unscored: bool = False
    brought: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=bool))


@dataclass(frozen=True)
class Rule:
    """A reason to drop candidates.

    Attributes:
        name: what ``dropped_by`` says.
        active: whether the parameters ask for it.
        drop: True for the rows it drops; pure and vectorised.
        hard: rows it drops cannot be negatives at all, so ``--fill-beyond`` leaves them out too.
    """

    name: str
    active: Callable[[FilterParams], bool]
    drop: Callable[[View, FilterParams], np.ndarray]
    hard: bool = False


def always(params: FilterParams) -> bool:
    """Active with any settings."""
    return True


def view(
    table: pa.Table,
    params: FilterParams,
    by: str,
    rank_by: str | None,
    *,
    pseudo: np.ndarray | None = None,
    flags: Mapping[str, np.ndarray] | None = None,
    group: np.ndarray | None = None,
    fit: Fit | None = None,
    unscored: bool = False,
) -> View:
    """The arrays of one part.

    Args:
        table: rows grouped by query.
        params: settings.
        by: the score that rules read.
        rank_by: the source whose rank they read; None = the best over all.
        pseudo: rows that the filter itself labelled positive.
        flags: see :class:`View`.
        group: see :class:`View`.
        fit: see :class:`View`.
        unscored: see :class:`View`.
    """
    part = Part(table)
    score = part.score(by, params.transform)
    guide = positive_guide = np.full(len(part), np.nan)
    if params.guide is not None:
        guide = part.score(params.guide)
        positive_guide = part.positive_score(guide, params.against)
    return View(
        query=part.query,
        starts=part.starts,
        positive=part.positive,
        pseudo=np.zeros(len(part), dtype=bool) if pseudo is None else pseudo,
        score=score,
        positive_score=part.positive_score(score, params.against),
        rank=part.rank(rank_by),
        docid=part.docid,
        guide=guide,
        positive_guide=positive_guide,
        flags=flags or {},
        group=np.zeros(len(part), dtype=np.int64) if group is None else group,
        fit=fit or Fit(),
        unscored=unscored,
        brought=brought(table) if params.prefer_given else np.zeros(len(part), dtype=bool),
    )


def brought(table: pa.Table) -> np.ndarray:
    """Rows that a training set brought along as negatives."""
    if GIVEN not in table.schema.names:
        return np.zeros(table.num_rows, dtype=bool)
    return np.asarray(table.column(GIVEN).is_valid().to_numpy(), dtype=bool)
