"""Does ``--max-fn-rate ALPHA`` keep its promise? Random calibration/test splits of real positives.

    python scripts/bench_conformal.py work/scored --splits 200

The queries of a scored artifact are shuffled and cut into fifths; four calibrate, one is tested,
each in turn. The threshold is calibrated on the positives that a source retrieved, as ``filter``
does it; survival is the share of the tested positives that score below it, queries weighing the
same. Its mean over the
splits should not exceed alpha; a single split may, because the bound is marginal.

``score`` bounds the score itself; ``margin`` its difference to the query's other positives, which
needs queries with two. ``one per query`` keeps one random positive of each query, as in a data set
with one label. What this cannot test is the assumption: here the "unlabelled" positives are drawn
at random from the labelled ones. ``--biased`` breaks it on purpose: the half of each query's
positives that SOURCE ranks best calibrate, those it ranks worst are tested. ``score, --bias-from``
is then the bound as ``filter --bias-from SOURCE`` corrects it, with the other half as unlabelled
candidates of the queries that calibrate. ``--at-random`` draws the halves (``--biased`` is
then the source that the correction wrongly believes in): what the correction costs where it is not
needed. ``negatives kept`` is the share of the tested queries' other candidates below the limit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negmine.errors import UsageError
from negmine.learning import selection
from negmine.learning.calibration import leave_one_out, needed, threshold
from negmine.learning.selection import Pool
from negmine.table import artifacts, ranking, schemas
from negmine.table.names import score_column
from negmine.table.part import Part

ALPHAS = (0.01, 0.05, 0.1, 0.2)
FOLDS = 5


@dataclass(frozen=True)
class Positives:
    """The retrieved positives of a table."""

    query: np.ndarray
    score: np.ndarray
    rank: np.ndarray

    def take(self, mask: np.ndarray) -> Positives:
        """Some of them."""
        return Positives(self.query[mask], self.score[mask], self.rank[mask])


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    variant: str
    alpha: float
    calibration_queries: int
    survival: float
    standard_error: float
    spread: float
    impossible: int
    kept: float | None = None

    def holds(self) -> bool:
        """Whether the mean is within the bound, but for the luck of the splits."""
        return self.survival <= self.alpha + 2 * self.standard_error


def read(scored: Path, by: str | None, source: str | None) -> tuple[Positives, str]:
    """The positives that can calibrate, and the name of their score."""
    artifact = artifacts.open_artifact(scored, ["retrieve", "rerank"])
    name = schemas.pick_score(artifact.schema(), by, "--by")
    parts = []
    for part in artifact.parts:
        table = artifact.read(part)
        rows = Part(table)
        table = table.filter(pa.array(rows.positive & rows.found))
        rank = Part(table).rank(source)
        parts.append((table.column("qid"), table.column(score_column(name)), rank))
    qids = pa.chunked_array([chunk for qid, _, _ in parts for chunk in qid.chunks], pa.string())
    query, _ = ranking.string_codes(qids)
    score = np.concatenate([values.to_numpy().astype(np.float64) for _, values, _ in parts])
    rank = np.concatenate([ranks for _, _, ranks in parts])
    found = Positives(query, score, rank)
    return found.take(~np.isnan(score)), name


def read_pool(scored: Path, name: str, source: str) -> Pool:
    """All candidates that a source retrieved and that have a score, by ``source``'s ranking."""
    artifact = artifacts.open_artifact(scored, ["retrieve", "rerank"])
    pools: list[Pool] = []
    queries = 0
    for part_name in artifact.parts:
        part = Part(artifact.read(part_name))
        score = part.score(name)
        pool = Pool(
            query=part.query + queries,
            score=score,
            depth=selection.depths(part, [source]),
            positive=part.positive,
            judged=part.valid("grade") & ~part.positive,
            group=np.zeros(len(part), dtype=np.int64),
        )
        pools.append(pool.take(part.found & ~np.isnan(score)))
        queries += part.queries
    return selection.joined(pools)


def survival(score: np.ndarray, query: np.ndarray, limit: float) -> float:
    """Mean over queries of the share of positives that score below ``limit``."""
    _, inverse, count = np.unique(query, return_inverse=True, return_counts=True)
    return float((np.bincount(inverse, weights=score < limit) / count).mean())


def one_per_query(positives: Positives, rng: np.random.Generator) -> Positives:
    """One random positive of each query."""
    order = rng.permutation(len(positives.query))
    _, first = np.unique(positives.query[order], return_index=True)
    keep = np.zeros(len(order), dtype=bool)
    keep[order[first]] = True
    return positives.take(keep)


