"""Whether one limit on ``p_prior`` does for pools of any depth: BM25 and an encoder, no scorer.

::

    python scripts/bench_depth.py WORK cranfield=DATA/cranfield cacm=DATA/cacm ...

``WORK/NAME`` is what ``bench_denoise.py`` prepared. From its index the first 30, 60, 100 and 200
of each source are retrieved, and the recommended limit is applied as ``bench_prior.py`` does, by
weights that were fitted to the other collections. Told is the share of false negatives and the
median dense rank, as the mean over the collections and for each.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import _bench
import fit_prior
import numpy as np
from bench_prior import hidden, left_out, take
from scipy.special import logit

from negmine import log, recipe
from negmine.params.retrieve import RetrieveParams
from negmine.stages import retrieve

DEPTHS = (30, 60, 100, 200)


def main() -> None:
    """Retrieve, apply, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("data", nargs="+", metavar="NAME=FOLDER", help="in BEIR's layout")
    parser.add_argument("--out", type=Path, help="candidates go here; default: WORK/depths")
    given = parser.parse_args()
    log.setup(quiet=True)
    folders = dict(text.split("=", 1) for text in given.data)
    out = given.out or given.work / "depths"
    rule = tomllib.loads(recipe.shipped()["default"].read_text())["filter"]
    scored = {name: fit_prior.whole(given.work / name / "scored") for name in folders}
    model = left_out(scored, fit_prior.SHARES, "searched")
    rows = []
    for depth in DEPTHS:
        tables = {}
        for name, folder in folders.items():
            candidates = out / name / str(depth)
            params = RetrieveParams(
                queries=(folder,),
                qrels=(f"{folder}/qrels.tsv",),
                source=("minilm", "bm25"),
                k=depth,
            )
            retrieve.run(params, given.work / name / "index", candidates)
            tables[name] = fit_prior.whole(candidates)
        for way in ("random", "biased:minilm", "pooled:10"):
            views = list(hidden(tables, way, 0))
            taken = [take(view, model(view), float(logit(rule["max-score"]))) for view in views]
            mean = np.mean(taken, axis=0)
            cells = [f"{100 * false:.1f}%, {rank:.0f}" for false, rank in taken]
            rows.append([f"first {depth}, {way}", f"{100 * mean[0]:.2f}%, {mean[1]:.1f}", *cells])
    print(_bench.table(["", "mean", *folders], rows))


if __name__ == "__main__":
    main()
