"""What a ledger says of the passages of a training set: which stay, go, or become positives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import rules
from negmine.inputs.sets.base import Example, Fate, Fates, Passage
from negmine.rules import known, labels
from negmine.rules.base import GIVEN
from negmine.stages.set_ids import contents_of, document_ids, query_ids
from negmine.table import draws, ranking
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.names import RELABELLED_BY, score_column

#: Of the rows of a part: (what a rule compared, with what).
Limits = Callable[[pa.Table], tuple[np.ndarray, np.ndarray]]
#: What is said of a pair that the ledger does not hold, and of one that survived.
_UNKNOWN, _SURVIVES = "", "survives"
#: What is said of a promoted passage where its record lists it again, as of its copies elsewhere.
_COPY = "same_text"
#: Words by which a whole query is given up.
_GIVEN_UP = frozenset((labels.GIVEN_UP_POSITIVE, *(rule.name for rule in known.QUERIES)))


@dataclass(frozen=True)
class Said:
    """What the ledger says of a passage.

    Attributes:
        passage: it.
        docid: its id in the corpus.
        word: why it was dropped; ``survives``, or nothing where the ledger does not hold the pair.
        option: what changed its label, as it was given; nothing where nothing did.
        positive: whether it is a positive now.
        score: its score, or what a rule compared; NaN where there is none.
        limit: what it was compared with, likewise.
    """

    passage: Passage
    docid: str
    word: str
    positive: bool
    score: float
    limit: float
    option: str = ""

    @property
    def reason(self) -> str:
        """The word that is told: where there is none nobody judged the pair."""
        return self.word or "unjudged"


@dataclass
class Verdict:
    """What the ledger says of a record.

    Attributes:
        qid: its query's id.
        positives, negatives: what it says of each passage.
        given_up: the word under which the query was given up; nothing where it was not.
        fates: what becomes of the passages.
        unjudged: the numbers of the negatives that nothing was said of.
    """

    qid: str
    positives: list[Said]
    negatives: list[Said]
    given_up: str
    fates: Fates
    unjudged: list[int] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether the record does not stay as it is."""
        stays = all(self.fates.positives) and all(f == "stays" for f in self.fates.negatives)
        return bool(self.given_up) or not stays


@dataclass(frozen=True)
class Treatment:
    """What is made of what the ledger says.

    Attributes:
        promoted: whether negatives become positives; else they go.
        unjudged: whether negatives stay of which nothing is said.
    """

    promoted: bool
    unjudged: bool


