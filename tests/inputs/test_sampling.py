"""Samples of large inputs: whole records, from all over the file, of a known share."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.errors import MissingInputError
from negmine.inputs import Problems, read_corpus
from negmine.inputs.sampling import sample

RECORDS = 30_000
MOST = 1_000_000


def record(number: int) -> dict[str, str]:
    text = random.Random(number).randbytes(20 + 11 * (number % 7)).hex()
    return {"_id": f"d{number}", "title": "", "text": text}


def lines() -> bytes:
    return "".join(json.dumps(record(n)) + "\n" for n in range(RECORDS)).encode()


def as_csv(separator: str) -> bytes:
    rows = [separator.join(record(n).values()) for n in range(RECORDS)]
    return ("\n".join([separator.join(record(0)), *rows]) + "\n").encode()


def as_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([record(n) for n in range(RECORDS)]), sink)
    return sink.getvalue().to_pybytes()


FILES: dict[str, Callable[[], bytes]] = {
    "corpus.jsonl": lines,
    "corpus.tsv": lambda: as_csv("\t"),
    "corpus.csv": lambda: as_csv(","),
    "corpus.jsonl.gz": lambda: gzip.compress(lines(), 1),
    "corpus.jsonl.bz2": lambda: bz2.compress(lines(), 1),
    "corpus.jsonl.xz": lambda: lzma.compress(lines(), preset=0),
    "corpus.jsonl.zst": lambda: pa.compress(lines(), codec="zstd", asbytes=True),
    "corpus.parquet": as_parquet,
}


@pytest.mark.parametrize("name", FILES)
def test_a_large_file_is_counted_by_a_sample(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name]())
    found = sample(str(tmp_path), "corpus", tmp_path, MOST)
    assert Path(found.specs[0]).parent == tmp_path
    assert Path(found.specs[0]).name != name
    read = [
        row for batch in read_corpus(found.specs, {}, Problems("fail")) for row in batch.to_pylist()
    ]
    numbers = [int(row["docid"][1:]) for row in read]
    # Whole records, each as it is in the file and once.
    assert [row["text"] for row in read] == [record(number)["text"] for number in numbers]
    assert len(set(numbers)) == len(numbers) < RECORDS
    # The first records of a CSV file are shorter here, and a decompressor reads a block further.
    tolerance = 0.35 if "z" in name else 0.1 if name == "corpus.csv" else 0.02
    assert len(read) / found.share == pytest.approx(RECORDS, rel=tolerance)
    if name in ("corpus.jsonl", "corpus.tsv"):
        assert max(numbers) > 0.85 * RECORDS


def test_a_small_file_is_itself(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(lines())
    found = sample(str(tmp_path / "corpus.jsonl"), "corpus", tmp_path)
    assert (found.specs, found.share) == ((str(tmp_path / "corpus.jsonl"),), 1.0)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        sample(str(tmp_path / "corpus.jsonl"), "corpus", tmp_path)
