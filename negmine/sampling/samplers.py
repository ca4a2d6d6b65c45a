"""Which survivors are taken: pure functions.

A sampler is an order of preference: a number per row, the greatest of a query taken first. What is
taken then follows from how many are wanted and, with ``--max-reuse``, from what other queries take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from negmine.sampling import diverse, method, quotas
from negmine.sampling.diverse import Cosine
from negmine.sampling.method import Method
from negmine.sampling.quotas import Wanted
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


def strided(
    query: np.ndarray,
    score: np.ndarray,
    docid: np.ndarray | ranking.Codes,
    survivors: np.ndarray,
    step: int,
) -> np.ndarray:
    """Preference for every ``step``-th row by falling score, from the first; then from the second.

    UniME-V2 (arXiv 2510.13515, told second-hand) takes hard negatives cyclically with a stride of
    5, so that they are not all the neighbours of the best one. Where a walk begins again it takes
    what no walk before it took.

    Args:
        query: query number of each row, ascending.
        score: what is walked down.
        docid: codes that break ties.
        survivors: True for rows that may be taken.
        step: rows from one that is taken to the next.
    """
    place = positions(query, score, docid, survivors) - 1
    walk, at = place % step, place // step
    return -(walk * (len(query) + 1) + at).astype(np.float64)


def reuse_cut(
    query: np.ndarray,
    doc: np.ndarray,
    place: np.ndarray,
    draw: np.ndarray,
    *,
    kinds: np.ndarray,
    wanted: Wanted,
    limit: int,
) -> ReuseCut:
    """Let no document serve more than ``limit`` queries, each query getting its next choice.

    Deferred acceptance (Gale and Shapley 1962): each query claims its first ``wanted`` documents,
    a document keeps the ``limit`` claims with the smallest draws, refused queries claim the next
    on their list, until nothing is refused. The outcome does not depend on the order in which
    queries or parts come: what a query claims of its list by quotas it claims of a shorter list,
    too.

    Args:
        query: query number of each survivor.
        doc: digest of its document.
        place: its place in the query's preference, 1 = first.
        draw: the document's preference for this query, smallest first; distinct per pair.
        kinds: the quotas that each may fill, a bit each.
        wanted: negatives per query.
        limit: queries per document.
    """
    order = np.lexsort((place, query))
    query, doc, draw, kinds = query[order], doc[order], draw[order], kinds[order]
    docs, code = np.unique(doc, return_inverse=True)
    cutoff = np.full(len(docs), np.inf)
    while True:
        claims = np.flatnonzero(quotas.claims(query, draw < cutoff[code], kinds, wanted))
        crowded = claims[np.bincount(code[claims], minlength=len(docs))[code[claims]] > limit]
        if len(crowded) == 0:
            refusing = np.isfinite(cutoff)
            return ReuseCut(docs[refusing], cutoff[refusing])
        crowded = crowded[np.lexsort((draw[crowded], code[crowded]))]
        refused = crowded[ranking.positions_in_group(code[crowded]) == limit + 1]
        cutoff[code[refused]] = draw[refused]


# --- by name ----------------------------------------------------------------------------------


class SamplerOptions(Protocol):
    """The parameters that samplers read."""

    @property
    def num_negatives(self) -> int:
        """Negatives per query, at most."""

    @property
    def stride(self) -> int:
        """See :func:`strided`."""

    @property
    def mmr_lambda(self) -> float:
        """See :func:`negmine.sampling.diverse.mmr`."""

    @property
    def simans_a(self) -> float:
        """See :func:`simans`."""

    @property
    def simans_b(self) -> float:
        """See :func:`simans`."""

    @property
    def simans_scale(self) -> str:
        """``spread`` measures distances in :func:`spreads`, ``none`` in the score's units."""


