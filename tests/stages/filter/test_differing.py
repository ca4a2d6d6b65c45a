"""``--same-cluster`` and ``--sampler diverse`` through the command line, from the ledger's rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.table import artifacts
from negmine.table.documents import Documents
from tests.conftest import Invoke
from tests.sampling.test_diverse import naive
from tests.tables import make_scored

Row = dict[str, Any]
QUERIES, DOCUMENTS, N = 6, 20, 5
OFF = ("--no-repeated-texts", "--no-near-duplicates", "--no-duplicate-queries")
OFF = (*OFF, "--num-negatives", N, "--by", "ce")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in four clusters, some in none; two positives, the second in no cluster."""
    pytest.importorskip("rensa")
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for q in range(QUERIES):
        for d in range(DOCUMENTS):
            cluster = None if d % 7 == 1 else int(rng.integers(0, 4))
            row: Row = {"qid": f"q{q}", "docid": f"d{q}x{d:02d}", "label": int(d < 2)}
            row |= {"rank_minilm": d + 1, "score_minilm": float(rng.normal())}
            row |= {"rank_clus": None, "score_clus": None, "cluster_clus": cluster}
            rows.append(row | {"score_ce": float(rng.integers(0, 12)) + 20 * (d < 2)})
    return make_scored(
        tmp_path_factory.mktemp("differing"),
        [rows[: 2 * DOCUMENTS], rows[2 * DOCUMENTS :]],
        sources=("minilm", "clus"),
        vectors=("minilm",),
        columns_said={"cluster_clus": pa.int32()},
    )


def ledger(invoke: Invoke, scored: Path, out: Path, *options: object) -> dict[str, list[Row]]:
    """Rows of the ledger, by query."""
    done = invoke("filter", scored, *OFF, *options, "-o", out)
    assert done.exit_code == 0, done.output
    made = artifacts.open_artifact(out)
    rows: dict[str, list[Row]] = {}
    for name in made.parts:
        for row in made.read(name).to_pylist():
            rows.setdefault(row["qid"], []).append(row)
    assert made.schema().names[-2:] == ["dropped_by", "selected"]
    return rows


def taken(rows: Sequence[Row]) -> list[str]:
    """The chosen of a query, in their order."""
    chosen = [row for row in rows if row["selected"]]
    return [row["docid"] for row in sorted(chosen, key=lambda row: row["selected"])]


def test_what_shares_a_cluster_with_a_positive_is_dropped(
    scored: Path, tmp_path: Path, invoke: Invoke
) -> None:
    queries = ledger(invoke, scored, tmp_path / "l", "--same-cluster", "clus")
    dropped = 0
    for rows in queries.values():
        known = {row["cluster_clus"] for row in rows if row["label"]} - {None}
        for row in rows:
            shares = not row["label"] and row["cluster_clus"] in known
            assert (row["dropped_by"] == "same_cluster") == shares
            dropped += shares
    assert dropped
    counts = artifacts.open_artifact(tmp_path / "l").counts
    assert counts["dropped"]["same_cluster"] == dropped
    told = invoke("explain", tmp_path / "l", "q0")
    assert told.exit_code == 0, told.output
    assert "same_cluster" in told.output
    report = invoke("report", tmp_path / "l", "-o", tmp_path / "report.html")
    assert report.exit_code == 0, report.output
    assert "in a cluster with a positive" in (tmp_path / "report.html").read_text()


