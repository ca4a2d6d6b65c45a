"""Each consumer's file as its own loader sees it, and for trainers one step of training."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine import formats
from negmine.errors import UsageError
from negmine.formats.base import Chosen, Measure, Options, tables
from negmine.params import ExportParams
from negmine.stages import export
from negmine.table import writers
from tests.formats.conftest import make_ledger


def needs(package: str) -> Any:
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
    )


def made(chosen: Chosen, name: str, n: int = 1, **options: Any) -> list[dict[str, Any]]:
    settings = Options(
        **{"scores": False, "ids": False, "prompt": None, "integer_ids": False} | options,
        num_negatives=n,
    )
    examples = formats.load(name).layout(chosen, settings)
    rows: list[dict[str, Any]] = pa.concat_tables(tables(examples, chosen)).to_pylist()
    return rows


def lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.splitlines()]


# --- exact rows -------------------------------------------------------------------------------


def test_flagembedding_rows(chosen: Chosen) -> None:
    assert made(chosen, "flagembedding") == [
        {"query": "one?", "pos": ["A", "B"], "neg": ["D", "E"]},
        {"query": "two?", "pos": ["C"], "neg": ["A"]},
    ]
    full = made(chosen, "flagembedding", scores=True, ids=True, prompt="Find it: ")
    assert full[0] == {
        "query": "one?",
        "pos": ["A", "B"],
        "neg": ["D", "E"],
        "pos_scores": [9.0, 8.0],
        "neg_scores": [5.0, 4.0],
        "prompt": "Find it: ",
        "query_id": "q1",
        "pos_id": ["a", "b"],
        "neg_id": ["d", "e"],
    }
    assert full[1]["neg_scores"] == [None]


def test_tevatron_rows(chosen: Chosen) -> None:
    first, second = made(chosen, "tevatron", scores=True)
    assert first == {
        "query_id": "q1",
        "query": "one?",
        "positive_passages": [
            {"docid": "a", "text": "A", "score": 9.0},
            {"docid": "b", "text": "B", "score": 8.0},
        ],
        "negative_passages": [
            {"docid": "d", "text": "D", "score": 5.0},
            {"docid": "e", "text": "E", "score": 4.0},
        ],
    }
    assert made(chosen, "tevatron")[1]["negative_passages"] == [{"docid": "a", "text": "A"}]
    assert second["query_id"] == "q2"


def test_pylate_rows_have_one_width(chosen: Chosen) -> None:
    assert made(chosen, "pylate-kd", n=2, ids=True) == [
        {
            "query": "one?",
            "documents": [positive, "D", "E"],
            "scores": [score, 5.0, 4.0],
            "query_id": "q1",
            "document_ids": [docid, "d", "e"],
        }
        for positive, score, docid in (("A", 9.0, "a"), ("B", 8.0, "b"))
    ]


def test_msmarco_rows_name_the_sources(chosen: Chosen) -> None:
    assert made(chosen, "msmarco") == [
        # "e" is bm25's first; "d" its second, and not found by the dense source.
        {"qid": "q1", "pos": ["a", "b"], "neg": {"bm25": ["e", "d"], "dense": ["e"]}},
        {"qid": "q2", "pos": ["c"], "neg": {"bm25": [], "dense": ["a"]}},
    ]


def test_trec_rows(chosen: Chosen) -> None:
    run = made(chosen, "trec-run")
    assert [(r["qid"], r["docid"], r["rank"], r["score"]) for r in run] == [
        ("q1", "a", 1, 9.0),
        ("q1", "b", 2, 8.0),
        ("q1", "d", 3, 5.0),
        ("q1", "e", 4, 4.0),
        ("q2", "c", 1, 7.0),
        ("q3", "e", 1, 6.0),
        ("q4", "b", 1, 3.0),
    ]
    qrels = made(chosen, "trec-qrels")
    assert [(r["qid"], r["docid"], r["grade"]) for r in qrels][:4] == [
        ("q1", "a", 1),
        ("q1", "b", 1),
        ("q1", "d", 0),
        ("q1", "e", 0),
    ]


def test_colbert_lines_are_numbers(chosen: Chosen) -> None:
    numbered = replace(
        chosen, qids=pa.array(["0", "1", "2", "3"]), docids=pa.array(["0", "1", "2", "3", "4"])
    )
    assert made(numbered, "colbert-triples") == [
        {"qid": q, "positive": p, "negative_1": n}
        for q, p, n in [(0, 0, 3), (0, 0, 4), (0, 1, 3), (0, 1, 4), (1, 2, 0)]
    ]
    assert made(numbered, "colbert", n=2, scores=True) == [
        {
            "qid": 0,
            "positive": {"positive": pid, "score": score},
            "negative_1": {"negative_1": 3, "score": 5.0},
            "negative_2": {"negative_2": 4, "score": 4.0},
        }
        for pid, score in [(0, 9.0), (1, 8.0)]
    ]


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def test_swift_lines_are_conversations(chosen: Chosen) -> None:
    assert made(chosen, "swift-embedding") == [
        {
            "messages": said("user", query),
            "positive_messages": [said("user", positive)],
            "negative_messages": [said("user", text) for text in negatives],
        }
        for query, positive, negatives in [
            ("one?", "A", "DE"),
            ("one?", "B", "DE"),
            ("two?", "C", "A"),
        ]
    ]
    first, second = made(chosen, "swift-reranker", ids=True)
    assert first == {
        "messages": said("user", "one?"),
        "positive_messages": [said("assistant", "A"), said("assistant", "B")],
        "negative_messages": [said("assistant", "D"), said("assistant", "E")],
        "query_id": "q1",
        "pos_id": ["a", "b"],
        "neg_id": ["d", "e"],
    }
    assert second["negative_messages"] == [said("assistant", "A")]


def test_nemo_lines_have_one_positive(chosen: Chosen) -> None:
    assert made(chosen, "nemo") == [
        {"query": "one?", "pos_doc": ["A"], "neg_doc": ["D", "E"]},
        {"query": "one?", "pos_doc": ["B"], "neg_doc": ["D", "E"]},
        {"query": "two?", "pos_doc": ["C"], "neg_doc": ["A"]},
    ]


WEIGHT = Measure("weight", "real", np.full(4, np.nan), np.array([0.5, 0.25, 1.0, 0.0]))
FILLED = Measure("filled", "flag", np.zeros(4), np.array([0.0, 1.0, 0.0, 0.0]))


def test_extra_columns_stand_beside_every_document(chosen: Chosen) -> None:
    chosen = replace(chosen, extras=(WEIGHT, FILLED))
    assert [row["weight"] for row in made(chosen, "triplet")][:2] == [[None, 0.5], [None, 0.25]]
    assert made(chosen, "n-tuple", n=2)[0]["filled"] == [False, False, True]
    assert [row["weight"] for row in made(chosen, "labeled-pair")] == [
        *(None, None, 0.5, 0.25),
        *(None, 1.0),
    ]
    assert made(chosen, "labeled-list")[1]["weight"] == [None, 0.5, 0.25]
    assert made(chosen, "pylate-kd", n=2)[0]["weight"] == [None, 0.5, 0.25]
    assert made(chosen, "flagembedding")[0]["neg_weight"] == [0.5, 0.25]
    assert made(chosen, "flagembedding")[0]["pos_filled"] == [False, False]
    assert made(chosen, "nemo")[1]["neg_filled"] == [False, True]
    assert made(chosen, "swift-reranker")[0]["neg_weight"] == [0.5, 0.25]
    passages = made(chosen, "tevatron")[0]["negative_passages"]
    assert passages[1] == {"docid": "e", "text": "E", "weight": 0.25, "filled": True}


# --- their loaders ----------------------------------------------------------------------------


def flagembedding_dataset(paths: list[Path], cache: Path, **settings: Any) -> Any:
    from FlagEmbedding.abc.finetune.embedder import AbsEmbedderDataArguments
    from FlagEmbedding.abc.finetune.embedder.AbsDataset import AbsEmbedderTrainDataset

    arguments = AbsEmbedderDataArguments(
        train_data=[str(path) for path in paths],
        cache_path=str(cache),
        train_group_size=3,
        **settings,
    )
    return AbsEmbedderTrainDataset(arguments, tokenizer=None)


@needs("FlagEmbedding")
@pytest.mark.parametrize("name", ["train.jsonl", "train"])
def test_flagembedding_loads_files(ledger: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    export.run(ExportParams(format="flagembedding", scores=True, prompt="Represent: "), ledger, out)
    # Of a folder its parts are named: FlagEmbedding takes any .json for training lines.
    files = [out] if out.is_file() else sorted(out.glob("part-*.jsonl"))
    loaded = flagembedding_dataset(
        files,
        tmp_path / "cache",
        knowledge_distillation=True,
        query_instruction_for_retrieval="unused",
    )
    assert len(loaded) == 6
    query, passages, scores = loaded[1]
    assert query.startswith("Represent: ")
    assert "what is number" in query
    assert len(passages) == len(scores) == 3
    assert scores[0] in (9.0, 8.0)
    assert max(scores[1:]) <= 5.0
    assert all(text.startswith("passage ") for text in passages)


@needs("pylate")
def test_pylate_processes_the_ids_of_a_folder(ledger: Path, tmp_path: Path) -> None:
    from datasets import load_dataset
    from pylate.utils import KDProcessing

    out = tmp_path / "kd"
    export.run(ExportParams(format="pylate-kd", texts=False), ledger, out)
    cache = str(tmp_path / "cache")
    train, queries, documents = (
        load_dataset(str(out), name=name, split="train", cache_dir=cache)
        for name in ("train", "queries", "documents")
    )
    assert train.column_names == ["scores", "query_id", "document_ids"]
    train.set_transform(KDProcessing(queries=queries, documents=documents).transform)
    assert len(train) == 9
    for sample in train:
        assert sample["query"].startswith("what is number")
        assert len(sample["documents"]) == len(sample["scores"]) == 4
        for docid, text in zip(sample["document_ids"], sample["documents"], strict=True):
            assert text == f"passage {docid} of the heart therapy"


@needs("pylate")
@pytest.mark.parametrize("name", ["pylate-kd", "triplet"])
def test_pylate_collates_the_rows(ledger: Path, tmp_path: Path, name: str) -> None:
    import torch
    from pylate.utils import ColBERTCollator

    out = tmp_path / "rows.parquet"
    export.run(ExportParams(format=name), ledger, out)

    def tokenize(texts: list[str], is_query: bool, **_: Any) -> dict[str, Any]:
        return {"input_ids": torch.tensor([[len(text), is_query] for text in texts])}

    rows = pq.read_table(out).to_pylist()[:2]
    batch = ColBERTCollator(tokenize_fn=tokenize)(rows)
    if name == "pylate-kd":
        assert batch["label"].shape == (2, 4)
        assert batch["query_input_ids"][:, 1].all()
        assert batch["documents_input_ids"].shape[0] == 8
    else:
        assert batch["anchor_input_ids"][:, 1].all()
        assert not batch["negative_input_ids"][:, 1].any()


@needs("tevatron")
def test_tevatron_takes_examples(ledger: Path, tmp_path: Path, minilm: Path) -> None:
    """The preprocessor of the release on PyPI, which reads the same lines as version 2."""
    from datasets import load_dataset
    from tevatron.datasets.preprocessor import TrainPreProcessor
    from transformers import AutoTokenizer

    out = tmp_path / "train.jsonl"
    export.run(ExportParams(format="tevatron"), ledger, out)
    loaded = load_dataset(
        "json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    example = TrainPreProcessor(tokenizer)(loaded[1])
    assert len(example["positives"]) == 2
    assert len(example["negatives"]) == 3
    assert tokenizer.decode(example["query"]) == "what is number 1 cell"
    assert tokenizer.decode(example["positives"][0]) == "passage 1001 of the heart therapy"


def colbert_folder(out: Path) -> tuple[list[list[Any]], dict[int, str], list[str]]:
    """What colbert-ai sees of a folder: its examples, queries and collection."""
    from colbert.data import Collection, Examples, Queries

    return (
        Examples.cast(str(out / "part-00000.colbert.jsonl")).tolist(),
        Queries.cast(str(out / "queries.tsv")).data,
        Collection.cast(str(out / "collection.tsv")).data,
    )


@needs("colbert")
@pytest.mark.parametrize("name", ["colbert-triples", "colbert"])
def test_colbert_loads_a_folder(ledger: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "colbert"
    params = ExportParams(format=name, scores=name == "colbert", split=0.3, shuffle=3)
    counts = export.run(params, ledger, out).counts
    examples, queries, collection = colbert_folder(out)
    assert len(examples) == counts["examples"]
    assert len(queries) == 6
    asked = set()
    for qid, *documents in examples:
        number = int(re.findall("number ([0-9]+)", queries[qid])[0])
        asked.add(number)
        if name == "colbert":
            documents, scores = zip(*documents, strict=True)
            assert scores[0] > max(scores[1:])
        texts = [collection[pid] for pid in documents]
        assert texts[0] in {f"passage {n + number} of the heart therapy" for n in (1000, 2000)}
        assert all(re.match("passage 3", text) for text in texts[1:])
        assert len(texts) == (4 if name == "colbert" else 2)
    held_out = (out / "_heldout" / "part-00000.colbert.jsonl").read_text().splitlines()
    elsewhere = {json.loads(line)[0] for line in held_out}
    assert elsewhere
    assert elsewhere.isdisjoint({qid for qid, *_ in examples})
    ids = pq.read_table(out / "_documents").to_pylist()
    assert [row["number"] for row in ids] == list(range(len(collection)))
    assert all(f"passage {row['document_id']} " in collection[row["number"]] for row in ids)


def test_tabs_and_line_ends_in_a_text_do_not_break_a_tsv(tmp_path: Path) -> None:
    table = pa.table({"number": [0, 1], "text": ["a\tb\r\nc", "d\u2028e"]})
    with (tmp_path / "x.tsv").open("wb") as file:
        assert writers.write_tsv(file, [table]) == 2
    assert (tmp_path / "x.tsv").read_bytes().decode() == "0\ta b c\n1\td\u2028e\n"


SWIFT = """
import json, sys
from datasets import Dataset
from swift.dataset.preprocessor import AutoPreprocessor
from swift.template.template_inputs import TemplateInputs

