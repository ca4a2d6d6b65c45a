"""``p_prior`` by a drawn pool: the negatives of ``default.toml``, and how many pairs they need.

::

    python scripts/bench_pool.py WORK/*/scored

Of each scored table (``bench_denoise.py`` prepares them) one positive per query, drawn, is left
known. What ``p_prior`` gives more than 0.15 is dropped, and of the rest the eight that MiniLM ranks
best are taken: once with all of a query's candidates as its pool, and with so many of them drawn
(``filter --prior-pool``). Told are the share of judged positives among what is taken, the median
rank, the share of the candidates that ``rerank --enough 8`` has to score for it, in blocks of
eight, and how many of the negatives are those of the whole pool. The shipped weights are used,
which were fitted to these collections: it is the two rows that are compared.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import _bench
import numpy as np

from negmine.learning import prior
from negmine.learning.prior import Among
from negmine.stages import lazily
from negmine.table import draws, ranking
from negmine.table.candidates import Candidates, open_candidates
from negmine.table.part import Part

LIMIT, WANTED, BLOCK = 0.15, 8, 8


@dataclass(frozen=True)
class Measured:
    """Of one pool: shares, and the median rank."""

    false: float
    rank: float
    pairs: float
    same: float


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scored", type=Path, nargs="+")
    parser.add_argument("--pool", type=int, action="append", help="drawn candidates; default: 24")
    parser.add_argument("--rank-by", default="minilm")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for path in options.scored:
        source = open_candidates(path)
        for pool in (None, *(options.pool or [24])):
            runs = [measure(source, pool, options.rank_by, seed) for seed in range(options.seeds)]
            mean = Measured(*np.mean([list(vars(run).values()) for run in runs], axis=0))
            name = "all" if pool is None else str(pool)
            told = [
                f"{mean.false:.2%}",
                f"{mean.rank:.1f}",
                f"{mean.pairs:.0%}",
                f"{mean.same:.0%}",
            ]
            rows.append((path.resolve().parent.name, name, *told))
    print(_bench.table(["", "pool", "false", "rank", "pairs scored", "the same"], rows))
    return 0


def measure(source: Candidates, pool: int | None, rank_by: str, seed: int) -> Measured:
    """What one draw of known positives and of the pool comes to."""
    parts = [hide(source.part(name), seed) for name in source.parts]
    models = [prior.anchor([part.table for part, _ in parts], among=Among(pool, seed))]
    models.append(prior.anchor([part.table for part, _ in parts]))
    taken = false = same = pairs = rows = 0
    ranks: list[float] = []
    for part, hidden in parts:
        chosen, whole = (choose(part, model, rank_by) for model in models)
        taken += int(chosen.sum())
        false += int((chosen & hidden).sum())
        same += int((chosen & whole).sum())
        ranks += part.rank(rank_by)[chosen].tolist()
        pairs += int(scored(part, models[0], rank_by).sum())
        rows += len(part)
    return Measured(false / taken, float(np.median(ranks)), pairs / rows, same / taken)


def hide(part: Part, seed: int) -> tuple[Part, np.ndarray]:
    """The part with one positive of each query, and the rows of the others."""
    draw = draws.draws(part.table.column("qid"), part.table.column("docid"), seed)
    place = ranking.positions(part.query, -draw, part.docid, part.positive)
    return part.relabelled(place == 1), place > 1


def survivors(part: Part, model: prior.Prior) -> np.ndarray:
    """The candidates that are under the limit, bool [rows]."""
    return ~part.positive & part.found & (model.predict(part.table).to_numpy() <= LIMIT)


def choose(part: Part, model: prior.Prior, rank_by: str) -> np.ndarray:
    """The first survivors by rank, bool [rows]."""
    rank = -part.rank(rank_by).astype(np.float64)
    place = ranking.positions(part.query, rank, part.docid, survivors(part, model))
    return (place > 0) & (place <= WANTED)


def scored(part: Part, model: prior.Prior, rank_by: str) -> np.ndarray:
    """The rows that are scored until there are enough, bool [rows]."""
    if model.among.rows is None:
        return np.ones(len(part), dtype=bool)
    rank = -part.rank(rank_by).astype(np.float64)
    place = ranking.positions(part.query, rank, part.docid, ~part.positive & part.found)
    turns = lazily.turns(place, part.positive | model.among.drawn(part), WANTED, BLOCK)
    # A query is through with the turn in which the last of its negatives stands.
    through = np.full(part.queries, np.iinfo(np.int64).max)
    taken = choose(part, model, rank_by)
    full = np.bincount(part.query[taken], minlength=part.queries) >= WANTED
    last = np.zeros(part.queries, dtype=np.int64)
    np.maximum.at(last, part.query[taken], turns.place[taken])
    through[full] = last[full]
    return (turns.asked >= 0) & (turns.asked <= through[part.query])


if __name__ == "__main__":
    raise SystemExit(main())
