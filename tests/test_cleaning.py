"""Which recipes clean a finished set without mining, and which keep their sources."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from negmine import cleaning, recipe
from negmine.params import Params
from negmine.params.values import build
from negmine.params.write import TRAINING_SETS
from negmine.stages.stage import STAGES

#: Recipes whose rules read what a source says.
MINING = ("default", "rocketqa", "nv-retriever-percpos", "bm25", "adore")
GIVEN = ("rlhn", "rlhn-cascade", "rlhn-remove", "rlhn-hn-remove", "arhn")


def made(name: str, *changes: str) -> dict[str, Any]:
    loaded = recipe.load(name)
    params: dict[str, Params] = {
        stage: build(row.params, loaded.tables.get(stage, {}), {}) for stage, row in STAGES.items()
    }
    return cleaning.of_train(params, changes)


@pytest.mark.parametrize("name", GIVEN)
def test_a_judge_alone_needs_no_search(name: str) -> None:
    found = made(name)
    assert found["retrieve"].source == ("given",)
    assert found["index"].encoder == ()
    assert not found["index"].bm25
    assert found["filter"].sample_by is None
    assert found["export"].format == "as-input"
    # What it asks of labels is what the recipe asks.
    rules = recipe.load(name).tables["filter"]
    assert list(found["filter"].promote) == rules["promote"]


@pytest.mark.parametrize("name", MINING)
def test_what_reads_a_source_keeps_it(name: str) -> None:
    asked = recipe.load(name).tables["retrieve"].get("source", [])
    found = made(name)
    assert list(found["retrieve"].source) == asked
    assert found["export"].format == "as-input"


def test_what_the_command_line_says_stays() -> None:
    found = made("rlhn", "filter.sample-by=judge", "retrieve.source=given", "export.scores=true")
    assert found["export"].scores is not None
    other = made("rlhn", "filter.num-negatives=7")
    assert other["filter"].num_negatives == 7


@pytest.mark.parametrize("name", sorted(recipe.shipped()))
def test_every_recipe_can_be_asked(name: str) -> None:
    """None stumbles: each mines nothing, or as it says."""
    found = made(name)
    assert found["write"].kind not in TRAINING_SETS
    assert dataclasses.is_dataclass(found["filter"])
    assert found["filter"].num_negatives == 1
