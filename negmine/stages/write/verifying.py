"""``--verify``: which texts scorers let pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.endpoints.budget import Budget
from negmine.errors import UsageError
from negmine.params.judge import JudgeOptions
from negmine.params.llm import EndpointOptions
from negmine.params.per_model import Each, PerModel, of_model
from negmine.params.rerank import RerankParams
from negmine.params.values import named
from negmine.params.write import WriteParams
from negmine.scorers import (
    Prompts,
    Scorer,
    ScorerRef,
    Scores,
    check_options,
    is_served,
    load_scorer,
    refer,
)
from negmine.scorers.judging.examination import Sample
from negmine.scorers.kind import Loading
from negmine.sources import kinds
from negmine.stages import examination
from negmine.stages.write.cases import Case, Group
from negmine.stages.write.drafts import Draft
from negmine.table import conditions
from negmine.table.conditions import Condition
from negmine.table.documents import Documents
from negmine.table.draws import draws
from negmine.table.names import QUERY, score_column
from negmine.table.part import Part

#: Options of ``write`` that scorers know as those of ``rerank``.
_SHARED = (
    *("scorer", "device", "memory", "threads"),
    *(one.name for of in (JudgeOptions, EndpointOptions) for one in fields(of)),
)


@dataclass(frozen=True)
class Verifying:
    """Who verifies, not loaded yet.

    Attributes:
        condition: what must hold; None where nothing is asked.
        references: the scorers by name.
        params: how they run.
        place: the folder that holds the result.
        spending: what the whole command may spend.
        closing: takes up what the scorers hold open.
    """

    condition: Condition | None
    references: Mapping[str, ScorerRef]
    params: RerankParams
    place: Path
    spending: Budget
    closing: ExitStack

    @property
    def asked(self) -> list[str]:
        """The names of those that are servers: each call of theirs costs something."""
        return [name for name, one in self.references.items() if is_served(one.spec)]

    def load(self) -> dict[str, Scorer]:
        """The scorers."""
        every = self.references.items()
        return {name: load_scorer(reference, self._loading(name)) for name, reference in every}

    def record(self) -> dict[str, dict[str, Any]]:
        """What stands for the scorers in a fingerprint."""
        return {
            name: {"model": one.spec, "revision": one.revision, **one.told(self._loading(name))}
            for name, one in self.references.items()
        }

    def _loading(self, name: str) -> Loading:
        return Loading(self.params, name, Prompts(), self.place, self.spending, self.closing)


def set_up(params: WriteParams, place: Path, spending: Budget, closing: ExitStack) -> Verifying:
    """Check what is asked of scorers.

    Args:
        params: what is asked.
        place: the folder that holds the result.
        spending: what the whole command may spend.
        closing: takes up what the scorers hold open.

    Raises:
        UsageError: a condition without scorers, or scorers without one.
        NegmineError: there is no such model.
    """
    models = named(params.scorer, "--scorer")
    kinds.check_names(models, "--scorer")
    if params.verify is not None and not models:
        raise UsageError(
            "--verify reads scores, and there is no --scorer",
            hint="For example: --scorer ce=MODEL --verify 'ce < -4'",
        )
    if models and params.verify is None:
        raise UsageError(
            "--scorer is for --verify, and there is no condition",
            hint="For example: --verify 'ce < positive - 2'",
        )
    shared = {name: getattr(params, name) for name in _SHARED}
    rerank = RerankParams(**{**shared, "prompt_file": _prompts(params)})
    references = {name: refer(model) for name, model in models.items()}
    check_options(references, rerank)
    condition = None if params.verify is None else conditions.parse(params.verify, "--verify")
    if condition is not None:
        conditions.check(condition, _schema(models), "--verify")
    return Verifying(condition, references, rerank, place, spending, closing)


def _prompts(params: WriteParams) -> Each[str | None]:
    """How judges are asked: what names the writer, and nobody where there is one, is for that."""
    given, writers = params.prompt_file, named(params.writer, "--writer")
    every = None if writers else of_model(given, "")
    if not isinstance(given, PerModel):
        return every
    others = tuple((name, one) for name, one in given.named if name not in writers)
    return PerModel(every, others) if others else every


def sample(groups: Iterable[Group], documents: Documents, size: int) -> Sample:
    """What judges are examined on: the pairs that ``rerank`` would draw of these positives.

    Args:
        groups: queries with their positives.
        documents: the corpus.
        size: how many positives, of different queries; and as many documents at random.
    """
    found: list[tuple[float, str, str, str, frozenset[str]]] = []
    for group in groups:
        cases = [case for case in group.cases if case.docid]
        if not cases:
            continue
        qids = pa.array([case.qid for case in cases], pa.string())
        docids = pa.array([case.docid for case in cases], pa.string())
        drawn = draws(pa.chunked_array([qids]), pa.chunked_array([docids]), examination.SEED)
        known: dict[str, set[str]] = {}
        first: dict[str, tuple[float, str, str]] = {}
        for chance, case in zip(drawn.tolist(), cases, strict=True):
            known.setdefault(case.qid, set()).add(case.docid)
            row = (chance, case.docid, case.query)
            first[case.qid] = min(row, first.get(case.qid, row))
        rows = (
            (chance, qid, docid, query, frozenset(known[qid]))
            for qid, (chance, docid, query) in first.items()
        )
        found = sorted([*found, *rows], key=lambda row: row[:3])[:size]
    return examination.sample_of(
        documents,
        [query for *_, query, _ in found],
        [docid for _, _, docid, *_ in found],
        [set(mine) for *_, mine in found],
    )


def _schema(names: Sequence[str] | Mapping[str, str]) -> pa.Schema:
    scores = [pa.field(score_column(name), pa.float32()) for name in names]
    columns = [("qid", pa.string()), ("docid", pa.string()), ("label", pa.int8())]
    return pa.schema([*(pa.field(*one) for one in columns), *scores])


def verified(
    drafts: Sequence[Draft],
    cases: Sequence[Case],
    condition: Condition,
    scorers: Mapping[str, Scorer],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which texts fulfil a condition, bool [n], and each scorer's scores of them.

    Args:
        drafts: texts of whole queries, a query's together.
        cases: these queries with their positives.
        condition: what must hold of a text; it may compare with the query's positives.
        scorers: by name.
    """
    if not drafts:
        return np.zeros(0, dtype=bool), {name: np.zeros(0, np.float32) for name in scorers}
    rows = _rows(drafts, cases)
    if drafts[0].type == QUERY:
        asked, read = [row.query for row in rows], [row.text for row in rows]
    else:
        # A query's texts are together, and each stands for itself.
        asked, read = [row.of for row in rows], [str(number) for number in range(len(rows))]
    query, text = _numbered(asked), _numbered(read)
    queries = list({key: row.query for key, row in zip(asked, rows, strict=True)}.values())
    texts = list({key: row.text for key, row in zip(read, rows, strict=True)}.values())
    # What a written query is compared with is one pair for all that were written beside it.
    pairs, at = _once(np.stack([query, text], axis=1))
    scores = {
        name: _of(scorer.score(queries, texts, pairs))[at] for name, scorer in scorers.items()
    }
    labels = [row.label for row in rows]
    columns = [pa.array([row.of for row in rows]), pa.array([row.docid for row in rows])]
    columns += [pa.array(labels, pa.int8())]
    columns += [pa.array(one, mask=np.isnan(one)) for one in scores.values()]
    part = Part(pa.table(columns, schema=_schema(list(scorers))))
    written = np.array(labels) == 0
    held = conditions.holds(condition, part)[written]
    return held, {name: one[written] for name, one in scores.items()}


