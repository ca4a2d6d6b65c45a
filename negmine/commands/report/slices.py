"""A ledger read part by part, with what its own rules saw of every row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import rules
from negmine.params.filter import FilterParams
from negmine.rules import View, guide
from negmine.stages.filter.recorded import Recorded, recorded
from negmine.table import draws, schemas
from negmine.table.candidates import Candidates
from negmine.table.part import Part, positive_scores

#: What became of a row.
POSITIVE, DROPPED, SURVIVED, SELECTED = range(4)
FATES = ("positive", "dropped", "survived", "selected")

#: Reasons of rows that had nothing to be judged by.
UNJUDGED = rules.named("unjudged")

#: A random sample has at most about this many rows.
SAMPLED_ROWS = 20_000
#: Added to the seed, so that the sample is not what ``--sampler random`` took.
_DRAW = 7_000_003

Kind = Literal["score", "margin", "relative"]


@dataclass(frozen=True)
class Measure:
    """A number per row.

    Attributes:
        score: the score's name.
        kind: the score itself; minus the query's positive's; or that as a share of the positive's.
        transform: applied to the score first, as the rules did.
    """

    score: str
    kind: Kind = "score"
    transform: str = "none"

    @property
    def told(self) -> str:
        """In words, for an axis."""
        name = f"{self.transform}({self.score})" if self.transform != "none" else self.score
        return {
            "score": name,
            "margin": f"{name} minus the positive's",
            "relative": f"{name} minus the positive's, as a share of it",
        }[self.kind]


@dataclass(frozen=True)
class Slice:
    """One part of a ledger.

    Attributes:
        name: the part's.
        table: all its columns.
        view: the arrays that the rules read.
        fate: what became of each row, int8 [n].
        random: True for rows of the random sample.
        against: which positive counts where a query has several.
    """

    name: str
    table: pa.Table
    view: View
    fate: np.ndarray
    random: np.ndarray
    against: str

    def group(self, name: str) -> np.ndarray:
        """True for the rows of ``positive``, ``dropped``, ``survived``, ``selected``, ``random``.

        ``dropped`` leaves out rows that no rule judged, for want of a score.
        """
        if name == "random":
            return self.random
        if name == "dropped":
            reasons = self.table.column("dropped_by")
            unjudged = pc.is_in(reasons, value_set=pa.array(UNJUDGED)).to_numpy()
            return (self.fate == DROPPED) & ~unjudged
        return self.fate == FATES.index(name)

    def measure(self, measure: Measure) -> np.ndarray:
        """A measure of every row, float64 [n]; NaN where it is not known."""
        score = Part(self.table).score(measure.score, measure.transform)
        if measure.kind == "score":
            return score
        view = self.view
        positive = positive_scores(score, view.compared, view.starts, self.against)[view.query]
        if measure.kind == "margin":
            return score - positive
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (score - positive) / np.abs(positive)
        return np.where(np.isfinite(share), share, np.nan)


@dataclass(frozen=True)
class Reader:
    """How a ledger is read.

    Attributes:
        ledger: the table.
        recorded: how it was filtered.
        sources: retrieval sources.
        scores: score columns.
        seed: of the random sample.
        share: of the rows that the random sample takes.
    """

    ledger: Candidates
    recorded: Recorded
    sources: list[str]
    scores: list[str]
    seed: int
    share: float

    @property
    def params(self) -> FilterParams:
        """The filter's settings."""
        return self.recorded.params

    @property
    def by(self) -> str:
        """The score that the rules read."""
        return self.recorded.by

    def slices(self) -> Iterator[Slice]:
        """Every part, in order."""
        for name in self.ledger.parts:
            yield self.slice(name, self.ledger.read(name))

    def slice(self, name: str, table: pa.Table) -> Slice:
        """The rows ``table`` of the part ``name``, grouped by query."""
        seen = self.recorded.view(table)
        fate = np.full(table.num_rows, SURVIVED, dtype=np.int8)
        fate[table.column("selected").is_valid().to_numpy()] = SELECTED
        fate[table.column("dropped_by").is_valid().to_numpy()] = DROPPED
        fate[seen.positive] = POSITIVE
        random = fate != POSITIVE
        if self.share < 1:
            draw = draws.draws(table.column("qid"), table.column("docid"), self.seed + _DRAW)
            random &= draw < self.share
        return Slice(name, table, seen, fate, random, self.params.against)

    @property
    def rule_measure(self) -> Measure:
        """The score that the rules read, as they read it."""
        return Measure(self.by, transform=self.params.transform)

    def measures(self) -> list[Measure]:
        """What is worth a distribution: every score, and the margins that rules compare."""
        params, by = self.params, self.rule_measure
        found = [by, replace(by, kind="margin")]
        forms = {rule.form(params) for rule in rules.RULES if rule.scores and rule.active(params)}
        if "relative" in forms:
            found.append(replace(by, kind="relative"))
        if params.guide is not None:
            found.append(Measure(params.guide, guide.RULE.form(params)))
        found += [Measure(name) for name in self.scores if name != self.by]
        return list(dict.fromkeys(found))


def open_reader(ledger: Candidates, seed: int) -> Reader:
    """Read what the manifest says of a ledger; one pass over it where a rule needs quantiles."""
    schema = ledger.schema()
    rows = sum(ledger.rows(name) for name in ledger.parts)
    positives = ledger.counts.get("dropped", {}).get("positive", 0)
    return Reader(
        ledger=ledger,
        recorded=recorded(ledger),
        sources=schemas.source_names(schema),
        scores=schemas.score_names(schema),
        seed=seed,
        share=min(1.0, SAMPLED_ROWS / max(1, rows - positives)),
    )
