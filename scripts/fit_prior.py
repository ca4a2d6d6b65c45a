"""Fit ``p_prior``: the model of relevance that negmine ships, to collections with deep judgements.

::

    python scripts/fit_prior.py WORK/*/scored -o negmine/learning/prior.json
    python scripts/fit_prior.py ... --leave-out cranfield -o priors/cranfield.json

The folders are scored tables as ``bench_denoise.py`` prepares them, with all positives revealed.
Of each collection the model is shown several views, and every collection counts the same: at
several depths of the pool (first 15, 30, 60 of each source); for the models of one source with
either alone; with all documents and with a share of those that are not relevant, so that more of
what is left is; and with one positive of each query left known, chosen at random or as the one
that a source ranks best, or with those that a source ranks among its first ten, as a pool leaves
them. What is known decides the features ``log_positives`` and ``z_positives`` alone; what is to be
told is always all judgements. The fit is a ridge-penalised logistic regression on standardised
features; nothing of it is chosen here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.audit.hiding import Scheme, hide
from negmine.learning import prior, relevance
from negmine.table import artifacts, draws, ranking, schemas
from negmine.table.names import rank_column, score_column
from negmine.table.part import UNRANKED, Part

DEPTHS = (15, 30, 60)
#: Draws with positives hidden at random; hidden by a source there is only one.
DRAWS = 2
#: Of a pool's labels: those within it are known, and one at least.
POOL = 10
#: Shares of the documents that are kept beside the positives: in a smaller corpus more is relevant.
SHARES = (1.0, 0.4, 0.15)


def main() -> None:
    """Fit both models and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scored", type=Path, nargs="+", help="WORK/COLLECTION/scored")
    parser.add_argument("--leave-out", action="append", default=[], metavar="COLLECTION")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    told = fit({path.parent.name: path for path in given.scored}, given.leave_out, given.out)
    print(json.dumps(told["models"], indent=1))


def fit(folders: dict[str, Path], left_out: list[str], out: Path) -> dict[str, Any]:
    """Fit both models to all collections but those left out, and write them."""
    names = sorted(name for name in folders if name not in left_out)
    tables = {name: whole(folders[name]) for name in names}
    models: dict[str, Any] = {}
    anchors: list[float] = []
    for model, features in prior.FEATURES.items():
        x, y, weight = shown(tables, model)
        anchors.append(float(np.average(x[:, -1], weights=weight)))
        weights, bias = fitted(x, y, weight)
        models[model] = {
            "weights": dict(zip(features, np.round(weights, 6).tolist(), strict=True)),
            "bias": round(bias, 6),
            "rows": len(y),
        }
    told: dict[str, Any] = {
        "collections": names,
        "models": models,
        "z_positives": round(anchors[0], 6),
        "scores": "all-MiniLM-L6-v2, BM25; scorer ms-marco-MiniLM-L12-v2",
    }
    told["identity"] = hashlib.blake2b(
        json.dumps(told, sort_keys=True).encode(), digest_size=8
    ).hexdigest()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told


def fitted(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and intercept for the features as they are, not standardised."""
    linear = relevance.fit_linear(x, y, weight)
    weights = linear.weights / linear.scale
    return weights, float(linear.bias - weights @ linear.mean)


def whole(folder: Path) -> pa.Table:
    """A scored table, all parts."""
    source = artifacts.open_artifact(folder)
    return pa.concat_tables([source.read(name) for name in source.parts]).combine_chunks()


def shown(
    tables: Mapping[str, pa.Table], model: str, shares: Sequence[float] = SHARES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and weights of all views of all collections."""
    x, y, weight = [], [], []
    for table in tables.values():
        views = list(views_of(table, model, shares))
        for features, labels in views:
            x.append(features)
            y.append(labels)
            weight.append(np.full(len(labels), 1 / len(labels) / len(views)))
    w = np.concatenate(weight)
    return np.concatenate(x), np.concatenate(y), w * len(w) / w.sum()


def views_of(
    table: pa.Table, model: str, shares: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(features, labels) of the rows that a source retrieved, for each view of one collection."""
    sources = schemas.searched_names(table.schema)
    if model == "searched":
        table = without_scorers(table)
    schemes = [(Scheme("random"), seed) for seed in range(DRAWS)]
    schemes += [(Scheme(f"biased:{name}", name), 0) for name in sources]
    schemes.append((Scheme(f"pooled:{POOL}", depth=POOL), 0))
    deepest = max(int(pc.max(table.column(rank_column(name))).as_py()) for name in sources)
    depths = sorted({min(depth, deepest) for depth in DEPTHS})
    for smaller in (thinned(table, share) for share in shares):
        for scheme, seed in schemes:
            masked, hidden = hide(smaller, scheme, 1, seed)
            truth = hidden | Part(masked).positive
            for kept in [sources, *([name] for name in sources if len(sources) > 1)]:
                for depth in depths:
                    view, rows = cut(masked, hidden, kept, depth)
                    part = Part(view)
                    x = prior.with_labels(part, prior.known(part), prior.stand([view])[0])
                    among = prior.pool(part)
                    yield x[among], truth[rows][among]


def without_scorers(table: pa.Table) -> pa.Table:
    """The table as retrieval alone makes it."""
    return table.drop_columns([score_column(name) for name in schemas.scorer_names(table.schema)])


def thinned(table: pa.Table, share: float) -> pa.Table:
    """The table of a corpus with all positives and a share of the other documents (by a hash)."""
    docid = table.column("docid")
    rows = Part(table).positive | (draws.draws(docid, docid, 0) < share)
    table = table.filter(pa.array(rows)).combine_chunks()
    part = Part(table)
    for name in schemas.source_names(table.schema):
        rank = part.rank(name)
        place = ranking.numbered(part.query, -rank.astype(np.float64), part.docid, rank < UNRANKED)
        at = table.schema.get_field_index(rank_column(name))
        anew = pa.array(place, pa.int32(), mask=place == 0)
        table = table.set_column(at, table.schema.field(at), anew)
    return table


def cut(
    table: pa.Table, hidden: np.ndarray, sources: list[str], depth: int
) -> tuple[pa.Table, np.ndarray]:
    """The table as these sources alone would have made it at that depth, and its rows' numbers."""
    for name in schemas.source_names(table.schema):
        if name not in sources:
            table = table.drop_columns([rank_column(name), score_column(name)])
            continue
        at = table.schema.get_field_index(rank_column(name))
        rank = table.column(at)
        shallow = pc.if_else(pc.less_equal(rank, depth), rank, pa.scalar(None, rank.type))
        table = table.set_column(at, table.schema.field(at), shallow)
    part = Part(table)
    # What was hidden and no source found stood there only because it was labelled.
    rows = np.flatnonzero(part.found | (part.positive & ~hidden))
    return table.take(pa.array(rows)), rows


if __name__ == "__main__":
    main()
