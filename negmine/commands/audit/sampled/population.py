"""What an audit by sample reads of a ledger: its negatives, and what the judge says of whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from negmine.commands.audit.sampled.drawing import ROWS, smallest
from negmine.commands.audit.sampled.labels import Labels
from negmine.commands.audit.sampled.verdicts import NAMES, NO, UNJUDGED, UNSURE, YES, Judge
from negmine.errors import InvalidDataError
from negmine.rules import labels
from negmine.sources.random_documents import drawn_by_chance
from negmine.table import draws
from negmine.table.candidates import Candidates
from negmine.table.names import rank_column
from negmine.table.part import Part

#: What the draws of an audit are independent of: all others by the same ids and seed.
_PURPOSE = "audit sample"


@dataclass(frozen=True)
class Told:
    """What the judge said of a kind of rows, per query that has some.

    Attributes:
        yes: how many it said yes to, int64 [queries].
        told: how many it said yes or no to, likewise.
        verdicts: how many rows have each verdict.
    """

    yes: np.ndarray
    told: np.ndarray
    verdicts: dict[str, int]


@dataclass(frozen=True)
class Population:
    """The negatives of a ledger, and the rows that say how the judge errs.

    Attributes:
        size: how many negatives there are, by verdict, int64 [verdicts].
        chosen: the judge on the negatives.
        positives: on the known positives that a source found.
        random: on documents drawn by chance.
        candidates: those of each stratum that a draw takes first (:data:`ROWS`).
        selected_by: the sources whose rankings look to have selected the labels.
    """

    size: np.ndarray
    chosen: Told
    positives: Told
    random: Told
    candidates: pa.Table
    selected_by: list[str]


class _Counting:
    """Adds up a :class:`Told`."""

    def __init__(self) -> None:
        self._yes: list[np.ndarray] = []
        self._told: list[np.ndarray] = []
        self._of = np.zeros(len(NAMES), dtype=np.int64)

    def add(self, part: Part, verdict: np.ndarray, mask: np.ndarray) -> None:
        """Count the rows of a part where ``mask`` is True."""
        query, said = part.query[mask], verdict[mask]
        decided = said <= YES
        self._yes.append(np.bincount(query[said == YES], minlength=part.queries))
        self._told.append(np.bincount(query[decided], minlength=part.queries))
        self._of += np.bincount(said, minlength=len(NAMES))

    def told(self) -> Told:
        """What was counted."""
        # Yes first, as people ask.
        verdicts = {NAMES[of]: int(self._of[of]) for of in (YES, NO, UNSURE, UNJUDGED)}
        return Told(np.concatenate(self._yes), np.concatenate(self._told), verdicts)


def read(
    ledger: Candidates, judge: Judge | None, *, most: int, seed: int, by_verdict: bool
) -> Population:
    """Go over a ledger once.

    Args:
        ledger: the table.
        judge: whose verdicts are read; None = nothing is judged.
        most: how many rows of a stratum may be drawn.
        seed: of the draw.
        by_verdict: each verdict is a stratum of the draw; else there is one.

    Raises:
        InvalidDataError: it has no negative.
    """
    chosen, positives, random = _Counting(), _Counting(), _Counting()
    by_chance, likeness = drawn_by_chance(ledger.retrieved.params), Labels(ledger.schema(), judge)
    size = np.zeros(len(NAMES), dtype=np.int64)
    drawn: list[pa.Table] = []
    columns = list(dict.fromkeys([*_columns(ledger, judge), *likeness.columns]))
    for name in ledger.parts:
        part = ledger.part(name, columns)
        verdict = np.full(len(part), UNJUDGED, dtype=np.int8)
        asked = control = np.ones(len(part), dtype=bool)
        if judge is not None:
            verdict = judge.verdicts(part)
            asked, control = (judge.asked(part, control=one) for one in (False, True))
        negative = part.valid("selected") & ~part.positive & asked
        chosen.add(part, verdict, negative)
        positives.add(part, verdict, _positives(part) & control)
        random.add(part, verdict, _by_chance(part, by_chance) & control)
        likeness.add(part)
        size += np.bincount(verdict[negative], minlength=len(NAMES))
        rows = _rows(part, verdict, negative, name, seed, by_verdict)
        drawn.append(smallest(rows, most))
    if not size.sum():
        raise InvalidDataError("the ledger chose no negative", where=str(ledger.path))
    candidates = smallest(pa.concat_tables(drawn), most)
    return Population(
        size, chosen.told(), positives.told(), random.told(), candidates, likeness.selected_by()
    )


def _columns(ledger: Candidates, judge: Judge | None) -> list[str]:
    ranks = [rank_column(name) for name in ledger.sources]
    return [
        "qid",
        "docid",
        "label",
        "dropped_by",
        "selected",
        *ranks,
        *(judge.columns if judge else []),
    ]


def controls(ledger: Candidates, *, most: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Known positives that a source found, and documents drawn by chance: so many of each at most.

    Args:
        ledger: the table.
        most: how many.
        seed: of the draw.

    Returns:
        Both as :data:`ROWS`, nothing said of them.
    """
    by_chance = drawn_by_chance(ledger.retrieved.params)
    found: tuple[list[pa.Table], list[pa.Table]] = ([], [])
    for name in ledger.parts:
        part = ledger.part(name, _columns(ledger, None))
        nothing = np.full(len(part), UNJUDGED, dtype=np.int8)
        for drawn, mask in zip(found, (_positives(part), _by_chance(part, by_chance)), strict=True):
            drawn.append(smallest(_rows(part, nothing, mask, name, seed, by_verdict=False), most))
    positives, random = (smallest(pa.concat_tables(drawn), most) for drawn in found)
    return positives, random


def _positives(part: Part) -> np.ndarray:
    """The known positives that a source found."""
    return labels.known_in(part.table) & part.found


def _by_chance(part: Part, sources: Sequence[str]) -> np.ndarray:
    """What is no positive, and was drawn by chance."""
    found = np.zeros(len(part), dtype=bool)
    for name in sources:
        found |= part.valid(rank_column(name))
    return found & ~part.positive


def _rows(
    part: Part, verdict: np.ndarray, mask: np.ndarray, name: str, seed: int, by_verdict: bool
) -> pa.Table:
    """The negatives of a part with their draws, as :data:`ROWS`."""
    taken = part.table.select(["qid", "docid"]).filter(pa.array(mask))
    said = verdict[mask]
    drawn = draws.draws(taken.column("qid"), taken.column("docid"), draws.salted(seed, _PURPOSE))
    stratum = np.minimum(said, YES + 1) if by_verdict else np.zeros(len(said), dtype=np.int8)
    columns = {
        "qid": taken.column("qid").cast(pa.string()),
        "docid": taken.column("docid").cast(pa.string()),
        "verdict": said,
        "stratum": stratum,
        "draw": drawn,
        "part": pa.array([name] * len(said), pa.string()),
    }
    return pa.table(columns, schema=ROWS)