rows = [json.loads(line) for line in open(sys.argv[1])]
# Rows with --ids: the preprocessor drops what it does not know.
loaded = AutoPreprocessor()(Dataset.from_list(rows), load_from_cache_file=False, strict=True)
assert set(loaded.column_names) >= {"messages", "positive_messages", "negative_messages"}
seen = []
for row in loaded:
    row = {key: value for key, value in row.items() if value is not None}
    inputs = TemplateInputs.from_dict(row)
    seen.append(
        [
            [(m["role"], m["content"]) for m in one.messages]
            for one in [inputs.chosen, *inputs.positive, *inputs.negative]
        ]
    )
print("SEEN", json.dumps(seen))
"""


@needs("swift")
@pytest.mark.real
def test_swift_takes_the_lines(ledger: Path, tmp_path: Path) -> None:
    """In a process of its own: importing ms-swift changes parts of `datasets` for all."""
    out = tmp_path / "train.jsonl"
    export.run(ExportParams(format="swift-embedding", ids=True), ledger, out)
    environment = {**os.environ, "MODELSCOPE_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(
        [sys.executable, "-c", SWIFT, str(out)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    seen = json.loads(ended.stdout.split("SEEN ", 1)[1])
    assert len(seen) == 9
    for query, positive, *negatives in seen:
        number = int(re.findall("number ([0-9]+)", query[0][1])[0])
        assert query[0][0] == "user"
        found = re.match("passage ([12])00([0-9]) of", positive[0][1])
        assert found is not None
        assert int(found[2]) == number
        assert len(negatives) == 3


@needs("nemo_automodel")
@pytest.mark.parametrize("kind", ["bi_encoder", "cross_encoder"])
def test_nemo_loads_a_file(ledger: Path, tmp_path: Path, kind: str) -> None:
    path = "components/datasets/llm/retrieval_dataset_inline.py"
    loader = module_of_package("nemo_automodel", path)
    out = tmp_path / "train.jsonl"
    export.run(ExportParams(format="nemo"), ledger, out)
    data = loader.make_retrieval_dataset(str(out), model_type=kind, n_passages=4)
    assert len(data) == 9
    rows = data[0:9]
    if kind == "cross_encoder":
        assert len(rows["doc_text"]) == len(rows["question"]) == 36
        return
    for question, texts in zip(rows["question"], rows["doc_text"], strict=True):
        number = int(re.findall("number ([0-9]+)", question)[0])
        assert texts[0] in {f"passage {n + number} of the heart therapy" for n in (1000, 2000)}
        assert len(texts) == 4


def module_of_package(package: str, path: str) -> Any:
    """One module of a package whose ``__init__`` wants more than is installed."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.submodule_search_locations is not None
    file = Path(found.submodule_search_locations[0], path)
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[file.stem] = module
    specification.loader.exec_module(module)
    return module


