"""``--judge NAME=SPEC``: a judge that no table has a column of is asked about the sample alone.

It is asked as ``rerank`` would ask it, examined first, and its answers are kept beside the ledger.
What it is asked about are the drawn negatives, and, so that they can be corrected, known positives
and documents by chance, at most as many of each, drawn by their ids as the negatives are. What
nobody asked about is in no count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.commands.audit.hiding import keys_of
from negmine.commands.audit.sampled import measuring, population
from negmine.commands.audit.sampled.drawing import Draw
from negmine.commands.audit.sampled.verdicts import Judge, Said, half_of, numbers_of
from negmine.endpoints.budget import Budget
from negmine.endpoints.settings import limits_of
from negmine.errors import UsageError
from negmine.params.commands import AuditParams
from negmine.params.judge import JudgeOptions
from negmine.params.llm import EndpointOptions
from negmine.params.rerank import RerankParams
from negmine.params.values import named
from negmine.scorers import (
    Loading,
    Prompts,
    Scorer,
    ScorerRef,
    Scores,
    check_options,
    load_scorer,
    refer,
)
from negmine.scorers.base import checked, columns_of, spent_by
from negmine.sources import kinds
from negmine.stages import examination
from negmine.table import schemas
from negmine.table.candidates import Candidates

#: Options by which a judge is asked, as those of ``rerank``.
OPTIONS = tuple(one.name for of in (JudgeOptions, EndpointOptions) for one in fields(of))


@dataclass(frozen=True)
class Asking:
    """A judge that will be asked, not loaded yet.

    Attributes:
        name: the user's, of its score.
        reference: who it is.
        loading: how it is asked, and where its answers are kept.
        cut: the score from which it says yes, if that is given.
    """

    name: str
    reference: ScorerRef
    loading: Loading
    cut: float | None

    def record(self) -> dict[str, Any]:
        """What stands for it in a fingerprint."""
        one = self.reference
        return {"model": one.spec, "revision": one.revision, **one.told(self.loading)}

    @property
    def named(self) -> str:
        """The option's value, but for where the server is, which decides nothing."""
        return f"{self.name}={self.reference.spec}"

    def load(self) -> Scorer:
        """The judge."""
        return load_scorer(self.reference, self.loading)


def is_asked(audit: AuditParams) -> bool:
    """Whether the judge is one that is asked, not a score of the table."""
    return audit.judge is not None and "=" in audit.judge


@contextmanager
def opened(audit: AuditParams, place: Path, *, trial: bool = False) -> Iterator[Asking | None]:
    """The judge that ``--judge NAME=SPEC`` names, for as long; None where none is to be asked.

    Args:
        audit: the options.
        place: the folder that holds the ledger: answers are kept there.
        trial: whether nothing may be written.

    Raises:
        UsageError: options that it cannot honour.
        NegmineError: there is no such model.
    """
    if audit.judge is None or not is_asked(audit):
        yield None
        return
    given = named((audit.judge,), "--judge")
    kinds.check_names(given, "--judge")
    ((name, spec),) = given.items()
    shared = {option: getattr(audit, option) for option in OPTIONS}
    params = RerankParams(scorer=(audit.judge,), **shared)
    reference = refer(spec)
    check_options({name: reference}, params)
    with ExitStack() as closing:
        spending = Budget(*limits_of(params))
        loading = Loading(params, name, Prompts(), place, spending, closing, trial)
        yield Asking(name, reference, loading, audit.judge_cut)


@dataclass(frozen=True)
class Questions:
    """What a judge is asked about.

    Attributes:
        rows: the pairs (:data:`negmine.commands.audit.sampled.drawing.ROWS`).
        drawn: how many of them, the first, are drawn negatives.
        positive: which of them are known positives, bool [rows].
        queries, documents: their texts.
        pairs: of each row the places of its texts, int [rows, 2].
    """

    rows: pa.Table
    drawn: int
    positive: np.ndarray
    queries: list[str]
    documents: list[str]
    pairs: np.ndarray


