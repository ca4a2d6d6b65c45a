"""Every layout that export writes, read back and written again, is the same training set.

Sets are drawn at random, laid out by the format, written as a file and read by the users' reader;
the oracle is the drawn set itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from negmine import formats
from negmine.formats.base import Chosen, Options, tables
from negmine.inputs import Problems, Reading, read_examples
from negmine.table import writers

#: Text of any kind, and what readers of lines and fields could trip over.
_TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
    st.sampled_from(["null", "NaN", "1", "0", "true", "[1]", '{"a": 1}', "a\tb", "a\nb", '"', " "]),
)


@dataclass(frozen=True)
class Of:
    """A query's passages: texts in order, scores by text."""

    positives: tuple[str, ...]
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """A training set.

    Attributes:
        queries: by query text.
        scores: of (query, passage), NaN where there is none.
        negatives: how many each query has, at most.
    """

    queries: Mapping[str, Of]
    scores: Mapping[tuple[str, str], float]
    negatives: int

    @property
    def documents(self) -> list[str]:
        """Every passage once."""
        each = [text for of in self.queries.values() for text in (*of.positives, *of.negatives)]
        return list(dict.fromkeys(each))


@st.composite
def truths(draw: Any, *, even: bool, complete: bool) -> Truth:
    """A set in which all queries have the same number of negatives, or all rows a score."""
    asked = draw(st.lists(_TEXTS, min_size=1, max_size=3, unique=True))
    passages = draw(st.lists(_TEXTS, min_size=5, max_size=7, unique=True))
    count = draw(st.integers(1, 3))
    queries, scores = {}, {}
    for query in asked:
        order = draw(st.permutations(passages))
        positives = tuple(order[: draw(st.integers(1, 2))])
        negatives = tuple(order[2 : 2 + (count if even else draw(st.integers(1, count)))])
        queries[query] = Of(positives, negatives)
        for text in (*positives, *negatives):
            value = draw(st.floats(-100, 100, width=32))
            missing = not complete and draw(st.booleans())
            scores[query, text] = float("nan") if missing else value
    return Truth(queries, scores, count)


