"""A ledger read part by part, with what its own rules saw of every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.learning import passes as fitting
from negmine.learning.calibration import Bound
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import View, view
from negmine.table import draws
from negmine.table import schema as schemas
from negmine.table.artifacts.reading import Artifact
from negmine.table.names import score_column
from negmine.table.part import Part, known_scores, positive_scores

#: What became of a row.
POSITIVE, DROPPED, SURVIVED, SELECTED = range(4)
FATES = ("positive", "dropped", "survived", "selected")

#: Reasons of rows that had nothing to be judged by.
UNJUDGED = ("unscored", "unscored_guide", "no_positive_score")

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
        positive = positive_scores(score, view.positive, view.starts, self.against)[view.query]
        if measure.kind == "margin":
            return score - positive
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (score - positive) / np.abs(positive)
        return np.where(np.isfinite(share), share, np.nan)


@dataclass(frozen=True)
class Reader:
    """How a ledger is read.

    Attributes:
        ledger: the artifact.
        params: the filter's settings.
        by: the score that the rules read.
        sources: retrieval sources.
        scores: score columns.
        fit: what the rules knew of the whole table, as far as a border needs it.
        seed: of the random sample.
        share: of the rows that the random sample takes.
    """

    ledger: Artifact
    params: FilterParams
    by: str
    sources: list[str]
    scores: list[str]
    fit: Fit
    seed: int
    share: float

    def slices(self) -> Iterator[Slice]:
        """Every part, in order."""
        for name in self.ledger.parts:
            yield self.slice(name, self.ledger.read(name))

    def slice(self, name: str, table: pa.Table) -> Slice:
        """The rows ``table`` of the part ``name``, grouped by query."""
        groups = self.fit.bound.groups if self.fit.bound is not None else ("",)
        seen = view(
            table,
            self.params,
            self.by,
            self.params.rank_by,
            group=fitting.group_of(table, self.params, groups),
            fit=self.fit,
        )
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
        if params.relative_margin is not None or params.perc_pos is not None:
            found.append(replace(by, kind="relative"))
        if params.guide is not None:
            kind: Kind = "relative" if params.guide_margin_form == "relative" else "margin"
            found.append(Measure(params.guide, kind))
        found += [Measure(name) for name in self.scores if name != self.by]
        return list(dict.fromkeys(found))


def open_reader(ledger: Artifact, seed: int) -> Reader:
    """Read what the manifest says of a ledger; one pass over it where a rule needs quantiles."""
    params = filter_params(ledger.manifest["params"])
    schema = ledger.schema()
    rows = sum(ledger.rows(name) for name in ledger.parts)
    positives = ledger.counts.get("dropped", {}).get("positive", 0)
    by = schemas.pick_score(schema, params.by, "--by")
    fit = Fit(bound=_bound(ledger.manifest))
    if params.percentile is not None:
        tables = (ledger.read(name, ["label", score_column(by)]) for name in ledger.parts)
        fit = replace(fit, positive_scores=known_scores(tables, by, params.transform))
    return Reader(
        ledger=ledger,
        params=params,
        by=by,
        sources=schemas.source_names(schema),
        scores=schemas.score_names(schema),
        fit=fit,
        seed=seed,
        share=min(1.0, SAMPLED_ROWS / max(1, rows - positives)),
    )


def filter_params(recorded: Mapping[str, Any]) -> FilterParams:
    """The settings that a ledger's manifest records."""
    known = {field.name for field in fields(FilterParams)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in recorded.items()
        if name in known
    }
    return FilterParams(**given)


def _bound(manifest: Mapping[str, Any]) -> Bound | None:
    facts = manifest.get("calibration")
    if facts is None:
        return None
    groups = facts.get("groups", {"": facts})
    thresholds = np.array([group["threshold"] for group in groups.values()], dtype=np.float64)
    return Bound(facts["form"], thresholds, tuple(groups), facts)
