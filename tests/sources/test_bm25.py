"""BM25 on real Lucene, against pyserini's own searcher."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.errors import InvalidDataError, MissingInputError, NegmineError
from negmine.sources import bm25
from negmine.sources.base import Asked, Hits
from negmine.sources.bm25 import Bm25Source

pytestmark = pytest.mark.real

Document = tuple[str, str, str]


def shared_data(name: str) -> Path:
    """A shared data set; the test is skipped where the machine does not have it."""
    root = os.environ.get("NEGMINE_TEST_DATA")
    folder = Path(root) if root else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (folder / name).is_dir():
        pytest.skip(f"no {folder / name}; set NEGMINE_TEST_DATA to the folder that holds {name}")
    return folder / name


def lines(path: Path, limit: int) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(limit), strict=False)]


def batches(documents: Iterable[Document], rows: int = 700) -> Iterator[pa.RecordBatch]:
    docid, title, text = zip(*documents, strict=True)
    table = pa.table({"docid": docid, "title": title, "text": text})
    yield from table.to_batches(max_chunksize=rows)


def make(folder: Path, documents: Sequence[Document], threads: int = 2) -> Bm25Source:
    count = bm25.build(batches(documents), folder, threads=threads, memory_bytes=None)
    assert count == len(documents)
    return Bm25Source(folder, threads=threads)


def listed(hits: Hits) -> list[tuple[int, str, float]]:
    return list(zip(hits.query.tolist(), hits.docid.to_pylist(), hits.score.tolist(), strict=True))


@pytest.fixture(scope="module")
def scifact() -> tuple[list[Document], list[str]]:
    folder = shared_data("scifact")
    documents = [(d["_id"], d["title"], d["text"]) for d in lines(folder / "corpus.jsonl", 800)]
    return documents, [q["text"] for q in lines(folder / "queries.jsonl", 60)]


PYSERINI = """
import json, os, sys
os.environ["OPENAI_API_KEY"] = "dummy"
from negmine.sources import jvm
jvm.start()
from pyserini.search.lucene import LuceneSearcher
folder, k = sys.argv[1], int(sys.argv[2])
searcher = LuceneSearcher(folder)
searcher.set_bm25(0.9, 0.4)
found = []
for query in json.load(sys.stdin):
    found.append([(hit.docid, hit.score) for hit in searcher.search(query, k)])
