"""What a source is asked, and what it may be able to do."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given as drawn
from hypothesis import strategies as st

from negmine.sources.base import (
    Asked,
    Capabilities,
    HasCapabilities,
    HasRecall,
    HasTokens,
    Hits,
    ScoresPairs,
    capabilities_of,
)
from negmine.sources.bm25 import Bm25Source
from negmine.sources.dense import DenseSource
from negmine.sources.given import Given
from negmine.sources.judged import Judged
from negmine.sources.run_file import RunFile

_PAIRS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), unique=True)


def asked(positives: list[tuple[int, str]]) -> Asked:
    """Five queries with these positives."""
    held = sorted(positives)
    return Asked(
        pa.array([f"q{n}" for n in range(5)]),
        [f"text {n}" for n in range(5)],
        np.array([query for query, _ in held], dtype=np.int32),
        pa.array([docid for _, docid in held], pa.string()),
        {"year": pa.array([2000 + n for n in range(5)])},
    )


@drawn(_PAIRS, st.sets(st.integers(0, 4)))
def test_some_of_the_queries_keep_what_is_known_of_them(
    positives: list[tuple[int, str]], wanted: set[int]
) -> None:
    every, rows = asked(positives), np.array(sorted(wanted), dtype=np.int64)
    some = every.take(rows)
    assert len(some) == len(rows)
    assert some.qids.to_pylist() == [f"q{n}" for n in rows]
    assert some.texts == [f"text {n}" for n in rows]
    assert some.kept["year"].to_pylist() == [2000 + n for n in rows]
    pairs = zip(some.positive_query.tolist(), some.positive_docid.to_pylist(), strict=True)
    assert [(int(rows[query]), docid) for query, docid in pairs] == [
        pair for pair in sorted(positives) if pair[0] in wanted
    ]
    assert some.among is not None
    assert some.among[0] is every


@drawn(_PAIRS, st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abcd"))))
def test_positives_are_known_by_their_pairs(
    positives: list[tuple[int, str]], pairs: list[tuple[int, str]]
) -> None:
    query = np.array([number for number, _ in pairs], dtype=np.int64)
    docids = pa.array([docid for _, docid in pairs], pa.string())
    found = asked(positives).positive(query, docids)
    assert found.tolist() == [pair in positives for pair in pairs]


def test_queries_of_texts_or_of_ids_alone() -> None:
    assert Asked.by_text(["a", "b"]).qids.to_pylist() == ["0", "1"]
    assert Asked.by_id(["x"]).texts == [""]
    assert not Asked.by_id(["x"]).positive(np.array([0]), pa.array(["d"])).any()


def test_what_each_source_can_do_is_told_by_the_source() -> None:
    """By what it has, not by what it is: another package's may have any of it."""
    sources = (Bm25Source, DenseSource, RunFile, Given, Judged)
    scoring = [source for source in sources if issubclass(source, ScoresPairs)]
    assert scoring == [Bm25Source, DenseSource, RunFile, Given]
    assert issubclass(DenseSource, HasTokens)
    assert DenseSource.capabilities.vectors
    assert Given.capabilities == Capabilities(searches=False, answers_all=True)
    assert Judged.capabilities == Capabilities(searches=False)


def test_a_source_that_tells_nothing_searches_a_corpus() -> None:
    class Plain:
        def search(self, asked: Asked, k: int) -> Hits:
            raise NotImplementedError

        def close(self) -> None:
            pass

    plain = Plain()
    assert capabilities_of(plain) == Capabilities()
    for protocol in (ScoresPairs, HasCapabilities, HasRecall, HasTokens):
        assert not isinstance(plain, protocol)
