"""``p_prior``: how probable it is that a candidate is relevant, whatever labels are missing.

``p_relevant`` learns from the user's labels, and where these are missing in a biased way (a source
ranked the labelled ones high, so it is the low ones that nobody labelled) it learns that what
stands lower is irrelevant. This model was fitted beforehand, to collections whose judgements are
complete or deep, and ships with negmine (``prior.json``, made by ``scripts/fit_prior.py``, which
also fits it with one of the collections left out: that is how its figures in ``docs/denoising.md``
were measured).

What it reads means the same everywhere: no score's own units and no rank of a single source, but
where a row stands *within the pool of its query*. Per score that is its z-score and the logarithm
of its position among the rows that a source retrieved; several scorers count as their mean,
several sources too. From the user's labels it takes two numbers. One is how far above their pools
the known positives stand in the sources, on average over the table: where they stand high,
positives are few and easily told; where they are scattered, more of what lies between is relevant.
The other is how many are known of the query: where there are many, more of its other candidates are
relevant, too. Labels that a source or a pool selected stand too high, so the model was fitted with
positives hidden at random and in those ways; and with one source alone and with smaller corpora, so
that it leans on nothing alone.

A logistic model, as ``p_relevant`` is one; with a scorer in the table, or for sources alone.

With ``--prior-pool N`` the scorers' numbers are told from N rows of each query's pool, drawn by
hashing ids, in place of all of them (:class:`Among`). Then no row's number hangs on the scores of
any but these, and a row outside of them needs no score of its own for the others' sake.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import expit

from negmine.learning import in_query
from negmine.table import draws, ranking, schemas
from negmine.table.names import P_PRIOR
from negmine.table.part import UNRANKED, Part

NAME = P_PRIOR
#: What each model reads, in the order of its weights: that for tables with a scorer's scores, and
#: that for sources alone.
FEATURES: Mapping[str, tuple[str, ...]] = {
    "scored": ("z_scorers", "log_place_scorers", "z_sources", "log_positives", "z_positives"),
    "searched": ("z_sources", "log_place_sources", "log_positives", "z_positives"),
}
#: Of a query's known positives count as many as this share of its pool, and one at least: in a
#: shallow pool they are most of what is there, and that says nothing of the rest.
_COUNTED = 0.05
#: What is drawn for the pool is independent of what else is drawn.
_PURPOSE = "prior pool"


@dataclass(frozen=True)
class Among:
    """Which rows of its query a row is compared with.

    Attributes:
        rows: by a scorer's scores with so many, drawn of those that a source retrieved, and by a
            source's with all of these; None = with all that a source retrieved and every scorer
            saw.
        seed: decides the draw.
    """

    rows: int | None = None
    seed: int = 0

    def drawn(self, part: Part) -> np.ndarray:
        """The rows that scorers are asked about for the others' sake, bool [rows]."""
        if self.rows is None:
            return part.found
        seed = draws.salted(self.seed, _PURPOSE)
        draw = draws.draws(part.table.column("qid"), part.table.column("docid"), seed)
        place = ranking.positions(part.query, -draw, part.docid, part.found)
        return np.asarray((place > 0) & (place <= self.rows), dtype=bool)

    def by_scorers(self, part: Part) -> np.ndarray:
        """The rows with which others are compared by a scorer's scores, bool [rows]."""
        return self.drawn(part) & part.seen

    def by_sources(self, part: Part) -> np.ndarray:
        """The rows with which others are compared by a source's scores, bool [rows]."""
        return pool(part) if self.rows is None else part.found


#: With all rows of the pool.
EVERY = Among()


@dataclass(frozen=True)
class Weights:
    """What was fitted beforehand.

    Attributes:
        weights: of each model, one per feature.
        bias: of each model, the intercept.
        z_positives: the mean of that feature where it was fitted; stands in where no known positive
            was retrieved.
        identity: tells one file of weights from another.
        collections: what it was fitted to.
    """

    weights: Mapping[str, np.ndarray]
    bias: Mapping[str, float]
    z_positives: float
    identity: str
    collections: tuple[str, ...]


