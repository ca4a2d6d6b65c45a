"""What the benchmark of judges draws and counts."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests import judged
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import bench_judge  # type: ignore[import-not-found]

        yield bench_judge
        for name in ("bench_judge", "_bench"):
            sys.modules.pop(name, None)


def test_pairs_are_drawn_with_what_is_known_of_them(bench: ModuleType, tmp_path: Path) -> None:
    folder = judged.collection(tmp_path / "data", 8)
    drawn = bench.draw(folder, 5, random.Random(0))
    assert len(drawn) == 5
    for qid, (relevant, hard, some) in drawn.items():
        own = f"d{qid[1:]}"
        assert relevant == f"{own}.0"
        assert hard != relevant
        assert hard.startswith(f"{own}.")
        assert some not in (relevant, hard)


def test_the_area_is_that_of_a_peer(bench: ModuleType) -> None:
    rng = np.random.default_rng(0)
    relevant, other = rng.integers(0, 6, 40) + 1.0, rng.integers(0, 6, 40) + 0.0
    label = np.repeat([1, 0], 40)
    wanted = roc_auc_score(label, np.concatenate([relevant, other]))
    assert bench._auc(relevant, other) == pytest.approx(wanted)
    # What has no score is left out.
    assert bench._auc(np.append(relevant, np.nan), other) == pytest.approx(wanted)


def test_the_interval_covers_the_truth(bench: ModuleType) -> None:
    """Scores of two normal distributions, a deviation apart: the area is Phi(1 / sqrt(2))."""
    rng = np.random.default_rng(1)
    qids = [f"q{number}" for number in range(200)]
    drawn = dict.fromkeys(qids, ("r", "h", "x"))
    found = {(qid, "r"): rng.normal(1.0) for qid in qids}
    found |= {(qid, "h"): rng.normal(0.0) for qid in qids}
    value, low, high = _numbers(bench.told(drawn, found, 1))
    assert low < 0.76 < high
    assert low < value < high


def _numbers(told: str) -> list[float]:
    return [float(word.strip("()")) for word in told.split() if word != "to"]
