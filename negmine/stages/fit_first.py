"""Queries that are scored whole before all others, where ``rerank --enough`` has to learn a limit.

Their scores are an artifact of their own beside the result (``fit/NAME``): what is learned from
them must be known before the first other query is asked about, and a run that is cut short asks
about none of them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.learning.fit_sample import FitSample
from negmine.scorers import Scores
from negmine.stages.lazily import Piece
from negmine.table.artifacts.journal import CHOSEN
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import score_column, scorer_column


@dataclass(frozen=True)
class Known:
    """What is scored already.

    Attributes:
        scored: the rows of some queries, with their scores.
        sample: which queries these are.
        further: by scorer, the further columns that it declares.
    """

    scored: Artifact
    sample: FitSample
    further: Mapping[str, tuple[str, ...]]

    def rows(self, table: pa.Table) -> np.ndarray:
        """The rows of a part whose scores are known, bool [rows]."""
        return self.sample.rows(table)

    def pieces(self, name: str, table: pa.Table) -> dict[str, Piece]:
        """By scorer, what was said of these rows of the part ``name``; empty where it has none."""
        rows = np.flatnonzero(self.rows(table))
        if not len(rows):
            return {}
        said = self.scored.read(name)
        return {
            one: Piece(rows, _scores(said, one, columns)) for one, columns in self.further.items()
        }

    def chosen(self, name: str) -> Mapping[str, Any] | None:
        """What was chosen for a scorer of these rows; None = nothing."""
        found: Mapping[str, Any] = self.scored.manifest["run"].get(CHOSEN, {})
        return found.get(name)

    def stats(self, name: str) -> dict[str, int]:
        """What was counted of these rows of a part."""
        return dict(self.scored.files[name]["stats"]) if name in self.scored.parts else {}


def _scores(table: pa.Table, name: str, further: tuple[str, ...]) -> Scores:
    column = table.column(score_column(name)).combine_chunks()
    columns = {one: table.column(scorer_column(one, name)).combine_chunks() for one in further}
    known = column.is_valid().to_numpy(zero_copy_only=False)
    return Scores(column.fill_null(0.0).to_numpy(), columns, known)


def place(out: Path) -> Path:
    """Where the scores of these queries go, beside the result."""
    return out.parent / "fit" / out.name
