"""``p_relevant``: how probable it is that a candidate is a positive, learned from the user's own.

A logistic model over every score and rank column, raw and normalised within the query. It is
fitted by grouped cross-fitting: queries are dealt into folds (by hash), and each row is scored by
the model that saw no row of its fold, so no row and no query scores itself. Being a
maximum-likelihood logit without class weights it is calibrated: its mean over rows is the share of
labelled positives. That makes it the probability of a *label*, a lower bound of the probability of
relevance where labels are missing; as an order, and under a conformal bound, the difference does
not matter.

Pooling bias. A positive stands in the table even if no source found it, with scores that no other
row of its rank has. A model that sees those rows learns that a low rank, or a score without a rank,
means relevant. So it learns only from rows that a source retrieved; a source's score counts only
where that source retrieved the row; positives that a scorer saw only because they are labelled
(``rerank --top`` scores all of them) are left out; and a row that a scorer did not see gets no
estimate.

Likeness. With ``--similar-to-positives`` there are columns that tell how like the known positives
of its query a row is (see :mod:`negmine.learning.similarity` for what keeps the label out of them).
Queries with two or more positives have them; a second set of models reads them too and answers for
those queries, the first answers for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import expit

from negmine.errors import InvalidDataError, MissingDependencyError, UsageError
from negmine.learning import in_query
from negmine.table import draws, ranking, schemas
from negmine.table.names import (
    LEARNED,
    LIKENESS,
    P_RELEVANT,
    rank_column,
)
from negmine.table.part import Part

NAME = P_RELEVANT
_FOLDS = 5
#: Fewest positives that a model is fitted to.
_FEWEST = 20
#: Rows that are fitted to, about; of the rest none is needed.
_ROWS = 300_000
#: Added to the seed, so that folds are not the sampler's draw.
_FOLD_DRAW, _ROW_DRAW = 2_000_003, 3_000_017


@dataclass(frozen=True)
class Linear:
    """A logistic model: ``expit(features @ weights + bias)`` after standardising.

    Attributes:
        mean: subtracted from each feature.
        scale: what each is then divided by.
        weights: float64 [features].
        bias: the intercept.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities, float64 [rows]."""
        return expit((features - self.mean) / self.scale @ self.weights + self.bias)


@dataclass(frozen=True)
class Relevance:
    """One model per fold.

    Attributes:
        seed: deals the folds.
        models: model i never saw fold i.
        exposures: likewise, the models of P(judged | ranks); None where they cannot be told.
        alike: likewise, the models for rows that are told how like the known positives they are;
            None where there are none or too few.
        facts: what the manifest says.
    """

    seed: int
    models: tuple[Linear, ...]
    exposures: tuple[Linear, ...] | None = None
    alike: tuple[Linear, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, table: pa.Table) -> pa.Array:
        """``p_relevant`` of each row, float32; null where a scorer did not see the row."""
        x, fold = features(table), folds(table, self.seed)
        found = _per_fold(self.models, x, fold)
        like, told = likeness(table)
        if self.alike is not None:
            both = np.column_stack([x, like])[told]
            found[told] = _per_fold(self.alike, both, fold[told])
        return pa.array(found.astype(np.float32), mask=~Part(table).seen)

    def exposure(self, table: pa.Table) -> np.ndarray:
        """P(judged | ranks) of each row, float64.

        Raises:
            UsageError: no row is judged irrelevant, so nothing tells seen from unseen.
        """
        if self.exposures is None:
            raise UsageError(
                "--weight cet needs judged negatives: only with grades below --min-grade can it "
                "be told which rows judges saw",
                hint="Use --weight p-relevant, or retrieve with graded judgements.",
            )
        return _per_fold(self.exposures, rank_features(table), folds(table, self.seed))


def _per_fold(models: tuple[Linear, ...], x: np.ndarray, fold: np.ndarray) -> np.ndarray:
    result = np.empty(len(x))
    for number, model in enumerate(models):
        mine = fold == number
        result[mine] = model(x[mine])
    return result


def folds(table: pa.Table, seed: int) -> np.ndarray:
    """The fold of each row's query, whatever else is in the table."""
    draw = draws.draws(table.column("qid"), table.column("qid"), seed + _FOLD_DRAW)
    return (draw * _FOLDS).astype(np.int64)


