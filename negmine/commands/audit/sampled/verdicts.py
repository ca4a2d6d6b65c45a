"""What a judge says of rows: yes, no, or neither, by its verdicts or by a cut of its score."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.audit.hiding import keys_of
from negmine.errors import UsageError, did_you_mean
from negmine.rules import labels
from negmine.table import schemas
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import LEARNED, rank_column, score_column, scorer_column
from negmine.table.part import Part

#: Verdicts as numbers; the first two are told, the others are neither.
NO, YES, UNSURE, UNJUDGED = range(4)
NAMES = ("no", "yes", "unsure", "unjudged")
#: Column of what a judge says in words, beside its score.
_VERDICT = "verdict"
#: What may be a name in the words of an option.
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Said:
    """What a judge said of the rows that it was asked about, where the table has no column of it.

    Attributes:
        keys: these rows (:func:`negmine.commands.audit.hiding.keys_of`), the drawn negatives first.
        drawn: how many of them were drawn as negatives; the others are controls. A row may be both.
        verdicts: of each, int8 [keys].
        examined: its examination, if there was one.
    """

    keys: pa.Array
    drawn: int
    verdicts: np.ndarray
    examined: Mapping[str, Any] | None


@dataclass(frozen=True)
class Judge:
    """Who says of a row whether it is relevant.

    Attributes:
        name: its score's name.
        cut: the score from which it says yes; None = its own verdicts are read.
        said: what it said of some rows; None = the table has its column.
    """

    name: str
    cut: float | None = None
    said: Said | None = None

    @property
    def columns(self) -> list[str]:
        """What is read of the table, beside ids."""
        return [] if self.said is not None else [self._column]

    @property
    def _column(self) -> str:
        if self.cut is None:
            return scorer_column(_VERDICT, self.name)
        return score_column(self.name)

    @property
    def told(self) -> str:
        """What counts as its yes."""
        if self.cut is None:
            return f"{self._column} = yes"
        return f"{self._column} >= {self.cut:g}"

    def verdicts(self, part: Part) -> np.ndarray:
        """What it says of each row, int8 [rows]; a row that it never saw is unjudged."""
        if self.said is not None:
            found = pc.index_in(keys_of(part.table), value_set=self.said.keys)
            place = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
            return np.where(place < 0, UNJUDGED, self.said.verdicts[place]).astype(np.int8)
        if self.cut is None:
            return numbers_of(part.table.column(self._column))
        return self.by_cut(part.score(self.name))

    def by_cut(self, score: np.ndarray) -> np.ndarray:
        """What scores say by the cut, int8 [n]; NaN says nothing."""
        assert self.cut is not None
        told = np.where(score >= self.cut, YES, NO)
        return np.where(np.isnan(score), UNJUDGED, told).astype(np.int8)

    def asked(self, part: Part, *, control: bool) -> np.ndarray:
        """Which rows count, bool [rows]: all, or those that it was asked about.

        Args:
            part: the rows.
            control: as what: known positives and documents by chance, or else drawn negatives. A
                negative that is asked about as a document by chance was not drawn as a negative.
        """
        if self.said is None:
            return np.ones(len(part), dtype=bool)
        keys, drawn = self.said.keys, self.said.drawn
        mine = keys.slice(drawn) if control else keys.slice(0, drawn)
        return pc.is_in(keys_of(part.table), value_set=mine).to_numpy(zero_copy_only=False)


def numbers_of(said: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Verdicts in words as numbers, int8 [rows]; none at all is unjudged."""
    number = pc.index_in(said, value_set=pa.array(NAMES[:UNJUDGED]))
    return pc.fill_null(number, UNJUDGED).to_numpy(zero_copy_only=False).astype(np.int8)


