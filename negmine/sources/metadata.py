"""``--source NAME=metadata:...``: documents by kept columns of the corpus and of the queries.

What fits a query is told by its known positives' values or by its own (:mod:`.metadata_spec`);
of what fits another source takes the best, or chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from negmine import log
from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.params.retrieve import RetrieveParams
from negmine.sources import another, kinds
from negmine.sources.base import (
    Asked,
    Capabilities,
    HasTokens,
    Hits,
    ScoresPairs,
    SearchesAmong,
    Source,
    capabilities_of,
)
from negmine.sources.child import DOCUMENTS, Needs
from negmine.sources.kind import Another, Kind, Opening, SourceRef
from negmine.sources.matching import (
    POLE,
    Condition,
    Matching,
    Near,
    Within,
    around,
    distinct_codes,
    lowest,
    ragged,
    unit_vectors,
)
from negmine.sources.metadata_spec import USAGE, Spec, parse
from negmine.sources.metadata_spec import Condition as Asks
from negmine.sources.metadata_values import NO_VALUE, READ, Floats, KeptColumns, Meaning
from negmine.table import joins
from negmine.table.artifacts.reading import Artifact
from negmine.table.documents import Documents
from negmine.table.draws import digests, salted, splitmix

SCHEME = "metadata"


class Finder:
    """What fits queries by a spec.

    Args:
        documents: the corpus.
        spec: the conditions.
        kept: columns that the queries have; ``=`` and ``!=`` go by them where they are there.
    """

    def __init__(self, documents: Documents, spec: Spec, kept: Sequence[str]) -> None:
        self.documents, self.spec = documents, spec
        self.columns = KeptColumns(documents)
        self._kept = frozenset(kept)
        self._meaning: dict[str, Meaning] = {}
        self._codes: dict[Asks, tuple[pa.Array, npt.NDArray[np.int32]]] = {}

    def matching(self, asked: Asked) -> Matching:
        """The documents that fit each of the queries."""
        rows = self.documents.rows(asked.positive_docid)
        made = [self._condition(asks, asked, rows) for asks in self.spec.conditions]
        return Matching(self.documents, made, len(asked))

    def meaning(self, asks: Asks) -> Meaning:
        """What the values of a compared column are: numbers or dates."""
        if asks.operator == "~":
            return "date" if asks.unit == "time" else "number"
        (column,) = asks.columns
        if column not in self._meaning:
            self._meaning[column] = self.columns.meaning(column)
        return self._meaning[column]

    def goes_by_query(self, asks: Asks) -> bool:
        """Whether a condition goes by the query's own value."""
        return asks.ordered or (asks.operator != "" and asks.columns[0] in self._kept)

    def _condition(self, asks: Asks, asked: Asked, rows: npt.NDArray[np.int64]) -> Condition:
        if asks.unit == "length":
            return self._near_places(asks, asked, rows)
        if asks.equal:
            return self._equal(asks, asked, rows)
        values = self.columns.floats(asks.columns[0], self.meaning(asks))
        if asks.ordered:
            own = READ[self.meaning(asks)](asked.kept[asks.columns[0]])
            told = np.flatnonzero(np.isfinite(own))
            low, high = _beyond(asks, own[told])
            return Within(values, ragged(told, len(asked)), low, high)
        there = np.flatnonzero(rows >= 0)
        there = there[np.isfinite(values[rows[there]])]
        query = asked.positive_query[there]
        found = around(query, values[rows[there]], asks.radius, len(asked))
        return Within(values, *found)

    def _equal(self, asks: Asks, asked: Asked, rows: npt.NDArray[np.int64]) -> Condition:
        (column,) = asks.columns
        if self.goes_by_query(asks):
            texts, query = asked.kept[column], np.arange(len(asked), dtype=np.int32)
        else:
            texts, query = self.columns.texts(column, rows), asked.positive_query
        valid = texts.is_valid()
        texts = texts.filter(valid)
        query = query[valid.to_numpy(zero_copy_only=False)]
        wanted, codes = self._coded(asks, texts)
        of_query, code = distinct_codes(
            query, pc.index_in(texts, value_set=wanted).to_numpy(), len(asked)
        )
        return Within(codes, of_query, code, code, asks.operator == "!=", NO_VALUE)

    def _coded(self, asks: Asks, texts: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int32]]:
        """(distinct values, texts among them, and each document's place there).

        The corpus is read for them once where the first who ask are all queries.
        """
        held = self._codes.get(asks)
        if held is None or pc.index_in(texts, value_set=held[0]).null_count:
            wanted = texts.unique()
            held = self._codes[asks] = (wanted, self.columns.codes(asks.columns[0], wanted))
        return held

    def _near_places(self, asks: Asks, asked: Asked, rows: npt.NDArray[np.int64]) -> Condition:
        latitude, longitude = (self.columns.floats(name, "number") for name in asks.columns)
        known = np.flatnonzero(rows >= 0)
        place = unit_vectors(latitude[rows[known]], longitude[rows[known]])
        there = np.isfinite(place).all(axis=1)
        of_query = ragged(asked.positive_query[known[there]], len(asked))
        return Near(latitude, longitude, of_query, place[there], asks.radius)


