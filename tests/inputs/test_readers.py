"""Every format, every kind of mistake, and round trips of arbitrary text."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negmine import inputs as readers
from negmine.errors import InvalidDataError, MissingInputError, NegmineError, UsageError
from negmine.inputs import Problems, limits, read_corpus, read_pairs, read_qrels, read_queries
from negmine.inputs import lines as reading
from tests.conftest import Invoke

Reader = Callable[[str, Mapping[str, str], Problems], Iterator[pa.RecordBatch]]
Row = dict[str, Any]


def rows(
    reader: Reader,
    path: Path | str,
    columns: Mapping[str, str] | None = None,
    problems: Problems | None = None,
) -> list[Row]:
    found: list[Row] = []
    for batch in reader(str(path), columns or {}, problems or Problems("fail")):
        batch.validate(full=True)
        assert 0 < batch.num_rows <= limits.MAX_BATCH_ROWS
        found += batch.to_pylist()
    return found


def fails(
    reader: Reader, path: Path | str, columns: Mapping[str, str] | None = None
) -> NegmineError:
    with pytest.raises(NegmineError) as caught:
        rows(reader, path, columns)
    return caught.value


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(path: Path, *records: Any) -> Path:
    return write(path, "".join(json.dumps(record) + "\n" for record in records))


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


# --- The good cases -----------------------------------------------------------------------------


def test_corpus_jsonl(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "c.jsonl",
        {"_id": "a", "title": "T", "text": "one", "metadata": {"x": [1]}},
        {"_id": "b", "text": "", "title": None},
        {"_id": 3, "text": "zwölf \u2028 \0 🎈"},
    )
    batches = list(read_corpus(str(path), {}, Problems("fail")))
    assert [batch.schema for batch in batches] == [readers.CORPUS_SCHEMA]
    assert batches[0].to_pylist() == [
        {"docid": "a", "title": "T", "text": "one"},
        {"docid": "b", "title": "", "text": ""},
        {"docid": "3", "title": "", "text": "zwölf \u2028 \0 🎈"},
    ]


@pytest.mark.parametrize("name", ["_id", "id", "docid", "doc_id", "pid"])
@pytest.mark.parametrize("text", ["text", "contents", "body", "passage", "document"])
def test_corpus_names(tmp_path: Path, name: str, text: str) -> None:
    path = jsonl(tmp_path / "c.jsonl", {name: "a", text: "x"})
    assert rows(read_corpus, path) == [{"docid": "a", "title": "", "text": "x"}]


@pytest.mark.parametrize("name", ["_id", "id", "qid", "query_id"])
@pytest.mark.parametrize("text", ["text", "query", "question"])
def test_queries_names(tmp_path: Path, name: str, text: str) -> None:
    path = jsonl(tmp_path / "q.jsonl", {name: 7, text: "x"}, {name: 8, text: ""})
    assert rows(read_queries, path) == [{"qid": "7", "text": "x"}, {"qid": "8", "text": ""}]


def test_the_first_known_name_wins(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", {"id": "no", "_id": "yes", "body": "no", "text": "yes"})
    assert rows(read_corpus, path) == [{"docid": "yes", "title": "", "text": "yes"}]


def test_column_mapping(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", {"key": "a", "id": "no", "heading": "H", "words": "x"})
    columns = {"docid": "key", "text": "words", "title": "heading"}
    assert rows(read_corpus, path, columns) == [{"docid": "a", "title": "H", "text": "x"}]


def test_a_title_may_come_later(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", {"id": 1, "text": "x"}, {"id": 2, "text": "y", "title": "T"})
    assert [row["title"] for row in rows(read_corpus, path)] == ["", "T"]


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json", "JSONL"])
@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".zst", zstd),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
    ],
)
def test_compressions(
    tmp_path: Path, suffix: str, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    records = [{"_id": f"d{n}", "text": f"text {n} é"} for n in range(1000)]
    raw = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path = write(tmp_path / f"c.{suffix}{ending}", compress(raw))
    assert [(row["docid"], row["text"]) for row in rows(read_corpus, path)] == [
        (record["_id"], record["text"]) for record in records
    ]


def test_gzip_of_several_members(tmp_path: Path) -> None:
    one, two = b'{"_id": "1", "text": "a"}\n', b'{"_id": "2", "text": "b"}\n'
    path = write(tmp_path / "c.jsonl.gz", gzip.compress(one) + gzip.compress(two))
    assert len(rows(read_corpus, path)) == 2
    path = write(tmp_path / "c.jsonl.zst", zstd(one) + zstd(two))
    assert len(rows(read_corpus, path)) == 2


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "\r\n"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_a_file_without_records(tmp_path: Path, text: str, suffix: str) -> None:
    assert rows(read_corpus, write(tmp_path / f"c.{suffix}", text)) == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_bom_crlf_and_last_line(tmp_path: Path, newline: str, bom: str, last: bool) -> None:
    files = {
        "jsonl": ['{"_id": "1", "text": "a"}', "", '{"_id": "2", "text": "b"}'],
        "csv": ["_id,text", "1,a", "", "2,b"],
        "tsv": ["_id\ttext", "1\ta", "", "2\tb"],
    }
    for suffix, lines in files.items():
        content = bom + newline.join(lines) + (newline if last else "")
        path = write(tmp_path / f"q.{suffix}", content)
        assert rows(read_queries, path) == [{"qid": "1", "text": "a"}, {"qid": "2", "text": "b"}]


def test_stdin(tmp_path: Path) -> None:
    code = (
        "from negmine.inputs import *\n"
        "for b in read_queries('-', {}, Problems('fail')): print(b.to_pylist())"
    )
    good = subprocess.run(
        [sys.executable, "-c", code], input=b'{"_id": 1, "text": "x"}\n', capture_output=True
    )
    assert good.stdout.decode().strip() == "[{'qid': '1', 'text': 'x'}]"
    bad = subprocess.run([sys.executable, "-c", code], input=b"\n{}x\n", capture_output=True)
    assert b"stdin:2: not valid JSON" in bad.stderr


def test_csv_quoting(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        'docid,other,text,title\r\n1,,"a ""b"", c\r\nd","t\n"\r\n" 2 ",z,,\r\n3,x,"e\rf",g\r\n',
    )
    assert rows(read_corpus, path) == [
        {"docid": "1", "title": "t\n", "text": 'a "b", c\r\nd'},
        {"docid": " 2 ", "title": "", "text": ""},
        {"docid": "3", "title": "g", "text": "e\rf"},
    ]


def test_tsv_knows_no_quoting(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.tsv", 'pid\tpassage\n1\t"quoted" text\n2\t"open\n3\t\u2028\x0b\x85\n'
    )
    assert [row["text"] for row in rows(read_corpus, path)] == [
        '"quoted" text',
        '"open',
        "\u2028\x0b\x85",
    ]


def test_qrels_beir(tmp_path: Path) -> None:
    path = write(
        tmp_path / "qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t-1\n7\t8\t1.0\n"
    )
    batches = list(read_qrels(str(path), {}, Problems("fail")))
    assert batches[0].schema == readers.QRELS_SCHEMA
    assert [tuple(row.values()) for row in batches[0].to_pylist()] == [
        ("q1", "d1", 1),
        ("q1", "d2", -1),
        ("7", "8", 1),
    ]


def test_qrels_grade_defaults_to_one(tmp_path: Path) -> None:
    path = write(tmp_path / "qrels.csv", "qid,docid\na,b\n")
    assert rows(read_qrels, path) == [{"qid": "a", "docid": "b", "grade": 1}]
    path = jsonl(tmp_path / "qrels.jsonl", {"qid": 1, "pid": 2})
    assert rows(read_qrels, path) == [{"qid": "1", "docid": "2", "grade": 1}]


@pytest.mark.parametrize("name", ["q.tsv", "q.txt", "q.trec", "q.qrels", "q.txt.gz"])
@pytest.mark.parametrize("blank", ["\t", " ", "  ", " \t "])
def test_qrels_trec(tmp_path: Path, name: str, blank: str) -> None:
    lines = [["q1", "0", "d1", "2"], ["q2", "Q0", "d2", "0"], ["3", "0", "4", "-2"]]
    raw = "".join(blank.join(line) + "\n" for line in lines).encode()
    path = write(tmp_path / name, gzip.compress(raw) if name.endswith("gz") else raw)
    assert [tuple(row.values()) for row in rows(read_qrels, path)] == [
        ("q1", "d1", 2),
        ("q2", "d2", 0),
        ("3", "4", -2),
    ]


def test_trec_ids_with_spaces_between_tabs(tmp_path: Path) -> None:
    path = write(tmp_path / "q.tsv", "q 1\t0\td 1\t1\n")
    assert rows(read_qrels, path) == [{"qid": "q 1", "docid": "d 1", "grade": 1}]


@pytest.mark.parametrize(
    "header",
    ["a\tb\tc\td", "q1\td1\tone", "1\t5000\t6000", "1 Q0 d1 1 0.5 run", "query-id\tx\ty\t1"],
)
def test_what_is_no_trec_needs_a_header(tmp_path: Path, header: str) -> None:
    error = fails(read_qrels, write(tmp_path / "q.tsv", header + "\nq\t0\td\t1\n"))
    assert "no column for '" in error.what
    assert "The first line must name the columns" in str(error.hint)


def test_a_mapping_forbids_trec(tmp_path: Path) -> None:
    error = fails(read_qrels, write(tmp_path / "q.tsv", "q\t0\td\t1\n"), {"qid": "query"})
    assert "no column 'query'" in error.what


def test_pairs(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "p.jsonl",
        {"anchor": "q1", "positive": "a"},
        {"anchor": "q2", "positive": ["b", "c"]},
        {"anchor": "", "positive": ""},
    )
    assert [tuple(row.values()) for row in rows(read_pairs, path)] == [
        ("q1", "a"),
        ("q2", "b"),
        ("q2", "c"),
        ("", ""),
    ]
    path = write(tmp_path / "p.csv", "question,answer\nq,a\n")
    assert rows(read_pairs, path) == [{"query": "q", "positive": "a"}]


def test_pairs_parquet_lists(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"query": ["q1", "q2"], "pos": [["a", "b"], ["c"]]}), tmp_path / "p.parquet"
    )
    assert [tuple(row.values()) for row in rows(read_pairs, tmp_path / "p.parquet")] == [
        ("q1", "a"),
        ("q1", "b"),
        ("q2", "c"),
    ]


def test_expanded_pairs_stay_in_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 10_000)
    path = jsonl(tmp_path / "p.jsonl", {"query": "q" * 1000, "positive": ["p"] * 500})
    batches = list(read_pairs(str(path), {}, Problems("fail")))
    assert sum(batch.num_rows for batch in batches) == 500
    assert max(batch.nbytes for batch in batches) < 20_000


# --- Parquet ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_",
    [
        pa.int8(),
        pa.uint16(),
        pa.int64(),
        pa.uint64(),
        pa.float64(),
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_parquet_ids(tmp_path: Path, type_: pa.DataType) -> None:
    ids = pa.array(["1", "2", "2"])
    if pa.types.is_dictionary(type_):
        ids = ids.dictionary_encode()
    elif pa.types.is_integer(type_) or pa.types.is_floating(type_):
        ids = ids.cast(pa.int64()).cast(type_)
    else:
        ids = ids.cast(type_)
    pq.write_table(pa.table({"_id": ids, "text": ["a", "b", "c"]}), tmp_path / "q.parquet")
    assert [row["qid"] for row in rows(read_queries, tmp_path / "q.parquet")] == ["1", "2", "2"]


@pytest.mark.parametrize(
    "type_",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()],
    ids=str,
)
def test_parquet_texts(tmp_path: Path, type_: pa.DataType) -> None:
    texts = pa.array(["é", "", "c"]).cast(type_)
    table = pa.table({"id": [1, 2, 3], "text": texts, "title": pa.array([None, "T", ""])})
    pq.write_table(table, tmp_path / "c.parquet")
    assert rows(read_corpus, tmp_path / "c.parquet") == [
        {"docid": "1", "title": "", "text": "é"},
        {"docid": "2", "title": "T", "text": ""},
        {"docid": "3", "title": "", "text": "c"},
    ]


@pytest.mark.parametrize("type_", [pa.int8(), pa.int64(), pa.uint64(), pa.float32()], ids=str)
def test_parquet_grades(tmp_path: Path, type_: pa.DataType) -> None:
    table = pa.table({"qid": ["a"], "docid": ["b"], "label": pa.array([2], type_)})
    pq.write_table(table, tmp_path / "q.parquet")
    assert rows(read_qrels, tmp_path / "q.parquet") == [{"qid": "a", "docid": "b", "grade": 2}]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"_id": [[1]], "text": ["a"]}, "column '_id' is of type list<"),
        ({"_id": [True], "text": ["a"]}, "column '_id' is of type bool, 'qid' needs strings or i"),
        ({"_id": ["1"], "text": [5]}, "column 'text' is of type int64, 'text' needs strings"),
        ({"_id": ["1"], "text": [{"a": 1}]}, "column 'text' is of type struct<"),
        ({"_id": ["1", None], "text": ["a", "b"]}, "row 2: field '_id' must be a string or an "),
        (
            {"_id": ["1", "2"], "text": ["a", None]},
            "row 2: field 'text' must be a string, found nu",
        ),
        ({"_id": ["1", ""], "text": ["a", "b"]}, "row 2: field '_id' is empty"),
        ({"_id": [1.0, 2.5], "text": ["a", "b"]}, "row 2: field '_id' must be a string or an int"),
        (
            {"_id": [1.0, float("nan")], "text": ["a", "b"]},
            "row 2: field '_id' must be a string or",
        ),
        (
            {"_id": [1.0, 1e300], "text": ["a", "b"]},
            "row 2: field '_id' must be a string or an int",
        ),
    ],
)
def test_parquet_mistakes(tmp_path: Path, table: Any, message: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "q.parquet")
    error = fails(read_queries, tmp_path / "q.parquet")
    assert isinstance(error, InvalidDataError)
    assert message in str(error)
    assert "q.parquet" in str(error.where)


def test_parquet_row_numbers_run_through_row_groups(tmp_path: Path) -> None:
    ids = [str(n) for n in range(20_000)]
    ids[15_000] = ""
    pq.write_table(pa.table({"_id": ids, "text": ids}), tmp_path / "q.parquet", row_group_size=7000)
    assert fails(read_queries, tmp_path / "q.parquet").where == f"{tmp_path}/q.parquet: row 15001"


def test_parquet_strings_that_are_not_utf8(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, pa.array([b"ok", b"\xff!"], pa.binary()).buffers()
    )
    pq.write_table(pa.table({"_id": ["1", "2"], "text": broken}), tmp_path / "q.parquet")
    error = fails(read_queries, tmp_path / "q.parquet")
    assert str(error.where).endswith("q.parquet: row 2")
    assert "field 'text' is not valid UTF-8" in error.what


def refused(invoke: Invoke, *arguments: object) -> str:
    done = invoke(*arguments)
    assert done.exit_code == 5, done.output
    return " ".join(done.stderr.split())


def test_damaged_lists_are_told_with_their_column(tmp_path: Path, invoke: Invoke) -> None:
    jsonl(tmp_path / "corpus.jsonl", {"_id": "1", "text": "x"})
    made = invoke("index", "--corpus", tmp_path / "corpus.jsonl", "-o", tmp_path / "index")
    assert made.exit_code == 0, made.output
    # Reading Parquet takes the writer's word for it that strings are UTF-8.
    damaged = pa.array([[b"ok"], [b"\xff!"]], pa.list_(pa.binary())).view(pa.list_(pa.string()))
    queries = {"_id": ["1", "2"], "text": ["a", "b"], "answers": damaged}
    pq.write_table(pa.table(queries), tmp_path / "q.parquet")
    write(tmp_path / "qrels.tsv", "query-id\tcorpus-id\tscore\n1\t1\t1\n")
    asked = ("--queries", tmp_path / "q.parquet", "--qrels", tmp_path / "qrels.tsv")
    kept = ("--keep", "answers", "-o", tmp_path / "out")
    told = refused(invoke, "retrieve", tmp_path / "index", *asked, *kept)
    assert "q.parquet: column 'answers': damaged values: " in told


def test_times_in_lists_beyond_python_are_told_with_their_column(
    tmp_path: Path, invoke: Invoke
) -> None:
    times = pa.array([[10**18], [0]], pa.list_(pa.timestamp("ms")))
    table = {"query": ["a", "b"], "pos": [["x"], ["y"]], "neg": times}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    told = refused(invoke, "index", "--pairs", tmp_path / "t.parquet", "-o", tmp_path / "index")
    assert "t.parquet: column 'neg': of type list<" in told
    assert "outside of the years 1 to 9999" in told


def test_parquet_batches_are_bounded_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 100_000)
    texts = [f"{n}" * 1000 for n in range(1000)] + ["x" * 500_000] + ["y"] * 3000
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, tmp_path / "c.parquet", compression="zstd", row_group_size=1500)
    batches = list(read_corpus(str(tmp_path / "c.parquet"), {}, Problems("fail")))
    assert [text for batch in batches for text in batch.column("text").to_pylist()] == texts
    assert all(batch.num_rows == 1 or batch.nbytes <= 100_000 for batch in batches)


def test_not_parquet(tmp_path: Path) -> None:
    error = fails(read_corpus, write(tmp_path / "c.parquet", "{}"))
    assert isinstance(error, InvalidDataError)
    assert "damaged or cut short" in error.what


# --- Bad records: fail names the line, skip counts ------------------------------------------------

GOOD = {"_id": "1", "text": "a"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON: "),
        ('{"_id": "2", "text": NaN}', "field 'text' must be a string, found NaN"),
        ('{"_id": -Infinity, "text": "x"}', "must be a string or an integer, found -Infinity"),
        ("[1]", "expected a JSON object, found a list"),
        ("null", "expected a JSON object, found null"),
        ('{"text": "x"}', "field '_id' is missing"),
        ('{"_id": "2"}', "field 'text' is missing"),
        ('{"_id": "2", "text": null}', "field 'text' must be a string, found null"),
        ('{"_id": "2", "text": 5}', "field 'text' must be a string, found a number"),
        ('{"_id": "2", "text": ["x"]}', "field 'text' must be a string, found a list"),
        ('{"_id": "2", "text": {}}', "field 'text' must be a string, found an object"),
        ('{"_id": "2", "text": true}', "field 'text' must be a string, found a boolean"),
        ('{"_id": null, "text": "x"}', "field '_id' must be a string or an integer, found null"),
        ('{"_id": true, "text": "x"}', "field '_id' must be a string or an integer, found a bool"),
        ('{"_id": [1], "text": "x"}', "field '_id' must be a string or an integer, found a list"),
        ('{"_id": {}, "text": "x"}', "field '_id' must be a string or an integer, found an obj"),
        ('{"_id": 1.5, "text": "x"}', "field '_id' must be a string or an integer, found 1.5"),
        # orjson makes a float of it: its digits are lost.
        ('{"_id": 123456789012345678901234, "text": "x"}', "field '_id' must be a string or an in"),
        ('{"_id": "", "text": "x"}', "field '_id' is empty"),
        ('{"_id": "a\\u0000", "text": "x"}', "field '_id' has a NUL character"),
        ('{"_id": "2", "text": "\\ud800"}', "a lone surrogate is no character"),
        ('{"_id": "2", "text": "x", "title": 3}', "field 'title' must be a string, found a number"),
        (b'{"_id": "2", "text": "\xff"}', "not valid UTF-8: byte 0xff at column 23"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: str | bytes, message: str) -> None:
    raw = line.encode() if isinstance(line, str) else line
    before = json.dumps({**GOOD, "title": "t"}).encode() + b"\n\n"
    after = b'\n{"_id": 3.0, "text": "b"}\n'
    path = write(tmp_path / "c.jsonl", before + raw + after)
    error = fails(read_corpus, path)
    assert isinstance(error, InvalidDataError)
    assert error.where == f"{path}:3"
    assert message in error.what
    problems = Problems("skip")
    assert [row["docid"] for row in rows(read_corpus, path, problems=problems)] == ["1", "3"]
    assert problems.count == 1
    assert problems.examples[0].startswith(f"{path}:3: {error.what}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"2", "1 fields where the header has 2"),
        (b"2{0}x{0}y", "3 fields where the header has 2"),
        (b"{0}x", "field '_id' is empty"),
        (b"a\0{0}x", "field '_id' has a NUL"),
        (b"2{0}\xff", "field 'text' is not valid UTF-8"),
        (b"\xff{0}x", "field '_id' is not valid UTF-8"),
    ],
)
@pytest.mark.parametrize(("suffix", "separator"), [("csv", b","), ("tsv", b"\t")])
def test_bad_table_lines(
    tmp_path: Path, line: bytes, message: str, suffix: str, separator: bytes
) -> None:
    raw = b"_id{0}text\n1{0}\0a\n\n" + line + b"\n3{0}b\n"
    path = write(tmp_path / f"c.{suffix}", raw.replace(b"{0}", separator))
    error = fails(read_corpus, path)
    assert error.where == f"{path}:4"
    assert message in error.what
    problems = Problems("skip")
    assert [row["docid"] for row in rows(read_corpus, path, problems=problems)] == ["1", "3"]
    assert problems.count == 1


@pytest.mark.parametrize("line", ['2,"a"b', "2,a\rb"])
def test_bad_csv(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "c.csv", f'_id,text\n1,"a\n\nb"\n{line}\n3,c\n')
    error = fails(read_corpus, path)
    assert error.where == f"{path}:5"
    assert "not valid CSV" in error.what
    assert [row["docid"] for row in rows(read_corpus, path, problems=Problems("skip"))] == [
        "1",
        "3",
    ]


def test_csv_quote_left_open(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", '_id,text\n1,a\n2,"b\n3,c\n')
    error = fails(read_corpus, path)
    assert error.where == f"{path}:3"
    assert "unexpected end of data" in error.what


def test_csv_line_numbers_are_physical(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", '_id,text\n1,"a\nb\r\n\nc"\n\n2,"d\ne"\n,x\n')
    assert fails(read_corpus, path).where == f"{path}:9"


@pytest.mark.parametrize("grade", ["", "x", "1_0", "٣", "1e3", "inf", "2147483648", "0x1"])
def test_bad_grades(tmp_path: Path, grade: str) -> None:
    path = write(tmp_path / "qrels.tsv", f"qid\tdocid\tgrade\na\tb\t1\na\tc\t{grade}\n")
    error = fails(read_qrels, path)
    assert error.where == f"{path}:3"
    assert error.what == f"field 'grade' must be a number, found '{grade}'"


@pytest.mark.parametrize("grade", [None, "high", 1 << 31, [1]])
def test_bad_json_grades(tmp_path: Path, grade: Any) -> None:
    records = [{"qid": 1, "docid": 2, "score": score} for score in (1, 1.0, grade)]
    error = fails(read_qrels, jsonl(tmp_path / "q.jsonl", *records))
    assert error.where == f"{tmp_path}/q.jsonl:3"
    assert error.what.startswith("field 'score' must be a number, found ")


def test_grades_are_in_all_records_or_in_none(tmp_path: Path) -> None:
    late = [{"qid": 1, "docid": 2}, {"qid": 1, "docid": 3, "score": 0}]
    error = fails(read_qrels, jsonl(tmp_path / "q.jsonl", *late))
    assert error.where == f"{tmp_path}/q.jsonl:2"
    assert "where the first record has none" in error.what
    error = fails(read_qrels, jsonl(tmp_path / "q.jsonl", *late[::-1]))
    assert error.where == f"{tmp_path}/q.jsonl:2"
    assert error.what == "field 'score' is missing"


def test_trec_lines_after_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "q.tsv", "q 0 d 1\n\nq 0 d\n")
    error = fails(read_qrels, path)
    assert error.where == f"{path}:3"
    assert error.what == "3 fields where the header has 4"


@pytest.mark.parametrize(
    ("positive", "message"),
    [([], "is an empty list"), (["a", 1], "'pos[1]' must be a string"), ([["a"]], "'pos[0]' must")],
)
def test_bad_positives(tmp_path: Path, positive: Any, message: str) -> None:
    path = jsonl(tmp_path / "p.jsonl", {"query": "q", "pos": "x"}, {"query": "q", "pos": positive})
    error = fails(read_pairs, path)
    assert error.where == f"{path}:2"
    assert message in error.what
    assert len(rows(read_pairs, path, problems=Problems("skip"))) == 1


def test_problems_keep_twenty_examples() -> None:
    problems = Problems("skip")
    for number in range(50):
        problems.report(f"f:{number}", "wrong", "hint")
    assert problems.count == 50
    assert problems.examples == [f"f:{number}: wrong" for number in range(20)]
    with pytest.raises(InvalidDataError, match="f:1: wrong\nmend it"):
        Problems("fail").report("f:1", "wrong", "mend it")


def test_line_numbers_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BLOCK_BYTES", 64)
    monkeypatch.setattr(limits, "MAX_BATCH_ROWS", 3)
    records = [json.dumps({"_id": n, "text": "x" * (n % 150)}) for n in range(500)]
    path = write(tmp_path / "c.jsonl", "\n".join(records))
    assert [row["docid"] for row in rows(read_corpus, path)] == [str(n) for n in range(500)]
    records[321] = "{}"
    assert fails(read_corpus, write(path, "\n".join(records))).where == f"{path}:322"
    texts = ["y\n" * (n % 50) for n in range(300)]
    table = "_id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts))
    path = write(tmp_path / "c.csv", table)
    assert [row["text"] for row in rows(read_corpus, path)] == texts
    path = write(path, table + ",bad\n")
    assert fails(read_corpus, path).where == f"{path}:{table.count(chr(10)) + 1}"


def test_many_rows_and_large_documents(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", *({"id": n, "text": "t"} for n in range(20_000)))
    assert len(rows(read_corpus, path)) == 20_000
    big = "long words " * 1_000_000
    path = jsonl(path, {"id": 1, "text": big}, {"id": 2, "text": "b"})
    assert [len(row["text"]) for row in rows(read_corpus, path)] == [len(big), 1]
    path = write(tmp_path / "c.csv", f"id,text\n1,{big}\n")
    assert rows(read_corpus, path)[0]["text"] == big


@pytest.mark.parametrize("suffix", ["jsonl", "tsv", "csv"])
def test_endless_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(limits, "MAX_LINE_BYTES", 10 << 20)
    bomb = gzip.compress(b"\n\n" + b"0" * (20 << 20), 1)
    error = fails(read_corpus, write(tmp_path / f"c.{suffix}.gz", bomb))
    assert error.where == f"{tmp_path}/c.{suffix}.gz:3"
    assert error.what == "a line is longer than 10,485,760 bytes"


def test_json_array(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", json.dumps([GOOD, {**GOOD, "text": 5}]))
    error = fails(read_corpus, path)
    assert error.where == f"{path}:1 (record 2)"
    assert rows(read_corpus, path, problems=Problems("skip")) == [
        {"docid": "1", "title": "", "text": "a"}
    ]


# --- File-level mistakes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reader", [read_corpus, read_queries, read_qrels, read_pairs], ids=lambda f: f.__name__
)
def test_mistakes_are_met_at_the_call(tmp_path: Path, reader: Reader) -> None:
    with pytest.raises(UsageError, match="unknown column 'txet'"):
        reader("-", {"txet": "x"}, Problems("skip"))
    with pytest.raises(MissingInputError, match="no such file"):
        reader(str(tmp_path / "none.jsonl"), {}, Problems("skip"))
    with pytest.raises(UsageError, match=r"(?s)unknown suffix '\.docx'.*\.jsonl.*\.gz"):
        reader(str(tmp_path / "c.docx"), {}, Problems("skip"))


def test_unknown_target_lists_the_targets() -> None:
    with pytest.raises(UsageError) as caught:
        read_corpus("-", {"txt": "body"}, Problems("fail"))
    assert caught.value.where == "--column txt=body"
    assert caught.value.hint == "Did you mean 'text'? Known: docid, title, text."
    with pytest.raises(UsageError, match="Known: query, positive"):
        read_pairs("-", {"grade": "body"}, Problems("fail"))


@pytest.mark.parametrize("name", ["c", "c.gz", "c.parquet.gz", "c.txt", ".jsonl/c.xml.zst"])
def test_unknown_suffixes(name: str) -> None:
    with pytest.raises(UsageError, match="unknown suffix"):
        read_corpus(name, {}, Problems("fail"))


def make(folder: Path, suffix: str, header: list[str]) -> Path:
    path = folder / f"f.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({name: ["x"] for name in header}), path)
    elif suffix == "jsonl":
        jsonl(path, dict.fromkeys(header, "x"))
    else:
        separator = "," if suffix == "csv" else "\t"
        write(path, separator.join(header) + "\n" + separator.join("x" for _ in header) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_missing_columns(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path, suffix, ["docid", "Texts"])
    error = fails(read_corpus, path)
    assert isinstance(error, InvalidDataError)
    assert error.where == str(path)
    assert error.what == "no column for 'text': none of text, contents, body, passage, document"
    assert "Columns of the file: docid, Texts." in str(error.hint)
    assert "--column text=Texts" in str(error.hint)
    error = fails(read_corpus, path, {"text": "Text"})
    assert error.what == "no column 'Text' (asked for as 'text')"
    assert "Did you mean 'Texts'? Known: docid, Texts." in str(error.hint)
    # A problem of the whole file is never skipped.
    with pytest.raises(InvalidDataError):
        rows(read_corpus, path, {"text": "Text"}, Problems("skip"))
    assert "asked for as 'title'" in fails(read_corpus, path, {"text": "Texts", "title": "t"}).what


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_column_twice(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path, suffix, ["docid", "text", "text"])
    assert "'text' occurs more than once" in fails(read_corpus, path).what


@pytest.mark.parametrize(
    ("ending", "compress"),
    [(".gz", gzip.compress), (".zst", zstd), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_damaged_files(tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]) -> None:
    text = "".join(json.dumps({"_id": n, "text": str(n * n)}) + "\n" for n in range(5000)).encode()
    whole = compress(text)
    wrong = bytearray(whole)
    wrong[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], b"plain text, no archive", bytes(wrong)):
        path = write(tmp_path / f"c.jsonl{ending}", content)
        error = fails(read_corpus, path)
        assert isinstance(error, InvalidDataError)
        assert str(error.where).startswith(str(path))


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "c.jsonl", GOOD)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading.pa, "input_stream", refuse)
    with pytest.raises(MissingInputError, match="cannot be read: Permission denied"):
        rows(read_corpus, path)


def test_errors_of_the_consumer_pass_through(tmp_path: Path) -> None:
    batches = read_corpus(str(jsonl(tmp_path / "c.jsonl", GOOD)), {}, Problems("fail"))
    next(batches)
    with pytest.raises(OSError, match="disk full"):
        batches.throw(OSError("disk full"))  # type: ignore[attr-defined]


# --- Directories ----------------------------------------------------------------------------------


def beir(folder: Path) -> Path:
    jsonl(folder / "corpus.jsonl", GOOD)
    write(folder / "queries.jsonl.gz", gzip.compress(b'{"_id": "q", "text": "x"}\n'))
    (folder / "qrels").mkdir()
    write(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq\t1\t1\n")
    return folder


def test_beir_directory(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    assert rows(read_corpus, folder) == [{"docid": "1", "title": "", "text": "a"}]
    assert rows(read_queries, folder) == [{"qid": "q", "text": "x"}]
    assert rows(read_qrels, folder) == [{"qid": "q", "docid": "1", "grade": 1}]
    with pytest.raises(UsageError, match="not a directory"):
        read_pairs(str(folder), {}, Problems("fail"))


def test_directory_errors_name_the_file(tmp_path: Path) -> None:
    beir(tmp_path)
    write(tmp_path / "corpus.jsonl", "{}")
    assert fails(read_corpus, tmp_path).where == f"{tmp_path}/corpus.jsonl"


def test_several_splits_must_be_named(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    write(folder / "qrels" / "train.tsv", "query-id\tcorpus-id\nq\t1\n")
    error = fails(read_qrels, folder)
    assert isinstance(error, UsageError)
    assert "qrels/test.tsv, qrels/train.tsv" in error.what
    assert str(folder / "qrels" / "train.tsv") in str(error.hint)


def test_directory_without_the_input(tmp_path: Path) -> None:
    error = fails(read_corpus, tmp_path)
    assert isinstance(error, MissingInputError)
    assert error.where == str(tmp_path)
    assert "Expected corpus.jsonl" in str(error.hint)


# --- Round trips ----------------------------------------------------------------------------------

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(CHARACTERS)
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
RECORDS = st.lists(st.tuples(IDS, TEXTS, TEXTS), max_size=20)
anywhere = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def as_tuples(found: list[Row]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in found]


@anywhere
@given(records=RECORDS, ascii_=st.booleans())
def test_jsonl_round_trip(tmp_path: Path, records: list[Any], ascii_: bool) -> None:
    lines = [
        json.dumps(dict(zip(("_id", "title", "text"), record, strict=True)), ensure_ascii=ascii_)
        for record in records
    ]
    path = write(tmp_path / "c.jsonl", "\n".join(lines))
    assert as_tuples(rows(read_corpus, path)) == records


@anywhere
@given(records=RECORDS, ids=st.lists(st.integers(-(1 << 63), (1 << 64) - 1), max_size=20))
def test_parquet_round_trip(tmp_path: Path, records: list[Any], ids: list[int]) -> None:
    docids, titles, texts = ([record[at] for record in records] for at in range(3))
    schema = pa.schema([("_id", pa.string()), ("title", pa.string()), ("text", pa.string())])
    pq.write_table(
        pa.table([docids, titles, texts], schema=schema), tmp_path / "c.parquet", row_group_size=7
    )
    assert as_tuples(rows(read_corpus, tmp_path / "c.parquet")) == records
    path = jsonl(tmp_path / "q.jsonl", *({"_id": id_, "text": ""} for id_ in ids))
    assert [row["qid"] for row in rows(read_queries, path)] == list(map(str, ids))


@anywhere
@given(records=RECORDS, line_end=st.sampled_from(["\n", "\r\n"]), every=st.booleans())
def test_csv_round_trip(tmp_path: Path, records: list[Any], line_end: str, every: bool) -> None:
    buffer = io.StringIO(newline="")
    quoting: Any = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
    # The csv module quotes a lone CR only where it is part of the line end.
    if not every:
        records = [tuple(field.replace("\r", "?") for field in record) for record in records]
    writer = csv.writer(buffer, lineterminator=line_end, quoting=quoting)
    writer.writerows([("_id", "title", "text"), *records])
    path = write(tmp_path / "c.csv", buffer.getvalue())
    assert as_tuples(rows(read_corpus, path)) == records


@anywhere
@given(
    records=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n")),
        ),
        max_size=20,
    )
)
def test_tsv_round_trip(tmp_path: Path, records: list[Any]) -> None:
    lines = ["qid\ttext", *("\t".join(record) for record in records)]
    path = write(tmp_path / "q.tsv", "\n".join(lines) + "\n")
    assert as_tuples(rows(read_queries, path)) == records


@anywhere
@given(raw=st.binary(max_size=200), suffix=st.sampled_from(["jsonl", "csv", "tsv", "parquet"]))
def test_no_bytes_cause_a_crash(tmp_path: Path, raw: bytes, suffix: str) -> None:
    head = {"jsonl": b'{"_id": "1", "text": ""}\n', "csv": b"_id,text\n", "tsv": b"_id\ttext\n"}
    path = write(tmp_path / f"c.{suffix}", head.get(suffix, b"PAR1") + raw)
    with contextlib.suppress(NegmineError):
        rows(read_corpus, path, problems=Problems("skip"))
