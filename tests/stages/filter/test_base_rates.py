"""The recommended rule where positives are few and where they are many, all of them known.

A limit on the probability of being *labelled* left nothing where many are: what is left there looks
like the known ones, and a tenth of a percent of it was allowed.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from negmine import recipe
from negmine.table import artifacts
from tests.chains import call
from tests.stages.filter.test_filter import Rows, row
from tests.tables import make_scored

ASKED = 8


def collection(positives: int, queries: int, others: int, apart: float) -> list[Rows]:
    """Queries of so many positives, which score ``apart`` sigma better, and so many others."""
    rng = np.random.default_rng(positives)
    rows: Rows = []
    for q in range(queries):
        label = np.arange(positives + others) < positives
        ce, bm25, minilm = (rng.normal(apart * label) for _ in range(3))
        for d in range(len(label)):
            made = row(f"q{q:03d}", f"d{q}x{d:03d}", int(label[d]), float(ce[d]), 1)
            made |= {"score_bm25": float(bm25[d]), "score_minilm": float(minilm[d])}
            made |= {
                "rank_bm25": int((bm25 > bm25[d]).sum()) + 1,
                "rank_minilm": int((minilm > minilm[d]).sum()) + 1,
            }
            rows.append(made)
    return [rows]


def short(folder: Path, rows: list[Rows]) -> float:
    """Share of queries with fewer than half of the asked, by the recipe's own options."""
    make_scored(folder, rows)
    options = tomllib.loads(recipe.shipped()["default"].read_text())["filter"]
    assert options["num-negatives"] == ASKED
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    code, output = call("filter", str(folder / "scored"), "-o", str(folder / "ledger"), *given)
    assert code == 0, output
    ledger = artifacts.open_artifact(folder / "ledger")
    chosen: Counter[str] = Counter()
    queries: set[str] = set()
    for name in ledger.parts:
        part = ledger.read(name, ["qid", "selected"])
        queries.update(part.column("qid").to_pylist())
        chosen.update(part.filter(part.column("selected").is_valid()).column("qid").to_pylist())
    return sum(2 * chosen[qid] < ASKED for qid in queries) / len(queries)


@pytest.mark.parametrize("apart", [1.0, 2.5])
@pytest.mark.parametrize("positives", [1, 5, 20, 50])
def test_all_positives_known(tmp_path: Path, positives: int, apart: float) -> None:
    assert short(tmp_path, collection(positives, 40, 60, apart)) <= 0.05


def test_queries_of_one_and_of_fifty_together(tmp_path: Path) -> None:
    few, many = (collection(positives, 20, 60, 2.0)[0] for positives in (1, 50))
    for one in many:
        one["qid"] = "r" + one["qid"]
    assert short(tmp_path, [few + many]) <= 0.05
