"""``p_prior``: what it reads means the same whatever the scores' units and whoever is labelled."""

from __future__ import annotations

import hashlib
import json
import math
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.learning import prior
from negmine.table.part import Part


def table(
    seed: int = 0, queries: int = 4, rows: int = 12, positives: int = 2, **changes: Any
) -> pa.Table:
    """Queries with candidates of two sources and a scorer; ``changes`` replace columns."""
    rng = np.random.default_rng(seed)
    n = queries * rows
    label = np.tile(np.arange(rows) < positives, queries)
    better = 2.0 * label
    bm25, minilm, ce = (rng.normal(better) for _ in range(3))
    rank = np.concatenate(
        [1 + np.argsort(np.argsort(-bm25[q * rows : (q + 1) * rows])) for q in range(queries)]
    )
    columns = {
        "qid": [f"q{q}" for q in range(queries) for _ in range(rows)],
        "docid": [f"d{d:03d}" for d in range(n)],
        "label": pa.array(label.astype(np.int8)),
        "rank_bm25": pa.array(rank, pa.int32()),
        "score_bm25": pa.array(bm25, pa.float32()),
        "rank_minilm": pa.array([None] * n, pa.int32()),
        "score_minilm": pa.array(minilm, pa.float32()),
        "score_ce": pa.array(ce, pa.float32()),
    }
    return pa.table({**columns, **changes})


def predicted(one: pa.Table) -> np.ndarray:
    return prior.anchor([one]).predict(one).to_numpy(zero_copy_only=False)


def test_what_it_reads_is_counted_by_hand() -> None:
    one = table()
    part = Part(one)
    among = prior.pool(part)
    z = prior.z_scores(part, [part.score("ce")], among)
    log_place = prior.log_places(part, [part.score("ce")], among)
    score, qids = one.column("score_ce").to_pylist(), one.column("qid").to_pylist()
    for row, (qid, value) in enumerate(zip(qids, score, strict=True)):
        mine = [score[r] for r in range(len(score)) if qids[r] == qid]
        mean = sum(mine) / len(mine)
        spread = math.sqrt(sum((s - mean) ** 2 for s in mine) / len(mine))
        assert z[row] == pytest.approx((value - mean) / spread, abs=1e-5)
        assert log_place[row] == pytest.approx(math.log(1 + sum(s > value for s in mine)))


@settings(deadline=None)
@given(st.floats(0.01, 1000), st.floats(-1000, 1000))
def test_the_units_of_a_score_do_not_matter(width: float, shift: float) -> None:
    one = table()
    for name in ("score_ce", "score_bm25"):
        score = one.column(name).to_numpy().astype(np.float64) * width + shift
        other = one.set_column(
            one.schema.get_field_index(name), name, pa.array(score, pa.float64())
        )
        np.testing.assert_allclose(predicted(other), predicted(one), atol=1e-5)


def labelled(one: pa.Table, label: np.ndarray) -> pa.Table:
    return one.set_column(one.schema.get_field_index("label"), "label", pa.array(label))


@pytest.mark.parametrize("scorer", ["scored", "searched"])
def test_many_known_positives_of_a_query_speak_for_its_other_candidates(scorer: str) -> None:
    """Counted by hand: as many as a twentieth of the pool and one at least, none as one."""
    queries, rows = 5, 100
    known = [0, 1, 3, 5, 40]
    one = table(queries=queries, rows=rows, positives=40)
    if scorer == "searched":
        one = one.drop_columns(["score_ce"])
    number = np.tile(np.arange(rows), queries)
    few = labelled(one, (number < 1).astype(np.int8))
    many = labelled(one, (number < np.repeat(known, rows)).astype(np.int8))
    model = prior.anchor([few])
    before, after = (model.predict(each).to_numpy().astype(np.float64) for each in (few, many))
    moved = np.log(after / (1 - after)) - np.log(before / (1 - before))
    weights = json.loads((files("negmine.learning") / "prior.json").read_text())["models"]
    weight = weights[scorer]["weights"]["log_positives"]
    assert weight > 0
    for query, counts in enumerate([1, 1, 3, 5, 5]):
        mine = slice(query * rows, (query + 1) * rows)
        wanted = weight * (math.log1p(counts) - math.log1p(1))
        np.testing.assert_allclose(moved[mine], wanted, atol=1e-3)


def test_labels_decide_nothing_but_how_many_are_known_and_how_high_they_stand() -> None:
    one, other = table(positives=2), table(positives=2)
    label = np.roll(one.column("label").to_numpy(), 1)
    other = labelled(other, label)
    np.testing.assert_array_equal(prior.features(Part(one)), prior.features(Part(other)))
    high, low = prior.anchor([one]), prior.anchor([other])
    assert high.z_positives > low.z_positives
    # Where the known ones are scattered, more of what lies between is taken for relevant.
    assert (low.predict(other).to_numpy() > high.predict(one).to_numpy()).all()


