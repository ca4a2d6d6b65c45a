"""What the filter's changed labels are worth: hidden positives that came back, known ones lost.

A hidden positive that is promoted came back, so their share is the recall of the promotion. Of what
is promoted besides nobody knows: it may be a positive that nobody labelled, so the share that is
known to be right is the least that the precision can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.commands.audit import intervals as estimates
from negmine.params.filter import FilterParams
from negmine.rules import labels
from negmine.stages.filter import label_conditions
from negmine.table.conditions import told as condition_told


def asked(params: FilterParams) -> bool:
    """Whether the settings change labels."""
    conditions = bool(params.promote or params.demote or params.drop_query)
    return conditions or params.pseudo_positive is not None


def of_hiding(params: FilterParams, found: Mapping[str, Any], hidden: str) -> list[str]:
    """The warning on queries that are given up for want of the positives that an audit hides.

    Args:
        params: the filter.
        found: what was counted.
        hidden: the way of hiding.
    """
    share = found["relabelled"]["queries_given_up"]["value"] if "relabelled" in found else None
    conditions = [
        one
        for one in label_conditions.drop_query(params)
        if any(comparison.column == label_conditions.LEFT for comparison in one)
    ]
    if not conditions or not share:
        return []
    told = " and ".join(f"--drop-query '{condition_told(one)}'" for one in conditions)
    return [
        f"{told} counts the positives that are left while others are hidden ({hidden}): "
        f"{share:.0%} of the queries are given up, which need not be those that the filter itself "
        "gives up, and what is hidden in them counts as dropped: audit without it"
    ]


class Relabelled:
    """Counts per query, of those in which positives were hidden, added up over parts and runs.

    Args:
        queries: how many there are.
    """

    def __init__(self, queries: int) -> None:
        names = ("hidden", "promoted", "back", "known", "lost", "asked", "given_up")
        self._count = {name: np.zeros(queries, dtype=np.int64) for name in names}

    def add(
        self, ledger: pa.Table, hidden: np.ndarray, number: np.ndarray, mine: np.ndarray
    ) -> None:
        """Count one part.

        Args:
            ledger: what the filter wrote.
            hidden: rows that are hidden positives.
            number: number of each row's query.
            mine: rows of the queries that had a positive hidden.
        """
        changed = labels.changed_in(ledger)
        none = np.zeros(ledger.num_rows, dtype=bool)

        def rows(*words: str) -> np.ndarray:
            found = labels.rows_of(changed, words)
            return none if found is None else found

        promoted = rows(*labels.PROMOTED)
        gone = rows(labels.GIVEN_UP, labels.GIVEN_UP_POSITIVE)
        every = {
            "hidden": hidden,
            "promoted": promoted,
            "back": promoted & hidden,
            "known": labels.known_in(ledger),
            "lost": rows(labels.DEMOTED),
        }
        for name, mask in every.items():
            size = len(self._count[name])
            self._count[name] += np.bincount(number[mask & mine], minlength=size)
        for name, mask in (("asked", mine), ("given_up", gone & mine)):
            self._count[name][np.unique(number[mask])] += 1

    def result(self, repeats: int) -> dict[str, Any]:
        """Shares with intervals.

        Args:
            repeats: how often each query was asked anew.
        """
        count = self._count

        def share(hits: str, total: str) -> dict[str, float | None]:
            return estimates.share(count[hits], count[total], repeats).as_json()

        return {
            "promoted": int(count["promoted"].sum()),
            "brought_back": int(count["back"].sum()),
            "recall": share("back", "hidden"),
            "known_right": share("back", "promoted"),
            "demoted": share("lost", "known"),
            "queries_given_up": share("given_up", "asked"),
        }
