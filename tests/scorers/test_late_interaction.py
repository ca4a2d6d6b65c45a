"""``rerank --scorer NAME=MODEL`` of late interaction, through the command line.

The oracle is NumPy's sum of maxima over what ``encode_query`` and ``encode_document`` give.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine.models.late_interaction import LateInteraction
from tests.chains import call, make_data, parts, small_parts
from tests.conftest import Invoke, write_jsonl

EXACT = ("--dtype", "float32", "--runtime", "torch", "--batch-size", "8")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of another engine's run, several parts of them."""
    work = tmp_path_factory.mktemp("late")
    data = make_data(work / "data")
    rng = random.Random(3)
    lines = [
        f"q{q} Q0 d{d} {rank} {100 - rank} run"
        for q in range(24)
        for rank, d in enumerate(rng.sample(range(90), 9), 1)
    ]
    (work / "run.trec").write_text("\n".join(lines) + "\n")
    with small_parts():
        for command in (
            ("index", "--corpus", data, "--no-bm25", "--no-signatures", "-o", work / "index"),
            (
                *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
                *("--run", f"other={work / 'run.trec'}", "-k", 8, "-o", work / "candidates"),
            ),
        ):
            code, output = call(*command)
            assert code == 0, output
    assert len(parts(work / "candidates")) > 3
    return work


def brute_force(model: Path, work: Path, rows: list[dict[str, Any]]) -> np.ndarray:
    from sentence_transformers import MultiVectorEncoder

    encoder = MultiVectorEncoder(str(model), device="cpu")
    texts: dict[str, dict[str, str]] = {}
    for name in ("corpus", "queries"):
        lines = (work / "data" / f"{name}.jsonl").read_text().splitlines()
        texts[name] = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    left = encoder.encode_query([texts["queries"][row["qid"]] for row in rows])
    right = encoder.encode_document([texts["corpus"][row["docid"]] for row in rows])
    return np.array(
        [
            (a.double().numpy() @ b.double().numpy().T).max(axis=1).sum()
            for a, b in zip(left, right, strict=True)
        ]
    )


def test_scores_are_the_sum_of_each_query_tokens_best_match(
    work: Path, tiny_late: Path, invoke: Invoke
) -> None:
    """What it gives is a column as any scorer's: filter, audit, report and explain read it."""
    arguments = ["rerank", work / "candidates", "--scorer", f"colbert={tiny_late}"]
    result = invoke(*arguments, *EXACT, "-o", work / "scored")
    assert result.exit_code == 0, result.output
    rows = pq.read_table(work / "scored").to_pylist()
    got = np.array([row["score_colbert"] for row in rows])
    np.testing.assert_allclose(got, brute_force(tiny_late, work, rows), rtol=1e-5)
    scorer = json.loads((work / "scored" / "_manifest.json").read_text())["scorers"]["colbert"]
    assert scorer["kind"] == "late-interaction"
    assert (scorer["similarity"], scorer["max_length"]) == ("maxsim", 60)
    # The texts are the corpus's: 24 tokens to a query, so a score is no larger than 24.
    assert 0 < got.max() <= 24.001
    # Default settings, and a device of its own kind of number.
    again = invoke("rerank", work / "candidates", "--scorer", f"c={tiny_late}", "-o", work / "own")
    assert again.exit_code == 0, again.output
    own = pq.read_table(work / "own").column("score_c").to_numpy()
    np.testing.assert_allclose(own, got, rtol=0.05)
    for command in (
        ("filter", work / "scored", "--by", "colbert", "--num-negatives", 2, "-o", work / "ledger"),
        ("audit", work / "scored", "--by", "colbert", "--seeds", 1, "-o", work / "audit"),
        ("report", work / "ledger", "-o", work / "report.html"),
        ("explain", work / "ledger", "q3"),
        ("inspect", work / "ledger"),
    ):
        result = invoke(*command)
        assert result.exit_code == 0, (command, result.output)


def test_bytes_do_not_depend_on_an_interruption(
    work: Path, tiny_late: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def rerank(name: str) -> Any:
        arguments = ["rerank", work / "candidates", "--scorer", f"colbert={tiny_late}"]
        return invoke(*arguments, "--batch-size", 8, "-o", tmp_path / name)

    assert rerank("plain").exit_code == 0
    plain = parts(tmp_path / "plain")
    own, calls = LateInteraction._similarities, []

    def similarities(self: Any, *given: Any) -> np.ndarray:
        calls.append(len(given[0]))
        if len(calls) == 8:
            raise KeyboardInterrupt
        return own(self, *given)

    monkeypatch.setattr(LateInteraction, "_similarities", similarities)
    assert rerank("killed").exit_code != 0
    first = sum(calls[:-1])
    calls[:] = [0] * 20
    result = rerank("killed")
    assert result.exit_code == 0, result.output
    assert parts(tmp_path / "killed") == plain
    rows = pq.read_table(tmp_path / "plain").num_rows
    assert sum(calls) == rows - first


def test_a_dry_run_counts_documents_and_not_pairs(
    work: Path, tiny_late: Path, invoke: Invoke
) -> None:
    arguments = ["rerank", work / "candidates", "--scorer", f"colbert={tiny_late}", "-o", "x"]
    result = invoke(*arguments, "--dry-run", "--json")
    if result.exit_code != 0:
        result = invoke("--json", *arguments, "--dry-run")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    (stage,) = told["stages"]
    assert stage["rows"] == pq.read_table(work / "candidates").num_rows
    assert any("colbert" in what for what in stage["breakdown"])
    # Every document of a part is read once: less than its pairs, 15 tokens and more each.
    assert 0 < stage["tokens"] < 40 * stage["rows"]
    assert stage["memory_bytes"] > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--pooling", "cls"), "--pooling is for a bi-encoder"),
        (("--activation", "none"), "--activation is for a cross-encoder"),
        (("--max-length", "500"), "more than the model's 128 positions"),
        (("--dtype", "float16"), "float16 is not supported on a CPU"),
    ],
)
def test_what_it_cannot_do_is_told_before_it_is_loaded(
    work: Path,
    tiny_late: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setattr("negmine.scorers.late_interaction.LateInteractionScorer", None)
    arguments = ["rerank", work / "candidates", "--scorer", f"colbert={tiny_late}"]
    result = invoke(*arguments, "--device", "cpu", *options, "-o", work / "refused")
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.stderr.split())
    assert not (work / "refused").exists()


def test_models_that_are_none(
    work: Path, tiny_late: Path, tiny_bi: Path, invoke: Invoke, tmp_path: Path
) -> None:
    """A bi-encoder stays one, and what has no projection of its own gets no random one."""
    result = invoke(
        *("rerank", work / "candidates", "--scorer", f"colbert={tiny_bi}", "--limit", 2),
        *("-o", tmp_path / "scored"),
    )
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "scored" / "_manifest.json").read_text())
    assert manifest["scorers"]["colbert"]["kind"] == "bi-encoder"
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in tiny_late.iterdir():
        if path.is_file() and path.name != "modules.json":
            (bare / path.name).write_bytes(path.read_bytes())
    result = invoke(
        "rerank", work / "candidates", "--scorer", f"colbert={bare}", "-o", tmp_path / "no"
    )
    assert result.exit_code == 5, result.output
    assert "drawn at random" in " ".join(result.stderr.split())
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "d", "text": "the heart"}])
    result = invoke(
        *("index", "--corpus", corpus, "--no-bm25", "--encoder", f"colbert={tiny_late}"),
        *("-o", tmp_path / "index"),
    )
    assert result.exit_code == 2, result.output
    assert "a vector for every token" in " ".join(result.stderr.split())
