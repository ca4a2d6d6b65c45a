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
several sources too. From the user's labels it takes one number: how far above their pools the
known positives stand in the sources, on average over the table. Where they stand high, positives
are few and easily told; where they are scattered, more of what lies between is relevant. Labels
that a source selected stand too high, so the model was fitted with positives hidden at random and
in that way; and with one source alone and with smaller corpora, so that it leans on nothing alone.

A logistic model, as ``p_relevant`` is one; with a scorer in the table, or for sources alone.
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

from negmine.table import ranking, schemas
from negmine.table.names import LEARNED, P_PRIOR, rank_column
from negmine.table.part import Part

NAME = P_PRIOR
#: What each model reads, in the order of its weights: that for tables with a scorer's scores, and
#: that for sources alone.
FEATURES: Mapping[str, tuple[str, ...]] = {
    "scored": ("z_scorers", "log_place_scorers", "z_sources", "z_positives"),
    "searched": ("z_sources", "log_place_sources", "z_positives"),
}


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
    """

    fitted: Weights
    z_positives: float
    facts: Mapping[str, Any]

    def predict(self, table: pa.Table) -> pa.Array:
        """``p_prior`` of each row, float32; null where a scorer did not see the row."""
        model = model_of(table)
        x = np.column_stack([features(table), np.full(table.num_rows, self.z_positives)])
        found = expit(x @ self.fitted.weights[model] + self.fitted.bias[model])
        return pa.array(found.astype(np.float32), mask=~seen(table))


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


def anchor(tables: Iterable[pa.Table], fitted: Weights | None = None) -> Prior:
    """The model for one table: what it takes from the user's labels is measured.

    Args:
        tables: the table's parts.
        fitted: other weights than those that negmine comes with.
    """
    fitted = fitted or shipped()
    mean, count = stand(tables)
    mean = mean if count else fitted.z_positives
    facts = {
        "fitted_to": list(fitted.collections),
        "identity": fitted.identity,
        "z_positives": round(mean, 4),
        "positives": count,
    }
    return Prior(fitted, mean, facts)


def stand(tables: Iterable[pa.Table]) -> tuple[float, int]:
    """How far above their pools the known positives stand in the sources, and how many they are.

    Returns:
        (mean z-score of those that a source retrieved, 0 where there are none; their number).
    """
    total, count = 0.0, 0
    for table in tables:
        part, among = Part(table), pool(table)
        known = part.positive & among
        total += float(in_query(part, source_scores(table), among)[0][known].sum())
        count += int(known.sum())
    return total / max(1, count), count


def model_of(table: pa.Table) -> str:
    """Which of the two models reads a table."""
    return "scored" if scorer_names(table) else "searched"


def scorer_names(table: pa.Table) -> list[str]:
    """Scorers of the table: scores that are no source's and were not learned here."""
    others = {*schemas.source_names(table.schema), *LEARNED}
    return [name for name in schemas.score_names(table.schema) if name not in others]


def seen(table: pa.Table) -> np.ndarray:
    """Rows that every scorer saw."""
    part = Part(table)
    seen = np.ones(len(part), dtype=bool)
    for name in scorer_names(table):
        seen &= ~np.isnan(part.score(name))
    return seen


def pool(table: pa.Table) -> np.ndarray:
    """Rows that what is compared with: retrieved by a source, and seen by every scorer."""
    return seen(table) & Part(table).found


def source_scores(table: pa.Table) -> list[np.ndarray]:
    """Each searching source's scores, float64 [rows] without a missing value.

    A row that a source neither found nor scored would have come after all that it found. A source
    that tells ranks alone orders by them.
    """
    part = Part(table)
    found = []
    for name in schemas.searched_names(table.schema):
        rank = table.column(rank_column(name)).fill_null(0).to_numpy().astype(np.float64)
        score = part.score(name)
        if np.isnan(score[rank > 0]).any():
            score = np.where(rank > 0, -np.log1p(rank), np.nan)
        known = ~np.isnan(score)
        lowest = np.full(part.queries, np.inf)
        np.minimum.at(lowest, part.query[known], score[known])
        floor = np.where(np.isfinite(lowest), lowest, 0.0)[part.query]
        found.append(np.where(known, score, floor))
    return found


def in_query(
    part: Part, scores: Iterable[np.ndarray], pool: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean z-score, and mean logarithm of the position, of each row among its query's pool.

    Args:
        part: the rows.
        scores: float64 [rows] each, at least one, without a missing value where ``pool`` is True.
        pool: the rows that are compared with. The others are placed among them.

    Returns:
        (float64 [rows], float64 [rows]).
    """
    query, queries = part.query, part.queries
    count = np.maximum(np.bincount(query[pool], minlength=queries), 1)
    z_scores, places = [], []
    for score in scores:
        value = np.where(np.isnan(score), 0.0, score)
        mean = (np.bincount(query[pool], value[pool], minlength=queries) / count)[query]
        squares = np.bincount(query[pool], (value - mean)[pool] ** 2, minlength=queries)
        spread = np.sqrt(squares / count)[query]
        z_scores.append(np.where(spread > 1e-9, (value - mean) / np.maximum(spread, 1e-9), 0.0))
        order = ranking.rank_order(query, value, part.docid, np.arange(len(part)))
        before = np.cumsum(pool[order]) - pool[order]
        place = np.empty(len(part))
        place[order] = before - before[part.starts][query[order]] + 1
        places.append(np.log(place))
    return np.mean(z_scores, axis=0), np.mean(places, axis=0)


def features(table: pa.Table) -> np.ndarray:
    """What the model reads of each row, all but the last feature, float64 [rows, features]."""
    part, among = Part(table), pool(table)
    z_sources, place_sources = in_query(part, source_scores(table), among)
    names = scorer_names(table)
    if not names:
        return np.column_stack([z_sources, place_sources])
    z_scorers, place_scorers = in_query(part, [part.score(name) for name in names], among)
    return np.column_stack([z_scorers, place_scorers, z_sources])
