"""Folders and patterns: what they stand for, against collections as their makers lay them out."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.errors import InvalidDataError, MissingInputError, NegmineError, UsageError
from negmine.inputs import (
    Columns,
    Problems,
    origin,
    read_corpus,
    read_pairs,
    read_qrels,
    read_queries,
)
from negmine.inputs.layouts import SeveralError
from negmine.inputs.parts import missing_shards, natural
from tests.conftest import write_jsonl

Reader = Callable[..., Iterator[pa.RecordBatch]]
DOCUMENTS = [{"_id": f"d{n}", "title": f"T{n}", "text": f"document {n}"} for n in range(8)]
QUERIES = [{"_id": f"q{n}", "text": f"topic{n}"} for n in range(3)]
QRELS = [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in range(3)]
PAIRS = [{"query": f"topic{n}", "positive": f"document {n}"} for n in range(8)]


def ids(reader: Reader, spec: object, columns: Columns | None = None) -> list[str]:
    """The first field of every record."""
    specs = [str(one) for one in spec] if isinstance(spec, list) else str(spec)
    columns = Columns() if columns is None else columns
    batches = reader(specs, columns, Problems("fail"))
    return [row[0] for batch in batches for row in zip(*batch.to_pydict().values(), strict=True)]


def fails(reader: Reader, spec: object) -> NegmineError:
    with pytest.raises(NegmineError) as caught:
        ids(reader, spec)
    return caught.value


def notes(reader: Reader, spec: object) -> str:
    columns = Columns()
    ids(reader, spec, columns)
    return "; ".join(columns.account.notes)


def shards(folder: Path, name: str, rows: list[dict[str, Any]], count: int) -> list[Path]:
    """A table as ``push_to_hub`` lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(rows) // count)
    files = []
    for number in range(count):
        files.append(folder / f"{name}-{number:05}-of-{count:05}.parquet")
        part = rows[number * size : (number + 1) * size] or rows[:0]
        pq.write_table(pa.Table.from_pylist(part or rows[:1]).slice(0, len(part)), files[-1])
    return files


DOCIDS = [row["_id"] for row in DOCUMENTS]
QIDS = [row["_id"] for row in QUERIES]


# --- patterns -------------------------------------------------------------------------------------


def test_a_pattern_is_read_in_natural_order_and_told(tmp_path: Path) -> None:
    for number in range(8):
        write_jsonl(tmp_path / f"part-{number + 5}.jsonl", [DOCUMENTS[number]])
    write_jsonl(tmp_path / "_part-1.jsonl", [DOCUMENTS[0]])
    pattern = tmp_path / "*art-*.jsonl"
    assert ids(read_corpus, pattern) == DOCIDS
    told = notes(read_corpus, pattern)
    assert "8 files, from part-5.jsonl to part-12.jsonl" in told
    assert ids(read_corpus, tmp_path / "part-[5-7].jsonl") == DOCIDS[:3]
    assert ids(read_corpus, tmp_path / "part-1?.jsonl") == DOCIDS[5:]


def test_a_pattern_into_folders(tmp_path: Path) -> None:
    for number, letter in enumerate("ab"):
        (tmp_path / letter / "deep").mkdir(parents=True)
        write_jsonl(tmp_path / letter / "deep" / "c.jsonl", [DOCUMENTS[number]])
    assert ids(read_corpus, tmp_path / "*" / "deep" / "c.jsonl") == DOCIDS[:2]
    assert ids(read_corpus, tmp_path / "**" / "c.jsonl") == DOCIDS[:2]


def test_a_pattern_that_stands_for_nothing(tmp_path: Path) -> None:
    error = fails(read_corpus, tmp_path / "*.jsonl")
    assert isinstance(error, MissingInputError)
    assert error.what == "no file matches this pattern"
    write_jsonl(tmp_path / "_a.jsonl", DOCUMENTS)
    assert "begin with '_'" in str(fails(read_corpus, tmp_path / "*.jsonl").hint)


def test_a_file_that_is_called_like_a_pattern(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "c[1].jsonl", DOCUMENTS[:1])
    write_jsonl(tmp_path / "c1.jsonl", DOCUMENTS[1:])
    assert ids(read_corpus, tmp_path / "c[1].jsonl") == DOCIDS[:1]


