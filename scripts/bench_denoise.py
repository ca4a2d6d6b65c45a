"""How many "negatives" are positives: negmine's rules beside sentence-transformers' miner.

Any folder in BEIR's layout whose queries have several judged positives::

    python scripts/bench_denoise.py DATA/cranfield --recipe configs/default.toml

One positive of each query is revealed; every miner sees only that one and is asked for the same
number of negatives. Which one matters, so each way of hiding the others has its columns
(``--hide``): at ``random``, a draw per seed, and ``biased:SOURCE``, where the one that the source
ranks best is left, as annotators leave them who judged what an older system found. All miners read
the same vectors and the same cross-encoder scores, made once with everything revealed, by the
stages themselves, into ``--work/NAME`` (resumable). sentence-transformers' ``mine_hard_negatives``
runs itself: its model answers with these vectors, its cross-encoder with these scores.

Told per method, as the mean over seeds: contamination (share of the chosen whose text is a judged
positive's of that query) with its 95% interval over queries (bootstrap), negatives per query,
share of queries with fewer than asked, and the median dense rank of the chosen among *all*
documents, whichever source found them.

``p_prior`` is fitted to collections among which this one may be: ``--prior FILE`` takes weights
that ``fit_prior.py --leave-out`` made; ``bench_left_out.py`` does both for several collections.
"""

from __future__ import annotations

import argparse
import json
import string
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import _bench
import numpy as np
from _denoise import Collection, Peer, add_arguments, changed, filters, prepare

from negmine import log
from negmine.commands import audit, plot
from negmine.learning import prior
from negmine.params import FilterParams
from negmine.table import artifacts

#: sentence-transformers' ways, each with the arguments of ``Peer.mine``.
PEERS: Mapping[str, Mapping[str, Any]] = {
    "ST top, no margin": {},
    "ST relative_margin=0.05, dense": {"relative_margin": 0.05},
    "ST relative_margin=0.05, cross-encoder": {"relative_margin": 0.05, "rescore": True},
}
#: Resampled sets of queries for an interval.
_RESAMPLED = 1000

Run = dict[str, Any]
#: The runs of a method under a way of hiding.
Results = dict[str, dict[str, list[Run]]]


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, Path("work/bench_denoise"), seeds=5)
    parser.add_argument(
        "--hide", action="append", metavar="WAY", help="random, biased:SOURCE, pooled:DEPTH, none"
    )
    parser.add_argument("--prior", type=Path, help="weights of p_prior, made by fit_prior.py")
    parser.add_argument("--no-peer", action="store_true", help="leave sentence-transformers out")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--svg", type=Path, help="draw contamination against hardness here")
    given = parser.parse_args()
    log.setup(quiet=True)
    work = given.work / (given.name or given.folder.resolve().name)
    scored = prepare(given, work)
    settings = filters(given.recipe, given.tried, given.num_negatives)
    if not settings:
        settings = [("no rule", FilterParams(by="ce", num_negatives=given.num_negatives))]
    collection = Collection(scored, given.encoder)
    hidden = given.hide or ["random", *(f"biased:{name}" for name in ("minilm", "bm25"))]
    peers = {} if given.no_peer else PEERS
    with fitted_by(given.prior):
        results = measured(collection, settings, hidden, given.seeds, given.k, peers)
    print(heading(given.folder.name, collection, given), "", sep="\n")
    print(table(results))
    if given.svg:
        given.svg.write_text(picture(results[hidden[0]], given.folder.name))
    if given.json:
        report = {
            "folder": str(given.folder),
            "queries": collection.queries,
            "k": given.k,
            "seeds": given.seeds,
            "num_negatives": given.num_negatives,
            "cross_encoder_calls_outside_the_pool": collection.misses,
            "settings": {name: changed(params) for name, params in settings},
            "results": results,
            "versions": artifacts.library_versions(),
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1) + "\n")


@contextmanager
def fitted_by(path: Path | None) -> Iterator[None]:
    """``p_prior`` by other weights than those that negmine comes with."""
    if path is None:
        yield
        return
    weights, shipped = prior.read(path), prior.shipped
    prior.shipped = cache(lambda: weights)
    try:
        yield
    finally:
        prior.shipped = shipped