@dataclass(frozen=True)
class Prior:
    """The model with what it takes from one table.

    Attributes:
        fitted: the weights.
        z_positives: how far above their pools the known positives stand in the sources.
        facts: what the manifest says.
        among: which rows a row is compared with.
    """

    fitted: Weights
    z_positives: float
    facts: Mapping[str, Any]
    among: Among = EVERY

    def predict(self, table: pa.Table) -> pa.Array:
        """``p_prior`` of each row, float32; null where a scorer did not see the row."""
        part = Part(table)
        model = model_of(table.schema)
        x = with_labels(part, counted(part, self.among), self.z_positives, self.among)
        found = expit(x @ self.fitted.weights[model] + self.fitted.bias[model])
        return pa.array(found.astype(np.float32), mask=~part.seen)


@cache
def shipped() -> Weights:
    """The weights that negmine comes with."""
    return read(Path(str(files("negmine.learning") / "prior.json")))


def read(path: Path) -> Weights:
    """Weights as ``scripts/fit_prior.py`` writes them."""
    data = json.loads(path.read_text(encoding="utf-8"))
    models = data["models"]
    return Weights(
        {
            name: np.array([model["weights"][f] for f in FEATURES[name]])
            for name, model in models.items()
        },
        {name: float(model["bias"]) for name, model in models.items()},
        float(data["z_positives"]),
        str(data["identity"]),
        tuple(data["collections"]),
    )


def anchor(
    tables: Iterable[pa.Table], fitted: Weights | None = None, among: Among = EVERY
) -> Prior:
    """The model for one table: what it takes from the user's labels is measured.

    Args:
        tables: the table's parts.
        fitted: other weights than those that negmine comes with.
        among: which rows a row is compared with.
    """
    return anchored([stand_in(table, among) for table in tables], fitted, among)


def anchored(
    stands: Iterable[tuple[float, int]], fitted: Weights | None = None, among: Among = EVERY
) -> Prior:
    """The model for one table, by what :func:`stand_in` says of its parts.

    Args:
        stands: that, in their order.
        fitted: see :func:`anchor`.
        among: see :func:`anchor`.
    """
    fitted = fitted or shipped()
    mean, count = _mean(stands)
    mean = mean if count else fitted.z_positives
    facts = {
        "fitted_to": list(fitted.collections),
        "identity": fitted.identity,
        "z_positives": round(mean, 4),
        "positives": count,
    }
    if among.rows is not None:
        facts["pool"] = among.rows
    return Prior(fitted, mean, facts, among)


def stand(tables: Iterable[pa.Table], among: Among = EVERY) -> tuple[float, int]:
    """How far above their pools the known positives stand in the sources, and how many they are.

    Returns:
        (mean z-score of those that a source retrieved, 0 where there are none; their number).
    """
    return _mean(stand_in(table, among) for table in tables)


def stand_in(table: pa.Table, among: Among = EVERY) -> tuple[float, int]:
    """Of a part: the sum of these z-scores, and how many they are."""
    part = Part(table)
    rows = among.by_sources(part)
    known = part.positive & rows
    return float(z_scores(part, source_scores(part), rows)[known].sum()), int(known.sum())


def _mean(stands: Iterable[tuple[float, int]]) -> tuple[float, int]:
    total, count = 0.0, 0
    for some, known in stands:
        total += some
        count += known
    return total / max(1, count), count


def model_of(schema: pa.Schema) -> str:
    """Which of the two models reads a table."""
    return "scored" if schemas.scorer_names(schema) else "searched"


def reads(schema: pa.Schema) -> dict[str, list[str]]:
    """The scorers and the sources of a table that the model reads, for the manifest."""
    return {"scorers": schemas.scorer_names(schema), "sources": schemas.searched_names(schema)}


def told(facts: Mapping[str, Any]) -> str:
    """What was read and measured of a table, in one sentence."""
    read = [*facts["scorers"], *facts["sources"]]
    alone = "" if facts["scorers"] else " (no scorer: by retrieval alone)"
    if facts["scorers"] and "pool" in facts:
        alone = f" (places by {facts['pool']} drawn candidates of each query)"
    return (
        f"{NAME} reads {', '.join(read)}{alone}; the known positives that a source found "
        f"({facts['positives']:,}) stand {facts['z_positives']:.2f} standard deviations above the "
        "mean of their query's candidates"
    )