def test_msmarco_lines_have_integer_ids(ledger: Path, tmp_path: Path) -> None:
    """As the training script of that data set reads them: ids are keys of integer dictionaries."""
    out = tmp_path / "hard-negatives.jsonl.gz"
    export.run(ExportParams(format="msmarco"), ledger, out)
    rows = lines(out)
    assert len(rows) == 6
    assert list(rows[0]) == ["qid", "pos", "neg"]
    assert rows[1]["qid"] == 1
    assert rows[1]["pos"] == [1001, 2001]
    assert list(rows[1]["neg"]) == ["bm25"]
    assert all(isinstance(docid, int) for docid in rows[1]["neg"]["bm25"])


def test_trec_files_are_read_by_ir_measures(ledger: Path, tmp_path: Path) -> None:
    ir_measures = pytest.importorskip("ir_measures")

    export.run(ExportParams(format="trec-run"), ledger, tmp_path / "train.trec")
    export.run(ExportParams(format="trec-qrels"), ledger, tmp_path / "train.qrels")
    run = list(ir_measures.read_trec_run(str(tmp_path / "train.trec")))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "train.qrels")))
    assert len(run) == len(qrels) == 6 * 4 + 3
    assert {q.relevance for q in qrels} == {0, 1}
    assert [r.doc_id for r in run if r.query_id == "1"][:2] == ["1001", "2001"]
    assert all(len(line.split()) == 6 for line in (tmp_path / "train.trec").open())


