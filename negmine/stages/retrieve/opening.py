"""Opening the sources that a run asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from negmine import memory
from negmine.errors import UsageError
from negmine.params.retrieve import RetrieveParams
from negmine.sources import Source
from negmine.sources.kind import Opening
from negmine.stages.retrieve import bands
from negmine.stages.retrieve.mining import queries_together
from negmine.stages.retrieve.setup import Setup
from negmine.stages.retrieve.task import Task
from negmine.table.documents import Documents


def open_sources(
    params: RetrieveParams,
    setup: Setup,
    task: Task,
    corpus: Documents,
    budget: memory.Budget,
    *,
    scratch: Path | None = None,
    trial: bool = False,
) -> dict[str, Source]:
    """Every source by name, in table order; what is to be told of them goes to the task.

    Args:
        params: what is asked.
        setup: likewise, checked.
        task: the queries.
        corpus: the documents.
        budget: what may be held.
        scratch: the folder that is being written.
        trial: only some queries are asked, to see what it costs.

    Raises:
        NegmineError: a source cannot be opened, or none is left.
    """
    opening = Opening(
        params=params,
        corpus=corpus,
        qids=task.qids,
        texts=task.texts,
        judgements=task.judgements,
        columns=task.asked,
        given=task.given,
        kept=task.kept,
        budget=budget,
        spending=setup.spending,
        lists=budget.lists // max(1, sum(ref.lists for ref in setup.sources.values())),
        counts=task.counts,
        warnings=task.warnings,
        scratch=scratch,
        trial=trial,
    )
    opened: dict[str, Source] = {}
    # Users' files first: what is wrong with one is told before anything is loaded.
    files = [name for name, ref in setup.sources.items() if ref.files]
    for name in files:
        if (found := setup.sources[name].open(opening)) is not None:
            opened[name] = found
    if files:
        task.asked.settle(files, last=True)
    implied = {ref.name: ref.open(opening) for ref in setup.implied}
    known = {name: found for name, found in implied.items() if found is not None}
    each = {name: ref.each for name, ref in setup.sources.items()} | dict.fromkeys(known, 0)
    together = queries_together(bands.extent(params, each))
    opening = replace(opening, together=together, opened=opened)
    # Whom others ask is opened before them.
    for name, ref in sorted(setup.sources.items(), key=lambda source: source[1].asks is not None):
        if not ref.files and (found := ref.open(opening)) is not None:
            opened[name] = found
    if not opened and task.given is None:
        raise UsageError(
            "--source given: no negative is given", hint="Give --pairs a set that has negatives."
        )
    every = {**{name: opened[name] for name in setup.sources if name in opened}, **known}
    bands.refuse_uncut(params, every)
    return every
