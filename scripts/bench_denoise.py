"""How many "negatives" are positives: negmine's rules beside sentence-transformers' miner.

Any folder in BEIR's layout whose queries have several judged positives::

    python scripts/bench_denoise.py DATA/cranfield --recipe configs/default.toml

One positive of each query is revealed (at random, per seed); every miner sees only that one and is
asked for the same number of negatives. All of them read the same vectors and the same
cross-encoder scores, made once with everything revealed, by the stages themselves, into
``--work/NAME`` (resumable). sentence-transformers' ``mine_hard_negatives`` runs itself: its model
answers with these vectors, its cross-encoder with these scores.

Told per method, as the mean over seeds and per seed: contamination (share of the chosen whose text
is a judged positive's of that query), negatives per query, share of queries with fewer than asked,
and the median dense rank of the chosen among *all* documents, whichever source found them.
"""

from __future__ import annotations

import argparse
import json
import string
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from _denoise import Collection, Pairs, Peer, add_arguments, changed, filters, prepare

from negmine import log
from negmine.commands import audit, plot
from negmine.params import FilterParams
from negmine.table import artifacts


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, Path("work/bench_denoise"), seeds=5)
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
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory(prefix="bench-denoise-") as folder:
            path = Path(folder) / "scored"
            audit.mask(scored, path, audit.Scheme("random"), 1, seed)
            chosen: dict[str, Pairs] = {}
            if not given.no_peer:
                revealed = collection.positives(artifacts.open_artifact(path))
                peer = Peer(collection, revealed, given.k, given.num_negatives)
                chosen["ST top, no margin"] = peer.mine()
                chosen["ST relative_margin=0.05, dense"] = peer.mine(relative_margin=0.05)
                chosen["ST relative_margin=0.05, cross-encoder"] = peer.mine(
                    relative_margin=0.05, rescore=True
                )
            for number, (name, params) in enumerate(settings):
                seeded = replace(params, seed=params.seed + seed)
                chosen[name] = collection.negmine(seeded, path, Path(folder) / f"ledger{number}")
        for name, pairs in chosen.items():
            results.setdefault(name, []).append(collection.measure(pairs, given.num_negatives))
        print(f"seed {seed} is done", file=sys.stderr)
    told = table(results, collection, given)
    print(told)
    if given.svg:
        given.svg.write_text(picture(results, given.folder.name))
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


def picture(results: Mapping[str, list[dict[str, float]]], name: str) -> str:
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


def table(
    results: Mapping[str, list[dict[str, float]]],
    collection: Collection,
    given: argparse.Namespace,
) -> str:
    """The results as a Markdown table."""
    lines = [
        f"{given.folder.name}: {collection.queries} queries, {len(collection.texts)} documents, "
        f"{given.seeds} seeds, one positive revealed, top {given.k} per source, "
        f"{given.num_negatives} negatives asked",
        "",
        "| method | contamination | per seed | per query | short | median dense rank |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        seeds = " ".join(f"{100 * run['contamination']:.1f}" for run in runs)
        lines.append(
            f"| {name} | {100 * mean['contamination']:.2f}% | {seeds} | {mean['per_query']:.2f} "
            f"| {100 * mean['short']:.1f}% | {mean['median_dense_rank']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
