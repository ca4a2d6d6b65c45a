"""What was tried beside ``p_prior``: models of relevance at the same hardness, under biased labels.

::

    python scripts/bench_prior.py WORK/*/scored

Of each scored table (``bench_denoise.py`` prepares them) one positive per query is left known, at
random or as the one that a source ranks best. Each model gives every candidate a probability; what
lies above one limit, the same for all collections, is dropped, and of the rest the eight that
MiniLM ranks best are taken. The limit is the one that puts the mean over the collections of the
median dense rank at ``--rank``, so all models are compared at the same hardness, and told is the
share of judged positives among what is taken, as the mean over the collections (and on the worst
one). Models that are fitted to other collections never saw the one they are measured on. The last
columns apply the limit of the first to what others have: labels that are those of a pool (known is
what a source ranks among its first ten), pools of the first 15 of each source, and those of a
corpus with 15% of the documents that are not relevant.

==================  ===========================================================================
prior               ``p_prior`` as it is shipped (its features, its views, the collection left out)
no number           without ``log_positives``
no anchor           without ``z_positives`` and ``log_positives``
teacher's units     the scorer's own logit besides
no scorer           sources alone
one share           fitted to all documents alone
own labels          a logistic model of the same features on the labels that are left (cross-fitted)
own labels, SAR     the same by EM with a propensity of being labelled that depends on the best rank
                    (Bekker et al., arXiv 1809.03207)
prior and own       the mean of their logits
==================  ===========================================================================
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import _bench
import fit_prior
import numpy as np
import pyarrow as pa
from bench_denoise import scheme
from scipy.special import expit, logit

from negmine.commands.audit.hiding import hide
from negmine.learning import prior, relevance
from negmine.table import ranking
from negmine.table.part import Part

TAKEN = 8
#: Other pools that the limit of the whole ones is applied to: shallow, and of a small corpus.
DEPTH, SHARE = 15, 0.15
_STEPS = 15
_BELOW = 1e-6


@dataclass(frozen=True)
class View:
    """One collection with labels hidden.

    Attributes:
        name: the collection's.
        table: its rows, those out that stood there only for their hidden label.
        truth: all judged positives.
        among: rows that a source retrieved.
    """

    name: str
    table: pa.Table
    truth: np.ndarray
    among: np.ndarray


#: Gives each row of a view a logit.
Model = Callable[[View], np.ndarray]


def main() -> None:
    """Fit, compare at the same hardness, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scored", type=Path, nargs="+", help="WORK/COLLECTION/scored")
    parser.add_argument("--rank", type=float, default=12.5, help="mean of the median dense ranks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", action="append", help="only this one (repeatable)")
    given = parser.parse_args()
    tables = {path.parent.name: fit_prior.whole(path) for path in given.scored}
    smaller = {name: fit_prior.thinned(table, SHARE) for name, table in tables.items()}
    ways = {"random": [*range(given.seeds)], "biased:minilm": [0], "biased:bm25": [0]}
    rows = []
    wanted = models(tables)
    for name, model in ((name, wanted[name]) for name in given.model or wanted):
        limits, cells = [], []
        for way, seeds in ways.items():
            views = [view for seed in seeds for view in hidden(tables, way, seed)]
            limits.append(limit_at(views, [model(view) for view in views], given.rank))
            cells.append(told(views, model, limits[-1]))
        cells.append(told([*hidden(tables, "pooled:10", 0)], model, limits[0]))
        cells.append(told([*hidden(tables, "random", 0, DEPTH)], model, limits[0]))
        cells.append(told([*hidden(smaller, "random", 0)], model, limits[0]))
        rows.append([name, *cells])
        print(rows[-1], flush=True)
    others = ["pooled:10", f"first {DEPTH}", f"{SHARE:.0%} of the documents"]
    print(_bench.table(["model", *ways, *others], rows))


def hidden(
    tables: Mapping[str, pa.Table], way: str, seed: int, depth: int = 1 << 30
) -> Iterator[View]:
    """Each collection with one positive of each query left known, or with those of a pool."""
    for name, table in tables.items():
        masked, gone = hide(table, scheme(way), 1, seed)
        view, rows = fit_prior.cut(masked, gone, ["minilm", "bm25"], depth)
        truth = (gone | Part(masked).positive)[rows]
        yield View(name, view, truth, prior.pool(Part(view)))


def models(tables: Mapping[str, pa.Table]) -> dict[str, Model]:
    """The models by name; those of other collections are fitted once per collection left out."""
    shipped = left_out(tables, fit_prior.SHARES)
    plain = left_out(tables, (1.0,))
    return {
        "prior": shipped,
        "no number": left_out(tables, fit_prior.SHARES, without="log_positives"),
        "no anchor": transferred(tables, lambda view: prior.features(Part(view.table))),
        "teacher's units": transferred(tables, with_units),
        "no scorer": left_out(tables, fit_prior.SHARES, "searched"),
        "one share": plain,
        "own labels": own,
        "own labels, SAR": own_selected,
        "prior and own": lambda view: (shipped(view) + own(view)) / 2,
    }


def left_out(
    tables: Mapping[str, pa.Table],
    shares: tuple[float, ...],
    model: str = "scored",
    without: str | None = None,
) -> Model:
    """``p_prior`` fitted to all collections but the view's; without a feature if one is named."""
    read = np.array([feature != without for feature in prior.FEATURES[model]])
    fitted: dict[str, prior.Weights] = {}

    def predict(view: View) -> np.ndarray:
        if view.name not in fitted:
            others = {name: table for name, table in tables.items() if name != view.name}
            x, y, weight = fit_prior.shown(others, model, shares)
            slopes = np.zeros(len(read))
            slopes[read], bias = fit_prior.fitted(x[:, read], y, weight)
            fitted[view.name] = prior.Weights({model: slopes}, {model: bias}, 2.0, "", ())
        table = view.table
        if model == "searched":
            table = fit_prior.without_scorers(table)
        found = prior.anchor([table], fitted[view.name]).predict(table)
        return logit(np.clip(found.to_numpy(zero_copy_only=False), _BELOW, 1 - _BELOW))

    return predict