def as_margins(positives: Positives) -> Positives:
    """Scores relative to the lowest of the query's other positives; queries with two or more."""
    margin = positives.score - leave_one_out(positives.score, positives.query, "min")
    known = ~np.isnan(margin)
    return Positives(positives.query, margin, positives.rank).take(known)


def splits(
    positives: Positives, count: int, seed: int, single: bool
) -> Iterator[tuple[Positives, Positives]]:
    """A random fifth of the queries is tested, the others calibrate; each fifth in turn.

    The turns balance: what one fifth has too much of, the others lack.
    """
    queries = np.unique(positives.query)
    for number in range(count):
        rng = np.random.default_rng([seed, number // FOLDS])
        fold = np.arange(len(queries))
        fold[rng.permutation(len(queries))] = np.arange(len(queries)) % FOLDS
        chosen = one_per_query(positives, rng) if single else positives
        test = np.isin(chosen.query, queries[fold == number % FOLDS])
        yield chosen.take(~test), chosen.take(test)


def measure(
    positives: Positives, variant: str, alpha: float, count: int, seed: int, biased: bool
) -> Row:
    """One line: mean survival over the splits."""
    found, size = [], 0
    single = variant == "one per query" and not biased
    for calibration, test in splits(positives, count, seed, single):
        if biased:
            calibration, test = best_half(calibration), worst_half(test)
        size = len(np.unique(calibration.query))
        limit = threshold(calibration.score, calibration.query, alpha)
        if limit is None:
            # Too few positives: the rule refuses, so nothing can pass.
            continue
        found.append(survival(test.score, test.query, limit.value))
    return summed(variant, alpha, size, np.array(found), count)


def summed(variant: str, alpha: float, size: int, values: np.ndarray, count: int) -> Row:
    """One line of the survivals of those of ``count`` splits that were not refused."""
    # The turns of one shuffle are not independent: the shuffles are.
    whole = len(values) == count and count % FOLDS == 0
    shuffles = values.reshape(-1, FOLDS).mean(axis=1) if whole else values
    return Row(
        variant,
        alpha,
        size,
        float(values.mean()) if len(values) else float("nan"),
        float(shuffles.std(ddof=1) / len(shuffles) ** 0.5) if len(shuffles) > 1 else float("nan"),
        float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        count - len(values),
    )


def measure_pool(
    pool: Pool, alpha: float, count: int, seed: int, *, corrected: bool, at_random: bool
) -> Row:
    """One line with whole pools: half of each query's positives have no label.

    Args:
        pool: the candidates.
        alpha: the level.
        count: splits.
        seed: of the splits.
        corrected: calibrate as ``--bias-from`` does.
        at_random: which half that is, is drawn; else it is the one that is ranked worse.
    """
    found, kept, size = [], [], 0
    queries = np.unique(pool.query)
    for number in range(count):
        rng = np.random.default_rng([seed, number // FOLDS])
        fold = np.zeros(int(queries.max()) + 1, dtype=np.int64)
        fold[queries[rng.permutation(len(queries))]] = np.arange(len(queries)) % FOLDS
        test = fold[pool.query] == number % FOLDS
        key = rng.random(len(pool.query)) if at_random else pool.depth.astype(np.float64)
        hidden = worse_half(pool, key)
        seen = replace(pool, positive=pool.positive & ~hidden)
        size = len(np.unique(seen.query[~test & seen.positive]))
        limit = calibrated(seen.take(~test), alpha, corrected)
        if limit is None:
            continue
        found.append(survival(pool.score[test & hidden], pool.query[test & hidden], limit))
        others = pool.score[test & ~pool.positive]
        kept += [float((others < limit).mean())] if len(others) else []
    variant = "score, --bias-from" if corrected else "score"
    row = summed(variant, alpha, size, np.array(found), count)
    return replace(row, kept=float(np.mean(kept)) if kept else None)


def calibrated(seen: Pool, alpha: float, corrected: bool) -> float | None:
    """The limit of the calibrating queries' pool; None where the rule refuses."""
    labelled = np.zeros(int(seen.query.max()) + 1, dtype=bool)
    labelled[seen.query[seen.positive]] = True
    seen = seen.take(labelled[seen.query])
    if not corrected:
        limit = threshold(seen.score[seen.positive], seen.query[seen.positive], alpha)
        return None if limit is None else limit.value
    try:
        probability = selection.unlabelled_positives(seen, "the source")
    except UsageError:
        return None
    limit, _ = selection.corrected(seen.score, probability, seen.query, alpha)
    return None if limit is None else limit.value


def worse_half(pool: Pool, key: np.ndarray) -> np.ndarray:
    """True for the half of each query's positives with the greater keys (of one, none)."""
    rows = np.flatnonzero(pool.positive)
    place, size = _ordered(Positives(pool.query[rows], pool.score[rows], key[rows]))
    hidden = np.zeros(len(pool.query), dtype=bool)
    hidden[rows[place >= (size + 1) // 2]] = True
    return hidden


def _ordered(positives: Positives) -> tuple[np.ndarray, np.ndarray]:
    """Place of each positive within its query by rank, from 0, and the query's size."""
    order = np.lexsort((positives.rank, positives.query))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = ranking.positions_in_group(positives.query[order]) - 1
    _, inverse, count = np.unique(positives.query, return_inverse=True, return_counts=True)
    return place, count[inverse]


def best_half(positives: Positives) -> Positives:
    """The better-ranked half of each query's positives (of one, that one)."""
    place, size = _ordered(positives)
    return positives.take(place < (size + 1) // 2)


def worst_half(positives: Positives) -> Positives:
    """The worse-ranked half of each query's positives (of one, none)."""
    place, size = _ordered(positives)
    return positives.take(place >= (size + 1) // 2)


def run(
    scored: Path,
    *,
    by: str | None = None,
    count: int = 200,
    alphas: tuple[float, ...] = ALPHAS,
    seed: int = 0,
    biased: str | None = None,
    at_random: bool = False,
) -> tuple[list[Row], dict[str, Any]]:
    """All variants at all levels, and what they were measured on."""
    positives, name = read(scored, by, biased)
    several = as_margins(positives)
    variants = [("score", positives)]
    if biased is None:
        variants.append(("one per query", positives))
    if len(np.unique(several.query)) >= 4:
        variants.append(("margin", several))
    if at_random and biased is None:
        raise SystemExit("--at-random needs --biased SOURCE")
    if biased is not None:
        pool = read_pool(scored, name, biased)
        rows = [
            measure_pool(pool, alpha, count, seed, corrected=fixed, at_random=at_random)
            for fixed in (False, True)
            for alpha in alphas
        ]
        # What the whole pool tells of scores is the same line as that of the positives alone.
        variants = variants[1:] if not at_random else []
    else:
        rows = []
    rows += [
        measure(of, variant, alpha, count, seed, biased is not None)
        for variant, of in variants
        for alpha in alphas
    ]
    facts = {
        "scored": str(scored),
        "score": name,
        "splits": count,
        "queries": len(np.unique(positives.query)),
        "positives": len(positives.query),
        "biased_by": biased,
        "halves_at_random": at_random,
    }
    return rows, facts


def table(rows: list[Row], facts: dict[str, Any]) -> str:
    """The rows in Markdown."""
    how = ""
    if facts["biased_by"]:
        how = f", calibrated on what {facts['biased_by']} ranks best"
    if facts["halves_at_random"]:
        how = f", calibrated on a random half (--bias-from {facts['biased_by']} is wrong)"
    lines = [
        f"{facts['scored']}, score `{facts['score']}`: {facts['positives']} retrieved positives of "
        f"{facts['queries']} queries, {facts['splits']} splits{how}",
        "",
        "| calibrated on | alpha | n | mean survival | within | one split's sd | negatives kept |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if np.isnan(row.survival):
            told = f"refused: needs {needed(row.alpha)} queries | - | - | -"
        else:
            within = "yes" if row.holds() else "**no**"
            told = f"{row.survival:.4f} ± {row.standard_error:.4f} | {within} | {row.spread:.3f}"
            told += " | -" if row.kept is None else f" | {row.kept:.1%}"
        lines.append(f"| {row.variant} | {row.alpha:g} | {row.calibration_queries} | {told} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scored", type=Path, nargs="+", help="scored artifacts")
    parser.add_argument("--by", help="score column; default: the last scorer's")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--alpha", type=float, action="append", help=f"default: {ALPHAS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--biased", metavar="SOURCE", help="break the assumption on purpose")
    parser.add_argument(
        "--at-random", action="store_true", help="draw the halves; --biased is wrongly believed in"
    )
    parser.add_argument("--json", type=Path, help="write all numbers here")
    given = parser.parse_args()
    told = []
    for scored in given.scored:
        rows, facts = run(
            scored,
            by=given.by,
            count=given.splits,
            alphas=tuple(given.alpha or ALPHAS),
            seed=given.seed,
            biased=given.biased,
            at_random=given.at_random,
        )
        print(table(rows, facts), end="\n\n")
        told.append({**facts, "rows": [vars(row) for row in rows]})
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
