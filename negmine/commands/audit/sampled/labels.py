"""Whether the known positives look like the hidden ones: which of them have a label, by what?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from negmine.commands.audit.sampled.verdicts import Judge
from negmine.learning import assumption, selection
from negmine.table import schemas
from negmine.table.names import rank_column, score_column
from negmine.table.part import Part


class Labels:
    """Looks at the parts of a ledger, as a bound on false negatives does.

    Args:
        schema: the ledger's.
        judge: whose score says what is as good as a labelled positive; another scorer's where it
            has none of its own.
    """

    def __init__(self, schema: pa.Schema, judge: Judge | None) -> None:
        scorers = schemas.scorer_names(schema)
        own = judge is not None and judge.name in scorers
        self._teacher = judge.name if judge is not None and own else next(reversed(scorers), None)
        self._sources = schemas.searched_names(schema) if self._teacher is not None else []
        self._above: dict[str, list[np.ndarray]] = {name: [] for name in self._sources}

    @property
    def columns(self) -> list[str]:
        """What is read of the table."""
        if self._teacher is None:
            return []
        of_sources = [of(name) for name in self._sources for of in (rank_column, score_column)]
        return ["grade", score_column(self._teacher), *of_sources]

    def add(self, part: Part) -> None:
        """Look at a part; see :func:`negmine.learning.assumption.standing_above`."""
        if self._teacher is None:
            return
        score = part.score(self._teacher)
        usable = part.found & ~np.isnan(score)
        labelled = part.positive[usable]
        unlabelled = ~labelled & ~part.valid("grade")[usable]
        for name, found in self._above.items():
            depth = selection.depths(part, [name])[usable]
            found.append(
                assumption.standing_above(
                    part.query[usable], score[usable], depth, labelled, unlabelled
                )
            )

    def selected_by(self) -> list[str]:
        """The sources whose ranking looks to have selected the labels."""
        facts = assumption.facts_of(1.0, self._above, dict.fromkeys(self._sources), 0)
        return assumption.suspected({"selection": facts})