json.dump({"documents": searcher.num_docs, "hits": found}, open(sys.argv[3], "w"))
"""


def test_scores_equal_pyserinis(scifact: tuple[list[Document], list[str]], tmp_path: Path) -> None:
    documents, queries = scifact
    with make(tmp_path / "index", documents) as source:
        hits = source.search(Asked.by_text(queries), 20)
    answer = tmp_path / "answer.json"
    done = subprocess.run(
        [sys.executable, "-c", PYSERINI, str(tmp_path / "index"), "20", str(answer)],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(answer.read_text())
    assert theirs["documents"] == len(documents)
    expected = [
        (number, docid, score)
        for number, found in enumerate(theirs["hits"])
        for docid, score in found
    ]
    ours = listed(hits)
    assert [row[:2] for row in ours] == [row[:2] for row in expected]
    np.testing.assert_allclose(
        [row[2] for row in ours], [row[2] for row in expected], rtol=0, atol=1e-4
    )


def test_pair_scores_equal_search_scores(
    scifact: tuple[list[Document], list[str]], tmp_path: Path
) -> None:
    documents, queries = scifact
    with make(tmp_path / "index", documents) as source:
        hits = source.search(Asked.by_text(queries), 50)
        order = np.random.default_rng(0).permutation(len(hits))
        docids = hits.docid.take(pa.array(order))
        scores = source.score(Asked.by_text(queries), hits.query[order], docids)
        np.testing.assert_array_equal(scores, hits.score[order])
        encoded = source.score(
            Asked.by_text(queries), hits.query[order], docids.dictionary_encode()
        )
        np.testing.assert_array_equal(encoded, scores)
        # A document that no search returned shares no term with the query.
        everything = source.search(Asked.by_text(queries[:1]), len(documents))
        rest = sorted({d[0] for d in documents} - set(everything.docid.to_pylist()))
        assert rest
        pairs = source.score(Asked.by_text(queries), np.zeros(len(rest), np.int32), pa.array(rest))
        assert (pairs == 0).all()


def test_the_layout_of_the_index_changes_nothing(
    scifact: tuple[list[Document], list[str]], tmp_path: Path
) -> None:
    documents, queries = scifact
    copies = [
        (f"{d}-{copy}", title, text) for d, title, text in documents[:200] for copy in range(7)
    ]
    shuffled = list(copies)
    random.Random(1).shuffle(shuffled)
    with make(tmp_path / "one", copies, threads=1) as one:
        first = one.search(Asked.by_text(queries), 10)
    with make(tmp_path / "two", shuffled, threads=3) as two:
        second = two.search(Asked.by_text(queries), 10)
    assert listed(first) == listed(second)
    assert (np.diff(first.score) == 0).any()


@pytest.mark.parametrize("k", [1, 3, 50, 99, 100, 1000])
def test_ties_at_the_cut_go_by_docid(k: int, tmp_path: Path) -> None:
    numbers = list(range(100))
    random.Random(k).shuffle(numbers)
    documents = [(f"d{number:03}", "", "the same heart") for number in numbers]
    documents.insert(40, ("best", "heart", "heart"))
    with make(tmp_path / "index", documents) as source:
        rows = listed(source.search(Asked.by_text(["heart"]), k))
    assert [row[1] for row in rows] == ["best", *(f"d{n:03}" for n in range(100))][:k]
    assert len({row[2] for row in rows[1:]}) <= 1


WEIRD_IDS = [
    "plain",
    "a b",
    "tab\there",
    "new\nline",
    "return\r",
    'quote"d',
    "it's",
    "http://x.org/a?b=c&d=%20#e",
    "100%",
    "%25",
    "back\\slash",
    "nul\x00",
    "漢字",
    "emoji😀",
    "e\u0301",
    "\u00e9",
    "\u2028",
    "\ue000",
    "{json}",
    "Q0",
    " lead",
    "",
    "x" * 5000,
]


def test_ids_of_any_kind_come_back(tmp_path: Path) -> None:
    documents = [(docid, "", "shared term") for docid in reversed(WEIRD_IDS)]
    with make(tmp_path / "index", documents) as source:
        hits = source.search(Asked.by_text(["shared"]), 100)
        assert hits.docid.to_pylist() == sorted(WEIRD_IDS)
        assert (
            source.search(Asked.by_text(["shared"]), 5).docid.to_pylist() == sorted(WEIRD_IDS)[:5]
        )
        zeros = np.zeros(len(hits), np.int32)
        np.testing.assert_array_equal(
            source.score(Asked.by_text(["shared"]), zeros, hits.docid), hits.score
        )


WEIRD_QUERIES = [
    "",
    " ",
    "\t\n\r",
    '"',
    "it's \"quoted\" 'twice'",
    "heart\tvalve\nsurgery",
    "heart AND (valve OR",
    "contents:heart^2 *:* ~ /x/ [a TO b]",
    "\\",
    "\x00",
    "the of and to",
    "心臓 弁",
    "قلب",
    "сердце",
    "😀😀",
    "heart " * 2000,
    " ".join(f"word{number}" for number in range(3000)),
    "x" * 10_000,
    "{}[]<>",
]


def test_queries_of_any_kind(tmp_path: Path) -> None:
    documents = [
        ("en", "heart valve", "surgery"),
        ("ja", "", "心臓 の 手術"),
        ("ru", "", "сердце и клапан"),
        ("long", "", "word7 word2999 x"),
    ]
    with make(tmp_path / "index", documents) as source:
        hits = source.search(Asked.by_text(WEIRD_QUERIES), 10)
        found: dict[int, list[str]] = {}
        for number, docid, _ in listed(hits):
            found.setdefault(number, []).append(docid)
        by_text = {WEIRD_QUERIES[number]: docids for number, docids in found.items()}
        assert by_text["heart\tvalve\nsurgery"] == ["en"]
        assert by_text["сердце"] == ["ru"]
        assert by_text[WEIRD_QUERIES[11]] == ["ja"]
        assert by_text["heart " * 2000] == ["en"]
        assert by_text[WEIRD_QUERIES[16]] == ["long"]
        for silent in ("", " ", "\t\n\r", '"', "\x00", "the of and to", "x" * 10_000, "{}[]<>"):
            assert silent not in by_text
        numbers = np.arange(len(WEIRD_QUERIES), dtype=np.int32)
        scores = source.score(
            Asked.by_text(WEIRD_QUERIES), numbers, pa.array(["en"] * len(numbers))
        )
        assert set(numbers[scores > 0]) == {n for n, docids in found.items() if "en" in docids}
        assert not np.isnan(scores).any()


def test_no_queries_no_pairs_no_hits(tmp_path: Path) -> None:
    with make(tmp_path / "index", [("a", "", "heart")]) as source:
        for hits in (
            source.search(Asked.by_text([]), 10),
            source.search(Asked.by_text(["heart"]), 0),
            source.search(Asked.by_text(["liver"]), 10),
        ):
            assert len(hits) == 0
            assert hits.docid.type == pa.string()
            assert hits.score.dtype == np.float32
            assert hits.query.dtype == np.int32
        scores = source.score(Asked.by_text([]), np.empty(0, np.int32), pa.array([], pa.string()))
        assert scores.dtype == np.float32
        assert len(scores) == 0


def test_empty_documents_are_held_but_not_found(tmp_path: Path) -> None:
    full = [("a", "", "heart valve"), ("b", "", "heart"), ("c", "liver", "disease")]
    empty = [("e1", "", ""), ("e2", " ", "\n\t"), ("e3", "", "\x00")]
    with make(tmp_path / "with", [*full, *empty]) as source:
        assert len(source) == 6
        mixed = source.search(Asked.by_text(["heart valve"]), 10)
        scores = source.score(
            Asked.by_text(["heart valve"]),
            np.zeros(5, np.int32),
            pa.array(["a", "c", "e1", "e3", "unknown"]),
        )
    with make(tmp_path / "without", full) as source:
        assert listed(source.search(Asked.by_text(["heart valve"]), 10)) == listed(mixed)
    assert scores[0] == mixed.score[0]
    assert scores[1:4].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(scores[4])


def test_nothing_but_empty_documents(tmp_path: Path) -> None:
    with make(tmp_path / "index", [("a", "", ""), ("b", "", "")]) as source:
        assert len(source.search(Asked.by_text(["heart"]), 10)) == 0
        assert source.score(
            Asked.by_text(["heart"]), np.zeros(1, np.int32), pa.array(["a"])
        ).tolist() == [0.0]


def test_an_empty_corpus(tmp_path: Path) -> None:
    assert bm25.build([], tmp_path / "index", threads=1, memory_bytes=None) == 0
    with Bm25Source(tmp_path / "index") as source:
        assert len(source.search(Asked.by_text(["heart"]), 10)) == 0
        assert np.isnan(
            source.score(Asked.by_text(["heart"]), np.zeros(1, np.int32), pa.array(["a"]))
        ).all()


def test_nulls_titles_and_parameters(tmp_path: Path) -> None:
    table = pa.table(
        {
            "docid": ["a", "b"],
            "title": pa.array(["heart", None]),
            "text": pa.array([None, "heart heart"]),
        }
    )
    bm25.build(table.to_batches(), tmp_path / "index", threads=1, memory_bytes=None)
    with Bm25Source(tmp_path / "index", k1=0.0) as flat:
        hits = flat.search(Asked.by_text(["heart"]), 10)
        # Without term frequency saturation every match is worth the same.
        assert listed(hits) == [(0, "a", hits.score[0]), (0, "b", hits.score[0])]
    with Bm25Source(tmp_path / "index", k1=2.0, b=0.0) as steep:
        assert steep.search(Asked.by_text(["heart"]), 10).docid.to_pylist() == ["b", "a"]


def test_an_index_without_our_table_of_ids_works(tmp_path: Path) -> None:
    documents = [(f"d{number}", "", "heart") for number in range(30)]
    make(tmp_path / "index", documents).close()
    (tmp_path / "index" / "docids.arrow").unlink()
    with Bm25Source(tmp_path / "index") as source:
        assert source.search(Asked.by_text(["heart"]), 3).docid.to_pylist() == ["d0", "d1", "d10"]


@pytest.mark.parametrize("page", [1, 7, 300, 2000])
def test_the_table_of_ids_is_read_in_pages(
    page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last document of a page came again on the next: every later hit had another's id."""
    monkeypatch.setattr(bm25, "_IDS_PER_PAGE", page)
    documents = [(f"d{number}", "", f"word{number} heart") for number in range(2000)]
    with make(tmp_path / "index", documents, threads=2) as source:
        assert sorted(source._ids.to_pylist()) == sorted(docid for docid, _, _ in documents)
        rows = listed(source.search(Asked.by_text([text for _, _, text in documents[::100]]), 1))
    assert [row[1] for row in rows] == [docid for docid, _, _ in documents[::100]]