def test_negmine_reads_its_own_trec_files(ledger: Path, tmp_path: Path) -> None:
    from negmine.inputs import Problems, read_qrels, read_run

    export.run(ExportParams(format="trec-run"), ledger, tmp_path / "train.run")
    export.run(ExportParams(format="trec-qrels"), ledger, tmp_path / "train.qrels")
    run = pa.Table.from_batches(read_run(str(tmp_path / "train.run"), {}, Problems("fail")))
    qrels = pa.Table.from_batches(read_qrels(str(tmp_path / "train.qrels"), {}, Problems("fail")))
    assert run.num_rows == qrels.num_rows == 27
    assert run.slice(0, 1).to_pylist() == [{"qid": "0", "docid": "1000", "score": 9.0, "rank": 1.0}]


# --- data frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["triplet", "labeled-list", "tevatron", "msmarco"])
def test_every_reader_of_parquet_reads_the_same(ledger: Path, tmp_path: Path, name: str) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    import pandas as pd

    out = tmp_path / "train.parquet"
    export.run(ExportParams(format=name, ids=True), ledger, out)
    expected = pq.read_table(out).to_pylist()
    assert polars.read_parquet(out).to_dicts() == expected
    found = duckdb.sql(f"select * from '{out}'")
    assert [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()] == expected
    assert list(pd.read_parquet(out).columns) == list(expected[0])


