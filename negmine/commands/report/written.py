"""What became of texts that were written, apart from all that was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from negmine.commands.report.slices import DROPPED, POSITIVE, SELECTED, SURVIVED, Slice
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates
from negmine.table.names import SYNTHETIC, WRITTEN, rank_column

HEADS = ("type", "written", "candidates", "chosen", "survived, not chosen", "dropped", "by rule")
_NONE = "-"


class Written:
    """Counts the rows of written texts by their type, while a ledger is read.

    Args:
        ledger: the table.
    """

    def __init__(self, ledger: Candidates) -> None:
        self._ledger = ledger
        self._fates: Counter[tuple[str, int]] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()

    def add(self, part: Slice) -> None:
        """Count a part."""
        ranked = [part.table.column(rank_column(name)).is_valid() for name in self._ledger.written]
        if not ranked:
            return
        rows = np.flatnonzero(np.logical_or.reduce([one.to_numpy() for one in ranked]))
        if not len(rows):
            return
        mine = part.table.select(["docid", "dropped_by"]).take(pa.array(rows))
        docids = mine.column("docid").combine_chunks()
        told = pa.table(
            {
                "kind": self._ledger.documents.values(SYNTHETIC, docids),
                "reason": mine.column("dropped_by"),
                "fate": part.fate[rows],
            }
        )
        for found in told.group_by(told.column_names).aggregate([([], "count_all")]).to_pylist():
            self._fates[found["kind"], found["fate"]] += found["count_all"]
            if found["fate"] == DROPPED:
                self._dropped[found["kind"], found["reason"]] += found["count_all"]

    def rows(self) -> list[Sequence[str]]:
        """A row for each type; none where nothing was written."""
        retrieved = self._ledger.retrieved
        made: list[Artifact] = [retrieved.input(role) for role in retrieved.roles(WRITTEN)]
        told: Counter[str] = Counter()
        for one in made:
            told.update(one.counts.get("types", {}))
        return [self._row(kind, told[kind]) for kind in sorted(told)]

    def _row(self, kind: str, written: int) -> Sequence[str]:
        fates = [self._fates[kind, fate] for fate in (SELECTED, SURVIVED, DROPPED)]
        reasons = {rule: n for (one, rule), n in self._dropped.items() if one == kind}
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        rules = ", ".join(f"{rule} {count:,}" for rule, count in ordered)
        # A text may have been made a positive: it is a candidate all the same.
        candidates = sum(fates) + self._fates[kind, POSITIVE]
        return (kind, *(f"{count:,}" for count in (written, candidates, *fates)), rules or _NONE)
