"""Learned sparse retrieval through the command line.

The oracle is SciPy: the library's own weights, times 100 and rounded, multiplied as whole numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import memory
from tests.chains import call, make_data, parts, small_parts
from tests.conftest import Invoke

#: What else is in a batch shows in the last digits, and may round a weight to the other side.
EXACT = ("--dtype", "float32", "--runtime", "torch", "--batch-size", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("sparse") / "data")


def texts_of(data: Path, name: str) -> dict[str, str]:
    lines = (data / f"{name}.jsonl").read_text().splitlines()
    return {row["_id"]: row["text"] for row in map(json.loads, lines)}


def indexed(data: Path, out: Path, *options: object) -> tuple[int, str]:
    with small_parts():
        return call("index", "--corpus", data, "--no-signatures", *options, "-o", out)


def retrieved(index: Path, data: Path, out: Path, *options: object) -> tuple[int, str]:
    qrels = ("--qrels", data / "qrels.tsv", "-k", 10)
    with small_parts():
        return call("retrieve", index, "--queries", data, *qrels, *options, "-o", out)


def impacts(index: Path, name: str) -> tuple[list[dict[int, int]], int]:
    """The stored rows, and how many terms there are."""
    folder = index / "sparse" / name
    rows = [
        row for part in sorted(folder.glob("part-*")) for row in pq.read_table(part).to_pylist()
    ]
    counts = json.loads((folder / "_manifest.json").read_text())["counts"]
    return [dict(zip(r["terms"], r["impacts"], strict=True)) for r in rows], counts["terms"]


def library_weights(model: Path, texts: list[str], side: str) -> np.ndarray:
    """The library's weights of texts, dense float64."""
    from sentence_transformers import SparseEncoder

    encoder = SparseEncoder(str(model), device="cpu")
    encode = encoder.encode_query if side == "query" else encoder.encode_document
    found = encode(texts, batch_size=1, show_progress_bar=False)
    return np.asarray(found.to_dense().double().numpy())


def whole(weights: np.ndarray) -> Any:
    from scipy.sparse import csr_array

    return csr_array(np.rint(weights * 100).astype(np.int64))


def brute_force(left: Any, right: Any, docids: list[str], k: int) -> list[list[tuple[str, int]]]:
    """Of each query the best k documents with a product above 0, by (-score, docid)."""
    every = (left @ right.T).toarray()
    found = []
    for row in every:
        pairs = [(d, int(s)) for d, s in zip(docids, row, strict=True) if s > 0]
        found.append(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k])
    return found


