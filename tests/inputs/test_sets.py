"""Any value under any known name: rows as the schema has them, or a message, and nothing else."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negmine.errors import NegmineError
from negmine.inputs import EXAMPLES_SCHEMA, Problems, Reading, examples, read_examples
from negmine.inputs.sets import names_known

_NAMES = [name for name in names_known() if name != "[...]"]
_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.characters(codec="utf-8"), max_size=4),
)
_FIELDS = st.sampled_from(["text", "title", "docid", "_id", "score", "role", "content", "x"])
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_FIELDS, inner, max_size=3)
    ),
    max_leaves=5,
)
_QUERY = st.one_of(st.just("what is it"), _VALUES)
_RECORD = st.builds(
    lambda query, more: {"query": query, **more},
    _QUERY,
    st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=4),
)
_LINES = st.lists(st.one_of(_RECORD, st.lists(_VALUES, max_size=4)), min_size=1, max_size=4)


def check(path: Path) -> None:
    """Read a file in every way."""
    for reading in (Reading(), Reading(positive_above=0.5), Reading(positive_first=True)):
        for mode in ("fail", "skip"):
            rows: list[dict[str, Any]] = []
            with contextlib.suppress(NegmineError):
                for batch in read_examples(str(path), {}, Problems(mode), reading):  # type: ignore[arg-type]
                    assert batch.schema == EXAMPLES_SCHEMA
                    batch.validate(full=True)
                    rows += batch.to_pylist()
            for row in rows:
                assert row["query"] is not None or row["qid"]
                assert row["grade"] in (None, 0, 1)
                assert row["given"] is None or row["given"] >= 1


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_LINES)
def test_lines_of_anything(records: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
        check(path)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_RECORD, min_size=1, max_size=3))
def test_columns_of_anything(records: list[dict[str, Any]]) -> None:
    try:
        table = pa.Table.from_pylist(records)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.parquet"
        try:
            pq.write_table(table, path)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return  # Parquet has no structs without fields.
        check(path)


_TEXT = st.text(st.characters(codec="utf-8"), max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT, _TEXT), min_size=1, max_size=5), st.booleans())
def test_whole_columns_are_what_the_records_are(
    rows: list[tuple[str, str, str, str]], lines: bool
) -> None:
    names = ("anchor", "positive", "negative_1", "negative_2")
    records = [dict(zip(names, row, strict=True)) for row in rows]
    records[0]["anchor"] = "what is it"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / ("train.jsonl" if lines else "train.parquet")
        if lines:
            path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
        else:
            pq.write_table(pa.Table.from_pylist(records), path)
        whole = list(read_examples(str(path), {}, Problems("fail")))
        patch.setattr(examples, "_whole_columns", lambda chunk, flat: None)
        each = list(read_examples(str(path), {}, Problems("fail")))
    assert pa.Table.from_batches(whole).equals(pa.Table.from_batches(each))


def test_a_file_of_batches_of_a_row_each_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    """What decides is no first row: neither of ids nor of labels."""
    rows = [{"query": "1984", "positive": "1949"}, {"query": "what is it", "positive": "It is."}]
    labels = [{"query": "a", "positive": "b", "y": value} for value in (0, 1, 0, 1)]
    for name, records in (("ids", rows), ("labels", labels)):
        table = pa.Table.from_pylist(records)
        with pa.ipc.new_file(tmp_path / f"{name}.arrow", table.schema) as file:
            for batch in table.to_batches(max_chunksize=1):
                file.write_batch(batch)
    found = list(read_examples(str(tmp_path / "ids.arrow"), {}, Problems("fail")))
    assert pa.Table.from_batches(found).column("query").to_pylist() == ["1984", "what is it"]
    with pytest.raises(NegmineError, match="'y'"):
        list(read_examples(str(tmp_path / "labels.arrow"), {}, Problems("fail")))


def test_numbers_beside_a_text_are_no_ids(tmp_path: Path) -> None:
    """Ids are whole numbers throughout, in the numbered columns too."""
    file = tmp_path / "a.jsonl"
    for negative, qid in ((":", None), ("7", "0")):
        file.write_text(json.dumps({"anchor": "0", "positive": "1", "negative_1": negative}))
        (batch,) = read_examples(str(file), {}, Problems("fail"))
        assert batch.column("qid").to_pylist() == [qid, qid]
