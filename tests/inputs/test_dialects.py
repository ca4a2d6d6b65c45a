"""What files are whatever they are called: packing, encoding, line ends, quoting, forms of JSON.

What has to come out is what Python's own ``csv``, ``json`` and codecs were given to write.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from negmine.errors import InvalidDataError
from negmine.inputs import Columns, Problems, limits, read_corpus, read_pairs
from negmine.inputs.json_values import json_form
from negmine.inputs.quoting import evidence

PAIRS = [
    {"query": 'what does "quid pro quo" mean', "positive": 'It means "something for something".'},
    {"query": "how tall is 6'2\" in cm", "positive": "About 188 cm."},
    {"query": "réinitialiser le routeur; vite", "positive": "Appuyez sur « reset », dix secondes."},
]
LINES = [*PAIRS, {"query": "first line\nsecond line", "positive": "Two lines,\nas asked."}]


def table(rows: list[dict[str, Any]], **dialect: Any) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]), **{"lineterminator": "\n", **dialect})
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def read(path: Path, data: str | bytes, problems: Problems | None = None) -> tuple[Any, str]:
    """The pairs of a file, and what was told of it."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    columns = Columns()
    found = read_pairs(str(path), columns, problems or Problems("fail"))
    rows = [row for batch in found for row in batch.to_pylist()]
    return rows, "; ".join(columns.account.notes)


def refused(path: Path, data: str | bytes) -> str:
    with pytest.raises(InvalidDataError) as caught:
        read(path, data)
    return str(caught.value)


def jsonl(rows: list[dict[str, Any]], **options: Any) -> str:
    return "".join(json.dumps(row, **options) + "\n" for row in rows)


# --- packing and encoding -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        (gzip.compress, "gzip"),
        (bz2.compress, "bz2"),
        (lzma.compress, "xz"),
        (lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)), "zstd"),
        (lambda data: gzip.compress(gzip.compress(data)), "gzip, gzip"),
        (lambda data: zipped({"p.jsonl": data}), "'p.jsonl' in a zip archive"),
    ],
)
@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_packed_without_saying_so(
    tmp_path: Path, pack: Callable[[bytes], bytes], told: str, name: str
) -> None:
    assert read(tmp_path / name, pack(jsonl(LINES).encode()))[0] == LINES
    assert f"read as {told}" in read(tmp_path / name, pack(jsonl(LINES).encode()))[1]


def test_a_suffix_that_promises_too_much(tmp_path: Path) -> None:
    """A browser takes the packing off and keeps the name."""
    rows, told = read(tmp_path / "p.jsonl.gz", jsonl(LINES))
    assert rows == LINES
    assert "not compressed with gzip" in told
    rows, told = read(tmp_path / "p.jsonl.gz", bz2.compress(jsonl(LINES).encode()))
    assert rows == LINES
    assert "bz2" in told


@pytest.mark.parametrize("name", ["p.zip", "p.jsonl.zip", "p.jsonl"])
def test_zip_archives(tmp_path: Path, name: str) -> None:
    data = jsonl(LINES).encode()
    packed = zipped({"f/p.jsonl.gz": gzip.compress(data), "__MACOSX/._p": b"", "f/": b""})
    assert read(tmp_path / name, packed)[0] == LINES
    assert read(tmp_path / name, zipped({"p.csv": table(LINES).encode()}))[0] == LINES
    told = refused(tmp_path / name, zipped({"a.jsonl": data, "b.jsonl": data}))
    assert "the archive holds 2 files: a.jsonl, b.jsonl" in told
    assert "unzip" in told


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8"]
)
@pytest.mark.parametrize("kind", ["p.csv", "p.tsv", "p.jsonl", "p.json"])
def test_encodings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, kind: str
) -> None:
    monkeypatch.setattr(limits, "BLOCK_BYTES", 101)
    text = {
        "p.csv": table(LINES, lineterminator="\r\n"),
        "p.tsv": table(LINES, delimiter="\t"),
        "p.jsonl": jsonl(LINES, ensure_ascii=False),
        "p.json": json.dumps(LINES, indent=1, ensure_ascii=False),
    }[kind]
    rows, told = read(tmp_path / kind, text.encode(encoding))
    assert rows == LINES
    assert ("UTF-" in told) == (not encoding.startswith("utf-8"))


