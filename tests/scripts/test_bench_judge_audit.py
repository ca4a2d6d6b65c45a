"""How often an audit by a judge holds the truth: the measurement's short form, on a small table."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from negmine import log
from negmine.params import FilterParams
from negmine.stages import filter as filtering
from negmine.table import artifacts
from tests.conftest import ROOT
from tests.tables import make_scored

RUNS = 8


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module("bench_judge_audit")
        for name in ("bench_judge_audit", "_bench"):
            sys.modules.pop(name, None)


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """One of four relevant documents of each query is known; two documents are drawn by chance."""
    rng = np.random.default_rng(8)
    rows = []
    for q in range(100):
        order = rng.permutation(12)
        for d in range(14):
            positive, found = d < 4, d < 12
            rank = int(order[d]) + 1 if found else None
            rows.append(
                {
                    "qid": f"q{q:03d}",
                    "docid": f"q{q}_d{d}",
                    "label": int(d == 0),
                    "grade": 1.0 if d == 0 else None,
                    "rank_minilm": rank,
                    "score_minilm": None if rank is None else 1 - rank / 100,
                    "rank_chance": None if found else d - 11,
                    "score_ce": rng.normal(6 if positive else -2 if found else -8, 3),
                }
            )
    return make_scored(
        tmp_path,
        [rows],
        sources=("minilm", "chance"),
        not_searched=("chance",),
        specs={"chance": "2"},
    )


def truth() -> set[tuple[str, str]]:
    return {(f"q{q:03d}", f"q{q}_d{d}") for q in range(100) for d in range(4)}


@pytest.mark.parametrize("cut", [-4.0, 9.0])
def test_people_correct_a_bent_judge_and_it_is_wrong_alone(
    bench: ModuleType, scored: Path, tmp_path: Path, cut: float
) -> None:
    ledger = tmp_path / "ledger"
    with log.silenced():
        filtering.run(FilterParams(by="minilm", num_negatives=8), scored, ledger)
    row = bench.bent("top", ledger, cut, truth(), RUNS, 150)
    assert row.alone_covers == 0
    assert row.gold_covers >= RUNS - 1
    assert row.mean == pytest.approx(row.truth, abs=0.03)


def test_known_positives_and_random_documents_correct_a_judge_that_errs_by_chance(
    bench: ModuleType, scored: Path
) -> None:
    settings = {"by": "minilm", "num_negatives": 8}
    row = bench.by_chance("top", artifacts.open_artifact(scored), settings, truth(), RUNS)
    assert row.alone_covers <= 1
    assert row.controls_cover >= RUNS - 2
    assert row.mean == pytest.approx(row.truth, abs=0.06)