def test_parts_are_measured_together() -> None:
    one = table(queries=6)
    whole, halves = prior.anchor([one]), prior.anchor([one.slice(0, 36), one.slice(36)])
    assert halves.z_positives == pytest.approx(whole.z_positives)
    assert halves.facts["positives"] == 12


def test_without_a_known_positive_that_a_source_found() -> None:
    none = table(label=pa.array(np.zeros(48, np.int8)))
    assert prior.anchor([none]).z_positives == prior.shipped().z_positives
    assert prior.anchor([none]).facts["positives"] == 0


def test_a_row_that_a_scorer_did_not_see_has_no_estimate() -> None:
    score = table().column("score_ce").to_pylist()
    score[5] = None
    found = prior.anchor([table()]).predict(table(score_ce=pa.array(score, pa.float32())))
    assert found.is_null().to_pylist() == [row == 5 for row in range(48)]


def test_a_pool_that_holds_all_is_no_other() -> None:
    one = table(rows=30)
    few, every = prior.Among(30, seed=2), prior.EVERY
    np.testing.assert_array_equal(prior.features(Part(one), few), prior.features(Part(one), every))
    assert prior.anchor([one], among=few).predict(one) == prior.anchor([one]).predict(one)


def test_what_a_drawn_pool_says_is_counted_by_hand() -> None:
    """And no score of another row changes it."""
    one = table(rows=30)
    part, among = Part(one), prior.Among(10, seed=2)
    pool = among.by_scorers(part)
    assert np.bincount(part.query[pool]).tolist() == [10] * 4
    z, log_place = prior.features(part, among)[:, :2].T
    score = part.score("ce")
    for row in range(len(part)):
        mine = score[pool & (part.query == part.query[row])]
        assert z[row] == pytest.approx((score[row] - mine.mean()) / mine.std())
        before = int((mine > score[row]).sum())
        times = 29 / 9 if pool[row] else 30 / 10
        assert log_place[row] == pytest.approx(math.log(1 + before * times))
    holes = pa.array([s if seen else None for s, seen in zip(score, pool, strict=True)])
    less = table(rows=30, score_ce=holes.cast(pa.float32()))
    anchored = [prior.anchor([each], among=among) for each in (one, less)]
    assert anchored[0].facts == anchored[1].facts
    found = [model.predict(each) for model, each in zip(anchored, (one, less), strict=True)]
    assert found[1].is_valid().to_pylist() == pool.tolist()
    assert found[0].filter(pa.array(pool)) == found[1].filter(pa.array(pool))


def test_sources_alone() -> None:
    bare = table().drop_columns(["score_ce"])
    found = predicted(bare)
    label = bare.column("label").to_numpy() == 1
    assert found[label].min() > np.median(found[~label])


def test_a_source_of_ranks_alone_orders_by_them() -> None:
    none = pa.array([None] * 48, pa.float32())
    ranks = table().drop_columns(["score_ce", "rank_minilm", "score_minilm"])
    ranks = ranks.set_column(ranks.schema.get_field_index("score_bm25"), "score_bm25", none)
    rank = ranks.column("rank_bm25").to_numpy()
    found = predicted(ranks)
    for q in range(4):
        mine = slice(12 * q, 12 * q + 12)
        assert (np.argsort(-found[mine]) == np.argsort(rank[mine])).all()


def test_positives_that_no_source_found_do_not_move_the_others() -> None:
    one = table(queries=1)
    bad = {name: one.column(name).to_pylist()[:1] for name in one.column_names}
    bad |= {"docid": ["zz"], "label": [1], "rank_bm25": [None], "score_ce": [-99.0]}
    bad |= {"score_bm25": [-99.0], "score_minilm": [-99.0]}
    more = pa.concat_tables([one, pa.table(bad, schema=one.schema)])
    np.testing.assert_allclose(predicted(more)[:12], predicted(one), atol=1e-6)


def test_what_is_shipped_was_written_by_the_script() -> None:
    """Weights changed by hand would have another identity, and what they were fitted to is told."""
    data = json.loads((files("negmine.learning") / "prior.json").read_text())
    identity = data.pop("identity")
    text = json.dumps(data, sort_keys=True).encode()
    assert identity == hashlib.blake2b(text, digest_size=8).hexdigest()
    assert len(data["collections"]) == 6
    for name, features in prior.FEATURES.items():
        assert tuple(data["models"][name]["weights"]) == features