def test_a_damaged_encoding_is_told_with_its_place(tmp_path: Path) -> None:
    data = "\ufeff".encode("utf-16-le") + jsonl(PAIRS).encode("utf-16-le")
    assert "not valid UTF-16-LE: truncated data at byte" in refused(tmp_path / "p.jsonl", data[:-1])


@pytest.mark.parametrize("kind", ["p.csv", "p.tsv", "p.jsonl"])
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac-roman"])
def test_other_encodings_are_never_guessed(tmp_path: Path, kind: str, encoding: str) -> None:
    rows = [
        {"query": "was ist das", "positive": "ein Wort"},
        {"query": "né à", "positive": "Paris"},
    ]
    text = {
        "p.csv": table(rows),
        "p.tsv": table(rows, delimiter="\t"),
        "p.jsonl": jsonl(rows, ensure_ascii=False),
    }[kind]
    told = refused(tmp_path / kind, text.encode(encoding))
    assert f"{tmp_path / kind}:{2 if kind == 'p.jsonl' else 3}: " in told
    assert f"byte 0x{'é'.encode(encoding).hex()} at" in told
    assert "iconv -f WINDOWS-1252 -t UTF-8" in told


def test_encodings_mixed_in_one_file(tmp_path: Path) -> None:
    line = '{"query": "é", "positive": "bien"}\n'
    told = refused(tmp_path / "p.jsonl", line.encode() + line.encode("latin-1"))
    assert "p.jsonl:2: not valid UTF-8: byte 0xe9 at column 12" in told
    assert "Other lines are UTF-8" in told
    assert "iconv" not in told
    problems = Problems("skip")
    rows, _ = read(tmp_path / "p.jsonl", 2 * line.encode() + line.encode("latin-1"), problems)
    assert (len(rows), problems.count) == (2, 1)


def test_half_a_character(tmp_path: Path) -> None:
    lines = (
        '{"query":"smile \\ud83d","positive":"A face."}\n'
        '{"query":"cry \\ud83d\\ude22","positive":"x"}'
    )
    told = refused(tmp_path / "p.jsonl", lines)
    assert "p.jsonl:1: a lone surrogate is no character (column 1" in told
    rows, _ = read(tmp_path / "p.jsonl", lines, Problems("skip"))
    assert rows == [{"query": "cry 😢", "positive": "x"}]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web page"),
        (zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "Excel workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "Excel workbook"),
        (bytes(257) + b"ustar\0" + bytes(300), "tar archive"),
        (gzip.compress(b"p/" + bytes(255) + b"ustar\0" + bytes(300), mtime=0), "tar archive"),
        (b"\x80\x04\x95" + bytes(20), "pickle"),
        (b"%PDF-1.7\n", "PDF"),
        (b"SQLite format 3\0", "SQLite"),
    ],
)
def test_what_is_no_data_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    assert what in refused(tmp_path / "p.jsonl", data)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_dialects(tmp_path: Path, end: str, quoting: int, delimiter: str) -> None:
    # Python's writer leaves a line feed unquoted where lines end with CR.
    written = PAIRS if end == "\r" and quoting == csv.QUOTE_MINIMAL else LINES
    text = table(written, lineterminator=end, quoting=quoting, delimiter=delimiter)
    rows, told = read(tmp_path / "p.csv", text)
    assert rows == written
    assert ("CR" in told) == (end == "\r")
    assert bool(told) == (end == "\r" or delimiter != ",")


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_excel_names_its_delimiter(tmp_path: Path, first: str, end: str) -> None:
    text = "\ufeff" + first + end + table(PAIRS, delimiter=";", lineterminator=end)
    assert read(tmp_path / "p.csv", text)[0] == PAIRS
    bad = first + end + table(PAIRS, delimiter=";", lineterminator=end) + "x;y;z"
    assert "p.csv:6: 3 fields where the header has 2" in refused(tmp_path / "p.csv", bad)