def _numbered(keys: Sequence[str]) -> np.ndarray:
    """The number of each key, in the order of their first places, int64 [n]."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)


def _once(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(each pair where it stands first, of every pair its place among these)."""
    place = _numbered([f"{query} {text}" for query, text in pairs.tolist()])
    return pairs[np.unique(place, return_index=True)[1]], place


@dataclass(frozen=True)
class _Row:
    """A pair that is scored: whose it is, its document, whether that is a positive, its texts."""

    of: str
    docid: str
    label: int
    query: str
    text: str


def _rows(drafts: Sequence[Draft], cases: Sequence[Case]) -> list[_Row]:
    """The pairs that texts make and, before them, the positives that they are compared with."""
    if drafts[0].type == QUERY:
        return [row for number, draft in enumerate(drafts) for row in _of_query(f"{number}", draft)]
    rows: list[_Row] = []
    positives: dict[str, list[Case]] = {}
    for case in cases:
        if case.docid:
            positives.setdefault(case.qid, []).append(case)
    by_query: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_query.setdefault(draft.case.qid, []).append(draft)
    for qid, mine in by_query.items():
        query = mine[0].case.query
        for case in positives.get(qid, ()):
            rows.append(_Row(qid, case.docid, 1, query, case.passage))
        texts = enumerate(mine)
        rows += [_Row(qid, f"{number}", 0, query, draft.full) for number, draft in texts]
    return rows


def _of_query(of: str, draft: Draft) -> list[_Row]:
    """A written query with its document, and the query that the document answers."""
    case = draft.case
    return [
        _Row(of, case.docid, 1, case.query, case.passage),
        _Row(of, of, 0, draft.text, case.passage),
    ]


def _of(found: np.ndarray | Scores) -> np.ndarray:
    """The scores, NaN where there is none: nothing holds of what a judge gave no verdict on."""
    if not isinstance(found, Scores):
        return found
    return found.score if found.known is None else np.where(found.known, found.score, np.nan)
