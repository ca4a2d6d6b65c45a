"""``--max-positives``, and ``--group-by`` without a batcher, from the rows of the training file."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Invoke
from tests.tables import make_scored

QUERIES, POSITIVES, NEGATIVES = 24, 5, 6
PLACES = ("north", "south", None)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries of one to five positives that some share, each of one place."""
    from tests.chains import call

    folder = tmp_path_factory.mktemp("positives")
    rng = np.random.default_rng(2)
    rows: list[dict[str, Any]] = []
    places = {}
    for q in range(QUERIES):
        known = [f"p{q}x{n}" for n in range(1 + q % POSITIVES)]
        # Of every second query one positive is the next one's, too.
        known += [f"p{q + 1}x0"] if q % 2 == 0 else []
        others = [f"n{q}x{n}" for n in range(NEGATIVES)]
        for d, docid in enumerate([*known, *others]):
            row = {"qid": f"q{q:02d}", "docid": docid, "label": int(d < len(known))}
            row |= {"grade": 1 if row["label"] else None, "rank_a": d + 1}
            rows.append(row | {"score_a": float(rng.normal()) if d != 1 else None})
            places[docid] = PLACES[q % 3]
    kept = {docid: place for docid, place in places.items() if place}
    scored = make_scored(
        folder, [rows[:100], rows[100:]], sources=("a",), scorers=(), kept={"place": kept}
    )
    off = ("--no-repeated-texts", "--no-near-duplicates", "--no-duplicate-queries")
    code, told = call("filter", scored, *off, "--num-negatives", 3, "-o", folder / "ledger")
    assert code == 0, told
    return folder / "ledger"


def lines(invoke: Invoke, ledger: Path, out: Path, *options: object) -> list[dict[str, Any]]:
    done = invoke("export", ledger, "--ids", *options, "-o", out)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in out.read_text().splitlines()]


def positives(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        own = row["pos_id"] if "pos_id" in row else [row["positive_docid"]]
        found[row.get("query_id") or row["qid"]].update(own)
    return found


def manifest(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.with_name(f"_{out.name}.manifest.json").read_text())
    return found


@pytest.mark.parametrize("layout", ["triplet", "flagembedding"])
def test_at_most_so_many_go_out(ledger: Path, tmp_path: Path, invoke: Invoke, layout: str) -> None:
    every = positives(lines(invoke, ledger, tmp_path / "all.jsonl", "--format", layout))
    out = tmp_path / "two.jsonl"
    options = ("--format", layout, "--max-positives", 2)
    some = positives(lines(invoke, ledger, out, *options))
    assert set(some) == set(every)
    for qid, known in every.items():
        assert some[qid] <= known
        assert len(some[qid]) == min(2, len(known))
    left = sum(len(known) for known in every.values()) - sum(map(len, some.values()))
    assert manifest(out)["counts"]["positives_left_out"] == left
    told = f"{left} positives beyond --max-positives 2 of a query do not go out"
    assert told in manifest(out)["warnings"]
    assert "positives_unscored" not in manifest(out)["counts"]
    other = positives(lines(invoke, ledger, tmp_path / "o.jsonl", *options, "--seed", 7))
    assert other != some
    # The same ones whether all are ordered at once or the parts one by one.
    shuffled = lines(invoke, ledger, tmp_path / "s.jsonl", *options, "--shuffle", 3)
    assert positives(shuffled) == some


def test_the_best_scoring_go_out(ledger: Path, tmp_path: Path, invoke: Invoke) -> None:
    from negmine.table import artifacts

    options = ("--max-positives", 1, "--max-positives-by", "score")
    out = tmp_path / "best.jsonl"
    found = positives(lines(invoke, ledger, out, *options))
    made = artifacts.open_artifact(ledger)
    rows = [row for part in made.parts for row in made.read(part).to_pylist() if row["label"]]
    for qid, taken in found.items():
        scores = {r["docid"]: r["score_a"] for r in rows if r["qid"] == qid}
        known = {docid: score for docid, score in scores.items() if score is not None}
        assert taken == {max(known, key=lambda docid: known[docid])}
    every = {qid: [r for r in rows if r["qid"] == qid] for qid in found}
    unscored = sum(r["score_a"] is None for own in every.values() if len(own) > 1 for r in own)
    assert manifest(out)["counts"]["positives_unscored"] == unscored > 0
    told = f"--max-positives-by score: {unscored} positives of such queries have no score"
    assert any(one.startswith(told) for one in manifest(out)["warnings"])


@pytest.mark.parametrize("more", [(), ("--max-positives", 1)])
def test_a_batch_holds_one_place_and_nobodys_positive(
    ledger: Path, tmp_path: Path, invoke: Invoke, more: tuple[object, ...]
) -> None:
    known = positives(lines(invoke, ledger, tmp_path / "all.jsonl"))
    out = tmp_path / "train.jsonl"
    options = ("--group-by", "place", "--batch-size", 3, *more)
    rows = lines(invoke, ledger, out, *options)
    batches: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        batches[row["batch"]].append(row)
    assert [row["batch"] for row in rows] == [n // 3 for n in range(len(rows))]
    places: Counter[int] = Counter()
    for batch in batches.values():
        (place,) = {int(row["positive_docid"][1:].split("x")[0]) % 3 for row in batch}
        places[place] += 1
        for one in batch:
            for other in batch:
                if one is not other:
                    # Positives that do not go out are still no negatives of their query.
                    own = {one["positive_docid"], one["negative_docid"]}
                    assert not own & known[other["qid"]]
    assert len(places) == 3
    assert len(batches) > 5
    counts = manifest(out)["counts"]
    assert counts["batch_groups"] == 3
    assert "in_batch_hardness" not in counts
    again = lines(invoke, ledger, tmp_path / "again.jsonl", *options, "--seed", 1)
    assert [row["qid"] for row in again] != [row["qid"] for row in rows]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--max-positives-by", "score"), "--max-positives-by belongs to --max-positives"),
        (
            ("--max-positives", 1, "--format", "trec-qrels"),
            "--max-positives: trec-qrels holds no training examples",
        ),
        (("--group-by", "place", "--shuffle", 1), "--shuffle would undo --group-by"),
        (("--group-by", "place", "--order-by", "score_a"), "--group-by would undo --order-by"),
        (("--batch-size", 3), "--batch-size belongs to --batcher or --group-by"),
        (("--group-by", "planet"), "the index keeps no column 'planet'"),
    ],
)
def test_what_is_refused(
    ledger: Path, tmp_path: Path, invoke: Invoke, options: tuple[object, ...], told: str
) -> None:
    suffix = ".qrels" if "trec-qrels" in options else ".jsonl"
    done = invoke("export", ledger, *options, "-o", tmp_path / f"train{suffix}")
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.stderr.split())
