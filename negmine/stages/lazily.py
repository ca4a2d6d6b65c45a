"""Scoring only until enough of a query's candidates survive: which rows, and in which turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from negmine.scorers import Scores
from negmine.table.names import score_column, scorer_column

#: What is said of a part's rows beforehand: a mask per rule.
Flags = Mapping[str, np.ndarray]
#: A part's name, its rows, and what is said of them.
Flagged = tuple[str, pa.Table, Flags]


class Until(Protocol):
    """Whoever knows when a query has enough: the filter that will read the scores."""

    def flagged(self, parts: Iterable[tuple[str, pa.Table]]) -> Iterator[Flagged]:
        """What is to be said of each part's rows, which no score changes."""

    def places(self, table: pa.Table, flags: Flags) -> np.ndarray:
        """The order in which a query's rows will be taken: 1, 2, ...; 0 = needs no score."""

    def short(self, table: pa.Table, flags: Flags) -> np.ndarray:
        """True for the rows of queries that have too few survivors so far, bool [rows]."""

    def record(self) -> Mapping[str, Any]:
        """What decides its answers beside the options, for the fingerprint."""

    def files(self, out: Path) -> Mapping[str, Mapping[str, Any]]:
        """Users' files that it reads, as the plan of an artifact at ``out`` records them."""


def turns(place: np.ndarray, positive: np.ndarray, block: int) -> np.ndarray:
    """The turn in which each row is scored: 0, 1, ...; -1 = in none. Positives go first.

    Args:
        place: see :meth:`Until.places`.
        positive: True for known positives.
        block: rows of a query in a turn.
    """
    turn = np.where(place > 0, (place - 1) // block, -1)
    return np.where(positive, 0, turn)


@dataclass(frozen=True)
class Piece:
    """What the scorers say of some rows.

    Attributes:
        rows: their numbers, int64 [n].
        scores: by scorer.
    """

    rows: np.ndarray
    scores: Mapping[str, Scores]


def score(
    table: pa.Table,
    turn: np.ndarray,
    ask: Callable[[np.ndarray, int], Mapping[str, Scores]],
    until: Until | None = None,
    flags: Flags | None = None,
) -> tuple[pa.Table, np.ndarray]:
    """The rows of a part with their scores; whoever has enough is not asked about again.

    Args:
        table: the part.
        turn: see :func:`turns`.
        ask: scores rows (their numbers, ascending; the turn).
        until: who says that it is enough; None = never.
        flags: what was said of the rows.

    Returns:
        (the table with the scorers' columns, null where a row was not scored; True for those that
        were).
    """
    pieces = []
    scored = np.zeros(table.num_rows, dtype=bool)
    rows = np.flatnonzero(turn == 0)
    for number in range(1, int(turn.max(initial=0)) + 2):
        pieces.append(Piece(rows, ask(rows, number - 1)))
        scored[rows] = True
        due = turn == number
        if until is not None and due.any():
            due &= until.short(_with_columns(table, pieces), flags or {})
        rows = np.flatnonzero(due)
        if not len(rows):
            break
    return _with_columns(table, pieces), scored


def _with_columns(table: pa.Table, pieces: Sequence[Piece]) -> pa.Table:
    """The part with the columns of the pieces, null where no piece holds a row."""
    place = np.full(table.num_rows, -1, dtype=np.int64)
    rows = np.concatenate([piece.rows for piece in pieces])
    place[rows] = np.arange(len(rows))
    at = pa.array(place, mask=place < 0)
    for name in pieces[0].scores:
        scores = pa.chunked_array([piece.scores[name].column() for piece in pieces])
        table = table.append_column(score_column(name), scores.take(at))
        for further in pieces[0].scores[name].columns:
            values = pa.chunked_array([piece.scores[name].columns[further] for piece in pieces])
            # A scorer's own column, of whatever type it declares.
            table = table.append_column(scorer_column(further, name), values.take(at))
    return table