def test_patterns_and_files_are_each_read_once(tmp_path: Path) -> None:
    for number in range(3):
        write_jsonl(tmp_path / f"c{number}.jsonl", [DOCUMENTS[number]])
    error = fails(read_corpus, [tmp_path / "c*.jsonl", tmp_path / "c1.jsonl"])
    assert isinstance(error, UsageError)
    assert error.where == str(tmp_path / "c1.jsonl")
    assert ids(read_corpus, [tmp_path / "c2.jsonl", tmp_path / "c[01].jsonl"]) == [
        *("d2", "d0", "d1"),
    ]


def test_shards_that_a_pattern_leaves_out_are_told(tmp_path: Path) -> None:
    shards(tmp_path, "train", DOCUMENTS, 8)
    told = notes(read_corpus, tmp_path / "train-0000[0-2]-*.parquet")
    assert "5 shards beside train-00000-of-00008.parquet left out: train-00003-of-00008" in told
    assert "7 shards" in notes(read_corpus, tmp_path / "train-00001-of-00008.parquet")
    assert "left out" not in notes(read_corpus, tmp_path / "train-*.parquet")
    every = [tmp_path / f"train-{number:05}-of-00008.parquet" for number in range(8)]
    assert notes(read_corpus, every) == ""
    assert "1 shard beside" in notes(read_corpus, every[1:])


def test_natural_order() -> None:
    names = ["b", "a10", "a9", "a1b", "a01", "10", "9", "a"]
    assert sorted(names, key=natural) == ["9", "10", "a", "a01", "a1b", "a9", "a10", "b"]


# --- folders of parts -----------------------------------------------------------------------------


def test_a_folder_of_parts(tmp_path: Path) -> None:
    for number in range(8):
        pq.write_table(
            pa.Table.from_pylist([DOCUMENTS[number]]), tmp_path / f"part-{number:05}.parquet"
        )
    (tmp_path / "_manifest.json").write_text("{}")
    (tmp_path / ".crc").write_text("x")
    (tmp_path / "README.md").write_text("x")
    assert ids(read_corpus, tmp_path) == DOCIDS
    assert "8 files" in notes(read_corpus, tmp_path)
    record = origin(str(tmp_path), "corpus").record
    assert list(record["files"]) == [f"part-{number:05}.parquet" for number in range(8)]
    (tmp_path / "part-00003.parquet").unlink()
    assert "no part has the number 3" in notes(read_corpus, tmp_path)
    assert origin(str(tmp_path), "corpus").record["digest"] != record["digest"]