def scheme(way: str) -> audit.Scheme:
    """A way of hiding by its name."""
    kind, _, detail = way.partition(":")
    if kind == "pooled":
        return audit.Scheme(way, depth=int(detail))
    return audit.Scheme(way, detail or None) if kind == "biased" else audit.Scheme(way)


def measured(
    collection: Collection,
    settings: Sequence[tuple[str, FilterParams]],
    hidden: Sequence[str],
    seeds: int,
    k: int,
    peers: Mapping[str, Mapping[str, Any]] = PEERS,
) -> Results:
    """All methods under all ways of hiding, a run per seed (hidden by a source there is one)."""
    results: Results = {}
    for way in hidden:
        found = results[way] = {}
        for seed in range(seeds if way == "random" else 1):
            with tempfile.TemporaryDirectory(prefix="bench-denoise-") as folder:
                path = Path(folder) / "scored"
                kept = sys.maxsize if way == "none" else 1
                audit.mask(collection.scored, path, scheme(way), kept, seed)
                asked = settings[0][1].num_negatives
                revealed = collection.positives(artifacts.open_artifact(path))
                peer = Peer(collection, revealed, k, asked)
                chosen = {name: peer.mine(**options) for name, options in peers.items()}
                for number, (name, params) in enumerate(settings):
                    seeded = replace(params, seed=params.seed + seed)
                    ledger = Path(folder) / f"ledger{number}"
                    chosen[name] = collection.negmine(seeded, path, ledger)
            for name, pairs in chosen.items():
                found.setdefault(name, []).append(collection.measure(pairs, asked))
            print(f"{way}, seed {seed} is done", file=sys.stderr)
    return results


def mean(runs: Sequence[Run], key: str) -> float:
    """The mean of one figure over runs."""
    return float(np.mean([run[key] for run in runs]))


def interval(runs: Sequence[Run]) -> tuple[float, float]:
    """95% interval of the contamination over queries, the runs of a query together (bootstrap)."""
    false = np.sum([run["false_of"] for run in runs], axis=0)
    count = np.sum([run["chosen_of"] for run in runs], axis=0)
    draw = np.random.default_rng(0).integers(0, len(count), (_RESAMPLED, len(count)))
    rates = false[draw].sum(axis=1) / np.maximum(count[draw].sum(axis=1), 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def heading(name: str, collection: Collection, given: argparse.Namespace) -> str:
    """What was measured, in a line."""
    return (
        f"{name}: {collection.queries} queries, {len(collection.texts)} documents, {given.seeds} "
        f"seeds, one positive revealed, top {given.k} per source, "
        f"{given.num_negatives} negatives asked"
    )


def picture(results: Mapping[str, list[Run]], name: str) -> str:
    """Contamination against hardness, a point per method with the range over seeds."""
    series = []
    for letter, (method, runs) in zip(string.ascii_uppercase, results.items(), strict=False):
        false = [run["contamination"] for run in runs]
        rank = float(np.mean([run["median_dense_rank"] for run in runs]))
        count = np.mean([run["per_query"] for run in runs])
        point = plot.Point(rank, float(np.mean(false)), letter, min(false), max(false))
        series.append(plot.Series(f"{letter}: {method} ({count:.1f} per query)", [point]))
    title = f"{name}, one positive revealed"
    x_label = "median dense rank (left is harder)"
    return plot.svg([plot.Panel(title, x_label, "contamination", series, y_percent=True)])


def table(results: Results) -> str:
    """The results as a Markdown table, a row per method and three columns per way of hiding."""
    ways = list(results)
    head = ["method", *(f"{way}: {what}" for way in ways for what in ("false", "n, short", "rank"))]
    rows = [
        [name, *(cell for way in ways for cell in cells(results[way][name]))]
        for name in results[ways[0]]
    ]
    return _bench.table(head, rows)


def cells(runs: Sequence[Run]) -> list[str]:
    """Contamination with its interval; negatives per query and queries short; median dense rank."""
    low, high = interval(runs)
    return [
        f"{100 * mean(runs, 'contamination'):.2f}% [{100 * low:.1f}-{100 * high:.1f}]",
        f"{mean(runs, 'per_query'):.2f}, {100 * mean(runs, 'short'):.1f}%",
        f"{mean(runs, 'median_dense_rank'):.1f}",
    ]


if __name__ == "__main__":
    main()