@dataclass(frozen=True)
class Survivors:
    """What a sampler sees of a part, one entry per row.

    Attributes:
        query: number of its query, ascending.
        survivors: True for rows that may be taken.
        score: what the sampler orders by; NaN where there is none.
        rank: retrieval rank, 1 = best.
        docid: codes that break ties.
        positive: the same score of its query's positives, computed when it is asked for.
        draw: a uniform number, the same for the same seed, computed when it is asked for.
        cosine: of the documents' vectors, for pairs of rows; None where nobody asks for vectors.
    """

    query: np.ndarray
    survivors: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    docid: np.ndarray | ranking.Codes
    positive: Callable[[], np.ndarray]
    draw: Callable[[], np.ndarray]
    cosine: Cosine | None = None


@dataclass(frozen=True)
class Sampler(Method):
    """An order of preference.

    Attributes:
        preference: a number per row, the greatest of a query taken first.
        falling: whether it takes survivors by falling score.
        alone: whether a row's preference hangs on no other row's score or fate.
        scores: whether it reads the score at all.
        ranks: whether it goes by the ranks instead of the score: so the chosen are numbered, too.
        distances: whether it reads how far apart scores are, not only which is the greater.
        positive: whether it reads the positives' scores.
        retriever: whether it is made for the scores of a retriever.
    """

    preference: Callable[[Survivors, SamplerOptions], np.ndarray]
    falling: bool = field(default=False, kw_only=True)
    alone: bool = field(default=False, kw_only=True)
    scores: bool = field(default=True, kw_only=True)
    ranks: bool = field(default=False, kw_only=True)
    distances: bool = field(default=False, kw_only=True)
    positive: bool = field(default=False, kw_only=True)
    retriever: bool = field(default=False, kw_only=True)


def _evenly(seen: Survivors, options: SamplerOptions) -> np.ndarray:
    return stratified(
        seen.query, seen.score, seen.docid, seen.survivors, seen.draw(), options.num_negatives
    )


def _walking(seen: Survivors, options: SamplerOptions) -> np.ndarray:
    return strided(seen.query, seen.score, seen.docid, seen.survivors, options.stride)


def _differing(seen: Survivors, options: SamplerOptions) -> np.ndarray:
    if seen.cosine is None:
        # One of each cluster is taken by whoever knows the clusters.
        return seen.score
    return diverse.mmr(
        seen.query,
        seen.score,
        seen.docid,
        seen.survivors,
        seen.cosine,
        n=options.num_negatives,
        balance=options.mmr_lambda,
    )


def _near(form: str) -> Callable[[Survivors, SamplerOptions], np.ndarray]:
    def preference(seen: Survivors, options: SamplerOptions) -> np.ndarray:
        score, positive = seen.score, seen.positive()
        if options.simans_scale == "spread":
            spread = spreads(seen.query, score, seen.survivors)
            score, positive = score / spread, positive / spread
        a, b = options.simans_a, options.simans_b
        return simans(score, positive, seen.draw(), a=a, b=b, form=form)

    return preference


def _simans(name: str, words: str, *options: str) -> Sampler:
    return Sampler(
        name,
        words,
        _near(name),
        options=options,
        distances=True,
        positive=True,
        retriever=True,
    )


SAMPLERS = method.table(
    Sampler("top", "best score first", lambda seen, options: seen.score, falling=True, alone=True),
    Sampler("random", "at random", lambda seen, options: -seen.draw(), alone=True, scores=False),
    Sampler(
        "rank",
        "best retrieval rank first",
        lambda seen, options: -seen.rank.astype(np.float64),
        ranks=True,
        alone=True,
        scores=False,
    ),
    Sampler("bottom", "worst score first", lambda seen, options: -seen.score, alone=True),
    _simans("simans", "the paper's formula", "simans_a", "simans_b", "simans_scale"),
    _simans("simans-code", "its code's", "simans_a", "simans_b", "simans_scale"),
    _simans("simans-abs", "its code's for MS MARCO", "simans_a", "simans_scale"),
    Sampler("stratified", "evenly over the scores", _evenly, distances=True),
    Sampler("diverse", "that differ from each other", _differing, options=("diverse_by",)),
    Sampler("stride", "every N-th by score", _walking, options=("stride",)),
)


def sampler(name: str) -> Sampler:
    """The sampler of a name.

    Raises:
        UsageError: there is none.
    """
    return method.find(SAMPLERS, name, "--sampler")