def pool(part: Part) -> np.ndarray:
    """Rows that the others are compared with: retrieved by a source, and seen by every scorer."""
    return part.seen & part.found


def source_scores(part: Part) -> list[np.ndarray]:
    """Each searching source's scores, float64 [rows] without a missing value.

    A source that tells ranks alone orders by them.
    """
    found = []
    for name in schemas.searched_names(part.table.schema):
        rank = part.rank(name).astype(np.float64)
        retrieved = rank < UNRANKED
        score = part.score(name)
        if np.isnan(score[retrieved]).any():
            score = np.where(retrieved, -np.log1p(rank), np.nan)
        found.append(in_query.or_lowest(part.query, score, ~np.isnan(score), part.queries))
    return found


def z_scores(part: Part, scores: Iterable[np.ndarray], among: np.ndarray) -> np.ndarray:
    """Mean z-score of each row among its query's pool, float64 [rows].

    Args:
        part: the rows.
        scores: float64 [rows] each, at least one, without a missing value where ``among`` is True.
        among: the rows that are compared with. The others are placed among them.
    """
    found = []
    for value in map(_without_gaps, scores):
        _, mean, spread = in_query.moments(part.query, value, among, part.queries)
        found.append(np.where(spread > 1e-9, (value - mean) / np.maximum(spread, 1e-9), 0.0))
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def log_places(
    part: Part, scores: Iterable[np.ndarray], among: np.ndarray, of: np.ndarray | None = None
) -> np.ndarray:
    """Mean logarithm of the position of each row among its query's pool, as :func:`z_scores`.

    Args:
        part: see :func:`z_scores`.
        scores: see :func:`z_scores`.
        among: see :func:`z_scores`.
        of: the pool that these rows are drawn from: as many times more of it stand before a row.
    """
    found, times = [], np.ones(len(part))
    if of is not None:
        drawn, there = (
            np.bincount(part.query[some], minlength=part.queries)[part.query]
            for some in (among, of)
        )
        # A row that is drawn itself has one less before it, of either.
        times = np.maximum(there - among, 1) / np.maximum(drawn - among, 1)
    for value in map(_without_gaps, scores):
        order = ranking.rank_order(part.query, value, part.docid, np.arange(len(part)))
        before = np.cumsum(among[order]) - among[order]
        place = np.empty(len(part))
        place[order] = before - before[part.starts][part.query[order]]
        found.append(np.log(place * times + 1))
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def _without_gaps(score: np.ndarray) -> np.ndarray:
    """A row that a scorer did not see has no estimate, but it must not spoil the others'."""
    return np.where(np.isnan(score), 0.0, score)


def known(part: Part) -> np.ndarray:
    """How many positives are known of each row's query, retrieved or not, float64 [rows]."""
    count = np.bincount(part.query[part.positive], minlength=part.queries)
    return count[part.query].astype(np.float64)


def counted(part: Part, among: Among = EVERY) -> np.ndarray:
    """How many of them count when rows are judged, float64 [rows]."""
    rows = np.bincount(part.query[among.by_sources(part)], minlength=part.queries)[part.query]
    return np.clip(known(part), 1.0, np.maximum(1.0, _COUNTED * rows))


def with_labels(
    part: Part, positives: np.ndarray, stand: float, among: Among = EVERY
) -> np.ndarray:
    """All that the model reads of each row, float64 [rows, features].

    Args:
        part: the rows.
        positives: how many are known of each row's query.
        stand: how far above their pools the table's known positives stand.
        among: which rows a row is compared with.
    """
    return np.column_stack([features(part, among), np.log1p(positives), np.full(len(part), stand)])


def features(part: Part, among: Among = EVERY) -> np.ndarray:
    """What the model reads of each row whatever is labelled, float64 [rows, features]."""
    rows, sources = among.by_sources(part), source_scores(part)
    z_sources = z_scores(part, sources, rows)
    if model_of(part.table.schema) == "searched":
        return np.column_stack([z_sources, log_places(part, sources, rows)])
    scorers = [part.score(name) for name in schemas.scorer_names(part.table.schema)]
    drawn, of = among.by_scorers(part), None if among.rows is None else rows
    return np.column_stack(
        [z_scores(part, scorers, drawn), log_places(part, scorers, drawn, of), z_sources]
    )
