"""What every source of candidates is asked, answers, and may be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from negmine.models.checkpoint import Checkpoint
from negmine.scorers.base import Scorer
from negmine.table.artifacts.replace import Replace


def _no_numbers() -> npt.NDArray[np.int32]:
    return np.empty(0, dtype=np.int32)


def _no_docids() -> pa.Array:
    return pa.array([], pa.string())


@dataclass(frozen=True, eq=False)
class Asked:
    """The queries that a source is asked about, and what is known of them.

    A source takes what it needs: one that searches reads the texts, one that knows a finished
    ranking the ids, one that looks for neighbours of the right answers the positives.

    Attributes:
        qids: the queries' ids, string [n].
        texts: their texts [n].
        positive_query: of each known positive the query's index, ascending, int32 [p].
        positive_docid: its document, string [p].
        kept: columns of the queries that were kept, by name, each [n].
        seed: of every draw that a source makes.
        among: the queries that these are some of, and their indices there, where a source is asked
            about some of a batch: a model that reads all of the batch gives each text the same
            vector whoever is searched with it.
    """

    qids: pa.Array
    texts: Sequence[str]
    positive_query: npt.NDArray[np.int32] = field(default_factory=_no_numbers)
    positive_docid: pa.Array = field(default_factory=_no_docids)
    kept: Mapping[str, pa.Array] = field(default_factory=dict)
    seed: int = 0
    among: tuple[Asked, npt.NDArray[np.int64]] | None = None

    @classmethod
    def by_text(cls, texts: Sequence[str]) -> Asked:
        """Queries of which the texts alone are known; their ids are their numbers."""
        return cls(pa.array(map(str, range(len(texts))), pa.string()), texts)

    @classmethod
    def by_id(cls, qids: Sequence[str]) -> Asked:
        """Queries of which the ids alone are known; their texts are empty."""
        return cls(pa.array(qids, pa.string()), [""] * len(qids))

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.qids)

    def take(self, rows: npt.NDArray[np.int64]) -> Asked:
        """Some of the queries, by their indices, ascending."""
        place = np.full(len(self), -1, dtype=np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        held = place[self.positive_query]
        chosen = pa.array(rows)
        return replace(
            self,
            qids=self.qids.take(chosen),
            texts=[self.texts[row] for row in rows.tolist()],
            positive_query=held[held >= 0],
            positive_docid=self.positive_docid.filter(pa.array(held >= 0)),
            kept={name: column.take(chosen) for name, column in self.kept.items()},
            among=(self, rows),
        )

    def positive(self, query: np.ndarray, docids: pa.Array) -> npt.NDArray[np.bool_]:
        """Which (query index, docid) pairs are known positives, bool [m] for two arrays [m]."""
        names = self.positive_docid.unique()
        doc = pc.fill_null(pc.index_in(docids, value_set=names), -1).to_numpy().astype(np.int64)
        known = pc.index_in(self.positive_docid, value_set=names).to_numpy().astype(np.int64)
        width = len(names) + 1
        found = np.isin(query * width + doc, self.positive_query * width + known)
        return found & (doc >= 0)


@dataclass(frozen=True)
class Hits:
    """The documents found for a sequence of queries: three columns of one length.

    Rows are sorted by query and within it from the best on: a row's place within its query is its
    rank. A source of negmine's own sorts by falling score, then by docid (in code point order); one
    that answers with what others ranked keeps their order, and may have no score (NaN).
    """

    query: npt.NDArray[np.int32]
    """Index into the queries that were asked."""
    docid: pa.Array
    score: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.query)


@dataclass(frozen=True)
class Capabilities:
    """What is to be known of a source before it is asked.

    Attributes:
        searches: its ranks are a ranking of the corpus for the query; false where it only knows
            pairs that somebody made or judged, or where it asks something else than the query (a
            positive's neighbours, a metadata field, chance). Where it is false its places count for
            nothing but what names them, and neither do its scores for what is learned.
        answers_all: its hits are not to be cut at k.
        reads_corpus: it does not search, and yet what it finds is in the corpus that it was opened
            with, whichever that is.
        each: hits of a query, where that is more than k.
        vectors: it compares stored vectors of documents.
        counted: how many of its finds others found too is counted and told.
        written: its documents were written, and no corpus holds them: it does not search.
        costly: so much goes into a query that always the same ones are searched together, whatever
            the memory: what a killed run has computed for them serves the next one.
    """

    searches: bool = True
    answers_all: bool = False
    reads_corpus: bool = False
    each: int = 0
    vectors: bool = False
    counted: bool = False
    written: bool = False
    costly: bool = False


class Source(Protocol):
    """One retriever over a corpus.

    It may be able to do more: score any pair (:class:`ScoresPairs`), say something else of it
    (:class:`HasColumns`), tell what it is (:class:`HasCapabilities`), what an approximate search
    misses (:class:`HasRecall`), or how much its model reads (:class:`HasTokens`).
    """

    def search(self, asked: Asked, k: int) -> Hits:
        """At most k documents per query, by (-score, docid)."""

    def close(self) -> None:
        """Release what it holds."""


@runtime_checkable
class ScoresPairs(Protocol):
    """A source that also scores pairs that it did not find."""

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair as a search would give it; NaN: not known."""


class Among(Protocol):
    """Which documents may be found for each of some queries."""

    def take(self, queries: npt.NDArray[np.int64]) -> Among:
        """The same for some of the queries, by their numbers."""

    def mask(self, low: int, high: int, first: int, last: int) -> npt.NDArray[np.bool_]:
        """Whether they may, bool [queries low to high, rows of the corpus first to last]."""

    def parts(self) -> Iterator[tuple[int, pa.Array]]:
        """(first row, docids) of the corpus, part by part."""


@runtime_checkable
class SearchesAmong(Protocol):
    """A source that also searches among some of the documents alone."""

    def search_among(self, asked: Asked, k: int, among: Among) -> Hits:
        """As a search, of the documents that each query may find."""


@runtime_checkable
class HasColumns(Protocol):
    """A source that has more to say of a pair than a rank and a score, whoever found it.

    What it calls ``cluster`` stands in the table as ``cluster_NAME``, after all ranks and scores.
    """

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """What it says of every pair: names, and types of the values."""

    def say(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> Mapping[str, pa.Array]:
        """The values for each (query index, docid) pair; null: nothing is known."""


@runtime_checkable
class HasCapabilities(Protocol):
    """A source that differs from one that searches a corpus for the k best documents."""

    @property
    def capabilities(self) -> Capabilities:
        """What it is."""


@runtime_checkable
class HasRecall(Protocol):
    """A source whose search may be approximate.

    Attributes:
        recall: what was measured against exact search, which is not measured again where another
            process has told it; None where the search is exact.
    """

    recall: Mapping[str, Any] | None


@runtime_checkable
class HasTokens(Protocol):
    """A source whose model reads the queries."""

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that it reads for these texts."""


@dataclass(frozen=True)
class Workshop:
    """Where a source makes what it needs of a run's queries before it is asked.

    Attributes:
        folder: holds an artifact for each such source, beside the candidates.
        replacing: what may go for one.
        ceiling: bytes that the process is to take at most.
        makes: whether it is made here: of several processes that make candidates the first does.
    """

    folder: Path
    replacing: Replace
    ceiling: int
    makes: bool = True


#: (what they are of, what else decides them) -> what keeps rows that a model has made until the
#: candidates are finished.
Keep = Callable[[str, Mapping[str, Any]], Checkpoint]


@runtime_checkable
class Prepares(Protocol):
    """A source that makes something of its own before it is asked."""

    def prepare(self, workshop: Workshop, keep: Keep) -> Mapping[str, Any]:
        """Make it, unless it is there; returns what the manifest of the candidates tells of it."""


@runtime_checkable
class ReadsPairs(Protocol):
    """A source whose model reads (query, document) pairs: they are what a run of it costs."""

    def scorer(self) -> Scorer:
        """The model, loaded."""

    def pairs_beforehand(self, documents: int, workshop: Workshop) -> int:
        """Pairs that are left to be read before it is asked, in a corpus of so many documents."""

    def pairs_of_query(self, k: int) -> int:
        """Pairs that it reads to find the k best documents of a query."""


def capabilities_of(source: Source) -> Capabilities:
    """What a source is: what it says, or one that searches."""
    return source.capabilities if isinstance(source, HasCapabilities) else Capabilities()