@pytest.mark.parametrize("kind", ["splade", "inference_free", "csr"])
def test_finds_and_scores_what_whole_numbers_give(
    kind: str, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """All kinds of models, told by their files; ranks, scores, and pairs that others found."""
    model: Path = request.getfixturevalue(f"tiny_{kind}")
    code, output = indexed(data, tmp_path / "index", "--encoder", f"sp={model}", *EXACT)
    assert code == 0, output
    code, output = retrieved(tmp_path / "index", data, tmp_path / "table", "--batch-size", 1)
    assert code == 0, output
    corpus, queries = texts_of(data, "corpus"), texts_of(data, "queries")
    right = whole(library_weights(model, list(corpus.values()), "document"))
    left = whole(library_weights(model, list(queries.values()), "query"))
    rows, terms = impacts(tmp_path / "index", "sp")
    stored = np.zeros((len(rows), terms), dtype=np.int64)
    for number, row in enumerate(rows):
        stored[number, list(row)] = list(row.values())
    assert (stored == right.toarray()).all()
    docids, qids = list(corpus), list(queries)
    wanted = brute_force(left, right, docids, 10)
    product = (left @ right.T).toarray()
    table = pq.read_table(tmp_path / "table").to_pylist()
    assert any(row["rank_sp"] is None for row in table)
    found: dict[str, list[tuple[int, str, float]]] = {qid: [] for qid in qids}
    for row in table:
        assert row["score_sp"] == product[qids.index(row["qid"]), docids.index(row["docid"])]
        if row["rank_sp"] is not None:
            found[row["qid"]].append((row["rank_sp"], row["docid"], row["score_sp"]))
    for qid, best in zip(qids, wanted, strict=True):
        # A query with known positives is searched deeper; the ranks are the ranking's own.
        ranked = [(docid, score) for _, docid, score in sorted(found[qid])]
        assert ranked[: len(best)] == best
        assert [rank for rank, *_ in sorted(found[qid])] == list(range(1, len(ranked) + 1))


def test_bytes_depend_on_neither_memory_nor_threads_nor_an_interruption(
    data: Path, tiny_splade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from negmine.models import sparse_encoder

    def run(name: str, *options: object) -> list[bytes]:
        asked = ("--no-bm25", "--encoder", f"sp={tiny_splade}", "--batch-size", 4, *options)
        code, output = indexed(data, tmp_path / name / "index", *asked)
        assert code == 0, output
        index, out = tmp_path / name / "index", tmp_path / name / "table"
        code, output = retrieved(index, data, out, "--batch-size", 4, *options)
        assert code == 0, output
        return [*parts(index / "sparse" / "sp").values(), *parts(out).values()]

    plain = run("plain")
    assert len(plain) > 6
    with pytest.MonkeyPatch.context() as patch:
        # A query, a row and a block at a time, whatever the ceiling says.
        patch.setattr(memory, "resident", lambda: 0)
        patch.setattr(memory.Budget, "share", lambda self, fraction, most, least=1: min(least, 1))
        patch.setattr("negmine.sources.impacts.BLOCK_DOCUMENTS", 7)
        patch.setattr("negmine.sources.impacts._QUERIES", 3)
        patch.setattr("negmine.sources.impacts._PAIRS", 5)
        tables = [pq.read_table(p) for p in sorted((tmp_path / "plain/table").glob("part-*"))]
        run("tiny", "--memory", "2GB", "--threads", 2)
        small = [pq.read_table(p) for p in sorted((tmp_path / "tiny/table").glob("part-*"))]
        assert small == tables
    own, calls = sparse_encoder._TorchSparse._impacts, []

    def interrupted(self: Any, weights: Any) -> Any:
        calls.append(len(weights))
        if len(calls) == 15:
            raise KeyboardInterrupt
        return own(self, weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_encoder._TorchSparse, "_impacts", interrupted)
        asked = ("--no-bm25", "--encoder", f"sp={tiny_splade}", "--batch-size", 4)
        assert indexed(data, tmp_path / "killed" / "index", *asked)[0] != 0
        # The part that was not finished goes on where it stopped.
        assert list((tmp_path / "killed/index/sparse/sp").glob(".*part-00001*"))
        made, calls[:] = sum(calls[:-1]), [0] * 20
        assert run("killed") == plain
        documents = len(texts_of(data, "corpus"))
        assert sum(calls) - len(texts_of(data, "queries")) == documents - made


def test_lucenes_impact_index_says_the_same(data: Path, tiny_splade: Path, tmp_path: Path) -> None:
    """Term frequency = impact, Anserini's similarity: its ranking, and its words for a pair."""
    asked = ("--encoder", f"sp={tiny_splade}", *EXACT)
    code, output = indexed(data, tmp_path / "index", "--no-bm25", *asked)
    assert code == 0, output
    code, output = retrieved(tmp_path / "index", data, tmp_path / "table", "--batch-size", 1)
    assert code == 0, output
    docids, queries = list(texts_of(data, "corpus")), texts_of(data, "queries")
    rows, _ = impacts(tmp_path / "index", "sp")
    weights = whole(library_weights(tiny_splade, [queries["q3"]], "query"))
    searcher, query = lucene(tmp_path / "lucene", rows, weights)
    top = searcher.search(query, len(docids)).scoreDocs
    ranked = sorted((-hit.score, docids[hit.doc]) for hit in top)
    table = pq.read_table(tmp_path / "table").to_pylist()
    mine = [row for row in table if row["qid"] == "q3" and row["rank_sp"] is not None]
    mine.sort(key=lambda row: row["rank_sp"])
    assert [(-row["score_sp"], row["docid"]) for row in mine] == ranked[: len(mine)]
    assert len(mine) >= 10
    for row in (mine[0], mine[-1]):
        explained = searcher.explain(query, docids.index(row["docid"]))
        assert explained.getValue().doubleValue() == row["score_sp"]


def lucene(folder: Path, rows: list[dict[int, int]], weights: Any) -> tuple[Any, Any]:
    """A searcher of an impact index, and a query of these weights [1, terms]."""
    from negmine.sources import jvm

    jvm.start(256 << 20)
    java = jvm.java_class
    from jnius import cast

    path = java("java.nio.file.Paths").get(str(folder))
    directory = java("org.apache.lucene.store.FSDirectory").open(path)
    config = java("org.apache.lucene.index.IndexWriterConfig")()
    similarity = java("io.anserini.search.similarity.ImpactSimilarity")()
    config.setSimilarity(similarity)
    kind = java("org.apache.lucene.document.FieldType")()
    options = java("org.apache.lucene.index.IndexOptions")
    kind.setIndexOptions(options.DOCS_AND_FREQS)
    writer = java("org.apache.lucene.index.IndexWriter")(directory, config)
    for row in rows:
        words = " ".join(f"{term}|{impact}" for term, impact in row.items())
        tokens = java("org.apache.lucene.analysis.core.WhitespaceTokenizer")()
        tokens.setReader(java("java.io.StringReader")(words))
        frequencies = java(
            "org.apache.lucene.analysis.miscellaneous.DelimitedTermFrequencyTokenFilter"
        )
        stream = cast("org.apache.lucene.analysis.TokenStream", frequencies(tokens))
        document = java("org.apache.lucene.document.Document")()
        document.add(java("org.apache.lucene.document.Field")("impacts", stream, kind))
        writer.addDocument(document)
    writer.commit()
    writer.close()
    reader = java("org.apache.lucene.index.DirectoryReader").open(directory)
    searcher = java("org.apache.lucene.search.IndexSearcher")(
        cast("org.apache.lucene.index.IndexReader", reader)
    )
    searcher.setSimilarity(similarity)
    query = java("org.apache.lucene.search.BooleanQuery$Builder")()
    should = java("org.apache.lucene.search.BooleanClause$Occur").SHOULD
    for term, weight in zip(weights.indices.tolist(), weights.data.tolist(), strict=True):
        one = java("org.apache.lucene.index.Term")("impacts", str(term))
        found = java("org.apache.lucene.search.TermQuery")(one)
        boosted = java("org.apache.lucene.search.BoostQuery")(
            cast("org.apache.lucene.search.Query", found), float(weight)
        )
        query.add(cast("org.apache.lucene.search.Query", boosted), should)
    return searcher, cast("org.apache.lucene.search.Query", query.build())


def test_in_a_union_each_scores_what_the_others_found(
    data: Path, tiny_splade: Path, tiny_bi: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """Lexical, dense and learned sparse; every later stage reads the table."""
    encoders = ("--encoder", f"sp={tiny_splade}", "--encoder", f"dense={tiny_bi}")
    # What is for vectors alone is for those.
    code, output = indexed(data, tmp_path / "index", *encoders, "--vectors", "float32", *EXACT)
    assert code == 0, output
    counts = json.loads((tmp_path / "index" / "_manifest.json").read_text())["counts"]
    assert (counts["encoders"], counts["sparse_encoders"]) == (["dense"], ["sp"])
    prompts = ("--query-prompt", "sp=the cell ", "--query-prompt", "dense=")
    code, output = retrieved(tmp_path / "index", data, tmp_path / "table", *prompts)
    assert code == 0, output
    table = pq.read_table(tmp_path / "table")
    for name in ("bm25", "dense", "sp"):
        assert table.column(f"score_{name}").null_count == 0
        assert 0 < table.column(f"rank_{name}").null_count < table.num_rows
    ledger = tmp_path / "ledger"
    for command in (
        ("filter", tmp_path / "table", "--by", "sp", "--relative-margin", 0.05, "-o", ledger),
        ("audit", tmp_path / "table", "--by", "sp", "--seeds", 1, "-o", tmp_path / "audit"),
        ("report", ledger, "-o", tmp_path / "report.html"),
        ("explain", ledger, "q3"),
        ("inspect", ledger),
        ("inspect", tmp_path / "index"),
    ):
        result = invoke(*command)
        assert result.exit_code == 0, (command, result.output)
    refused = invoke("rerank", tmp_path / "table", "--scorer", f"x={tiny_splade}", "-o", "x")
    assert refused.exit_code == 2
    assert "weights of terms" in " ".join(refused.stderr.split())
    # It is up to date, and a name stands for one thing.
    again = indexed(data, tmp_path / "index", *encoders, "--vectors", "float32", *EXACT)
    assert again[0] == 0
    code, output = indexed(data, tmp_path / "index", "--encoder", f"sp={tiny_bi}")
    assert code == 6
    assert "has a source 'sp' of another kind" in output


REFUSED = {
    "--pooling": ("cls", "for vectors"),
    "--truncate-dim": ("8", "for vectors"),
    "--vectors": ("float16", "for vectors"),
    "--ann": ("Flat", "no encoder gives vectors"),
    "--clusters": ("3", "no vectors to cluster"),
    "--dtype": ("float16", "float16"),
    "--max-length": ("500", "128 positions"),
    "--encoder-kind": ("dense", "weights of terms"),
}


@pytest.mark.parametrize("option", [*REFUSED, "--no-normalize"])
def test_what_means_nothing_is_refused_before_any_work(
    option: str, data: Path, tiny_splade: Path, tmp_path: Path
) -> None:
    value, message = REFUSED.get(option, ("", "for vectors"))
    given = [option, value] if value else [option]
    asked = ("--no-bm25", "--encoder", f"sp={tiny_splade}", "--device", "cpu")
    code, output = indexed(data, tmp_path / "index", *asked, *given)
    assert code == 2, output
    assert message in " ".join(output.split())
    assert not (tmp_path / "index").exists()


def test_another_model_or_ann_is_refused_at_retrieve(
    data: Path, tiny_splade: Path, tmp_path: Path
) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(tiny_splade, model)
    code, output = indexed(data, tmp_path / "index", "--no-bm25", "--encoder", f"sp={model}")
    assert code == 0, output
    code, output = retrieved(tmp_path / "index", data, tmp_path / "table", "--ann", "nprobe=2")
    assert code == 2
    assert "no source searches vectors" in output
    (model / "more.json").write_text("{}")
    code, output = retrieved(tmp_path / "index", data, tmp_path / "table")
    assert code == 5
    assert "is not the one that encoded the corpus" in " ".join(output.split())


def test_a_dry_run_counts_it(data: Path, tiny_splade: Path, tmp_path: Path, invoke: Invoke) -> None:
    asked = ["index", "--corpus", data, "--no-bm25", "--no-signatures"]
    encoder = ["--encoder", f"sp={tiny_splade}", "-o", tmp_path / "index"]
    result = invoke(*asked, *encoder, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    (stage,) = json.loads(result.stdout)["stages"]
    assert any("encode sp" in what for what in stage["breakdown"])
    assert stage["tokens"] > 90 * 12
    assert not (tmp_path / "index").exists()
    # In the parts that the trial has: a file costs some kilobytes, however little it holds.
    made = invoke(*asked, *encoder)
    assert made.exit_code == 0, made.output
    folder = tmp_path / "index" / "sparse" / "sp"
    size = sum(path.stat().st_size for path in folder.glob("part-*"))
    documents = sum(p.stat().st_size for p in (tmp_path / "index/documents").glob("part-*"))
    assert stage["disk_bytes"] == pytest.approx(size + documents, rel=0.5)
    retrieve = ["retrieve", tmp_path / "index", "--queries", data, "--qrels", data / "qrels.tsv"]
    result = invoke(*retrieve, "-k", 10, "-o", tmp_path / "table", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    (stage,) = json.loads(result.stdout)["stages"]
    assert stage["queries"] == 24
    assert stage["tokens"] > 24 * 4


def test_ties_at_the_cut_are_in_the_order_of_the_docids(tmp_path: Path, tiny_splade: Path) -> None:
    """More documents than are fetched beside k score the same: the first by docid stay."""
    from tests.conftest import write_jsonl

    data = tmp_path / "data"
    data.mkdir()
    rows = [{"_id": f"d{n:03d}", "text": "gene therapy"} for n in range(70, 0, -1)]
    write_jsonl(data / "corpus.jsonl", [*rows, {"_id": "other", "text": "the heart in mice"}])
    write_jsonl(data / "queries.jsonl", [{"_id": "q", "text": "gene therapy"}])
    (data / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tother\t1\n")
    code, output = indexed(data, tmp_path / "index", "--no-bm25", "--encoder", f"sp={tiny_splade}")
    assert code == 0, output
    code, output = retrieved(tmp_path / "index", data, tmp_path / "table")
    assert code == 0, output
    table = pq.read_table(tmp_path / "table").to_pylist()
    found = sorted((r["rank_sp"], r["docid"], r["score_sp"]) for r in table if r["label"] == 0)
    assert [docid for _, docid, _ in found] == [f"d{n:03d}" for n in range(1, 11)]
    assert len({score for *_, score in found}) == 1