def test_every_reader_of_parquet_reads_every_artifact(ledger: Path) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    import pandas as pd

    # With a card, a held-out side and a shuffle: the folder is still one table.
    export.run(ExportParams(split=0.3, card=True), ledger, ledger.parent / "train")
    for artifact in ("documents", "candidates", "scored", "ledger", "train"):
        folder = ledger.parent / artifact
        rows = pq.read_table(folder).num_rows
        assert rows > 0
        assert len(pd.read_parquet(folder)) == rows
        assert len(polars.read_parquet(folder / "*.parquet")) == rows
        counted = duckdb.sql(f"select count(*) from '{folder}/*.parquet'").fetchall()
        assert counted == [(rows,)]
    parts = sorted((ledger.parent / "train").glob("part-*"))
    assert rows == sum(pq.read_table(part).num_rows for part in parts)


def test_datasets_loads_files_a_folder_and_its_card(ledger: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    out, cache = tmp_path / "train", str(tmp_path / "cache")
    outcome = export.run(ExportParams(split=0.4, card=True), ledger, out)
    by_files = load_dataset("parquet", data_files=f"{out}/part-*.parquet", cache_dir=cache)
    by_card = load_dataset(str(out), cache_dir=cache)
    assert by_card["train"].num_rows == by_files["train"].num_rows == outcome.counts["examples"]
    assert by_card["validation"].num_rows == outcome.counts["heldout"]["examples"] > 0
    assert by_card["train"].column_names == ["anchor", "positive", "negative"]
    card = (out / "_README.md").read_text()
    assert "Hard negatives, as `triplet`" in card
    assert not re.search(r"^path: /", card, re.MULTILINE)
    # As it lies on the hub, where the card says how to load.
    (out / ".huggingface.yaml").unlink()
    (out / "_README.md").rename(out / "README.md")
    on_the_hub = load_dataset(str(out), cache_dir=str(tmp_path / "another"))
    assert {k: v.num_rows for k, v in on_the_hub.items()} == {
        k: v.num_rows for k, v in by_card.items()
    }


# --- one step of training ---------------------------------------------------------------------


ONE_STEP: dict[str, Any] = {
    "max_steps": 1,
    "per_device_train_batch_size": 4,
    "report_to": [],
    "use_cpu": True,
}


def exported(tmp_path: Path, name: str, **params: Any) -> Any:
    from datasets import load_dataset

    out = tmp_path / f"{name}.parquet"
    export.run(ExportParams(format=name, **params), make_ledger(tmp_path / "made"), out)
    return load_dataset(
        "parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "scores", "loss"),
    [
        ("triplet", False, "MultipleNegativesRankingLoss"),
        ("n-tuple", False, "MultipleNegativesRankingLoss"),
        ("n-tuple", True, "MarginMSELoss"),
        ("labeled-pair", False, "CosineSimilarityLoss"),
    ],
)
def test_a_sentence_transformer_trains(
    tmp_path: Path, tiny_bi: Path, name: str, scores: bool, loss: str
) -> None:
    from datasets import Value
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )

    model = SentenceTransformer(str(tiny_bi), device="cpu")
    data = exported(tmp_path, name, scores=scores)
    if loss == "CosineSimilarityLoss":
        data = data.cast_column("label", Value("float32"))
    if loss == "MarginMSELoss":
        # The loss takes margins, or one score per text; ours are the latter.
        data = data.rename_column("scores", "label")
    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
    )
    trainer = SentenceTransformerTrainer(
        model, arguments, train_dataset=data, loss=getattr(losses, loss)(model)
    )
    assert np.isfinite(trainer.train().training_loss)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "loss"),
    [("labeled-pair", "BinaryCrossEntropyLoss"), ("labeled-list", "LambdaLoss")],
)
def test_a_cross_encoder_trains(tmp_path: Path, tiny_cross: Path, name: str, loss: str) -> None:
    from sentence_transformers import CrossEncoder, cross_encoder

    model = CrossEncoder(str(tiny_cross), device="cpu")
    arguments = cross_encoder.CrossEncoderTrainingArguments(
        str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
    )
    trainer = cross_encoder.CrossEncoderTrainer(
        model,
        arguments,
        train_dataset=exported(tmp_path, name),
        loss=getattr(cross_encoder.losses, loss)(model),
    )
    assert np.isfinite(trainer.train().training_loss)