def test_semicolons_under_unknown_names_and_without_any(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("frage;antwort\nHallo, du;Ja, ich\nwas, wer;dies, er\n")
    columns = {"query": "frage", "positive": "antwort"}
    found = [r for b in read_pairs(str(path), columns, Problems("fail")) for r in b.to_pylist()]
    assert found[0] == {"query": "Hallo, du", "positive": "Ja, ich"}
    path.write_text("Hallo, du;Ja, ich, wer sonst\nwas;dies\n")
    columns = {"query": "#1", "positive": "#2"}
    found = [r for b in read_pairs(str(path), columns, Problems("fail")) for r in b.to_pylist()]
    assert found[0] == {"query": "Hallo, du", "positive": "Ja, ich, wer sonst"}


def test_commas_stay_commas(tmp_path: Path) -> None:
    """Semicolons in texts are no delimiters."""
    rows = [{"query": "a; b", "positive": "c; d; e"}, {"query": "x", "positive": "y; z"}]
    assert read(tmp_path / "p.csv", table(rows)) == (rows, "")
    rows = [{"text;note": "a", "query": "b; c", "positive": "d"}]
    found, told = read(tmp_path / "p.csv", table(rows))
    assert (found, told) == ([{"query": "b; c", "positive": "d"}], "")


def test_a_table_under_another_suffix(tmp_path: Path) -> None:
    for name in ("p.jsonl", "p.tsv", "p.json"):
        rows, told = read(tmp_path / name, table(LINES))
        assert (rows, "CSV" in told) == (LINES, True)
    rows, told = read(tmp_path / "p.jsonl", "query\tpositive\na b\tc d\n")
    assert (rows, "TSV" in told) == ([{"query": "a b", "positive": "c d"}], True)
    for name in ("p.csv", "p.tsv"):
        rows, told = read(tmp_path / name, jsonl(LINES))
        assert (rows, "JSON lines" in told) == (LINES, True)
        rows, told = read(tmp_path / name, json.dumps(LINES, indent=2))
        assert (rows, "array" in told) == (LINES, True)


def test_parquet_under_another_suffix(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(LINES), sink)
    rows, told = read(tmp_path / "p.jsonl", sink.getvalue().to_pybytes())
    assert (rows, "Parquet" in told) == (LINES, True)


def test_a_quoted_tsv(tmp_path: Path) -> None:
    """As ``csv.excel_tab`` and pandas write it."""
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC):
        for end in ("\n", "\r\n"):
            text = table(LINES, delimiter="\t", quoting=quoting, lineterminator=end)
            rows, told = read(tmp_path / "p.tsv", "\ufeff" + text)
            assert rows == LINES
            assert "read as quoted TSV" in told


def test_quotes_in_a_tsv_are_characters(tmp_path: Path) -> None:
    """As MS MARCO, BEIR and every file made with ``"\\t".join`` have it."""
    rows = [
        *(
            {"query": f"{n}", "positive": text}
            for n, text in enumerate(['he said "so"', '6"', "x"])
        ),
        {"query": '"open', "positive": 'and "closed"'},
        {"query": "all", "positive": '"in quotes"'},
    ]
    text = "query\tpositive\n" + "".join("\t".join(row.values()) + "\n" for row in rows)
    assert read(tmp_path / "p.tsv", text) == (rows, "")


def test_quotes_that_may_be_either_are_told(tmp_path: Path) -> None:
    text = 'query\tpositive\na\t"To be, or not to be"\nb\tc\n'
    rows, told = read(tmp_path / "p.tsv", text)
    assert rows[0]["positive"] == '"To be, or not to be"'
    assert "from line 2 on" in told
    assert "read as characters" in told


