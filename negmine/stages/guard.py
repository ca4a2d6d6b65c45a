"""What ``filter`` asks of texts, vectors and other queries: a mask per rule for every part.

Texts are fetched for several parts at a time, as many as fit a fixed budget, so that the corpus is
read seldom and memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine import identity, log
from negmine.errors import MissingInputError, UsageError, did_you_mean
from negmine.identity import Texts
from negmine.params import FilterParams
from negmine.rules.base import positive_scores, read_score
from negmine.samplers import digests
from negmine.table import schema as schemas
from negmine.table.artifact import Artifact
from negmine.table.documents import Documents
from negmine.table.names import score_column
from negmine.table.readers import Problems, input_file, read_qrels

#: Corpora up to these sizes are described whole, once per process: an audit filters many times.
_WHOLE_BYTES = 32 << 20
_WHOLE_DOCUMENTS = 50_000

#: name, the part, the part with the labels that count.
Labelled = tuple[str, pa.Table, pa.Table]
Flagged = tuple[str, pa.Table, dict[str, np.ndarray]]

_described: dict[tuple[str, str, bool], Texts] = {}


@dataclass(frozen=True)
class _Duplicates:
    """Near-duplicate queries: each one's cluster, and keys of (cluster, document) positives."""

    qids: pa.Array
    cluster: np.ndarray
    keys: np.ndarray


