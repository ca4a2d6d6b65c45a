"""Training sets as they lie: what nobody changes is written byte for byte, in every container."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.errors import UsageError
from negmine.inputs.columns import Columns
from negmine.inputs.in_place import SetFile, only_file, open_set
from negmine.inputs.in_place.reading import Blocks, Replacement
from negmine.inputs.sets.base import Reading


def opened(path: Path, on_error: str = "fail", **columns: str) -> SetFile:
    return open_set(only_file(str(path)), Columns(columns, strict=False), Reading(), on_error)


def saved(path: Path, change: dict[Any, list[dict[str, Any]]] | None = None, **more: Any) -> Path:
    """The file written back, with other records at some places."""
    file = opened(path, **more)
    out = path.with_name(f"out-{path.name}")

    def treated() -> Blocks:
        for block in file.blocks():
            new: list[Replacement] = [
                [] if entry.example is None else (change or {}).get(entry.place)
                for entry in block.entries
            ]
            yield block, new

    file.save(out, treated())
    return out


RECORDS = [
    {"query": "how, do plants", "pos": ['a "sugar"', "b"], "neg": ["c\u2028d"], "x": 1.50},
    {"query": "été", "pos": ["é"], "neg": ["f", "g"], "x": None},
    {"query": "why", "pos": ["k"], "neg": [], "x": 3},
]


def jsonl(records: Sequence[Any], end: str = "\n", **style: Any) -> str:
    return end.join(json.dumps(record, **style) for record in records)


TEXTS = {
    "plain": jsonl(RECORDS) + "\n",
    "escaped": jsonl(RECORDS, ensure_ascii=True) + "\n",
    "tight": jsonl(RECORDS, separators=(",", ":"), ensure_ascii=False) + "\n",
    "odd blanks": '{"query" :"q",  "pos":["p"] , "neg":[ "n" ]}\n',
    "blank lines": "\n" + jsonl(RECORDS, "\n\n") + "\n\n\n",
    "no end": jsonl(RECORDS),
    "crlf": jsonl(RECORDS, "\r\n") + "\r\n",
    "mark": "\ufeff" + jsonl(RECORDS) + "\n",
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2", ".xz", ".zip"])
def test_lines_of_json_stay_as_they_are(tmp_path: Path, name: str, ending: str) -> None:
    data = TEXTS[name].encode()
    path = tmp_path / f"set.jsonl{ending}"
    path.write_bytes(packed(data, ending))
    assert unpacked(saved(path)) == data


def packed(data: bytes, ending: str) -> bytes:
    if ending == ".zip":
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr("set.jsonl", data)
        return sink.getvalue()
    if ending == ".zst":
        made = pa.compress(data, "zstd", asbytes=True)
        assert isinstance(made, bytes)
        return made
    make: Any = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    return bytes(make[ending](data))


def unpacked(path: Path) -> bytes:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            (name,) = archive.namelist()
            return archive.read(name)
    opener: Any = {".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix)
    if opener is not None:
        with opener(path) as stream:
            return bytes(stream.read())
    with pa.input_stream(str(path)) as stream:
        return bytes(stream.read())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_encodings_stay(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes((jsonl(RECORDS, ensure_ascii=False) + "\n").encode(encoding))
    assert saved(path).read_bytes() == path.read_bytes()


TABLE = [
    ("anchor", "positive", "negative", "note"),
    ("how, do plants", 'a "sugar"', "line\nbreak", "1"),
    ("été", "é", "f", ""),
    ("why", "k", "l", "x"),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_stay_as_they_are(tmp_path: Path, delimiter: str, quoting: Any, end: str) -> None:
    sink = io.StringIO(newline="")
    rows = TABLE if delimiter != "\t" else [tuple(f.replace("\n", " ") for f in r) for r in TABLE]
    csv.writer(sink, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    path = tmp_path / ("set.tsv" if delimiter == "\t" else "set.csv")
    path.write_bytes(sink.getvalue().encode())
    assert saved(path).read_bytes() == path.read_bytes()
    # A record goes, another is written twice: the others keep their bytes and their places.
    file = opened(path)
    entries = [(block, entry) for block in file.blocks() for entry in block.entries]
    assert len(entries) == 3
    change = {entries[0][1].place: [], entries[2][1].place: [file.decoded(*entries[2])] * 2}
    kept = io.StringIO(newline="")
    wanted = [rows[0], rows[2], rows[3], rows[3]]
    csv.writer(kept, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(wanted)
    assert saved(path, change).read_bytes() == kept.getvalue().encode()


def test_triples_without_a_header_stay(tmp_path: Path) -> None:
    path = tmp_path / "triples.tsv"
    path.write_text("what is it\ta thing\tno thing\nwho is it\ta man\tno man\n")
    assert saved(path).read_bytes() == path.read_bytes()
    assert saved(path, {1: []}).read_text() == "who is it\ta man\tno man\n"


@pytest.mark.parametrize("indent", [None, 2])
def test_arrays_keep_their_values(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(RECORDS, indent=indent, ensure_ascii=False))
    assert json.loads(saved(path).read_text()) == RECORDS
    new = {**RECORDS[1], "neg": ["f"]}
    (place,) = [
        e.place for b in opened(path).blocks() for e in b.entries if e.data == part(path, 1)
    ]
    assert json.loads(saved(path, {place: [new]}).read_text()) == [RECORDS[0], new, RECORDS[2]]


def part(path: Path, number: int) -> Any:
    return [entry.data for block in opened(path).blocks() for entry in block.entries][number]


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_columns_keep_schema_metadata_and_rows(tmp_path: Path, kind: str) -> None:
    schema = pa.schema(
        [
            pa.field("query", pa.string()),
            pa.field("pos", pa.list_(pa.string())),
            pa.field("neg", pa.list_(pa.string())),
            pa.field("x", pa.float32()),
            pa.field("tag", pa.dictionary(pa.int8(), pa.string())),
            pa.field("when", pa.timestamp("ms")),
        ],
        metadata={"huggingface": "{}"},
    )
    rows = [{**row, "tag": "a", "when": None} for row in RECORDS]
    table = pa.Table.from_pylist([{**r, "tag": None} for r in rows], schema.remove(4))
    table = table.add_column(
        4, schema[4], [pa.array(["a"] * 3).dictionary_encode().cast(schema[4].type)]
    )
    table = table.cast(schema).replace_schema_metadata(schema.metadata)
    path = tmp_path / ("set.parquet" if kind == "parquet" else "set.arrow")
    if kind == "parquet":
        pq.write_table(table, path, compression="gzip", row_group_size=2)
    else:
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with make(str(path), table.schema) as writer:
            writer.write_table(table)
    out = saved(path)
    table = read(path, kind)
    assert read(out, kind).equals(table, check_metadata=True)
    if kind == "parquet":
        assert pq.read_metadata(out).row_group(0).column(0).compression == "GZIP"
    new = {**table.to_pylist()[1], "neg": ["only"]}
    changed = read(saved(path, {2: [new, new], 3: []}), kind)
    assert changed.schema.equals(table.schema, check_metadata=True)
    assert changed.to_pylist() == [table.to_pylist()[0], new, new]


def read(path: Path, kind: str) -> pa.Table:
    if kind == "parquet":
        return pq.ParquetFile(path).read()
    with pa.memory_map(str(path)) as source:
        opener = pa.ipc.open_file if kind == "file" else pa.ipc.open_stream
        return opener(source).read_all()


def test_bad_records_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    good = jsonl(RECORDS, "\n").split("\n")
    path.write_text(
        "\n".join([good[0], "{broken", good[1], '{"query": 7, "pos": ["p"], "neg": []}', good[2]])
    )
    assert saved(path, on_error="skip").read_text() == "\n".join([good[0], good[1], good[2]])
    told = [e for block in opened(path, "skip").blocks() for e in block.entries if e.problem]
    assert [entry.place for entry in told] == [2, 4]


def test_bad_rows_of_a_table_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text('anchor,positive,negative\nq,p,n\nq,p\nr,"p\np",n\n')
    assert saved(path, on_error="skip").read_text() == (
        'anchor,positive,negative\nq,p,n\nr,"p\np",n\n'
    )


def test_what_is_no_list_of_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(
        json.dumps({"query": ["q", "r"], "positive": ["p", "p"], "negative": ["n", "m"]})
    )
    with pytest.raises(UsageError, match="one object"):
        list(opened(path).blocks())


_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
_RECORD = st.fixed_dictionaries(
    {
        "query": _TEXT,
        "pos": st.lists(_TEXT, max_size=3),
        "neg": st.lists(_TEXT, max_size=3),
        "more": st.one_of(st.none(), st.floats(allow_nan=False), st.integers(), _TEXT),
    }
)


@given(
    st.lists(_RECORD, min_size=1, max_size=5),
    st.sampled_from([(", ", ": "), (",", ":")]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_lines_stay_as_they_are(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[dict[str, Any]],
    separators: tuple[str, str],
    escaped: bool,
    end: str,
    ended: bool,
) -> None:
    path = tmp_path_factory.mktemp("set") / "set.jsonl"
    lines = [json.dumps(r, separators=separators, ensure_ascii=escaped) for r in records]
    path.write_bytes((end.join(lines) + (end if ended else "")).encode())
    assert saved(path).read_bytes() == path.read_bytes()
    # Written anew, a record has the spelling that it had.
    again = {number: [record] for number, record in enumerate(records, 1)}
    assert saved(path, again).read_bytes() == path.read_bytes()