@pytest.mark.parametrize(
    "names",
    [
        ["part-00000-6b9e-c000.snappy", "part-00001-6b9e-c000.snappy"],
        ["part.0", "part.1", "part.2", "part.10"],
        ["0000", "0001"],
        ["shard_0", "shard_1"],
        ["data-00000-of-00002", "data-00001-of-00002"],
        ["train-00000-of-00002-d5ab5e6f7a8b9c0d", "train-00001-of-00002-0a1b2c3d4e5f6a7b"],
        ["corpus-1-of-2", "corpus-2-of-2"],
    ],
)
def test_what_others_call_their_parts(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        pq.write_table(pa.Table.from_pylist([DOCUMENTS[number]]), tmp_path / f"{name}.parquet")
    assert ids(read_corpus, tmp_path) == DOCIDS[: len(names)]


def test_parts_of_an_unknown_suffix_are_told(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "part-0.jsonl", DOCUMENTS[:1])
    write_jsonl(tmp_path / "part-1.jsonl", DOCUMENTS[1:2])
    for name in ("part-2.jsonl.lz4", "part-3", "notes.txt", "_part-4"):
        (tmp_path / name).write_text("x")
    told = notes(read_corpus, tmp_path)
    assert "not read, as the suffix is not known: part-2.jsonl.lz4, part-3" in told
    assert "notes" not in told.split("known: ")[1]
    (tmp_path / "corpus.jsonl").write_text((tmp_path / "part-0.jsonl").read_text())
    (tmp_path / "corpus.jsonl.lz4").write_text("x")
    assert "known: corpus.jsonl.lz4" in notes(read_corpus, tmp_path)


def test_parts_that_our_manifest_names_are_there(tmp_path: Path) -> None:
    files = {f"part-{n:05}.parquet": {} for n in range(3)}
    for number, name in enumerate(files):
        pq.write_table(pa.Table.from_pylist([DOCUMENTS[number]]), tmp_path / name)
    (tmp_path / "_manifest.json").write_text(json.dumps({"files": files}))
    assert ids(read_corpus, tmp_path) == DOCIDS[:3]
    (tmp_path / "part-00002.parquet").unlink()
    error = fails(read_corpus, tmp_path)
    assert isinstance(error, MissingInputError)
    assert error.what == "1 of 3 parts are missing: part-00002.parquet"
    (tmp_path / "_journal.jsonl").write_text("")
    assert "not finished" in fails(read_corpus, tmp_path).what


def test_missing_shards_are_named(tmp_path: Path) -> None:
    files = shards(tmp_path, "train", PAIRS, 8)
    assert len(ids(read_pairs, tmp_path)) == 8
    for file in files[3:]:
        file.unlink()
    error = fails(read_pairs, tmp_path)
    assert isinstance(error, MissingInputError)
    assert error.what.startswith("5 of 8 shards are missing: train-00003-of-00008, ")
    for file in files[:3]:
        file.rename(tmp_path / file.name.replace("00008", "00003"))
    assert len(ids(read_pairs, tmp_path)) == 3
    shards(tmp_path, "train", PAIRS, 8)[0].unlink()
    error = fails(read_pairs, tmp_path)
    assert isinstance(error, InvalidDataError)
    assert "3 and 8 shards" in error.what


def test_counting_shards() -> None:
    assert missing_shards(["a-1-of-3.jsonl", "a-3-of-3.jsonl"]) == ["a-2-of-3"]
    assert missing_shards(["a-0-of-3.jsonl", "a-2-of-3.jsonl"]) == ["a-1-of-3"]
    assert missing_shards(["a.jsonl", "b-00000-of-00001.jsonl.gz"]) == []


def test_one_of_several_splits_must_be_named(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("validation", 1), ("test", 1)):
        shards(tmp_path / "data", split, PAIRS[:count], count)
    error = fails(read_pairs, tmp_path)
    assert isinstance(error, SeveralError)
    assert f"{tmp_path}:data/train" in str(error.hint)
    for selection in ("train", "data/train"):
        assert ids(read_pairs, f"{tmp_path}:{selection}") == ["topic0", "topic1"]
    assert ids(read_pairs, f"{tmp_path}:test") == ["topic0"]
    assert "Did you mean 'data/train'?" in str(fails(read_pairs, f"{tmp_path}:data/trian").hint)
    both = origin([f"{tmp_path}:train", f"{tmp_path}:validation"], "pairs").record
    assert len(both["files"]) == 2


def test_configurations_of_the_hub(tmp_path: Path) -> None:
    shards(tmp_path / "pair", "train", PAIRS[:2], 1)
    shards(tmp_path / "triplet", "train", PAIRS[2:4], 2)
    shards(tmp_path / "triplet", "test", PAIRS[4:], 1)
    assert "pair/train-00000-of-00001.parquet, triplet/test" in fails(read_pairs, tmp_path).what
    assert ids(read_pairs, f"{tmp_path}:pair") == ["topic0", "topic1"]
    assert ids(read_pairs, f"{tmp_path}:triplet/train") == ["topic2", "topic3"]
    assert isinstance(fails(read_pairs, f"{tmp_path}:triplet"), SeveralError)


def test_converted_data_sets_of_the_hub(tmp_path: Path) -> None:
    """``refs/convert/parquet``: CONFIG/SPLIT/0000.parquet."""
    for split, rows in (("train", PAIRS[:4]), ("test", PAIRS[4:])):
        folder = tmp_path / "default" / split
        folder.mkdir(parents=True)
        for number in range(2):
            table = pa.Table.from_pylist(rows[2 * number : 2 * number + 2])
            pq.write_table(table, folder / f"{number:04}.parquet")
    assert ids(read_pairs, f"{tmp_path}:default/train") == [f"topic{n}" for n in range(4)]
    assert ids(read_pairs, f"{tmp_path}:test") == [f"topic{n}" for n in range(4, 8)]


def test_files_of_no_kind_are_chosen_by_name(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "one.jsonl", PAIRS)
    assert len(ids(read_pairs, tmp_path)) == 8
    write_jsonl(tmp_path / "two.jsonl", PAIRS)
    error = fails(read_pairs, tmp_path)
    assert "one.jsonl, two.jsonl" in error.what
    (tmp_path / "two.jsonl").unlink()
    # A folder within does not make it several.
    shards(tmp_path / "old", "train", PAIRS, 2)
    assert len(ids(read_pairs, tmp_path)) == 8


# --- collections ----------------------------------------------------------------------------------


def mteb(folder: Path) -> Path:
    shards(folder / "corpus", "test", DOCUMENTS, 1)
    shards(folder / "queries", "test", QUERIES, 1)
    shards(folder / "qrels", "test", QRELS, 1)
    return folder


def coir(folder: Path) -> Path:
    shards(folder / "corpus", "corpus", DOCUMENTS, 2)
    shards(folder / "queries", "queries", QUERIES, 1)
    shards(folder / "data", "train", QRELS[:2], 1)
    shards(folder / "data", "test", QRELS[2:], 1)
    return folder


def read_all(folder: object, qrels: object) -> None:
    assert ids(read_corpus, folder) == DOCIDS
    assert ids(read_queries, folder) == QIDS
    assert ids(read_qrels, qrels) == QIDS


def test_mteb(tmp_path: Path) -> None:
    read_all(mteb(tmp_path), tmp_path)
    assert isinstance(fails(read_pairs, tmp_path), UsageError)


def test_mteb_with_its_judgements_in_default(tmp_path: Path) -> None:
    mteb(tmp_path)
    (tmp_path / "qrels").rename(tmp_path / "default")
    read_all(tmp_path, tmp_path)


def test_coir(tmp_path: Path) -> None:
    coir(tmp_path)
    error = fails(read_qrels, tmp_path)
    assert isinstance(error, SeveralError)
    assert "data/train-00000-of-00001.parquet" in str(error.hint)
    assert ids(read_qrels, f"{tmp_path}:train") == ["q0", "q1"]
    assert ids(read_qrels, f"{tmp_path}:data/test") == ["q2"]
    read_all(tmp_path, [f"{tmp_path}:train", f"{tmp_path}:test"])
    (tmp_path / "corpus" / "corpus-00000-of-00002.parquet").unlink()
    assert "1 of 2 shards are missing: corpus-00000-of-00002" in fails(read_corpus, tmp_path).what


def test_coir_as_splits_of_one_data_set(tmp_path: Path) -> None:
    shards(tmp_path / "data", "corpus", DOCUMENTS, 2)
    shards(tmp_path / "data", "queries", QUERIES, 1)
    assert ids(read_corpus, tmp_path) == DOCIDS
    assert ids(read_queries, tmp_path) == QIDS
    assert "no qrels" in fails(read_qrels, tmp_path).what


def test_beir_with_shards_of_lines(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus-00000-of-00002.jsonl", DOCUMENTS[:4])
    write_jsonl(tmp_path / "corpus-00001-of-00002.jsonl", DOCUMENTS[4:])
    write_jsonl(tmp_path / "queries.jsonl", QUERIES)
    assert ids(read_corpus, tmp_path) == DOCIDS
    assert ids(read_corpus, tmp_path / "corpus-*.jsonl") == DOCIDS
    assert ids(read_queries, tmp_path) == QIDS


def test_a_split_of_beir_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    for split, rows in (("train", QRELS[:2]), ("dev", QRELS[2:])):
        lines = "".join("\t".join(map(str, row.values())) + "\n" for row in rows)
        (tmp_path / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    assert ids(read_qrels, f"{tmp_path}:train") == ["q0", "q1"]
    assert ids(read_qrels, f"{tmp_path}:qrels/dev") == ["q2"]
    assert "no 'test'" in fails(read_qrels, f"{tmp_path}:test").what


def test_gpl(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus.jsonl", DOCUMENTS)
    write_jsonl(tmp_path / "qgen-queries.jsonl", QUERIES)
    (tmp_path / "qgen-qrels").mkdir()
    lines = "".join("\t".join(map(str, row.values())) + "\n" for row in QRELS)
    (tmp_path / "qgen-qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    read_all(tmp_path, tmp_path)
    # Where there are people's queries too, one of both must be meant.
    write_jsonl(tmp_path / "queries.jsonl", QUERIES[:1])
    error = fails(read_queries, tmp_path)
    assert isinstance(error, SeveralError)
    assert "qgen-queries.jsonl, queries.jsonl" in error.what
    assert ids(read_queries, f"{tmp_path}:qgen-queries") == QIDS


def test_the_forums_of_cqadupstack(tmp_path: Path) -> None:
    for number, forum in enumerate(("android", "english")):
        (tmp_path / forum / "qrels").mkdir(parents=True)
        write_jsonl(tmp_path / forum / "corpus.jsonl", DOCUMENTS[4 * number : 4 * number + 4])
        write_jsonl(tmp_path / forum / "queries.jsonl", QUERIES[number : number + 1])
    for reader in (read_corpus, read_queries):
        error = fails(reader, tmp_path)
        assert isinstance(error, SeveralError)
        assert "their ids may be the same: android, english" in error.what
        assert str(tmp_path / "android") in str(error.hint)
    assert ids(read_corpus, tmp_path / "english") == DOCIDS[4:]
    assert ids(read_corpus, [tmp_path / "android", tmp_path / "english"]) == DOCIDS
    assert ids(read_queries, tmp_path / "*") == QIDS[:2]
    assert "must mean the same" in notes(read_corpus, tmp_path / "*")


def test_a_split_of_what_datasets_saved(tmp_path: Path) -> None:
    for split, rows in (("train", PAIRS[:2]), ("test", PAIRS[2:])):
        folder = tmp_path / split
        folder.mkdir()
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
            stream.write_table(table)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (folder / "state.json").write_text(json.dumps(state))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert isinstance(fails(read_pairs, tmp_path), SeveralError)
    assert ids(read_pairs, f"{tmp_path}:train") == ["topic0", "topic1"]
    assert "no split 'dev'" in fails(read_pairs, f"{tmp_path}:dev").what
    assert "has no splits" in fails(read_pairs, f"{tmp_path / 'train'}:dev").what


# --- the same elsewhere ---------------------------------------------------------------------------


def test_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.inputs.test_inputs import Hub

    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(registry._registry, "hf", Hub)
    monkeypatch.setattr(Hub, "store", {})
    hub = Hub()
    base = "hf://datasets/owner/name@refs%2Fpr%2F1"
    for file in sorted(coir(tmp_path).rglob("*.parquet")):
        hub.pipe(f"{base}/{file.relative_to(tmp_path)}", file.read_bytes())
    read_all(base, [f"{base}:train", f"{base}:data/test"])
    assert isinstance(fails(read_qrels, base), SeveralError)
    assert ids(read_corpus, f"{base}/corpus/corpus-*.parquet") == DOCIDS
    assert ids(read_corpus, f"{base}/corpus") == DOCIDS
    record = origin(f"{base}/corpus/*.parquet", "corpus").record
    assert list(record["files"]) == [
        f"{base}/corpus/corpus-0000{number}-of-00002.parquet" for number in range(2)
    ]
    error = fails(read_corpus, f"{base}/corpus/*.jsonl")
    assert error.where == f"{base}/corpus/*.jsonl"
    assert "no 'dev'" in fails(read_qrels, f"{base}:dev").what


def test_a_question_mark_of_http_is_no_pattern() -> None:
    from negmine.inputs.places import is_pattern

    assert not is_pattern("https://host/c.jsonl?sig=*")
    assert is_pattern("s3://bucket/part-*.parquet")
    assert not is_pattern("simplecache::https://host/c*.jsonl")