def questions(ledger: Candidates, negatives: pa.Table, draw: Draw) -> Questions:
    """The drawn negatives, and as many known positives and documents by chance.

    Args:
        ledger: the table.
        negatives: the drawn ones.
        draw: how they were drawn.
    """
    positives, random = population.controls(ledger, most=draw.size, seed=draw.seed)
    rows = pa.concat_tables([negatives, positives, random])
    positive = np.zeros(rows.num_rows, dtype=bool)
    positive[negatives.num_rows : negatives.num_rows + positives.num_rows] = True
    qids, docids = (rows.column(name).combine_chunks() for name in ("qid", "docid"))
    asked, distinct = qids.unique(), docids.unique()
    texts = ledger.documents.texts_by_id(distinct.to_pylist())
    of_queries = ledger.query_texts(rows.column("part").to_pylist(), asked)
    places = [pc.index_in(qids, value_set=asked), pc.index_in(docids, value_set=distinct)]
    return Questions(
        rows,
        negatives.num_rows,
        positive,
        [of_queries[qid] for qid in asked.to_pylist()],
        [texts[docid] for docid in distinct.to_pylist()],
        np.stack([one.to_numpy(zero_copy_only=False) for one in places], axis=1).astype(np.int64),
    )


def check_enough(asking: Asking, about: Questions) -> None:
    """See, before anybody is asked, that what is said can be corrected.

    Raises:
        UsageError: there are too few known positives to ask about.
    """
    measuring.refuse_few(
        *(asking.name, "it would be asked about", int(about.positive.sum())),
        "Raise --sample, where sources found more of them. ",
    )


@dataclass(frozen=True)
class Answered:
    """What a judge that was asked is on record with.

    Attributes:
        described: who it is, how it was asked, and its examination.
        spent: what this run spent, by its name.
    """

    described: Mapping[str, Any]
    spent: Mapping[str, Any]


def judge_of(
    asking: Asking, ledger: Candidates, negatives: pa.Table, draw: Draw, *, alone: bool
) -> tuple[Judge, Answered]:
    """Examine the judge, ask it, and read its verdicts.

    Args:
        asking: the judge.
        ledger: the table.
        negatives: the drawn ones.
        draw: how they were drawn.
        alone: whether its word alone is to tell the contamination.

    Raises:
        UsageError: the table has a score of its name, no cut can be told, or there are too few
            known positives for what it is to tell.
        NegmineError: it is not believed, or does not answer.
    """
    check_name(asking, ledger)
    about = questions(ledger, negatives, draw)
    if alone:
        check_enough(asking, about)
    scorer = asking.load()
    examined = examination.examine(
        {asking.name: scorer},
        partial(examination.sample, table_before(ledger), asking.loading.params.examine),
        asking.loading.params,
    )
    with log.progress("asking the judge", len(about.pairs), " pairs") as bar:
        found = scorer.score(about.queries, about.documents, about.pairs, bar.update)
    said = checked(found, asking.name, columns_of(scorer, asking.name))
    described = examination.described({asking.name: scorer}, examined)[asking.name]
    answered = Answered(described, spent_by({asking.name: scorer}))
    return _judge(asking, about, said, examined.get(asking.name)), answered


def _judge(
    asking: Asking, about: Questions, said: Scores, examined: Mapping[str, Any] | None
) -> Judge:
    keys = keys_of(about.rows)
    score = said.score if said.known is None else np.where(said.known, said.score, np.nan)
    if asking.cut is None and "verdict" in said.columns:
        verdicts = numbers_of(said.columns["verdict"])
        return Judge(asking.name, None, Said(keys, about.drawn, verdicts, examined))
    known = score[about.positive & ~np.isnan(score)]
    cut = half_of(known, asking.name) if asking.cut is None else asking.cut
    alone = Judge(asking.name, cut)
    return replace(alone, said=Said(keys, about.drawn, alone.by_cut(score), examined))


def check_name(asking: Asking, ledger: Candidates) -> None:
    """See that the judge's name is new.

    Raises:
        UsageError: the table has a score of this name.
    """
    if asking.name in schemas.score_names(ledger.schema()):
        raise UsageError(
            f"--judge: the table has a score '{asking.name}' already",
            where=str(ledger.path),
            hint=f"Read it with --judge {asking.name}, or choose another name.",
        )


def table_before(ledger: Candidates) -> Candidates:
    """The table that was filtered: its labels are those that were known."""
    return Candidates(ledger.artifact.input("scored"))
