"""The rows of the stages agree with what else names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negmine.commands import estimate
from negmine.engine.shares import WHOLE
from negmine.params import values
from negmine.stages.stage import STAGES, chain
from negmine.table.artifacts import Replace, reading
from tests.conftest import Invoke


def test_the_rows_are_in_the_order_of_the_chain() -> None:
    made = {stage.folder: name for name, stage in STAGES.items() if stage.folder}
    names = list(STAGES)
    for name, stage in STAGES.items():
        if stage.reads is not None:
            assert names.index(made[stage.reads.name]) < names.index(name)


def test_messages_know_how_every_artifact_is_made() -> None:
    assert {f"negmine {name}" for name in STAGES} == set(reading._MADE_BY.values())
    assert set(STAGES) == set(reading._MADE_BY) == set(estimate.COSTS)


def steps(**tables: dict[str, Any]) -> list[tuple[str, Path]]:
    params = {
        name: values.build(stage.params, tables.get(name, {}), {}) for name, stage in STAGES.items()
    }
    return [(step.stage, step.out) for step in chain(params, Path("w"), "t.jsonl")]


def test_a_chain_without_a_scorer_leaves_rerank_out() -> None:
    assert steps() == [
        ("index", Path("w/index")),
        ("retrieve", Path("w/candidates")),
        ("filter", Path("w/ledger")),
        ("export", Path("w/t.jsonl")),
    ]
    assert ("rerank", Path("w/scored")) in steps(rerank={"scorer": {"ce": "model"}})


@pytest.mark.parametrize("name", STAGES)
def test_help_tells_what_a_row_says(invoke: Invoke, name: str) -> None:
    told = " ".join(invoke(name, "--help").stdout.split())
    stage = STAGES[name]
    assert " ".join(stage.help.split()) in told
    assert stage.reads is None or stage.reads.name.upper() in told


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if stage.reads])
def test_a_stage_without_what_it_reads_is_no_silent_run(name: str) -> None:
    stage = STAGES[name]
    with pytest.raises(ValueError, match="reads an artifact"):
        stage.run(values.build(stage.params, {}, {}), None, Path("out"), Replace.NOTHING, WHOLE)
