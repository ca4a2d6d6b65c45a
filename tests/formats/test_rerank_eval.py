"""Samples of ``rerank-eval`` in the evaluator that they are for, against ir_measures.

The oracle never sees the exported file: it ranks the ledger's rows by the same model's scores.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import Invoke
from tests.formats.conftest import make_ledger

Score = Callable[[Sequence[Sequence[str]]], Any]


def drawn(pairs: Sequence[Sequence[str]]) -> np.ndarray:
    """A score for each pair of texts, as if drawn at random."""
    digests = [zlib.crc32("\t".join(pair).encode()) for pair in pairs]
    return np.array(digests, dtype=np.float64) / 2**32


def stub(score: Score) -> Any:
    """What an evaluator asks of a cross-encoder."""
    card = SimpleNamespace(set_evaluation_metrics=lambda *_: None)
    return SimpleNamespace(predict=lambda pairs, **_: score(pairs), model_card_data=card)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries of one or two positives, and four candidates of which two are chosen."""
    folder = tmp_path_factory.mktemp("ledger")
    return make_ledger(folder, queries=20, negatives=4, parts=2, num_negatives=2)


def samples(path: Path, cache: Path) -> list[dict[str, Any]]:
    from datasets import load_dataset

    kind = "parquet" if path.suffix == ".parquet" else "json"
    return list(load_dataset(kind, data_files=str(path), split="train", cache_dir=str(cache)))


def evaluated(found: list[dict[str, Any]], model: Any) -> dict[str, float]:
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

    measured: dict[str, float] = CrossEncoderRerankingEvaluator(found, write_csv=False)(model)
    return measured


def expected(ledger: Path, negatives: str, score: Score, qids: set[str]) -> dict[str, float]:
    """What ir_measures says of the ledger's rows, ranked by the score of their texts."""
    ir_measures = pytest.importorskip("ir_measures")
    work = ledger.parent
    rows = pq.read_table(ledger).to_pylist()
    asked = {r["qid"]: r["text"] for r in pq.read_table(work / "candidates/_queries").to_pylist()}
    texts = {r["docid"]: r["text"] for r in pq.read_table(work / "documents").to_pylist()}
    used = [
        row
        for row in rows
        if row["qid"] in qids
        and (
            row["label"] == 1
            or row["selected"] is not None
            or (negatives == "survivors" and row["dropped_by"] is None)
        )
    ]
    scores = score([(asked[row["qid"]], texts[row["docid"]]) for row in used])
    run = [
        ir_measures.ScoredDoc(row["qid"], row["docid"], float(value))
        for row, value in zip(used, scores, strict=True)
    ]
    qrels = [ir_measures.Qrel(row["qid"], row["docid"], int(row["label"])) for row in used]
    measures = [ir_measures.RR @ 10, ir_measures.nDCG @ 10, ir_measures.AP]
    found = ir_measures.calc_aggregate(measures, qrels, run)
    names = dict(zip(measures, ("mrr@10", "ndcg@10", "map"), strict=True))
    return {names[measure]: value for measure, value in found.items()}


@pytest.mark.parametrize("negatives", ["chosen", "survivors"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_evaluator_measures_what_ir_measures_does(
    ledger: Path, tmp_path: Path, invoke: Invoke, negatives: str, suffix: str
) -> None:
    out = tmp_path / f"eval{suffix}"
    asked = () if negatives == "chosen" else ("--negatives", negatives)
    result = invoke("export", ledger, "--format", "rerank-eval", *asked, "-o", out)
    assert result.exit_code == 0, result.output
    found = samples(out, tmp_path / "cache")
    assert list(found[0]) == ["query", "positive", "negative"]
    assert {len(sample["negative"]) for sample in found} == {2 if negatives == "chosen" else 4}
    right = expected(ledger, negatives, drawn, {str(q) for q in range(20)})
    assert evaluated(found, stub(drawn)) == pytest.approx(right)
    assert 0 < right["ndcg@10"] < 1


def test_the_held_out_queries_are_those_of_the_training_set(
    ledger: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """The same split in two commands: what is trained on is not evaluated on."""
    for name, out in (("triplet", "train.parquet"), ("rerank-eval", "eval.jsonl")):
        options = ("--format", name, "--ids", "--split", "0.3", "-o", tmp_path / out)
        result = invoke("export", ledger, *options)
        assert result.exit_code == 0, result.output
    trained = {row["qid"] for row in pq.read_table(tmp_path / "train.parquet").to_pylist()}
    found = samples(tmp_path / "eval.heldout.jsonl", tmp_path / "cache")
    held_out = {sample["query_id"] for sample in found}
    assert held_out == {str(q) for q in range(20)} - trained
    # Ids are passed over by the evaluator.
    assert evaluated(found, stub(drawn)) == pytest.approx(
        expected(ledger, "chosen", drawn, held_out)
    )


@pytest.mark.real
def test_a_cross_encoder_is_evaluated(
    ledger: Path, tmp_path: Path, invoke: Invoke, tiny_cross: Path
) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(tiny_cross), device="cpu")
    out = tmp_path / "eval.jsonl"
    result = invoke("export", ledger, "--format", "rerank-eval", "-o", out)
    assert result.exit_code == 0, result.output
    right = expected(ledger, "chosen", model.predict, {str(q) for q in range(20)})
    assert evaluated(samples(out, tmp_path / "cache"), model) == pytest.approx(right)


def test_survivors_are_for_evaluation(ledger: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "train.parquet"
    result = invoke("export", ledger, "--negatives", "survivors", "-o", out)
    assert result.exit_code == 2
    assert "--negatives survivors: triplet takes the negatives that the filter chose" in (
        result.stderr
    )
    assert not out.exists()


def test_the_counts_call_them_what_they_are(ledger: Path, tmp_path: Path, invoke: Invoke) -> None:
    options = ("--format", "rerank-eval", "--negatives", "survivors", "--split", "0.3")
    result = invoke("export", ledger, *options, "-o", tmp_path / "eval")
    assert result.exit_code == 0, result.output
    counts = json.loads((tmp_path / "eval" / "_manifest.json").read_text())["counts"]
    assert counts["survivors"] + counts["survivors_other_side"] == 20 * 4
    assert f"{counts['survivors']} survivors" in result.stderr
    assert "selected" not in result.stderr
    shown = invoke("inspect", tmp_path / "eval")
    assert shown.exit_code == 0, shown.output
    assert "negative:" in shown.stdout