@pytest.mark.real
def test_a_sparse_encoder_trains(tmp_path: Path, minilm: Path) -> None:
    import torch
    from sentence_transformers import SparseEncoder, sparse_encoder
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    torch.manual_seed(3)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "mlm")
    AutoTokenizer.from_pretrained(minilm).save_pretrained(tmp_path / "mlm")
    model = SparseEncoder(str(tmp_path / "mlm"), device="cpu")
    arguments = sparse_encoder.SparseEncoderTrainingArguments(
        str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
    )
    losses = sparse_encoder.losses
    loss = losses.SpladeLoss(
        model,
        losses.SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=1e-3,
        query_regularizer_weight=1e-3,
    )
    trainer = sparse_encoder.SparseEncoderTrainer(
        model, arguments, train_dataset=exported(tmp_path, "triplet"), loss=loss
    )
    assert np.isfinite(trainer.train().training_loss)


# --- the registry -----------------------------------------------------------------------------


def test_an_unknown_format_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'triplet'"):
        formats.load("triplets")


def test_a_plug_in_of_another_package_is_found(
    monkeypatch: pytest.MonkeyPatch, ledger: Path, tmp_path: Path
) -> None:
    """A package with an entry point, as pip would have installed it."""
    site = tmp_path / "site"
    info = site / "their_format-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-format\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[negmine.formats]\nqueries-only = their_format:ASKED\n")
    (site / "their_format.py").write_text(
        "import numpy as np\n"
        "from negmine.formats.base import Column, Examples, Format\n"
        "def asked(chosen, options):\n"
        "    every = np.arange(len(chosen.qids))\n"
        "    return Examples([Column('q', 'query_text', every)], len(every), 0)\n"
        "ASKED = Format(asked, needs='nothing', trains=False)\n"
    )
    monkeypatch.syspath_prepend(str(site))
    assert "queries-only" in formats.known()
    export.run(ExportParams(format="queries-only"), ledger, tmp_path / "asked.jsonl")
    assert lines(tmp_path / "asked.jsonl")[0] == {"q": "what is number 0 gene"}