def _beyond(asks: Asks, value: Floats) -> tuple[Floats, Floats]:
    """The closed intervals of what is smaller or larger than some values."""
    infinity = np.full(len(value), np.inf)
    if asks.operator in ("<", "<="):
        return -infinity, np.nextafter(value, -np.inf) if asks.operator == "<" else value
    return np.nextafter(value, np.inf) if asks.operator == ">" else value, infinity


class Drawn:
    """Of what fits a query k documents by chance.

    Each pair of a query and a document has a number, a hash of both ids and the seed; the lowest
    are taken. So what is drawn does not depend on the order of anything, nor on who else is asked.

    Args:
        finder: what fits.
    """

    capabilities = Capabilities(searches=False, reads_corpus=True)

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._hashed: tuple[int, npt.NDArray[np.uint64]] | None = None

    def search(self, asked: Asked, k: int) -> Hits:
        """The documents drawn for each query, in the order of their numbers; without a score."""
        seed = salted(asked.seed, f"{SCHEME} {self._finder.spec.purpose}")
        if self._hashed is None or self._hashed[0] != seed:
            self._hashed = (seed, self._finder.documents.hashed(seed))
        numbers = splitmix(digests(asked.qids, seed))
        query, rows = lowest(self._finder.matching(asked), numbers, self._hashed[1], k)
        docid = self._finder.documents.ids(rows)
        return Hits(query.astype(np.int32), docid, np.full(len(query), np.nan, dtype=np.float32))

    def close(self) -> None:
        """Let go of the hashes."""
        self._hashed = None


class Ranked:
    """Of what fits a query the best k by another source, with that source's scores.

    Args:
        finder: what fits.
        by: who ranks; it scores pairs, too.
        own: whether nobody else has it open.
    """

    def __init__(self, finder: Finder, by: Source, *, own: bool) -> None:
        assert isinstance(by, SearchesAmong), "its kind says so"
        assert isinstance(by, ScoresPairs), "what searches among documents scores them"
        self.capabilities = Capabilities(
            searches=False, reads_corpus=True, vectors=capabilities_of(by).vectors
        )
        self._finder, self._among, self._scores = finder, by, by
        self._source, self._own = by, own

    def search(self, asked: Asked, k: int) -> Hits:
        """The best documents that fit each query, by (-score, docid)."""
        hits = self._among.search_among(asked, k, self._finder.matching(asked))
        return self._above(asked, hits) if self._finder.spec.above else hits

    def _above(self, asked: Asked, hits: Hits) -> Hits:
        """The hits that score above the lowest of the query's positives."""
        score = self._scores.score(asked, asked.positive_query, asked.positive_docid)
        limit = np.full(len(asked), np.inf, dtype=np.float32)
        known = ~np.isnan(score)
        np.minimum.at(limit, asked.positive_query[known], score[known])
        rows = np.flatnonzero(hits.score > limit[hits.query])
        return Hits(hits.query[rows], hits.docid.take(pa.array(rows)), hits.score[rows])

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """The ranking source's score of each (query index, docid) pair."""
        return self._scores.score(asked, query, docids)

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that the ranking source reads, where it reads for nobody else."""
        reads = self._own and isinstance(self._source, HasTokens)
        return self._source.tokens(queries) if reads else 0  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the ranking source, if it is nobody else's."""
        if self._own:
            self._source.close()