def test_at_most_one_of_a_cluster(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    options = ["--sampler", "diverse", "--diverse-by", "cluster:clus"]
    queries = ledger(invoke, scored, tmp_path / "l", *options)
    for rows in queries.values():
        free = [row for row in rows if not row["label"]]
        free.sort(key=lambda row: (-row["score_ce"], row["docid"]))
        seen: set[int] = set()
        expected = []
        for row in free:
            if row["cluster_clus"] is None or row["cluster_clus"] not in seen:
                expected.append(row["docid"])
                seen |= {row["cluster_clus"]} - {None}
        assert taken(rows) == expected[:N]
        others = {row["docid"] for row in free} - set(expected)
        repeated = {row["docid"] for row in rows if row["dropped_by"] == "repeated_cluster"}
        assert repeated == others


@pytest.mark.parametrize("balance", [0.2, 0.7])
def test_negatives_unlike_each_other_by_their_vectors(
    scored: Path, tmp_path: Path, invoke: Invoke, balance: float
) -> None:
    options = ["--sampler", "diverse", "--diverse-by", "minilm", "--mmr-lambda", balance]
    queries = ledger(invoke, scored, tmp_path / "l", *options)
    table = artifacts.open_artifact(tmp_path / "l").ancestor("retrieve")
    documents = Documents(table.input("documents"))
    vectors = np.load(table.input("minilm").file("part-00000.npy")).astype(np.float64)
    for rows in queries.values():
        free = [row for row in rows if not row["label"]]
        docids = [row["docid"] for row in free]
        place = documents.rows(pa.array(docids))
        likeness = (vectors[place] @ vectors[place].T).astype(np.float32).astype(np.float64)
        scores = [row["score_ce"] for row in free]
        order = sorted(range(len(free)), key=lambda at: docids[at])
        rank = [order.index(at) for at in range(len(free))]
        expected = {docids[at] for at in naive(scores, rank, likeness, N, balance)}
        chosen = taken(rows)
        assert set(chosen) == expected
        # Numbered as all are: the hardest first.
        by_score = dict(zip(docids, scores, strict=True))
        assert [by_score[d] for d in chosen] == sorted(map(by_score.get, chosen), reverse=True)  # type: ignore[type-var]


def test_the_next_choices_are_taken_where_a_document_serves_too_many(
    scored: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """Every document is one query's own here: the pass over all of them changes nothing."""
    options = ["--sampler", "diverse", "--diverse-by", "minilm"]
    plain = ledger(invoke, scored, tmp_path / "a", *options)
    capped = ledger(invoke, scored, tmp_path / "b", *options, "--max-reuse", 1)
    assert {q: taken(rows) for q, rows in plain.items()} == {
        q: taken(rows) for q, rows in capped.items()
    }
    small = ledger(invoke, scored, tmp_path / "c", *options, "--memory", "300MB")
    assert small == plain


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--same-cluster", "klus"], "--same-cluster: the table has no clusters 'klus'"),
        (["--sampler", "diverse"], "--sampler diverse needs --diverse-by"),
        (["--sampler", "diverse", "--diverse-by", "cluster:c"], "--diverse-by: the table has no"),
        (["--sampler", "diverse", "--diverse-by", "bm25"], "no vectors 'bm25'"),
        (["--sampler", "diverse", "--diverse-by", "minilm", "--mmr-lambda", 2], "--mmr-lambda"),
    ],
)
def test_what_is_not_there_is_refused(
    scored: Path, tmp_path: Path, invoke: Invoke, options: list[object], told: str
) -> None:
    done = invoke("filter", scored, *OFF, *options, "-o", tmp_path / "l")
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
    assert not (tmp_path / "l").exists()


def test_options_without_effect_are_told(scored: Path, tmp_path: Path, invoke: Invoke) -> None:
    options = ["--sampler", "diverse", "--diverse-by", "cluster:clus", "--mmr-lambda", 0.9]
    done = invoke("filter", scored, *OFF, *options, "-o", tmp_path / "l")
    assert "--mmr-lambda has no effect without" in " ".join(done.output.split())
    done = invoke("filter", scored, *OFF, "--diverse-by", "minilm", "-o", tmp_path / "m")
    assert "--diverse-by has no effect without --sampler diverse" in " ".join(done.output.split())


def test_short_queries_are_told_what_would_help(
    scored: Path, tmp_path: Path, invoke: Invoke
) -> None:
    asked = ["--by", "ce", "--num-negatives", 9, *OFF[:3]]
    options = ["--sampler", "diverse", "--diverse-by", "cluster:clus"]
    done = invoke("filter", scored, *asked, *options, "-o", tmp_path / "l")
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert "repeated_cluster" in told
    assert "--sampler top would" in told
    asked[3] = 18
    done = invoke("filter", scored, *asked, "--same-cluster", "clus", "-o", tmp_path / "m")
    assert "leaving out --same-cluster would" in " ".join(done.output.split()), done.output