class FateTable:
    """What a ledger says of every pair, by a hash of 64 bits of the two ids.

    Args:
        ledger: the ledger.
        by: the score that is told.
        limits: what rules compared.
        treatment: what is made of it.
    """

    def __init__(self, ledger: Candidates, by: str, limits: Limits, treatment: Treatment) -> None:
        self._documents: Documents = ledger.documents
        self._treatment = treatment
        self._unjudged = set(rules.named("unjudged"))
        self._words, self._options = [_SURVIVES], [""]
        self._others: dict[int, list[str]] = {}
        self._given_up: dict[int, str] = {}
        keys, codes, options, positive, scores, bounds = [], [], [], [], [], []
        for _, table in ledger.tables("reading the ledger"):
            query = draws.digests_of(table.column("qid"))
            code = _coded(table, "dropped_by", self._words)
            label = table.column("label").to_numpy() == 1
            value, limit = limits(table)
            score = table.column(score_column(by)).to_numpy().astype(np.float64)
            keys.append(_mixed(query, draws.digests_of(table.column("docid"))))
            codes.append(code)
            options.append(_coded(table, RELABELLED_BY, self._options))
            positive.append(label)
            scores.append(np.where(np.isnan(value), score, value).astype(np.float32))
            bounds.append(limit.astype(np.float32))
            self._note_queries(table, query, code)
        order = np.argsort(_joined(keys, np.uint64), kind="stable")
        self._keys = _joined(keys, np.uint64)[order]
        self._codes = _joined(codes, np.int16)[order]
        self._option = _joined(options, np.int16)[order]
        self._positive = _joined(positive, bool)[order]
        self._scores = _joined(scores, np.float32)[order]
        self._bounds = _joined(bounds, np.float32)[order]

    def _note_queries(self, table: pa.Table, query: np.ndarray, code: np.ndarray) -> None:
        """Which queries of a part are given up, and what stays of those with new positives."""
        lost = np.isin(code, [n for n, word in enumerate(self._words) if word in _GIVEN_UP])
        for row in np.flatnonzero(lost).tolist():
            self._given_up.setdefault(int(query[row]), self._words[code[row]])
        own = labels.promoted_in(table)
        if not own.any() or GIVEN not in table.schema.names:
            return
        fates = [self._fate(word) for word in self._words]
        stays = np.isin(code, [n for n, fate in enumerate(fates) if fate == "stays"])
        stays &= np.isin(query, query[own]) & table.column(GIVEN).is_valid().to_numpy()
        place = table.column(GIVEN).fill_null(0).to_numpy()
        rows = np.flatnonzero(stays)
        rows = rows[np.argsort(place[rows], kind="stable")]
        docids = table.column("docid").take(pa.array(rows)).to_pylist()
        for number, docid in zip(query[rows].tolist(), docids, strict=True):
            self._others.setdefault(number, []).append(docid)

    def _fate(self, word: str) -> Fate:
        """What becomes of a negative."""
        if word in self._unjudged or word == _UNKNOWN:
            return "stays" if self._treatment.unjudged else "goes"
        if word in labels.PROMOTED and self._treatment.promoted:
            return "promoted"
        return "stays" if word == _SURVIVES else "goes"

    def verdicts(self, examples: Sequence[Example]) -> list[Verdict]:
        """What the ledger says of some records."""
        flat = [
            (number, passage)
            for number, example in enumerate(examples)
            for passage in (*example.positives, *example.negatives, *example.judged)
        ]
        qids = self._qids(examples)
        docids = self._docids(flat)
        query = draws.digests(qids)
        owner = np.array([number for number, _ in flat], dtype=np.int64)
        keys = _mixed(query[owner], draws.digests(docids)) if flat else np.empty(0, np.uint64)
        at, there = ranking.find(self._keys, keys)
        said = [
            self._said(passage, docid, int(place) if known_ else None)
            for (_, passage), docid, place, known_ in zip(
                flat, docids.to_pylist(), at.tolist(), there.tolist(), strict=True
            )
        ]
        asked = (docid for one in query.tolist() for docid in self._others.get(one, ()))
        texts = _Texts(self._documents, asked)
        found, start = [], 0
        for qid, digest, example in zip(qids.to_pylist(), query.tolist(), examples, strict=True):
            middle = start + len(example.positives)
            end = middle + len(example.negatives) + len(example.judged)
            found.append(self._verdict(qid, digest, said[start:middle], said[middle:end], texts))
            start = end
        return found

    def _qids(self, examples: Sequence[Example]) -> pa.Array:
        batch = pa.RecordBatch.from_arrays(
            [
                pa.array([example.qid for example in examples], pa.string()),
                pa.array([example.query for example in examples], pa.string()),
            ],
            names=["qid", "query"],
        )
        return query_ids(batch, {}, "")

    def _docids(self, flat: Sequence[tuple[int, Passage]]) -> pa.Array:
        batch = pa.RecordBatch.from_arrays(
            [
                pa.array([passage.docid for _, passage in flat], pa.string()),
                pa.array([passage.title for _, passage in flat], pa.string()),
                pa.array([passage.text for _, passage in flat], pa.string()),
            ],
            names=["docid", "title", "text"],
        )
        columns = [batch.column("docid"), *contents_of(batch)]
        rows = pa.table(columns, names=["docid", "content", "untitled"])
        found = document_ids(rows, self._documents)[0]
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def _said(self, passage: Passage, docid: str, at: int | None) -> Said:
        if at is None:
            return Said(passage, docid, _UNKNOWN, False, np.nan, np.nan)
        word, option = self._words[self._codes[at]], self._options[self._option[at]]
        positive = bool(self._positive[at])
        return Said(passage, docid, word, positive, self._scores[at], self._bounds[at], option)

    def _verdict(
        self, qid: str, digest: int, positives: list[Said], negatives: list[Said], texts: _Texts
    ) -> Verdict:
        fates: list[Fate] = []
        unjudged = []
        promoted: set[str] = set()
        for number, said in enumerate(negatives):
            if said.word in self._unjudged or said.word == _UNKNOWN:
                unjudged.append(number)
            fate = self._fate(said.word)
            if fate == "promoted" and said.docid in promoted:
                # The record lists it twice, and one passage is one positive.
                fate, negatives[number] = "goes", replace(said, word=_COPY, limit=np.nan, option="")
            elif fate == "promoted":
                promoted.add(said.docid)
            fates.append(fate)
        stays = [said.positive or said.word == _UNKNOWN for said in positives]
        others = self._others.get(digest, []) if "promoted" in fates else []
        return Verdict(
            qid,
            positives,
            negatives,
            self._given_up.get(digest, ""),
            Fates(stays, fates, lambda: texts.of(others)),
            unjudged,
        )


class _Texts:
    """Texts of documents, all read at once when the first is asked for.

    Args:
        documents: the corpus.
        asked: ids of all that may be.
    """

    def __init__(self, documents: Documents, asked: Iterable[str]) -> None:
        self._documents, self._asked = documents, set(asked)

    @cached_property
    def _found(self) -> dict[str, str]:
        return self._documents.texts_by_id(self._asked)

    def of(self, docids: Sequence[str]) -> list[Passage]:
        """Documents with their texts, in this order."""
        return [Passage(docid, "", self._found[docid]) for docid in docids]


def told(said: Said, **more: Any) -> dict[str, Any]:
    """What is written of a passage that does not stay."""
    about: dict[str, Any] = {"docid": said.docid, "text": said.passage.text, "by": said.reason}
    about |= {"option": said.option} if said.option else {}
    for name, value in (("score", said.score), ("limit", said.limit)):
        if np.isfinite(value):
            about[name] = round(float(value), 6)
    return about | more


def _coded(table: pa.Table, column: str, words: list[str]) -> np.ndarray:
    """Numbers of what a column says, int16 [rows]; a null is the first word.

    Args:
        table: the rows.
        column: the column; where there is none, all is null.
        words: the words so far; new ones are added.
    """
    if column not in table.schema.names:
        return np.zeros(table.num_rows, dtype=np.int16)
    said = pc.fill_null(table.column(column), words[0])
    words += [word for word in pc.unique(said).to_pylist() if word not in words]
    numbers = pc.index_in(said, value_set=pa.array(words, pa.string()))
    return np.asarray(numbers.to_numpy()).astype(np.int16)


def _mixed(query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """64 bits for each pair."""
    with np.errstate(over="ignore"):
        return draws.splitmix(draws.splitmix(query) ^ document)


def _joined(arrays: list[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=kind), *arrays]).astype(kind)