# --- the kind of source -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    """One source as it is asked.

    Attributes:
        name: its name.
        option: how it was written.
        spec: what that says.
        by: the source that ranks.
    """

    name: str
    option: str
    spec: Spec
    by: Another | None = None


def _choose(
    params: RetrieveParams, wanted: Mapping[str, str], index: Artifact
) -> Sequence[SourceRef]:
    corpus = Documents(index.input(DOCUMENTS))
    refs = []
    for name, rest in wanted.items():
        option = f"{name}={SCHEME}:{rest}"
        spec = parse(option, rest)
        _check(params, option, spec, corpus)
        by = None
        if spec.by is not None:
            _check_ranking(option, spec.by, index)
            by = another.asked(params, name, spec.by, index)
        asked = _Wanted(name, option, spec, by)
        refs.append(
            SourceRef(
                name,
                partial(_open, asked),
                beside={} if spec.by is None else {spec.by: index.input(spec.by)},
                spec=rest,
                needs=partial(_needs, asked, len(corpus)),
                asks=by,
            )
        )
    return refs


def _check(params: RetrieveParams, option: str, spec: Spec, corpus: Documents) -> None:
    """See that the columns are there that a spec reads.

    Raises:
        UsageError: the corpus keeps none of this name, or the queries, where they are asked.
    """
    for column in spec.columns:
        joins.check(column, corpus, f"--source {option}")
    for asks in spec.conditions:
        if asks.ordered and asks.columns[0] not in params.keep:
            column = asks.columns[0]
            raise UsageError(
                f"--source {option}: '{column}{asks.operator}' compares with the query's own "
                "value, and the queries keep none",
                hint=f"Add --keep {column}, if the queries have this column.",
            )


def _check_ranking(option: str, by: str, index: Artifact) -> None:
    """See that there is a source that ranks.

    Raises:
        UsageError: the index has none of this name, or it cannot rank some documents alone.
    """
    offered = {
        role: kind
        for role in index.roles()
        if (kind := kinds.of_stage(index.inputs[role]["stage"])) is not None
    }
    able = [role for role, kind in offered.items() if kind.searches_among]
    if by not in offered:
        raise UsageError(
            f"--source {option}: the index has no source '{by}' to rank with",
            hint=did_you_mean(by, able),
        )
    if by not in able:
        raise UsageError(
            f"--source {option}: '{by}' ranks the whole corpus, not what fits alone",
            hint=f"Rank with one of: {', '.join(able) or '(none in this index)'}; or leave /{by} "
            "out: then what fits is drawn by chance, and scored by the other sources.",
        )


def _needs(wanted: _Wanted, documents: int) -> Needs:
    """What is held: a number of each column and document, and a hash of each."""
    compared = {c for asks in wanted.spec.conditions if not asks.equal for c in asks.columns}
    each = 8 * len(compared) + 4 * sum(asks.equal for asks in wanted.spec.conditions)
    if wanted.by is None:
        each += 8
    return Needs(fixed={f"the_kept_columns_of_{wanted.name}": each * documents})


def _open(wanted: _Wanted, opening: Opening) -> Source:
    finder = Finder(opening.corpus, wanted.spec, list(opening.kept))
    tell = _Told(wanted, finder, opening)
    for asks in wanted.spec.conditions:
        tell.values(asks)
    tell.queries()
    if wanted.by is None:
        return Drawn(finder)
    ranking, own = wanted.by.open(opening)
    return Ranked(finder, ranking, own=own)


@dataclass(frozen=True)
class _Told:
    """What is to be told of a source's columns before it is asked."""

    wanted: _Wanted
    finder: Finder
    opening: Opening

    def _tell(self, what: str, count: int, words: str) -> None:
        if count:
            self.opening.counts[f"{self.wanted.name}_{what}"] = (
                self.opening.counts.get(f"{self.wanted.name}_{what}", 0) + count
            )
            self.opening.warnings.append(f"--source {self.wanted.name}: {words}")

    def values(self, asks: Asks) -> None:
        """Count the documents that a condition finds nothing to compare in.

        Raises:
            InvalidDataError: none has a value, or no value is a number or a date, as is needed.
        """
        if asks.equal:
            (column,) = asks.columns
            if asks.operator:
                whose = "their own" if self.finder.goes_by_query(asks) else "their positives'"
                log.event(f"{self.wanted.name}: '{column}{asks.operator}' goes by {whose} values")
            self._there(column, self.finder.columns.count(column))
            return
        for column in asks.columns:
            meaning = self.finder.meaning(asks)
            there, unread, example = self.finder.columns.unread(column, meaning)
            self._there(column, there)
            if unread == there:
                raise InvalidDataError(
                    f"--source {self.wanted.option}: no value of '{column}' is a {meaning}: "
                    f"{example!r}, for example",
                    where=str(self.opening.corpus.artifact.path),
                    hint=_as_what(asks, column),
                )
            words = f"{unread} values of '{column}' are no {meaning}s, such as {example!r}"
            self._tell("values_unread", unread, f"{words}: their documents are left out")
        if asks.unit == "length":
            self._places(asks)

    def _there(self, column: str, there: int) -> None:
        documents = len(self.opening.corpus)
        if not there:
            raise InvalidDataError(
                f"--source {self.wanted.option}: no document has a value in '{column}'",
                where=str(self.opening.corpus.artifact.path),
                hint="Only the documents of a corpus file have kept columns, passages of --pairs "
                "have none.",
            )
        words = f"{documents - there} of {documents} documents have no value in '{column}'"
        self._tell("documents_without_value", documents - there, f"{words}: they are left out")

    def _places(self, asks: Asks) -> None:
        first, second = asks.columns
        latitude, longitude = (self.finder.columns.floats(one, "number") for one in asks.columns)
        beyond = np.abs(latitude) > POLE
        found = int((np.isfinite(latitude) & np.isfinite(longitude) & ~beyond).sum())
        if not found:
            raise InvalidDataError(
                f"--source {self.wanted.option}: no document has a place: both '{first}' from -90 "
                f"to 90 and '{second}' in degrees",
                where=str(self.opening.corpus.artifact.path),
                hint=f"Latitude comes first; if it is the other column: {second},{first}.",
            )
        lost = int(beyond.sum())
        words = f"{lost} latitudes in '{first}' are beyond the poles (is it the longitude?)"
        self._tell("values_unread", lost, f"{words}: their documents are left out")

    def queries(self) -> None:
        """Count the queries that have nothing to compare with."""
        opening, judged = self.opening, self.opening.judgements
        asked = Asked(
            qids=opening.qids,
            texts=[""] * len(opening.qids),
            positive_query=judged.query[judged.positive],
            positive_docid=judged.docid.filter(pa.array(judged.positive)),
            kept=opening.kept,
        )
        lost = int(self.finder.matching(asked).idle().sum())
        words = f"{lost} of {len(asked)} queries have no value to go by ({self._whose()})"
        self._tell("queries_without_value", lost, f"{words}: nothing is found for them")

    def _whose(self) -> str:
        told = [
            f"{', '.join(asks.columns)} of "
            + ("their own" if self.finder.goes_by_query(asks) else "their positives")
            for asks in self.wanted.spec.conditions
        ]
        return "; ".join(told)


def _as_what(asks: Asks, column: str) -> str:
    """How to ask where no value of a column is what is needed."""
    if asks.operator == "~" and asks.unit == "":
        return f"Of dates the distance has a unit: {column}~30d."
    if asks.unit == "time":
        return (
            f"Dates are written as in 2024-02-29 (ISO 8601); of numbers the distance has no unit: "
            f"{column}~30."
        )
    return f"Equal values are asked for without a sign: metadata:{column}."


METADATA = Kind(SCHEME, _choose, scheme=SCHEME, usage=USAGE)
