"""What ``dropped_by`` says of rows whose label the filter changed, and which positives count.

The rows are decided on before the rules are asked (:mod:`negmine.stages.filter.relabelling`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.table.part import Part

#: Candidates that became positives: of queries without any, and by a condition.
PSEUDO, BY_CONDITION = "pseudo_positive", "promoted"
#: Known positives that are none any more: by a condition, and with their query.
DEMOTED, GIVEN_UP_POSITIVE = "demoted", "dropped_positive"
#: Candidates of queries that are given up by a condition.
GIVEN_UP = "dropped_query"

#: The filter's own positives, and those that it took away.
PROMOTED = (PSEUDO, BY_CONDITION)
NO_MORE = (DEMOTED, GIVEN_UP_POSITIVE)
EVERY = (*PROMOTED, *NO_MORE, GIVEN_UP)

#: By a word in ``dropped_by`` the rows that it stands at, bool [rows].
Changed = Mapping[str, np.ndarray]


def rows_of(changed: Changed, words: Iterable[str]) -> np.ndarray | None:
    """The rows under any of these words, bool [rows]; None where no word has a mask."""
    masks = [changed[word] for word in words if word in changed]
    return np.logical_or.reduce(masks) if masks else None


def compared(positive: np.ndarray, own: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The positives that limits compare with, bool [rows].

    The known ones, so that no promotion moves a limit; of a query that has none of these, its own.

    Args:
        positive: all positives that count.
        own: those of them that the filter itself made.
        query: number of each row's query.
    """
    labelled = np.bincount(query[positive & ~own], minlength=query.max(initial=-1) + 1) > 0
    return positive & ~(own & labelled[query])


def changed_in(table: pa.Table) -> Changed:
    """What a ledger's rows say of changed labels; nothing where it changed none."""
    reasons = table.column("dropped_by")
    said = set(pc.unique(reasons).to_pylist())
    return {
        word: pc.fill_null(pc.equal(reasons, word), False).to_numpy()
        for word in EVERY
        if word in said
    }


def promoted_in(table: pa.Table) -> np.ndarray:
    """The filter's own positives among a ledger's rows, bool [rows]."""
    found = rows_of(changed_in(table), PROMOTED)
    return np.zeros(table.num_rows, dtype=bool) if found is None else found


def compared_in(table: pa.Table) -> np.ndarray:
    """The positives that limits compared with, among a ledger's rows, bool [rows]."""
    part = Part(table)
    return compared(part.positive, promoted_in(table), part.query)


def as_it_came(table: pa.Table) -> pa.Table:
    """A ledger's rows with the labels that the filter was given."""
    return Part(table).relabelled(known_in(table)).table


def known_in(table: pa.Table) -> np.ndarray:
    """The rows of a ledger that were positives before it was filtered, bool [rows]."""
    changed = changed_in(table)
    known = np.asarray(table.column("label").to_numpy() == 1, dtype=bool)
    for words, value in ((PROMOTED, False), (NO_MORE, True)):
        rows = rows_of(changed, words)
        if rows is not None:
            known = np.where(rows, value, known)
    return known
