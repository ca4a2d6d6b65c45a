"""The measurement of relabelling in its short form: a table whose truth is known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.params import FilterParams
from tests.conftest import ROOT
from tests.tables import make_scored

QUERIES = 60


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import bench_relabel  # type: ignore[import-not-found]

        yield bench_relabel
        for name in ("bench_relabel", "bench_denoise", "_denoise", "_bench"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Each query with four positives in truth, one of them known, and 16 others."""
    rng = np.random.default_rng(7)
    made: list[dict[str, Any]] = []
    for q in range(QUERIES):
        order = rng.permutation(20)
        for d in range(20):
            true, rank = d < 4, int(order[d]) + 1
            made.append(
                {
                    **{"qid": f"q{q:02d}", "docid": f"q{q}d{d}", "label": int(d == 0)},
                    **{"grade": 1.0 if d == 0 else None, "rank_minilm": rank, "rank_bm25": rank},
                    **{"score_minilm": 1 - rank / 40, "score_bm25": 20.0 - rank},
                    "score_judge": float(1 / (1 + np.exp(-rng.normal(4 if true else -3, 2)))),
                }
            )
    return made


@pytest.fixture(scope="module")
def scored(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relabel")
    half = len(rows) // 2
    parts = [rows[:half], rows[half:]]
    return make_scored(folder, parts, sources=("minilm", "bm25"), scorers=("judge",))


@pytest.fixture(scope="module")
def truth(bench: ModuleType, rows: list[dict[str, Any]]) -> pa.Array:
    true = [row for row in rows if int(row["docid"].partition("d")[2]) < 4]
    names = ("qid", "docid")
    found: pa.Array = bench.keys_of(pa.table({name: [row[name] for row in true] for name in names}))
    return found


def test_shares_are_those_of_the_table(
    bench: ModuleType, rows: list[dict[str, Any]], scored: Path, truth: pa.Array
) -> None:
    told = bench.measure(scored, truth, bench.SETTINGS["judge > 0.9"])
    hidden = [row for row in rows if 0 < int(row["docid"].partition("d")[2]) < 4]
    promoted = [row for row in rows if row["label"] == 0 and row["score_judge"] > 0.9]
    back = [row for row in hidden if row["score_judge"] > 0.9]
    assert told.brought_back.value == pytest.approx(len(back) / len(hidden))
    assert told.right.value == pytest.approx(len(back) / len(promoted))
    false = chosen = 0
    for q in range(QUERIES):
        mine = [row for row in rows if row["qid"] == f"q{q:02d}" and row["label"] == 0]
        free = [row for row in mine if row not in promoted]
        taken = sorted(free, key=lambda row: row["rank_minilm"])[:7]
        chosen += len(taken)
        false += sum(row in hidden for row in taken)
    assert told.chosen == chosen
    assert told.contamination.value == pytest.approx(false / chosen)
    for one in (told.brought_back, told.right, told.contamination):
        assert one.low < one.value < one.high


def test_relabelling_cleans_and_every_setting_has_its_line(
    bench: ModuleType, scored: Path, truth: pa.Array
) -> None:
    names = ["judge > 0.5", "judge > 0.99", "rlhn", "rlhn-remove", "arhn"]
    lines = bench.rows(scored, truth, names)
    assert [line[0] for line in lines] == ["(none)", *names]
    measured = {name: bench.measure(scored, truth, bench.SETTINGS[name]) for name in names}
    before = bench.measure(scored, truth, FilterParams(by="minilm", num_negatives=7))
    # A higher limit brings back less, errs less, and leaves more in.
    loose, strict = measured["judge > 0.5"], measured["judge > 0.99"]
    assert loose.brought_back.value > strict.brought_back.value
    assert loose.right.value < strict.right.value
    assert loose.contamination.high < strict.contamination.low
    assert strict.contamination.value < before.contamination.value
    assert measured["rlhn"].given_up == 0 < measured["rlhn-remove"].given_up