def with_units(view: View) -> np.ndarray:
    """The features, the anchor and the scorer's own logit."""
    known = np.full(len(view.truth), prior.stand([view.table])[0])
    return np.column_stack([prior.features(Part(view.table)), known, Part(view.table).score("ce")])


def transferred(tables: Mapping[str, pa.Table], features: Callable[[View], np.ndarray]) -> Model:
    """A logistic model of some features, fitted to whole pools of the other collections."""
    fitted: dict[str, relevance.Linear] = {}
    ways = [("random", 0), ("random", 1), ("biased:minilm", 0), ("biased:bm25", 0)]

    def predict(view: View) -> np.ndarray:
        if view.name not in fitted:
            x, y, w = [], [], []
            others = {name: table for name, table in tables.items() if name != view.name}
            for way, seed in ways:
                for other in hidden(others, way, seed):
                    x.append(features(other)[other.among])
                    y.append(other.truth[other.among])
                    w.append(np.full(len(y[-1]), 1 / len(y[-1])))
            weight = np.concatenate(w)
            weight *= len(weight) / weight.sum()
            fitted[view.name] = relevance.fit_linear(np.concatenate(x), np.concatenate(y), weight)
        return logit(np.clip(fitted[view.name](features(view)), _BELOW, 1 - _BELOW))

    return predict


def own(view: View) -> np.ndarray:
    """A model of the labels that are left, fitted without the fold of the row's query."""
    x, label = prior.features(Part(view.table)), Part(view.table).positive
    return crossed(
        view, lambda rows: relevance.fit_linear(x[rows], label[rows], np.ones(len(rows)))
    )


def own_selected(view: View) -> np.ndarray:
    """The same where being labelled depends on the best rank: relevance and propensity by EM."""
    x, part = prior.features(Part(view.table)), Part(view.table)
    label, depth = part.positive, np.log1p(part.best_rank.astype(np.float64))[:, None]

    def fit(rows: np.ndarray) -> relevance.Linear:
        labelled, ones = label[rows], np.ones(len(rows))
        model = relevance.fit_linear(x[rows], labelled, ones)
        shown = np.full(len(rows), 0.5)
        for _ in range(_STEPS):
            found = np.clip(model(x[rows]), _BELOW, 1 - _BELOW)
            relevant = np.where(labelled, 1.0, found * (1 - shown) / (1 - found * shown))
            twice = np.concatenate([x[rows], x[rows]])
            model = relevance.fit_linear(
                twice,
                np.repeat([True, False], len(rows)),
                np.concatenate([relevant, 1 - relevant]) + _BELOW,
            )
            if labelled.any():
                shown = relevance.fit_linear(depth[rows], labelled, relevant + _BELOW)(depth[rows])
        return model

    return crossed(view, fit)


def crossed(view: View, fit: Callable[[np.ndarray], relevance.Linear]) -> np.ndarray:
    """Logits by models that saw no row of the query's fold."""
    x, fold = prior.features(Part(view.table)), relevance.folds(view.table, 0)
    found = np.empty(len(fold))
    for number in range(5):
        model = fit(np.flatnonzero((fold != number) & view.among))
        found[fold == number] = model(x[fold == number])
    return logit(np.clip(found, _BELOW, 1 - _BELOW))


def limit_at(views: list[View], scores: list[np.ndarray], rank: float) -> float:
    """The logit where the mean over the collections of the median ranks is ``rank``."""
    low, high = -12.0, 6.0
    for _ in range(30):
        limit = (low + high) / 2
        taken = [take(view, score, limit)[1] for view, score in zip(views, scores, strict=True)]
        by_name = by_collection(views, taken)
        low, high = (limit, high) if np.mean([*by_name.values()]) > rank else (low, limit)
    return limit


def told(views: list[View], model: Model, limit: float) -> str:
    """Contamination, the worst collection's, the mean of the median ranks, and the limit."""
    taken = [take(view, model(view), limit) for view in views]
    false = by_collection(views, [one[0] for one in taken])
    rank = float(np.mean([*by_collection(views, [one[1] for one in taken]).values()]))
    worst = max(false, key=lambda name: false[name])
    return (
        f"{100 * float(np.mean([*false.values()])):.2f}% ({worst} {100 * false[worst]:.1f}%) "
        f"@{rank:.1f}, {expit(limit):.3f}"
    )


def by_collection(views: list[View], figures: list[float]) -> dict[str, float]:
    """The mean of one figure per collection."""
    names = dict.fromkeys(view.name for view in views)
    return {
        name: float(np.mean([f for v, f in zip(views, figures, strict=True) if v.name == name]))
        for name in names
    }


def take(view: View, score: np.ndarray, limit: float) -> tuple[float, float]:
    """(contamination, median dense rank) of the eight that MiniLM ranks best below the limit."""
    part = Part(view.table)
    dense = part.score("minilm")
    place = ranking.positions(part.query, dense, part.docid, np.ones(len(part), dtype=bool))
    allowed = ~part.positive & view.among & (score < limit)
    order = ranking.positions(part.query, dense, part.docid, allowed)
    chosen = (order > 0) & (order <= TAKEN)
    if not chosen.any():
        return 0.0, float("inf")
    return float(view.truth[chosen].mean()), float(np.median(place[chosen]))


if __name__ == "__main__":
    main()
