"""How often a judge says yes to hidden positives that the very filter chose.

A filter drops what looks relevant, so the hidden positives that are left look less so than known
ones do, and a judge finds fewer of them. Known positives that are hidden and go through the same
filter again lose in the same way: those of them that are chosen stand for the ones nobody labelled.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.commands.audit.hiding import (
    HELD_OUT,
    RANDOM,
    Hidden,
    Scheme,
    keys_of,
    mask,
    queries_of,
)
from negmine.commands.audit.sampled.verdicts import YES, Judge
from negmine.stages import filter as filtering
from negmine.stages.filter.recorded import given_params
from negmine.table import artifacts
from negmine.table.artifacts.reading import Artifact
from negmine.table.candidates import Candidates
from negmine.table.part import Part

#: Random choices of the hidden positives.
_RUNS = 3


@dataclass(frozen=True)
class Refiltered:
    """What the judge said of hidden positives that were chosen, per query.

    Attributes:
        yes: how many it said yes to, int64 [queries].
        told: how many it said yes or no to, likewise.
        repeats: how often a positive may have been hidden.
    """

    yes: np.ndarray
    told: np.ndarray
    repeats: int

    @property
    def distinct(self) -> int:
        """About how many different positives were chosen."""
        return int(self.told.sum()) // self.repeats


def refiltered(ledger: Candidates, judge: Judge) -> Refiltered:
    """Hide known positives, filter as the ledger was, and look at those that are chosen.

    All but one of each query are hidden at random, three times; where no query has two, the only
    one of half of the queries, then of the other half.

    Raises:
        NegmineError: the table that was filtered is gone, or the filter cannot do with fewer.
    """
    source, params = ledger.artifact.input("scored"), given_params(ledger)
    qids, positives = queries_of(source)
    several = bool((positives > 1).any())
    scheme = Scheme(RANDOM, runs=_RUNS) if several else Scheme(HELD_OUT, runs=2)
    found = np.zeros((2, len(qids)), dtype=np.int64)
    with log.progress("hiding and filtering", scheme.runs, " runs") as bar, log.silenced():
        for seed in range(scheme.runs):
            with tempfile.TemporaryDirectory(prefix="negmine-audit-") as folder:
                scored, made = Path(folder) / "scored", Path(folder) / "ledger"
                hidden = mask(source, scored, scheme, 1, seed)
                again = replace(params, seed=params.seed + seed)
                filtering.run(again, scored, made, advise=False)
                found += _counted(artifacts.open_artifact(made), hidden, judge, qids)
            bar.update(1)
    return Refiltered(found[0], found[1], _RUNS if several else 1)


def _counted(
    ledger: Artifact, hidden: dict[str, Hidden], judge: Judge, qids: pa.Array
) -> np.ndarray:
    """Of each query's hidden and chosen: (yes, yes or no), int64 [2, queries]."""
    found = np.zeros((2, len(qids)), dtype=np.int64)
    for name, of_part in hidden.items():
        part = Part(ledger.read(name, ["qid", "docid", "selected", *judge.columns]))
        was_hidden = pc.is_in(keys_of(part.table), value_set=of_part.pairs)
        mine = part.valid("selected") & was_hidden.to_numpy(zero_copy_only=False)
        query = pc.index_in(part.table.column("qid"), value_set=qids).to_numpy()[mine]
        verdict = judge.verdicts(part)[mine]
        found[0] += np.bincount(query[verdict == YES], minlength=len(qids))
        found[1] += np.bincount(query[verdict <= YES], minlength=len(qids))
    return found
