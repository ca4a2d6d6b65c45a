"""What a filter learns from its table, or from some of the queries, before a part is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

from negmine import log, rules
from negmine.learning import fit_sample, passes, prior, relevance
from negmine.learning.fit import Fit
from negmine.learning.fit_sample import FitSample
from negmine.learning.summaries import Summaries
from negmine.params.filter import FilterParams
from negmine.stages.filter import likeness, quotas
from negmine.stages.filter.deciding import with_learned
from negmine.stages.filter.options import Columns, wants_prior, wants_relevance
from negmine.table import joins
from negmine.table.candidates import Candidates
from negmine.table.names import meta_column

Summary = TypeVar("Summary")


def learn(
    params: FilterParams,
    source: Candidates,
    columns: Columns,
    at_once: int,
    summaries: Summaries | None = None,
) -> Fit:
    """Everything that must be known of the table, but for what depends on who survives.

    Args:
        params: settings, as :func:`~negmine.stages.filter.options.resolve` returns them.
        source: the table.
        columns: the columns that the settings read.
        at_once: bytes that are held of what is joined.
        summaries: goes over the table; by default this process does alone.

    Raises:
        UsageError: the settings do not suit the scores, or there are too few positives.
    """
    summaries = summaries or Summaries(source.parts)
    rows = sum(map(source.rows, source.parts))
    sample = None
    if params.fit_sample is not None:
        sample, rows = _drawn(source, params.fit_sample, params.seed, summaries)

    def read(names: Sequence[str]) -> Iterator[joins.NamedTable]:
        total = sum(map(source.rows, names))
        with log.progress("learning from the table", total, " rows") as bar:
            parts = read_parts(params, source, names, at_once)
            for number, (name, table) in enumerate(parts, 1):
                bar.part(number, len(names))
                yield name, table if sample is None else sample.of_table(table)
                bar.update(source.rows(name))

    def over(
        name: str, summarise: Callable[[pa.Table], Summary], known: Fit | None = None
    ) -> list[Summary]:
        def summary(table: pa.Table) -> Summary | None:
            # Of some parts no query was drawn.
            return summarise(with_learned(table, known or Fit())) if table.num_rows else None

        return [one for one in summaries.over(name, read, summary) if one is not None]

    known = Fit()
    if wants_relevance(params) or wants_prior(params):
        known = summaries.agreed("scores", partial(_scores, params, over, rows))
    with log.waiting("fitting the limits"):
        fitted = rules.fit(partial(over, known=known), rows, params, columns.by)
    return replace(fitted, relevance=known.relevance, prior=known.prior)


def _drawn(
    source: Candidates, count: int, seed: int, summaries: Summaries
) -> tuple[FitSample, int]:
    """The queries from which alone is learned, and how many rows they have."""

    def read(names: Sequence[str]) -> Iterator[joins.NamedTable]:
        return ((name, source.read(name, ["qid"])) for name in names)

    found = summaries.over("sample", read, partial(fit_sample.queries, seed=seed))
    sample = fit_sample.among((numbers for numbers, _ in found), count, seed)
    return sample, sum(int(rows[numbers <= sample.limit].sum()) for numbers, rows in found)


def _scores(params: FilterParams, over: passes.Over, rows: int) -> Fit:
    """The models behind ``p_relevant`` and ``p_prior``, as far as settings ask for them."""
    asks = wants_relevance(params), wants_prior(params)

    def summary(table: pa.Table) -> tuple[dict[str, np.ndarray] | None, tuple[float, int] | None]:
        return (
            relevance.taught(table, rows, params.seed) if asks[0] else None,
            prior.stand_in(table, among(params)) if asks[1] else None,
        )

    found = over("scores", summary)
    taught = [one for one, _ in found if one is not None]
    stands = [one for _, one in found if one is not None]
    learned = None
    if asks[0]:
        with log.waiting("fitting p_relevant"):
            learned = relevance.learn(taught, params.seed)
    known = prior.anchored(stands, among=among(params)) if asks[1] else None
    return Fit(relevance=learned, prior=known)


def among(params: FilterParams) -> prior.Among:
    """With which rows of its query ``p_prior`` compares a row."""
    return prior.Among(params.prior_pool, params.seed) if params.prior_pool else prior.EVERY


def read_parts(
    params: FilterParams, source: Candidates, names: Iterable[str], at_once: int
) -> Iterator[joins.NamedTable]:
    """Named parts, with what the settings read that no artifact holds."""
    parts: Iterator[joins.NamedTable] = ((name, source.read(name)) for name in names)
    if params.similar_to_positives:
        parts = likeness.join(parts, source, params.seed, at_once)
    prefix = meta_column("")
    columns = quotas.columns(params)
    if params.calibrate_by is not None and params.calibrate_by.startswith(prefix):
        columns = [params.calibrate_by.removeprefix(prefix), *columns]
    for column in dict.fromkeys(columns):
        parts = joins.join(parts, source.documents, column, at_once)
    return parts