def features(table: pa.Table) -> np.ndarray:
    """What the model sees: per score its value, its z-score and quantile in the query; and ranks.

    A missing value is 0 after the query's normalisation, beside a feature that says so.
    """
    part = Part(table)
    query, queries = part.query, part.queries
    sources = schemas.source_names(table.schema)
    known_already = schemas.not_searched_names(table.schema)
    columns = []
    for name in schemas.score_names(table.schema):
        # What is known of a row already, or of the positives, would give its label away.
        if name in LEARNED or name in known_already:
            continue
        score = part.score(name)
        if name in sources:
            score = np.where(part.valid(rank_column(name)), score, np.nan)
        known = ~np.isnan(score)
        count, mean, spread = in_query.moments(query, score, known, queries)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.where(spread > 0, (score - mean) / spread, 0.0)
        place = ranking.positions(query, score, part.docid, known)
        quantile = 1 - place / (count + 1)
        columns += [
            in_query.or_lowest(query, score, known, queries),
            np.where(known, z, 0.0),
            np.where(known, quantile, 0.0),
            known.astype(np.float64),
        ]
    return np.column_stack([*columns, rank_features(table)])


def likeness(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """How like the known positives each row is, and what that is within its query.

    Returns:
        (value and z-score within the query per column, float64 [rows, 2 * columns]; True for the
        rows that have all of them).
    """
    names = [name for name in table.schema.names if name.startswith(LIKENESS)]
    told = np.full(table.num_rows, bool(names))
    if not names:
        return np.empty((table.num_rows, 0)), told
    part = Part(table)
    query = part.query
    values = [table.column(name).to_numpy().astype(np.float64) for name in names]
    told = ~np.isnan(np.column_stack(values)).any(axis=1)
    columns = []
    for value in values:
        _, mean, spread = in_query.moments(query, value, told, part.queries)
        gap = np.where(told, value - mean, 0.0)
        columns += [
            np.where(told, value, 0.0),
            gap / np.where(spread > 0, spread, 1.0),
        ]
    return np.column_stack(columns), told


def rank_features(table: pa.Table) -> np.ndarray:
    """Per source ``log(1 + rank)``, 0 where it did not retrieve the row, and whether it did."""
    columns = []
    for name in schemas.searched_names(table.schema):
        rank = table.column(rank_column(name)).fill_null(0).to_numpy()
        columns += [np.log1p(rank.astype(np.float64)), (rank > 0).astype(np.float64)]
    return np.column_stack(columns)


def teachable(table: pa.Table) -> np.ndarray:
    """Rows whose presence does not depend on their label: see the module's text."""
    part = Part(table)
    query, positive, best = part.query, part.positive, part.best_rank
    usable = part.seen & part.found
    deepest = np.zeros(part.queries, dtype=np.int64)
    np.maximum.at(deepest, query[usable & ~positive], best[usable & ~positive])
    return usable & (~positive | (best <= deepest[query]))


def learn(parts: Sequence[Mapping[str, np.ndarray]], seed: int) -> Relevance:
    """Fit the models.

    Args:
        parts: what each part of the table teaches (:func:`taught`).
        seed: deals the folds.

    Raises:
        UsageError: too few positives that a source retrieved.
        InvalidDataError: there is nothing.
        MissingDependencyError: scikit-learn is not installed.
    """
    if not parts:
        raise InvalidDataError(f"{NAME}: there are no candidates to learn it from")
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    y, fold, w = data["y"], data["fold"], data["w"]
    outside = [int(y[fold != number].sum()) for number in range(_FOLDS)]
    if min(outside) < _FEWEST or all(y):
        raise UsageError(
            f"{NAME} needs at least {_FEWEST} positives (and other rows) outside each of its "
            f"{_FOLDS} folds that a source retrieved and every scorer saw, not {min(outside)}",
            hint="Label more positives, or filter by a plain score with --by.",
        )
    models = tuple(
        fit_linear(data["x"][fold != k], y[fold != k], w[fold != k]) for k in range(_FOLDS)
    )
    exposures = None
    if (data["judged"] & ~y).any():
        exposures = tuple(
            fit_linear(data["ranks"][fold != k], data["judged"][fold != k], w[fold != k])
            for k in range(_FOLDS)
        )
    facts: dict[str, Any] = {
        "rows": len(y),
        "positives": int(y.sum()),
        "folds": _FOLDS,
        "auc": round(_auc(_per_fold(models, data["x"], fold), y, w), 4),
    }
    alike = None
    if data["like"].shape[1]:
        alike, facts["similar_to_positives"] = _learn_alike(models, data)
    return Relevance(seed, models, exposures, alike, facts)


def taught(table: pa.Table, rows: int, seed: int) -> dict[str, np.ndarray]:
    """What the models are fitted to in a part, an entry per row: of many a sample, the judged all.

    Args:
        table: the part.
        rows: how many rows all parts have.
        seed: deals the folds and draws the rows that are fitted to.

    Returns:
        By name: the features ``x``, ``ranks`` and ``like``, whether likeness is ``told``, the label
        ``y``, ``judged``, the ``fold`` and the weight ``w``.
    """
    rate = min(1.0, _ROWS / max(1, rows))
    part = Part(table)
    positive = part.positive
    judged = positive | part.valid("grade")
    chosen = teachable(table)
    if rate < 1:
        draw = draws.draws(table.column("qid"), table.column("docid"), seed + _ROW_DRAW)
        chosen &= judged | (draw < rate)
    like, told = likeness(table)
    found = {
        "x": features(table),
        "ranks": rank_features(table),
        "like": like,
        "told": told,
        "y": positive,
        "judged": judged,
        "fold": folds(table, seed),
        # What was thinned out counts for what was left out.
        "w": np.where(judged, 1.0, 1 / rate),
    }
    return {name: values[chosen] for name, values in found.items()}


def _learn_alike(
    models: tuple[Linear, ...], data: dict[str, np.ndarray]
) -> tuple[tuple[Linear, ...] | None, dict[str, Any]]:
    """The models for rows of queries with several positives, and what the manifest says."""
    told = data["told"]
    x, y, fold, w = (data[name][told] for name in ("x", "y", "fold", "w"))
    facts: dict[str, Any] = {"rows": len(y), "positives": int(y.sum())}
    if min(int(y[fold != number].sum()) for number in range(_FOLDS)) < _FEWEST:
        return None, {**facts, "left_out": f"fewer than {_FEWEST} such positives outside a fold"}
    both = np.column_stack([x, data["like"][told]])
    alike = tuple(fit_linear(both[fold != k], y[fold != k], w[fold != k]) for k in range(_FOLDS))
    facts["auc"] = round(_auc(_per_fold(alike, both, fold), y, w), 4)
    facts["auc_without"] = round(_auc(_per_fold(models, x, fold), y, w), 4)
    return alike, facts


def fit_linear(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Linear:
    """A ridge-penalised logistic regression on standardised features."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingDependencyError(
            f"{NAME} needs scikit-learn", hint="pip install scikit-learn"
        ) from error
    mean = np.average(x, axis=0, weights=weight)
    scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weight))
    scale = np.where(scale > 1e-12, scale, 1.0)
    model = LogisticRegression(C=1.0, max_iter=500)
    model.fit((x - mean) / scale, y, sample_weight=weight)
    return Linear(mean, scale, model.coef_[0].astype(np.float64), float(model.intercept_[0]))


def _auc(score: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, score, sample_weight=weight))