class Guard:
    """Answers for the parts of one scored artifact.

    Args:
        params: which answers are wanted.
        source: the scored artifact.
        at_once: bytes of document text whose features are made together.

    Raises:
        UsageError: vectors are asked for that the candidates were not retrieved with.
    """

    def __init__(self, params: FilterParams, source: Artifact, at_once: int) -> None:
        self._params = params
        self._at_once = at_once
        self._source = source
        self._signatures = params.near_duplicates
        self._texts = params.same_text or params.query_text or params.near_duplicates
        self._duplicates: _Duplicates | None = None
        self._excluded: pa.Array | None = None
        self._cosines = dict(map(_cosine, params.near_duplicate_cosine))
        for name in (*self._cosines, *params.closer_than_positive):
            self._vectors(name)

    def flags(self, parts: Iterable[Labelled]) -> Iterator[Flagged]:
        """The masks of each part, in order."""
        params = self._params
        if params.duplicate_queries and self._duplicates is None:
            self._duplicates = self._find_duplicates()
        if params.exclude is not None and self._excluded is None:
            self._excluded = _listed(params.exclude)
        for group, texts in self._groups(parts):
            for name, table, labelled in group:
                yield name, table, self._part(name, labelled, texts)

    def _part(self, name: str, table: pa.Table, texts: Texts | None) -> dict[str, np.ndarray]:
        params = self._params
        qids = table.column("qid")
        query, positive = _queries(table)
        found: dict[str, np.ndarray] = {}
        if texts is not None:
            row = pc.index_in(table.column("docid"), value_set=texts.docids).to_numpy()
            content = np.where(texts.size > 0, texts.content, 0)[row]
            told = content != 0
            if params.same_text:
                found["same_text"] = told & identity.same_text(query, positive, content)
            if params.query_text:
                asked = self._queries(name)
                own = digests(identity.normalise(asked.column("text").combine_chunks()))
                at = pc.index_in(qids, value_set=asked.column("qid").combine_chunks()).to_numpy()
                found["query_text"] = told & ~positive & (own[at] == content)
            if texts.signature is not None:
                found["near_duplicate"] = identity.near_duplicate(
                    query, positive, row, texts.size, texts.signature, params.near_duplicate_at
                )
        if params.chunk_suffix is not None:
            try:
                found["sibling"] = identity.siblings(
                    query, positive, table.column("docid"), params.chunk_suffix
                )
            except pa.ArrowInvalid as error:
                raise UsageError(f"--chunk-suffix is no regular expression: {error}") from error
        if self._duplicates is not None:
            near = self._duplicates
            number = pc.fill_null(pc.index_in(qids, value_set=near.qids), -1).to_numpy()
            cluster = np.where(number >= 0, near.cluster[number], -1) if len(near.qids) else number
            keys = identity.pair_keys(cluster, digests_of(table.column("docid")))
            found["duplicate_query"] = (cluster >= 0) & ~positive & np.isin(keys, near.keys)
        if self._excluded is not None:
            inside = pc.is_in(table.column("docid"), value_set=self._excluded)
            found["excluded"] = ~positive & inside.to_numpy(zero_copy_only=False)
        if self._cosines or params.closer_than_positive:
            found.update(self._vector_flags(table, query, positive))
        return found

    # --- texts --------------------------------------------------------------------------------

    def _queries(self, part: str) -> pa.Table:
        return self._source.ancestor("retrieve").read(f"_queries/{part}")

    def _groups(self, parts: Iterable[Labelled]) -> Iterator[tuple[list[Labelled], Texts | None]]:
        """Parts whose documents are described together."""
        if not self._texts:
            for part in parts:
                yield [part], None
            return
        documents = Documents(self._source.ancestor("index.documents"))
        size = int(documents.artifact.counts.get("text_bytes", 0))
        if describes_whole(size, len(documents)):
            texts = self._whole(documents)
            for part in parts:
                yield [part], texts
            return
        at_once = documents.fitting(self._at_once)
        group: list[Labelled] = []
        wanted = pa.array([], pa.string())
        for part in parts:
            docids = part[1].column("docid").combine_chunks().unique()
            more = pa.chunked_array([wanted, docids]).unique()
            if group and len(more) > at_once:
                yield group, self._describe(documents, wanted)
                group, more = [], docids
            group.append(part)
            wanted = more
        if group:
            yield group, self._describe(documents, wanted)

    def _describe(self, documents: Documents, docids: pa.Array) -> Texts:
        texts = documents.texts(docids)
        with log.progress("describing texts", len(docids), " docs") as bar:
            return identity.describe(
                docids, texts, signatures=self._signatures, progress=bar.update
            )

    def _whole(self, documents: Documents) -> Texts:
        key = (str(documents.artifact.path), documents.artifact.fingerprint, self._signatures)
        if key not in _described:
            ids = [part.column("docid") for _, part in documents.parts(["docid"])]
            docids = pa.chunked_array([c for column in ids for c in column.chunks], pa.string())
            _described.clear()
            _described[key] = self._describe(documents, docids.combine_chunks())
        return _described[key]

    def _find_duplicates(self) -> _Duplicates:
        """Clusters of near-duplicate queries over all parts, with their known positives."""
        qids, texts, owner, docs = [], [], [], []
        for name, table in self._source.tables("reading queries", ["qid", "docid", "label"]):
            known = table.filter(pc.equal(table.column("label"), 1))
            qids.append(table.column("qid").combine_chunks().unique())
            asked = self._queries(name)
            at = pc.index_in(qids[-1], value_set=asked.column("qid").combine_chunks())
            texts.append(asked.column("text").combine_chunks().take(at))
            owner.append(known.column("qid").combine_chunks())
            docs.append(digests_of(known.column("docid")))
        every = pa.chunked_array(qids, pa.string()).combine_chunks()
        cluster = identity.clusters(
            pa.chunked_array(texts, pa.string()).combine_chunks(), self._params.duplicate_query_at
        )
        shared = np.flatnonzero(cluster >= 0)
        near = every.take(pa.array(shared))
        number = pc.index_in(pa.chunked_array(owner, pa.string()), value_set=near)
        mine = number.is_valid().to_numpy(zero_copy_only=False)
        keys = identity.pair_keys(
            cluster[shared][number.drop_null().to_numpy()], np.concatenate(docs)[mine]
        )
        return _Duplicates(near, cluster[shared], np.unique(keys))

    # --- vectors ------------------------------------------------------------------------------

    def _vectors(self, name: str) -> Artifact:
        """The vectors that the candidates were retrieved with."""
        retrieved = self._source.ancestor("retrieve")
        inputs = retrieved.manifest["inputs"]
        known = [role for role in inputs if role not in ("documents", "bm25", "queries", "qrels")]
        known = [role for role in known if "stage" in inputs[role]]
        if name not in known:
            raise UsageError(
                f"no vectors '{name}' among the sources of the candidates",
                hint=did_you_mean(name, known),
            )
        vectors = retrieved.input(name)
        if not vectors.manifest["params"].get("normalize", False):
            raise UsageError(
                f"the vectors '{name}' are not of length 1, so their products are no cosines",
                hint="Index again with --normalize.",
            )
        return vectors

    def _vector_flags(
        self, table: pa.Table, query: np.ndarray, positive: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Cosines with the positives of each row's query, compared."""
        found: dict[str, np.ndarray] = {}
        documents = Documents(self._source.ancestor("index.documents"))
        row = documents.rows(table.column("docid").combine_chunks())
        left, right = identity.positive_pairs(query, positive)
        if self._cosines:
            near = np.zeros(len(query), dtype=bool)
            for name, at in self._cosines.items():
                cosine = self._pair_cosines(name, row, left, right)
                near[left[cosine >= at]] = True
            found["near_duplicate_cosine"] = near
        names = self._params.closer_than_positive
        if names:
            # Concatenated vectors of length 1 have the mean of the cosines.
            asked = np.mean([read_score(table, name) for name in names], axis=0)
            between = np.mean([self._pair_cosines(n, row, left, right) for n in names], axis=0)
            found["closer_than_positive"] = _not_closer(
                query, positive, asked, left, right, between
            )
        return found

    def _pair_cosines(
        self, name: str, row: np.ndarray, left: np.ndarray, right: np.ndarray
    ) -> np.ndarray:
        from negmine.sources.dense import Vectors, score_pairs

        vectors = Vectors(self._vectors(name))
        distinct, inverse = np.unique(row[right], return_inverse=True)
        pieces = []
        for first, part in vectors.parts():
            low, high = np.searchsorted(distinct, [first, first + len(part)])
            pieces.append(np.asarray(part[distinct[low:high] - first], dtype=np.float32))
        if len(distinct) == 0:
            return np.empty(0)
        return score_pairs(vectors, np.concatenate(pieces), inverse, row[left]).astype(np.float64)


def describes_whole(text_bytes: int, documents: int) -> bool:
    """Whether a corpus is small enough for all its texts to be described at once."""
    return text_bytes <= _WHOLE_BYTES and documents <= _WHOLE_DOCUMENTS


def _not_closer(
    query: np.ndarray,
    positive: np.ndarray,
    asked: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    between: np.ndarray,
) -> np.ndarray:
    """Rows that fail ``dist(q,d) < dist(q,d+)`` and ``dist(q,d) < dist(d+,d)``, cosine distances.

    Hard Negative Mining for Domain-Specific Retrieval (arXiv 2505.18366). Of several positives
    the one farthest from the query counts. Its PCA of six encoders' vectors is left out: the
    vectors are compared whole. A row or positive that an encoder did not score fails.

    Args:
        query: query number per row.
        positive: known positives.
        asked: cosine of each row with its query.
        left: rows that are compared with a positive.
        right: the positives' rows.
        between: cosine of each such pair.
    """
    starts = schemas.group_starts(query)
    farthest = positive_scores(asked, positive, starts, "min")[query] if len(query) else asked
    kept = np.zeros(len(query), dtype=bool)
    counts = asked[right] == farthest[left]
    both = counts & (asked[left] > farthest[left]) & (asked[left] > between)
    kept[left[both]] = True
    return ~positive & ~kept


def _queries(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return schemas.query_numbers(table.column("qid"))[0], table.column("label").to_numpy() == 1


def digests_of(strings: pa.ChunkedArray) -> np.ndarray:
    """64 bits per string; equal strings are hashed once."""
    encoded = strings.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return digests(encoded.dictionary)[encoded.indices.to_numpy()]


def _cosine(entry: str) -> tuple[str, float]:
    """``NAME=COSINE``."""
    name, separator, value = entry.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not separator or not -1 <= number <= 1:
        raise UsageError(
            f"--near-duplicate-cosine {entry!r} is not NAME=COSINE",
            hint="For example: --near-duplicate-cosine minilm=0.97",
        )
    return name.removeprefix(score_column("")), number


def excluded_file(path: str) -> Path:
    """The file behind ``--exclude``: a list, or qrels (of a BEIR folder, too).

    Raises:
        MissingInputError: there is none.
    """
    if Path(path).is_dir():
        return input_file(path, "qrels")
    if not Path(path).is_file():
        raise MissingInputError("no such file", where=path, hint="Check --exclude.")
    return Path(path)


def _listed(path: str) -> pa.Array:
    """The docids of a plain list, one per line, or of all judgements of a qrels file."""
    file = excluded_file(path)
    try:
        with file.open(encoding="utf-8") as lines:
            plain = file.suffix not in (".jsonl", ".csv") and not any(
                len(line.split()) > 1 for line, _ in zip(lines, range(2), strict=False)
            )
        if plain:
            ids = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
            return pa.array([docid for docid in ids if docid], pa.string())
    except UnicodeDecodeError:
        pass
    found = [batch.column("docid") for batch in read_qrels(path, {}, Problems("fail"))]
    return pa.chunked_array(found, pa.string()).combine_chunks().unique()
