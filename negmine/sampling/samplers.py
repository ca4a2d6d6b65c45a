"""Which survivors are taken: pure functions.

A sampler is an order of preference: a number per row, the greatest of a query taken first. What is
taken then follows from how many are wanted and, with ``--max-reuse``, from what other queries take.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.table import ranking
from negmine.table.ranking import positions


@dataclass(frozen=True)
class ReuseCut:
    """Which claims on a document exceed ``--max-reuse``.

    Attributes:
        docs: digests of the documents that are wanted too often, sorted.
        cutoff: a claim whose draw is at or above this is refused.
    """

    docs: np.ndarray
    cutoff: np.ndarray


def simans(
    score: np.ndarray, positive: np.ndarray, draw: np.ndarray, *, a: float, b: float, form: str
) -> np.ndarray:
    """Preference that draws without replacement with SimANS's weights (arXiv 2210.11773).

    ``simans`` is the paper's ``exp(-a * (s - p - b)^2)``, peak at s = p + b. ``simans-code`` is
    the public code's ``exp(-a * (s - p + b)^2)``, peak at p - b (it matters for NQ, b = 1).
    ``simans-abs`` is the code for MS MARCO passages, ``exp(-a * |s - p|)`` with a = 3. a is in
    1 / unit of the score squared (1 / unit for the last), b in units of the score.

    The numbers suit inner products of unscaled vectors. Divided by the query's :func:`spreads`,
    cosines and logits get the same shape: a = 0.5 is a Gaussian as wide as the scores spread.

    Drawing one after another with these weights is taking the greatest ``log w - log(-log u)``
    (Gumbel's trick), with u uniform in (0, 1): the weights' logarithms never underflow.

    Args:
        score: s of each row.
        positive: p of each row's query.
        draw: a uniform number per row.
        a: sharpness.
        b: shift of the peak.
        form: which of the three.
    """
    gap = score - positive
    if form == "simans-abs":
        log_weight = -a * np.abs(gap)
    else:
        log_weight = -a * (gap + b if form == "simans-code" else gap - b) ** 2
    uniform = np.clip(draw, 2.0**-54, 1 - 2.0**-53)
    return log_weight - np.log(-np.log(uniform))


def spreads(query: np.ndarray, score: np.ndarray, survivors: np.ndarray) -> np.ndarray:
    """Standard deviation of the scores of each query's survivors, per row, float64 [rows].

    1 where it is 0 or cannot be told: all of such a query's survivors are alike.

    Args:
        query: query number of each row, ascending.
        score: in any unit; NaN where there is none.
        survivors: True for rows that may be taken.
    """
    rows = np.flatnonzero(survivors & ~np.isnan(score))
    size = int(query[-1]) + 1 if len(query) else 0
    count = np.maximum(np.bincount(query[rows], minlength=size), 1)
    mean = np.bincount(query[rows], score[rows], minlength=size) / count
    squares = np.bincount(query[rows], (score[rows] - mean[query[rows]]) ** 2, minlength=size)
    spread = np.sqrt(squares / count)
    # Equal scores differ from their mean by rounding.
    even = spread <= 1e-9 * np.maximum(np.abs(mean), 1e-300)
    return np.where(even, 1.0, spread)[query]


def stratified(
    query: np.ndarray,
    score: np.ndarray,
    docid: np.ndarray | ranking.Codes,
    survivors: np.ndarray,
    draw: np.ndarray,
    n: int,
) -> np.ndarray:
    """Preference that covers each query's whole score range: one row of every bin, then the next.

    After stratified distillation sampling; that the n bins hold the same number of survivors is
    our choice. Within a bin rows come at random.

    Args:
        query: query number of each row, ascending.
        score: what is stratified.
        docid: codes that break ties.
        survivors: True for rows that may be taken.
        draw: a uniform number per row.
        n: how many bins.
    """
    place = positions(query, score, docid, survivors)
    size = np.bincount(query[survivors], minlength=int(query[-1]) + 1 if len(query) else 0)
    bins = np.where(survivors, (place - 1) * n // np.maximum(size[query], 1), 0)
    turn = positions(query * n + bins, -draw, docid, survivors)
    return -(turn * n + bins).astype(np.float64)


def reuse_cut(
    query: np.ndarray,
    doc: np.ndarray,
    place: np.ndarray,
    draw: np.ndarray,
    *,
    wanted: int,
    limit: int,
) -> ReuseCut:
    """Let no document serve more than ``limit`` queries, each query getting its next choice.

    Deferred acceptance (Gale and Shapley 1962): each query claims its first ``wanted`` documents,
    a document keeps the ``limit`` claims with the smallest draws, refused queries claim the next
    on their list, until nothing is refused. The outcome does not depend on the order in which
    queries or parts come.

    Args:
        query: query number of each survivor.
        doc: digest of its document.
        place: its place in the query's preference, 1 = first.
        draw: the document's preference for this query, smallest first; distinct per pair.
        wanted: negatives per query.
        limit: queries per document.
    """
    order = np.lexsort((place, query))
    query, doc, draw = query[order], doc[order], draw[order]
    docs, code = np.unique(doc, return_inverse=True)
    cutoff = np.full(len(docs), np.inf)
    starts = ranking.group_starts(query)
    lengths = np.diff(np.append(starts, len(query)))
    while True:
        free = draw < cutoff[code]
        before: np.ndarray = np.cumsum(free) - free
        nth: np.ndarray = before - np.repeat(before[starts], lengths)
        claims = np.flatnonzero(free & (nth < wanted))
        crowded = claims[np.bincount(code[claims], minlength=len(docs))[code[claims]] > limit]
        if len(crowded) == 0:
            refusing = np.isfinite(cutoff)
            return ReuseCut(docs[refusing], cutoff[refusing])
        crowded = crowded[np.lexsort((draw[crowded], code[crowded]))]
        refused = crowded[ranking.positions_in_group(code[crowded]) == limit + 1]
        cutoff[code[refused]] = draw[refused]