def judge_of(ledger: Artifact, name: str, cut: float | None) -> Judge:
    """The judge of this name, and what counts as its yes.

    Args:
        ledger: the table.
        name: of a score.
        cut: the score from which it says yes; None = its verdicts where it gives some, else the
            score that half of the known positives reach (:func:`_reached`).

    Raises:
        UsageError: the table has no such score, or no cut can be told.
    """
    schema = ledger.schema()
    names = schemas.score_names(schema)
    name = name.removeprefix(score_column(""))
    if name not in names:
        how = (
            f"A judge scores first, the whole table (negmine rerank CANDIDATES --scorer "
            f"{name}=MODEL -o SCORED) or the sample alone (--judge {name}=MODEL)"
        )
        if name in LEARNED:
            how = f"The filter makes it where a rule reads it: --by {name}"
        raise UsageError(
            f"--judge: the table has no score '{name}'",
            where=str(ledger.path),
            hint=f"{did_you_mean(name, names)} {how}",
        )
    if cut is not None:
        return Judge(name, cut)
    if scorer_column(_VERDICT, name) in schema.names:
        return Judge(name)
    return Judge(name, _reached(ledger, name))


def _reached(ledger: Artifact, name: str) -> float:
    """The score that half of the known positives reach, to four digits.

    It has a meaning whatever the scale of the scores. And it is high: how many irrelevant documents
    reach a score nobody knows of negatives that were mined because they are hard, but the higher
    it is the fewer do, while what is lost of the relevant ones is known (so mixture proportions are
    estimated: Elkan and Noto, KDD 2008; Scott, AISTATS 2015).

    Raises:
        UsageError: no known positive has such a score.
    """
    ranks = [rank_column(source) for source in schemas.source_names(ledger.schema())]
    columns = ["qid", "label", "dropped_by", *ranks, score_column(name)]
    found = []
    for part in (Part(ledger.read(one, columns)) for one in ledger.parts):
        score = part.score(name)
        found.append(score[labels.known_in(part.table) & part.found & ~np.isnan(score)])
    return half_of(np.concatenate(found), name, str(ledger.path))


def half_of(scores: np.ndarray, name: str, where: str | None = None) -> float:
    """The score that half of the known positives reach, to four digits.

    Args:
        scores: of the known positives that have one.
        name: the judge's.
        where: the table.

    Raises:
        UsageError: there is none.
    """
    if not len(scores):
        raise UsageError(
            f"--judge {name}: no known positive has this score, so it does not tell what counts as "
            "yes",
            where=where,
            hint="Say it with --judge-cut SCORE.",
        )
    return float(f"{np.median(scores):.4g}")


def examined(ledger: Artifact, judge: Judge) -> tuple[float, int] | None:
    """What the judge said of random documents when it was examined, before it scored the table.

    Returns:
        (share of yes, documents); None where it was not examined, or a cut of its score counts.

    Raises:
        NegmineError: a table on the way is gone.
    """
    if judge.said is not None:
        return None if judge.cut is not None else _accepted(judge.said.examined)
    table = ledger.input("scored")
    while judge.cut is None and table.stage == "rerank":
        scorer = table.manifest.get("scorers", {}).get(judge.name, {})
        if (found := scorer.get("examination")) is not None:
            return _accepted(found)
        table = table.input("candidates")
    return None


def _accepted(examination: Mapping[str, Any] | None) -> tuple[float, int] | None:
    """(share of yes, random documents) of an examination, if it tells them."""
    if examination is None or examination["accepted"] is None:
        return None
    return float(examination["accepted"][0]), int(examination["random"])


def decided_with(params: Mapping[str, Any], judge: Judge) -> list[str]:
    """The filter's options that name the judge's score, or one that was learned from it.

    Args:
        params: the ledger's settings.
        judge: who is believed.
    """
    names = {judge.name, score_column(judge.name), *LEARNED}
    found = []
    for option, value in params.items():
        values = value if isinstance(value, list | tuple) else [value]
        words = {word for one in values if isinstance(one, str) for word in _WORD.findall(one)}
        if words & names:
            found.append(option.replace("_", "-"))
    return found
