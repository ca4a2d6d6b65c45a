"""Scoring only until enough of a query's candidates survive: which rows, and in which turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from negmine.scorers import Scores
from negmine.stages.cascade import Cascade
from negmine.table.candidates import Candidates
from negmine.table.names import score_column, scorer_column

#: Of the rule by which rows are taken in turns: another one scores others.
TURNS = 2
#: What is said of a part's rows beforehand: a mask per rule.
Flags = Mapping[str, np.ndarray]
#: A part's name, its rows, and what is said of them.
Flagged = tuple[str, pa.Table, Flags]


class Until(Protocol):
    """Whoever knows when a query has enough: the filter that will read the scores."""

    @property
    def sample(self) -> tuple[int, int] | None:
        """Of how many queries all rows are wanted beforehand, and the seed of their draw."""

    def learned(self, scored: Candidates) -> Until:
        """The same that has learned what it has to from these queries' scores."""

    def anchored(self, tables: Iterable[pa.Table]) -> Until:
        """The same that has learned what it has to from rows that have no score yet."""

    def first(self, table: pa.Table) -> np.ndarray:
        """Rows that are scored before all others, whatever their place, bool [rows]."""

    def flagged(self, parts: Iterable[tuple[str, pa.Table]]) -> Iterator[Flagged]:
        """What is to be said of each part's rows, which no score changes."""

    def places(self, table: pa.Table, flags: Flags) -> np.ndarray:
        """The order in which a query's rows will be taken: 1, 2, ...; 0 = needs no score."""

    def short(self, table: pa.Table, flags: Flags, reached: np.ndarray) -> np.ndarray:
        """True for the rows of queries that have too few survivors so far, bool [rows].

        Args:
            table: the part, some of its rows with scores.
            flags: what was said of the rows.
            reached: the rows to which the order has come; scored are others, too.
        """

    def record(self) -> Mapping[str, Any]:
        """What decides its answers beside the options, for the fingerprint."""

    def files(self, out: Path) -> Mapping[str, Mapping[str, Any]]:
        """Users' files that it reads, as the plan of an artifact at ``out`` records them."""


@dataclass(frozen=True)
class Turns:
    """When the rows of a part are scored.

    Attributes:
        asked: the turn in which each is scored: 0, 1, ...; -1 = in none, int64 [rows].
        place: the turn to which its place in the order belongs, -1 = to none; a row that goes
            before all others is scored earlier.
    """

    asked: np.ndarray
    place: np.ndarray

    def only(self, rows: np.ndarray) -> Turns:
        """The same with these rows alone scored."""
        return Turns(np.where(rows, self.asked, -1), self.place)


def turns(place: np.ndarray, first: np.ndarray, enough: int, block: int) -> Turns:
    """The turns of a part's rows.

    Args:
        place: see :meth:`Until.places`.
        first: True for those that go before all others.
        enough: rows of a query in the first turn: with fewer none has enough.
        block: rows of a query in each turn after it.
    """
    later = np.maximum(0, -(-(place - enough) // block))
    turn = np.where(place > 0, later, -1)
    return Turns(np.where(first, 0, turn), turn)


def at_once(rows: np.ndarray) -> Turns:
    """All of some rows in one turn."""
    turn = np.where(rows, 0, -1)
    return Turns(turn, turn)


@dataclass(frozen=True)
class Piece:
    """What a scorer says of some rows.

    Attributes:
        rows: their numbers, int64 [n].
        said: a score for each, and what else it says.
    """

    rows: np.ndarray
    said: Scores


#: Scores rows: (scorer, their numbers, ascending; the turn).
Ask = Callable[[str, np.ndarray, int], Scores]


def score(
    table: pa.Table,
    turns: Turns,
    cascade: Cascade,
    ask: Ask,
    until: Until | None = None,
    flags: Flags | None = None,
    known: Mapping[str, Piece] | None = None,
) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """The rows of a part with their scores; whoever has enough is not asked about again.

    Args:
        table: the part.
        turns: when each of its rows is scored.
        cascade: the scorers, and which rows each sees.
        ask: scores rows.
        until: who says that it is enough; None = never.
        flags: what was said of the rows.
        known: by scorer, what was said of rows beforehand, which are in no turn.

    Returns:
        (the table with the scorers' columns, null where a row was not scored; by scorer True for
        those that were scored here).
    """
    pieces = {name: [known[name]] if known else [] for name in cascade.names}
    scored = {name: np.zeros(table.num_rows, dtype=bool) for name in cascade.names}

    def ask_all(rows: np.ndarray, number: int) -> None:
        for name in cascade.order:
            mine = cascade.seen(name, rows, lambda: _with_columns(table, pieces))
            pieces[name].append(Piece(mine, ask(name, mine, number)))
            scored[name][mine] = True

    ask_all(np.flatnonzero(turns.asked == 0), 0)
    short = np.full(table.num_rows, until is not None)
    for number in range(1, int(turns.asked.max(initial=0)) + 1):
        due = (turns.asked == number) & short
        if until is not None and due.any():
            reached = (turns.place >= 0) & (turns.place < number)
            short &= until.short(_with_columns(table, pieces), flags or {}, reached)
            due &= short
        if due.any():
            ask_all(np.flatnonzero(due), number)
    return _with_columns(table, pieces), scored


def _with_columns(table: pa.Table, said: Mapping[str, Sequence[Piece]]) -> pa.Table:
    """The part with the columns of the scorers that have been asked, null where no piece has a row.

    Args:
        table: the part.
        said: by scorer, its pieces.
    """
    for name, pieces in said.items():
        if not pieces:
            continue
        place = np.full(table.num_rows, -1, dtype=np.int64)
        rows = np.concatenate([piece.rows for piece in pieces])
        place[rows] = np.arange(len(rows))
        at = pa.array(place, mask=place < 0)
        scores = pa.chunked_array([piece.said.column() for piece in pieces])
        table = table.append_column(score_column(name), scores.take(at))
        for further in pieces[0].said.columns:
            values = pa.chunked_array([piece.said.columns[further] for piece in pieces])
            # A scorer's own column, of whatever type it declares.
            table = table.append_column(scorer_column(further, name), values.take(at))
    return table