def chosen(truth: Truth) -> Chosen:
    """The same as a format is handed it; ids are numbers."""
    texts = list(truth.queries)
    documents = truth.documents
    place = {text: number for number, text in enumerate(documents)}
    positives = [(q, t) for q, text in enumerate(texts) for t in truth.queries[text].positives]
    negatives = [(q, t) for q, text in enumerate(texts) for t in truth.queries[text].negatives]

    def columns(rows: Sequence[tuple[int, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            np.array([q for q, _ in rows], dtype=np.int64),
            np.array([place[text] for _, text in rows], dtype=np.int64),
            np.array([truth.scores[texts[q], text] for q, text in rows], dtype=np.float64),
        )

    first, second = columns(positives), columns(negatives)
    ranks = np.array([truth.queries[texts[q]].negatives.index(t) + 1 for q, t in negatives])
    return Chosen(
        pa.array([str(1000 + q) for q in range(len(texts))]),
        pa.array(texts, pa.string()),
        pa.array([str(5000 + d) for d in range(len(documents))]),
        pa.array(documents, pa.large_string()),
        *first,
        *second,
        negative_ranks={"given": ranks},
    )


def written(truth: Truth, name: str, options: Options, path: Path, suffix: str) -> list[Any]:
    """Write a set as ``export`` does; returns its rows."""
    layout = formats.load(name)
    raw = chosen(truth)
    if layout.numbered:
        raw = replace(raw, qids=pa.array([str(n) for n in range(len(raw.qids))]))
        raw = replace(raw, docids=pa.array([str(n) for n in range(len(raw.docids))]))
    examples = layout.layout(raw, options)
    found = list(tables(examples, raw))
    writers.write_tables(path, suffix, iter(found), examples.schema)
    return [row for table in found for row in table.to_pylist()]


def read(path: Path, reading: Reading, names: Callable[[str], str]) -> Truth:
    """What the users' reader makes of a file; ``names`` gives the text of an id."""
    positives: dict[str, dict[str, None]] = {}
    negatives: dict[str, dict[str, None]] = {}
    scores: dict[tuple[str, str], float] = {}
    for batch in read_examples(str(path), {}, Problems("fail"), reading):
        for row in batch.to_pylist():
            query = row["query"] if row["query"] is not None else names("q" + row["qid"])
            text = row["text"] if row["text"] is not None else names("d" + row["docid"])
            side = negatives if row["given"] is not None else positives
            positives.setdefault(query, {})
            assert row["grade"] == (1 if side is positives else row["grade"] and None)
            side.setdefault(query, {})[text] = None
            value = row["score"]
            scores[query, text] = float("nan") if value is None else value
    queries = {q: Of(tuple(positives[q]), tuple(negatives.get(q, ()))) for q in positives}
    return Truth(queries, scores, max(len(of.negatives) for of in queries.values()))


_AS_IT_IS = Reading()
_FIRST = Reading(positive_first=True)


@dataclass(frozen=True)
class Case:
    """How a format is asked.

    Attributes:
        name: the format.
        suffix: the file's.
        scores, ids: columns on request.
        even: every query has all its negatives, as the format wants it.
        reading: what settles what the layout leaves open.
        prompt: goes out with every query.
    """

    name: str
    suffix: str = ".jsonl"
    scores: bool = False
    ids: bool = False
    even: bool = False
    reading: Reading = _AS_IT_IS
    prompt: str | None = None


_PLAIN = ["triplet", "labeled-list", "flagembedding", "tevatron", "nemo", "rerank-eval"]
_SWIFT = ["swift-embedding", "swift-reranker"]
CASES = [
    *(
        Case(name, suffix)
        for name in (*_PLAIN, *_SWIFT, "labeled-pair")
        for suffix in (".jsonl", ".parquet")
    ),
    *(
        Case(name, suffix, scores=True, ids=True)
        for name in ("triplet", "flagembedding", "tevatron", "nemo", "rerank-eval", *_SWIFT)
        for suffix in (".jsonl", ".parquet")
    ),
    Case("labeled-list", scores=True, ids=True, reading=_FIRST),
    Case("flagembedding", prompt="Find it: "),
    Case("n-tuple", even=True),
    Case("n-tuple", ".parquet", scores=True, ids=True, even=True),
    Case("pylate-kd", ".parquet", even=True, reading=_FIRST),
    Case("pylate-kd", ids=True, even=True, reading=_FIRST),
    Case("msmarco"),
    Case("msmarco", ".parquet"),
    Case("colbert", ".colbert.jsonl", even=True),
    Case("colbert", ".colbert.jsonl", scores=True, even=True),
    Case("colbert-triples", ".colbert.jsonl"),
    Case("colbert-triples", ".colbert.jsonl", scores=True),
]


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda case: (
        f"{case.name}{case.suffix}{'-scores' * case.scores}{'-prompt' * bool(case.prompt)}"
    ),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_written_read_and_written_again(case: Case, data: st.DataObject) -> None:
    truth = data.draw(truths(even=case.even, complete=not case.scores))
    # Columns of integers throughout are ids.
    assume(not all(text.isdigit() for text in [*truth.queries, *truth.documents]))
    keeps_scores = case.scores or case.name == "pylate-kd"
    options = Options(
        scores=case.scores,
        ids=case.ids,
        num_negatives=truth.negatives,
        prompt=case.prompt,
        integer_ids=case.name == "msmarco",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"train{case.suffix}"
        rows = written(truth, case.name, options, path, case.suffix)
        back = read(path, case.reading, _names(truth, case.name))
        assert {q: (set(of.positives), of.negatives) for q, of in back.queries.items()} == {
            q: (set(of.positives), of.negatives) for q, of in truth.queries.items()
        }
        if keeps_scores:
            assert back.scores == pytest.approx(dict(truth.scores), nan_ok=True)
        # The order of a query's positives is no part of a set, so that of the first file is kept.
        ordered = replace(
            back,
            queries={q: truth.queries[q] for q in truth.queries},
            scores=back.scores if keeps_scores else truth.scores,
            negatives=truth.negatives,
        )
        again = written(ordered, case.name, options, path, case.suffix)
    assert repr(again) == repr(rows)


def _names(truth: Truth, name: str) -> Callable[[str], str]:
    """The texts of ids, which the sets without texts are told by."""
    from_query, from_document = (0, 0) if name.startswith("colbert") else (1000, 5000)
    texts = {f"q{from_query + n}": text for n, text in enumerate(truth.queries)}
    texts |= {f"d{from_document + n}": text for n, text in enumerate(truth.documents)}
    return texts.__getitem__