def test_quoting_that_begins_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BLOCK_BYTES", 64)
    plain = [{"query": f"query {n}", "positive": f"answer {n}"} for n in range(20)]
    rows = [*plain, *LINES, *plain]
    assert read(tmp_path / "p.tsv", table(rows, delimiter="\t"))[0] == rows
    text = 'query\tpositive\na\t"To be"\n' + table(rows, delimiter="\t").split("\n", 1)[1]
    told = refused(tmp_path / "p.tsv", text)
    assert "p.tsv:23: a field is quoted as in CSV (its quotes doubled), but line 2 is not" in told
    assert ".jsonl" in told


def test_quoting_that_contradicts_itself(tmp_path: Path) -> None:
    text = 'query\tpositive\na\tsay ""x"" and 6"\nb\t"what does ""x"" mean"\n'
    assert "p.tsv:3: a field is quoted as in CSV" in refused(tmp_path / "p.tsv", text)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['a\t"b ""c"" d"'], True),
        (['a\t"b\\', 'c"'], True),
        (['a\t"b\tc"'], True),
        (['a\t"b" c'], False),
        (['a"\tb'], False),
        (['a\t"b', 'c\td"'], False),
        (['a\t"b"'], None),
        (["a\tb"], None),
        (['a\t""""'], None),
        (['a\t"cut', "off"], None),
    ],
)
def test_evidence_of_quoting(lines: list[str], says: bool | None) -> None:
    assert evidence(lines, 2).says is says


def test_row_numbers_without_a_name(tmp_path: Path) -> None:
    """As ``DataFrame.to_csv`` writes its index; R's has no name in the header at all."""
    rows = [{"": str(n), **row} for n, row in enumerate(LINES)]
    for name, delimiter in (("p.csv", ","), ("p.csv", ";"), ("p.tsv", "\t")):
        assert read(tmp_path / name, table(rows, delimiter=delimiter))[0] == LINES
    told = refused(tmp_path / "p.csv", table(rows)[1:])
    assert "3 fields where the header has 2" in told
    assert "row.names = FALSE" in told


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
@pytest.mark.parametrize("block", [7, 100, 1 << 20])
def test_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: Any, block: int) -> None:
    monkeypatch.setattr(limits, "BLOCK_BYTES", block)
    monkeypatch.setattr(limits, "MAX_BATCH_ROWS", 2)
    odd = [*LINES, {"query": '}] [{ \\" "', "positive": "\\", "meta": {"a": [{"b": "]"}]}}]
    rows, told = read(tmp_path / "p.json", "\ufeff " + json.dumps(odd, indent=indent) + "\n\n")
    assert rows == [{name: row[name] for name in ("query", "positive")} for row in odd]
    assert "read as an array of JSON" in told


@pytest.mark.parametrize("indent", [1, 4])
def test_records_over_several_lines(tmp_path: Path, indent: int) -> None:
    text = "\n".join(json.dumps(row, indent=indent) for row in LINES)
    rows, told = read(tmp_path / "p.jsonl", text)
    assert rows == LINES
    assert "JSON over several lines" in told
    assert read(tmp_path / "p.jsonl", json.dumps(LINES[0], indent=indent))[0] == LINES[:1]


