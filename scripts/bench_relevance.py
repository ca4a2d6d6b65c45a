"""How well ``p_relevant`` finds positives that are hidden, with and without likeness to the known.

Any scored (or just retrieved) artifact whose queries have several positives::

    python scripts/bench_relevance.py work/scored --keep 1 --keep 2 --keep 4

Per seed all but ``--keep`` positives of each query are hidden, as ``negmine audit`` does, and
``p_relevant`` is learned from what is left. Told as the mean over seeds (and the least and the
greatest): the AUC of the hidden positives among the unlabelled candidates of queries with at least
``--keep`` positives left, over all of them and as the mean of the queries' own. The control learns
from as many labels put on candidates of the same query at random, and tells the AUC of those
labels, each row scored by a model that saw no row of its query: 0.5 where no label shows in the
features.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.commands import audit
from negmine.learning import relevance
from negmine.stages.filter import likeness
from negmine.table import artifacts
from negmine.table.artifacts import Artifact
from negmine.table.candidates import Candidates
from negmine.table.part import Part

Tables = list[pa.Table]


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scored", type=Path)
    parser.add_argument("--keep", type=int, action="append", help="positives left (default: 2)")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    log.setup(quiet=True)
    source = artifacts.open_artifact(given.scored, ["retrieve", "rerank"])
    print("| positives left | hidden | likeness | AUC | within queries | control |")
    print("|---|---|---|---|---|---|")
    for keep in given.keep or [2]:
        found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for seed in range(given.seeds):
            for alike in found:
                found[alike].append(measure(source, keep, seed, alike))
        for alike, runs in found.items():
            hidden = np.mean([run["hidden"] for run in runs])
            cells = [span([run[name] for run in runs]) for name in ("auc", "within", "control")]
            print(f"| {keep} | {hidden:.0f} | {'yes' if alike else 'no'} | {' | '.join(cells)} |")


def span(values: list[float]) -> str:
    """Mean, least and greatest."""
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def measure(source: Artifact, keep: int, seed: int, alike: bool) -> dict[str, float]:
    """One seed's AUCs."""
    with tempfile.TemporaryDirectory(prefix="bench-relevance-") as folder:
        path = Path(folder) / "scored"
        audit.mask(source, path, audit.Scheme("random"), keep, seed)
        masked = artifacts.open_artifact(path)
        tables = [masked.read(name) for name in masked.parts]
        hidden = np.concatenate(
            [labels(source, name, table) for name, table in zip(masked.parts, tables, strict=True)]
        )
        score, label, query = learned(masked, tables, seed, alike)
        shuffled = [shuffle(table, seed) for table in tables]
        by_chance, chance, _ = learned(masked, shuffled, seed, alike)
    left = np.bincount(query, weights=label)[query]
    asked = ~label & (left >= keep) & ~np.isnan(score)
    hidden &= asked
    within = [
        auc(score[mine], hidden[mine])
        for mine in (np.flatnonzero(asked & (query == number)) for number in np.unique(query))
        if 0 < hidden[mine].sum() < len(mine)
    ]
    told = ~np.isnan(by_chance)
    return {
        "hidden": float(hidden.sum()),
        "auc": auc(score[asked], hidden[asked]),
        "within": float(np.mean(within)),
        "control": auc(by_chance[told], chance[told]),
    }


def learned(
    masked: Artifact, tables: Tables, seed: int, alike: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p_relevant, whether labelled, query number) of all rows."""
    if alike:
        parts: Iterator[Any] = iter(zip(masked.parts, tables, strict=True))
        tables = [table for _, table in likeness.join(parts, Candidates(masked), seed, 128 << 20)]
    rows = sum(table.num_rows for table in tables)
    model = relevance.learn([relevance.taught(table, rows, seed) for table in tables], seed)
    score = [model.predict(table).to_numpy(zero_copy_only=False) for table in tables]
    query, positive, queries = [], [], 0
    for table in tables:
        part = Part(table)
        query.append(part.query + queries)
        positive.append(part.positive)
        queries += part.queries
    return np.concatenate(score), np.concatenate(positive), np.concatenate(query)


def labels(source: Artifact, name: str, table: pa.Table) -> np.ndarray:
    """Which rows of a masked part are positives in truth."""
    truth = source.read(name, ["qid", "docid", "label"])
    truth = truth.filter(pc.equal(truth.column("label"), 1))
    found: np.ndarray = pc.is_in(keys(table), value_set=keys(truth)).to_numpy(zero_copy_only=False)
    return found


def keys(table: pa.Table) -> pa.Array:
    """A string per pair."""
    joined = pc.binary_join_element_wise(table.column("qid"), table.column("docid"), "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def shuffle(table: pa.Table, seed: int) -> pa.Table:
    """As many labels per query, on retrieved rows at random; unretrieved rows are taken out."""
    part = Part(table.filter(pa.array(Part(table).found)))
    order = np.lexsort((np.random.default_rng(seed).random(len(part)), part.query))
    label = np.zeros(len(part), dtype=np.int8)
    label[order] = part.positive
    return part.relabelled(label).table


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores higher."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, score))


if __name__ == "__main__":
    main()
