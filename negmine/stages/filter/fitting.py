"""What a filter learns from its table, or from some of the queries, before a part is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pyarrow as pa

from negmine import log, rules
from negmine.learning import fit_sample, prior
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.stages.filter import likeness, quotas
from negmine.stages.filter.deciding import with_learned
from negmine.stages.filter.options import Columns, wants_prior, wants_relevance
from negmine.table import joins
from negmine.table.candidates import Candidates
from negmine.table.names import meta_column


def learn(params: FilterParams, source: Candidates, columns: Columns, at_once: int) -> Fit:
    """Everything that must be known of the table, but for what depends on who survives.

    Args:
        params: settings, as :func:`~negmine.stages.filter.options.resolve` returns them.
        source: the table.
        columns: the columns that the settings read.
        at_once: bytes that are held of what is joined.

    Raises:
        UsageError: the settings do not suit the scores, or there are too few positives.
    """
    total = sum(map(source.rows, source.parts))
    sample = None
    if params.fit_sample is not None:
        sample = fit_sample.drawn(_qids(source), params.fit_sample, params.seed)

    def plain() -> Iterator[pa.Table]:
        with log.progress("learning from the table", total, " rows") as bar:
            read = read_parts(params, source, source.parts, at_once)
            for number, (_, table) in enumerate(read, 1):
                bar.part(number, len(source.parts))
                learned_from = table if sample is None else sample.of_table(table)
                if learned_from.num_rows:
                    yield learned_from
                bar.update(table.num_rows)

    relevance = None
    if wants_relevance(params):
        from negmine.learning.relevance import learn as learn_relevance

        with log.waiting("fitting p_relevant"):
            rows = total if sample is None else sum(map(sample.count, _qids(source)))
            relevance = learn_relevance(plain(), rows, params.seed)
    known = None
    if wants_prior(params):
        with log.waiting("measuring where the known positives stand"):
            known = prior.anchor(plain(), among=among(params))

    def tables() -> Iterator[pa.Table]:
        for table in plain():
            yield with_learned(table, Fit(relevance=relevance, prior=known))

    with log.waiting("fitting the limits"):
        fitted = rules.fit(tables, params, columns.by)
    return replace(fitted, relevance=relevance, prior=known)


def _qids(source: Candidates) -> Iterator[pa.Table]:
    return (source.read(name, ["qid"]) for name in source.parts)


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
