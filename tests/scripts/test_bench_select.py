"""The benchmark of what comes after search compares equal work: without the guard is without it."""

from __future__ import annotations

import sys
import tomllib
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from negmine.params import FilterParams
from negmine.stages.filter.guard import compares_texts
from negmine.table import artifacts
from tests.conftest import ROOT, Invoke
from tests.tables import make_scored


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import bench_chain  # type: ignore[import-not-found]

        yield bench_chain
        for name in ("bench_chain", "bench_select", "_bench"):
            sys.modules.pop(name, None)


def test_without_the_guard_no_text_is_compared(bench: ModuleType) -> None:
    """A rule that joins the guard has to be switched off there, too."""
    assert compares_texts(FilterParams())
    bare = FilterParams(**bench.NO_GUARD)
    assert not compares_texts(bare)
    assert not bare.duplicate_queries


def test_command_and_recipe_switch_off_the_same(
    bench: ModuleType, tmp_path: Path, invoke: Invoke
) -> None:
    from bench_select import _filter  # type: ignore[import-not-found]

    options = Namespace(work=tmp_path, num_negatives=1, model="tiny")
    row = {"qid": "q0", "docid": "d0", "label": 1, "grade": 1.0, "rank_dense": 1}
    rows = [{**row, "score_dense": 0.9}, {**row, "docid": "d1", "label": 0, "rank_dense": 2}]
    make_scored(tmp_path, [rows], sources=("dense",), scorers=())
    made = invoke(*_filter(options, False))
    assert made.exit_code == 0, made.stderr
    by_command = artifacts.open_artifact(tmp_path / "ledger").params
    by_recipe = tomllib.loads(bench.recipe(tmp_path / "pairs.jsonl", 9, options))["filter"]
    settings = {"relative_margin": bench.MARGIN, "num_negatives": 1, **bench.NO_GUARD}
    assert {name: by_command[name] for name in settings} == settings
    wanted = {"by": "dense", **settings}
    assert {key.replace("-", "_"): value for key, value in by_recipe.items()} == wanted
