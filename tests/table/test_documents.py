"""The corpus: stored once, read in parts, found by id or by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.errors import InvalidDataError
from negmine.table import artifacts
from negmine.table import documents as module
from negmine.table.artifacts import Plan
from negmine.table.documents import Documents, SeenIds, full_text, write_documents
from negmine.table.ids import content_ids
from negmine.table.schemas import DOCUMENTS


def batch(*rows: tuple[str, str, str]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.record_batch([pa.array(list(c), pa.string()) for c in columns], schema=DOCUMENTS)


def store(
    folder: Path, *batches: pa.RecordBatch, limit: int | None = None
) -> tuple[Documents, dict[str, int]]:
    writer = artifacts.begin(folder, Plan("index.documents", 1, {"limit": limit}))
    assert writer is not None
    with writer:
        counts = write_documents(batches, writer, limit)
        return Documents(writer.commit(counts)), counts


def test_title_and_text_are_joined_as_beir_does() -> None:
    table = batch(("a", "T", "x"), ("b", "", " y "), ("c", "T", ""), ("d", "", ""))
    assert full_text(table).to_pylist() == ["T x", " y ", "T", ""]


def test_parts_are_cut_by_rows_and_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_DOCUMENTS", 2)
    batches = [batch((f"d{i}", "", "x")) for i in range(5)]
    documents, counts = store(tmp_path / "rows", *batches)
    assert counts["documents"] == len(documents) == 5
    assert [part.num_rows for _, part in documents.parts()] == [2, 2, 1]
    monkeypatch.setattr(module, "PART_DOCUMENTS", 100)
    monkeypatch.setattr(module, "PART_BYTES", 1000)
    big = [batch((f"d{i}", "", "x" * 600)) for i in range(4)]
    documents, _ = store(tmp_path / "bytes", *big)
    assert [part.num_rows for _, part in documents.parts()] == [2, 2]


def test_lookups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_DOCUMENTS", 2)
    rows = [(f"d{i}", "", f"text {i}") for i in range(5)]
    documents, _ = store(tmp_path / "a", *[batch(row) for row in rows])
    assert documents.ids(np.array([4, 0, 4, 3])).to_pylist() == ["d4", "d0", "d4", "d3"]
    assert documents.ids(np.array([], dtype=np.int64)).to_pylist() == []
    asked = pa.array(["d3", "no", "d0", "d3"])
    assert documents.rows(asked).tolist() == [3, -1, 0, 3]
    assert documents.rows(pa.array([], pa.string())).tolist() == []
    assert documents.texts(pa.array(["d4", "d1"])).to_pylist() == ["text 4", "text 1"]
    assert documents.texts(pa.array([], pa.string())).to_pylist() == []
    titled, _ = store(tmp_path / "b", batch(("x", "T", "y"), ("z", "", "w")))
    texts, titles = titled.titled(pa.array(["z", "x"]))
    assert (texts.to_pylist(), titles.to_pylist()) == (["w", "T y"], ["", "T"])
    with pytest.raises(InvalidDataError, match="'no' is not in the corpus"):
        documents.texts(pa.array(["d1", "no"]))


def test_find_contents_gives_the_smallest_docid_of_a_text(tmp_path: Path) -> None:
    documents, _ = store(
        tmp_path / "a", batch(("z", "", "same"), ("m", "", "same"), ("a", "", "o"))
    )
    wanted = content_ids(pa.array(["same", "absent"]))
    assert documents.find_contents(wanted).docids.to_pylist() == ["m", None]


def test_a_repeated_id_is_kept_once_or_refused(tmp_path: Path) -> None:
    documents, counts = store(
        tmp_path / "a", batch(("a", "", "x"), ("a", "", "x")), batch(("a", "", "x"), ("b", "", ""))
    )
    assert len(documents) == 2
    assert counts["duplicate_ids"] == 2
    assert counts["empty_documents"] == 1
    with pytest.raises(InvalidDataError, match="'a' appears twice with different texts"):
        store(tmp_path / "b", batch(("a", "", "x")), batch(("a", "", "y")))
    assert not list((tmp_path / "b").glob("part-*"))


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match="the corpus is empty"):
        store(tmp_path / "a")


def test_limit(tmp_path: Path) -> None:
    documents, counts = store(
        tmp_path / "a", batch(*[(f"d{i}", "", "x") for i in range(5)]), limit=3
    )
    assert len(documents) == counts["documents"] == 3


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")))))
def test_seen_ids_is_a_dictionary(stream: list[list[tuple[str, str]]]) -> None:
    seen = SeenIds()
    truth: dict[str, str] = {}
    for rows in stream:
        same, other = seen.add([docid for docid, _ in rows], [text for _, text in rows])
        for position, (docid, text) in enumerate(rows):
            if docid in truth:
                assert same[position] == (truth[docid] == text)
                assert other[position] == (truth[docid] != text)
            else:
                assert not same[position]
                assert not other[position]
                truth[docid] = text


def test_find_contents_knows_a_text_without_its_title(tmp_path: Path) -> None:
    rows = [
        ("b", "Bread", "It rises."),
        ("c", "Dough", "It rises."),
        ("d", "", "Dough It rises."),
        ("e", "Yeast", ""),
    ]
    documents, _ = store(tmp_path / "a", batch(*rows))
    texts = ["It rises.", "Bread It rises.", "Dough It rises.", "Bread", "Yeast", ""]
    contents = content_ids(pa.array(texts))
    found = documents.find_contents(contents)
    # A full text counts before a text alone, the smallest id among equals.
    assert found.docids.to_pylist() == ["b", "b", "c", None, "e", None]
    assert found.several == 1
    whole = documents.find_contents(contents, untitled=False)
    assert whole.docids.to_pylist() == [None, "b", "c", None, "e", None]
    assert whole.several == 0


def test_copies_of_a_document_are_no_several(tmp_path: Path) -> None:
    rows = [("b", "Bread", "It rises."), ("a", "Bread", "It rises.")]
    documents, _ = store(tmp_path / "a", batch(*rows))
    found = documents.find_contents(content_ids(pa.array(["It rises."])))
    assert (found.docids.to_pylist(), found.several) == (["a"], 0)