def test_building_again_replaces(tmp_path: Path) -> None:
    make(tmp_path / "index", [("old", "", "heart"), ("older", "", "heart")]).close()
    with make(tmp_path / "index", [("new", "", "heart"), ("newer", "", "heart")]) as source:
        assert source.search(Asked.by_text(["heart"]), 9).docid.to_pylist() == ["new", "newer"]


def test_a_long_id_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    with pytest.raises(InvalidDataError, match="40,000 bytes"):
        make(folder, [("fine", "", "x"), ("y" * 40_000, "", "x")])
    assert not list(folder.glob("segments*"))
    assert not list(folder.glob("*.arrow"))
    # The lock is free again.
    make(folder, [("fine", "", "x")]).close()


def test_a_failing_reader_leaves_no_index(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from batches([(f"d{n}", "", "x") for n in range(3000)])
        raise InvalidDataError("line 3001")

    with pytest.raises(InvalidDataError, match="line 3001"):
        bm25.build(broken(), tmp_path / "index", threads=2, memory_bytes=None)
    with pytest.raises(MissingInputError):
        Bm25Source(tmp_path / "index")


def test_missing_and_broken_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such index folder"):
        Bm25Source(tmp_path / "none")
    make(tmp_path / "index", [("a", "", "heart")]).close()
    for file in (tmp_path / "index").glob("_0*"):
        file.write_bytes(b"")
    with pytest.raises(NegmineError, match="Lucene failed"):
        Bm25Source(tmp_path / "index")


def test_quiet_tidy_and_closed_twice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "index"
    source = make(folder, [("a", "", "heart"), ("b", "", "")])
    source.search(Asked.by_text(["heart", ""]), 5)
    source.score(Asked.by_text(["heart"]), np.zeros(2, np.int32), pa.array(["a", "z"]))
    source.close()
    source.close()
    assert capfd.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    stored = {path.suffix for path in folder.iterdir()}
    # No positions and no term vectors: BM25 reads neither.
    assert not stored & {".pos", ".pay", ".tvd"}