def test_bad_records_of_an_array(tmp_path: Path) -> None:
    good = '{"query": "a", "positive": "b"}'
    path = tmp_path / "p.json"
    nan = f'[\n {good},\n {{"query": NaN, "positive": "c"}}]'
    assert "p.json:3: field 'query' must be a string, found NaN" in refused(path, nan)
    assert "p.json:2: not valid JSON: ',\n 7,' between two values" in refused(
        path, f"[{good},\n 7,\n {good}]"
    )
    problems = Problems("skip")
    rows, _ = read(path, f'{nan[:-1]},\n "x",\n {{}}, {good}]', problems)
    assert rows == 2 * [{"query": "a", "positive": "b"}]
    assert problems.count == 3
    assert "p.json:4: expected a JSON object" in problems.examples[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"query": "a", "positive": "b"}', "the array does not end"),
        ('[{"query": "a", "positive": "b"}, {"query"', "cut short"),
        ('[{"query": "a", "positive": "b"} {"query": "c", "positive": "d"}]', "no comma"),
        ('[{"query": "a", "positive": "b"}]\n[{"query": "c", "positive": "d"}]', "found a list"),
        ('[\n{"query": "a", "positive": "b"}]\n[{"query": "c"}]', "after the end"),
        ('{\n"query": "a", "positive": "b"\n}\n{\n"query": "c"', "cut short"),
    ],
)
def test_arrays_that_are_cut_or_broken(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path / "p.json", text)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b'{"a": 1}\n{"a": 2}', "jsonl"),
        (b'{"a": 1', "jsonl"),
        (b'{"a": "cut\n{"a": 2}', "jsonl"),
        (b'{"a": NaN}\n{"a": 2}', "jsonl"),
        (b'["a", "b"]\n["c", "d"]', "jsonl"),
        (b'["a", "b"]', "jsonl"),
        (b'{"a": 1,\n"b": 2}', "values"),
        (b'{\n"a": [\n1', "values"),
        (b"[]", "array"),
        (b'[\n\n{"a"', "array"),
        (b"a,b", None),
        (b"", None),
    ],
)
def test_forms_of_json(head: bytes, form: str | None) -> None:
    assert json_form(head) == form


def test_columns_of_json(tmp_path: Path) -> None:
    """What pandas calls orients, and lists by column."""
    numbered = dict(enumerate(LINES))
    columns = {name: [row[name] for row in LINES] for name in LINES[0]}
    by_row = {name: dict(enumerate(values)) for name, values in columns.items()}
    split = {
        "columns": list(columns),
        "index": [0, 1, 2, 3],
        "data": [list(r.values()) for r in LINES],
    }
    for value in (columns, by_row, split, numbered):
        for indent in (None, 2):
            rows, told = read(tmp_path / "p.json", json.dumps(value, indent=indent))
            assert rows == LINES
            assert "read as columns, 4 records" in told


def test_records_in_a_field(tmp_path: Path) -> None:
    told = refused(tmp_path / "p.json", json.dumps({"version": 1, "data": LINES}))
    assert "the records are in the field 'data' of one object" in told
    assert "jq -c '.\"data\"[]'" in told


# --- NaN ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_json_does_not_know(tmp_path: Path, constant: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(
        '{"_id": "d1", "title": "T", "text": "x", "year": 1}\n'
        f'{{"_id": "d2", "title": "NaN", "text": "y", "year": {constant}}}\n'
        f'{{"_id": "d3", "title": "", "text": {constant}, "year": 2}}\n'
        '{"_id": "d4", "title": "", "text": "z", "year": 3}\n'
    )
    columns = Columns()
    with pytest.raises(InvalidDataError) as caught:
        list(read_corpus(str(path), columns, Problems("fail")))
    assert str(caught.value).startswith(
        f"{path}:3: field 'text' must be a string, found {constant}\n"
    )
    assert "fillna" in str(caught.value)
    problems = Problems("skip")
    found = [r for b in read_corpus(str(path), columns, problems) for r in b.to_pylist()]
    assert [row["docid"] for row in found] == ["d1", "d2", "d4"]
    assert (problems.count, found[1]["title"]) == (1, "NaN")
    assert "NaN and Infinity are read as null" in columns.account.notes[0]


def test_a_title_that_is_missing_as_pandas_writes_it(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"_id": "d1", "title": "Tides", "text": "The moon pulls the water."}\n'
        '{"_id": "d2", "title": NaN, "text": "Salt comes from the sea."}\n'
        '{"_id": "d3", "title": NaN, "text": "Waves are made by wind."}\n'
    )
    found = [r for b in read_corpus(str(corpus), {}, Problems("fail")) for r in b.to_pylist()]
    assert [row["title"] for row in found] == ["Tides", "", ""]
