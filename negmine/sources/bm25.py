"""BM25 over a Lucene index: Anserini's index, analyser and query, read in bulk.

Anserini's own searcher reads the stored document of every hit, rounds the scores to four
decimals and spreads tied ones by 1e-6, so that true ties are lost. Here the same query goes
to Lucene's searcher, the hits of a query cross to Python as one JSON text instead of two Java
calls per hit, and the docids come from a table that :func:`build` leaves beside the index.

**Ties.** Lucene adds up a document's term scores in double precision, where sums of floats of
this size are exact in any order: equal documents get equal scores whatever the layout of the
index, and pair scores equal the search's. One hit more than asked for is fetched; where it
ties with the last one, the query runs again with Lucene itself breaking ties by docid. So the
cut at ``k`` is exact for any number of tied documents.

**Empty documents.** Anserini skips a document without contents. Here it is indexed with a
full stop for contents, of which the analyser leaves nothing: BM25's statistics do not change,
no query finds it, and its pair score is 0.0, while that of an unknown document is NaN.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, MissingInputError, NegmineError
from negmine.log import progress
from negmine.sources import jvm, languages
from negmine.sources.base import Among, Asked, Hits
from negmine.sources.lucene import (
    CONTENTS,
    ID,
    adder,
    in_threads,
    lucene_directory,
    lucene_documents,
    lucene_errors,
    lucene_term,
    lucene_writer,
    plain_strings,
    read_hits,
)
from negmine.table import ranking

_IDS_FILE = "docids.arrow"
_TASK_QUERIES = 64
_TASK_HITS = 50_000
#: Pairs that are scored at a time where a search is among some documents, and that are looked
#: through for them.
_TASK_PAIRS, _TASK_MASK = 200_000, 4_000_000
_IDS_PER_PAGE = 50_000
#: Hits fetched beyond ``k`` at least, so that few ties at the cut reach past them.
_SPARE_HITS = 16
_MAX_CLAUSES = 1 << 20
_Found = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]


def build(
    batches: Iterable[pa.RecordBatch],
    folder: Path,
    *,
    threads: int,
    memory_bytes: int | None,
    language: str = languages.ENGLISH,
) -> int:
    """Index documents with Anserini's defaults and return how many the index holds.

    The index keeps ids, term frequencies and lengths: no texts and no positions, which BM25
    does not read. Its settings are Anserini's, so pyserini's ``LuceneSearcher`` opens it.

    Args:
        batches: columns ``docid`` (unique), ``title`` and ``text``; a null is an empty string.
        folder: where the index goes; a Lucene index that is there already is replaced.
        threads: how many documents are analysed at a time.
        memory_bytes: the ceiling of the Java heap, where Java is not running yet.
        language: of the texts, as :mod:`negmine.sources.languages` names it.

    Raises:
        InvalidDataError: an id is missing or too long, or the index holds another count.
    """
    jvm.start(memory_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    given = 0
    with lucene_errors(folder), lucene_directory(folder) as directory:
        writer = lucene_writer(directory, language)
        add = adder(writer)
        try:
            for added in in_threads(add, lucene_documents(batches), threads):
                given += added
            writer.commit()
            writer.close()
        except BaseException:
            # Drops what was written and gives the lock back; a partial index never looks whole.
            writer.rollback()
            raise
    with Bm25Source(folder, threads=threads, _ids_expected=False) as source:
        indexed = len(source)
        if indexed != given:
            raise InvalidDataError(
                f"Lucene indexed {indexed:,} documents of {given:,}", where=str(folder)
            )
        source.write_ids()
    return indexed


class Bm25Source:
    """BM25 retrieval and pair scoring on a folder written by :func:`build`.

    Args:
        folder: the Lucene index; one written by pyserini or Anserini works too.
        k1: term frequency saturation.
        b: length normalisation.
        threads: queries searched at a time.
        memory_bytes: the ceiling of the Java heap, where Java is not running yet.
        language: what the index was made with; queries are analysed as its documents were.
    """

    def __init__(
        self,
        folder: Path,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        threads: int = 1,
        memory_bytes: int | None = None,
        language: str = languages.ENGLISH,
        _ids_expected: bool = True,
    ) -> None:
        """Open the index; Java is started when it does not run yet."""
        jvm.start(memory_bytes)
        from jnius import cast

        self._folder = folder
        self._threads = threads
        self._closed = False
        self._building = threading.Lock()
        readers = jvm.java_class("org.apache.lucene.index.DirectoryReader")
        with lucene_errors(folder), lucene_directory(folder, must_exist=True) as directory:
            if not readers.indexExists(directory):
                raise MissingInputError("this folder holds no Lucene index", where=str(folder))
            self._reader = readers.open(directory)
            self._documents = int(self._reader.maxDoc())
            searchers = jvm.java_class("org.apache.lucene.search.IndexSearcher")
            searchers.setMaxClauseCount(_MAX_CLAUSES)
            self._searcher = searchers(cast("org.apache.lucene.index.IndexReader", self._reader))
            self._searcher.setSimilarity(
                jvm.java_class("org.apache.lucene.search.similarities.BM25Similarity")(k1, b)
            )
            # No query comes twice, so a cache would only cost memory and time.
            self._searcher.setQueryCache(None)
        self._analyzer = languages.analyzer(language)
        self._generator = jvm.java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
        self._mapper = jvm.java_class("com.fasterxml.jackson.databind.ObjectMapper")()
        self._boolean = jvm.java_class("org.apache.lucene.search.BooleanQuery$Builder")
        self._ids_query = _ids_query(self._mapper)
        self._bytes = jvm.java_class("org.apache.lucene.util.BytesRef")
        occur = jvm.java_class("org.apache.lucene.search.BooleanClause$Occur")
        self._must, self._filter = occur.MUST, occur.FILTER
        fields = jvm.java_class("org.apache.lucene.search.SortField")
        types = jvm.java_class("org.apache.lucene.search.SortField$Type")
        sort = jvm.java_class("org.apache.lucene.search.Sort")
        by_id = fields(ID, types.STRING_VAL)
        self._by_score_then_id = sort(fields.FIELD_SCORE, by_id)
        self._in_index_order = sort(fields.FIELD_DOC, by_id)
        self._ids = self._load_ids() if _ids_expected else None

    def __len__(self) -> int:
        """How many documents the index holds."""
        return self._documents

    def __enter__(self) -> Bm25Source:
        """The source itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the index."""
        self.close()

    def search(self, asked: Asked, k: int) -> Hits:
        """The ``k`` best documents of each query that share a term with it, or fewer."""
        queries = asked.texts
        keep = min(k, self._documents)
        per_task = max(1, min(_TASK_QUERIES, _TASK_HITS // (keep + 1)))
        query, doc, score = self._gather(
            lambda start: self._search_some(start, queries[start : start + per_task], keep),
            range(0, len(queries) if keep > 0 else 0, per_task),
        )
        docid = self._docids(doc)
        order = _ties_by_docid(query, score, docid)
        inside = ranking.positions_in_group(query) <= keep
        if order is not None:
            docid = docid.take(pa.array(order[inside]))
        elif not inside.all():
            docid = docid.filter(pa.array(inside))
        return Hits(query[inside], docid, score[inside])

    def score(
        self, asked: Asked, query: npt.NDArray[np.int32], docids: pa.Array
    ) -> npt.NDArray[np.float32]:
        """The BM25 score of each (query index, docid) pair.

        0.0 where the two share no term, NaN where the index does not hold the document.
        """
        if len(query) != len(docids):
            raise ValueError(f"{len(query)} queries for {len(docids)} docids")
        encoded = plain_strings(docids).dictionary_encode()
        names: pa.Array = encoded.dictionary
        code = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        key = query.astype(np.int64) * max(1, len(names)) + code
        pairs, inverse = np.unique(key, return_inverse=True)
        pair_query, pair_code = np.divmod(pairs, max(1, len(names)))
        # One search per query, restricted to the documents it is paired with.
        bounds = np.flatnonzero(np.diff(pair_query, prepend=-1))
        per_task = max(1, min(_TASK_QUERIES, len(bounds) // (4 * self._threads) or 1))
        ends = np.append(bounds[1:], len(pairs))

        def task(first: int) -> _Found:
            groups = [
                (int(pair_query[start]), names.take(pa.array(pair_code[start:end])).to_pylist())
                for start, end in zip(
                    bounds[first : first + per_task], ends[first : first + per_task], strict=True
                )
            ]
            return self._score_some(asked.texts, groups)

        hit_query, doc, hit_score = self._gather(task, range(0, len(bounds), per_task))
        hit_code = pc.index_in(self._docids(doc), value_set=names).to_numpy(zero_copy_only=False)
        scores = np.zeros(len(pairs), np.float32)
        at = np.searchsorted(pairs, hit_query.astype(np.int64) * len(names) + hit_code)
        scores[at] = hit_score
        matched = np.zeros(len(names), bool)
        matched[hit_code] = True
        missing = self._missing(names, np.flatnonzero(~matched))
        scores[np.isin(pair_code, missing)] = np.nan
        return scores[inverse.reshape(-1)]

    def search_among(self, asked: Asked, k: int, among: Among) -> Hits:
        """Likewise of the documents that each query may find.

        Lucene is asked about some pairs at a time, as it is to score them, so what is held are
        their ids and the best so far.
        """
        best = Hits(np.empty(0, np.int32), pa.array([], pa.string()), np.empty(0, np.float32))
        for query, docids in _pairs_among(among, len(asked)):
            score = self.score(asked, query, docids)
            # What shares no word with the query is not found, as by any search.
            hit = np.flatnonzero(score > 0)
            found = Hits(query[hit], docids.take(pa.array(hit)), score[hit])
            best = _best(best, found, k)
        return best

    def write_ids(self) -> None:
        """Write the docids beside the index, in its order, so that opening it is cheap."""
        ids = self._read_ids()
        table = pa.table({"docid": ids})
        with (
            pa.OSFile(str(self._folder / _IDS_FILE), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as file,
        ):
            file.write_table(table)

    def close(self) -> None:
        """Let go of the index; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._reader.close()

    def _query(self, text: str) -> Any:
        return self._generator.buildQuery(CONTENTS, self._analyzer, text)

    def _search_some(self, start: int, queries: Sequence[str], k: int) -> _Found:
        """The hits of some queries, numbered from ``start``, in index order where they tie.

        A query has more than ``k`` of them where the ones at the cut tie.
        """
        fetched = k + max(_SPARE_HITS, k // 8)
        texts = []
        for text in queries:
            query = self._query(text)
            texts.append(self._mapper.writeValueAsString(self._searcher.search(query, fetched)))
        counts, doc, score = read_hits(texts)
        ends = np.cumsum(counts)
        full = np.flatnonzero(counts == fetched)
        tied = full[score[ends[full] - 1] == score[ends[full] - fetched + k - 1]]
        if len(tied):
            for number in tied.tolist():
                top = self._searcher.search(
                    self._query(queries[number]), k, self._by_score_then_id, True
                )
                texts[number] = self._mapper.writeValueAsString(top)
            counts, doc, score = read_hits(texts)
            ends = np.cumsum(counts)
        query = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        last = np.zeros(len(counts), np.float32)
        some = counts > 0
        last[some] = score[(ends - counts + np.minimum(counts, k) - 1)[some]]
        wanted = score >= last[query]
        return query[wanted] + np.int32(start), doc[wanted], score[wanted]

    def _score_some(self, queries: Sequence[str], groups: list[tuple[int, list[str]]]) -> _Found:
        texts = []
        for number, ids in groups:
            restricted = self._restricted(queries[number], ids)
            top = self._searcher.search(restricted, len(ids))
            texts.append(self._mapper.writeValueAsString(top))
        counts, doc, score = read_hits(texts)
        numbers = np.array([number for number, _ in groups], np.int32)
        return np.repeat(numbers, counts), doc, score

    def _restricted(self, text: str, ids: Iterable[str]) -> Any:
        """The query, answered by these documents only."""
        query, allowed = self._query(text), self._ids_query(ids)
        # See jvm.py: methods of objects that threads do not share must not be called at once.
        with self._building:
            builder = self._boolean()
            builder.add(query, self._must)
            builder.add(allowed, self._filter)
            return builder.build()

    def _missing(self, names: pa.Array, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which of ``codes`` name documents that the index does not hold."""
        missing = [np.empty(0, np.int64)]
        with lucene_errors(self._folder):
            for start in range(0, len(codes), _IDS_PER_PAGE):
                page = codes[start : start + _IDS_PER_PAGE]
                asked = names.take(pa.array(page))
                query = self._ids_query(asked.to_pylist())
                if self._searcher.count(query) == len(page):
                    continue
                text = self._mapper.writeValueAsString(self._searcher.search(query, len(page)))
                there = pc.is_in(asked, value_set=self._docids(read_hits([text])[1]))
                missing.append(page[~there.to_numpy(zero_copy_only=False)])
        return np.concatenate(missing)

    def _gather(self, task: Callable[[int], _Found], starts: range) -> _Found:
        """What is found for the queries from each of ``starts`` to the next."""
        parts = []
        with lucene_errors(self._folder), progress("asking Lucene", starts.stop, " queries") as bar:
            found = in_threads(task, starts, self._threads)
            for start, part in zip(starts, found, strict=True):
                parts.append(part)
                bar.update(min(starts.step, starts.stop - start))
        if not parts:
            return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
        query, doc, score = zip(*parts, strict=True)
        return np.concatenate(query), np.concatenate(doc), np.concatenate(score)

    def _docids(self, doc: npt.NDArray[np.int32]) -> pa.Array:
        return pc.take(self._ids, pa.array(doc)).cast(pa.string())

    def _load_ids(self) -> pa.Array:
        path = self._folder / _IDS_FILE
        if path.exists():
            ids = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column("docid")
            if len(ids) == self._documents:
                return ids.combine_chunks()
        return self._read_ids()

    def _read_ids(self) -> pa.Array:
        """The docid of every document, in the index's order, from its column of ids."""
        import orjson

        everything = jvm.java_class("org.apache.lucene.search.MatchAllDocsQuery")()
        first_field = jvm.java_class("java.lang.Integer")
        place = jvm.java_class("org.apache.lucene.search.FieldDoc")
        pages: list[pa.Array] = []
        last, docid = -1, b""
        with lucene_errors(self._folder):
            while last + 1 < self._documents:
                # With its id, or the last document of a page may come again on the next.
                after = place(last, 0.0, [first_field(last), self._bytes(docid)])
                top = self._searcher.searchAfter(
                    after, everything, _IDS_PER_PAGE, self._in_index_order
                )
                hits = orjson.loads(self._mapper.writeValueAsString(top))["scoreDocs"]
                found = [lucene_term(hit["fields"][1]) for hit in hits]
                pages.append(pa.array(found, pa.large_binary()))
                last, docid = hits[-1]["doc"], found[-1]
        ids = pa.concat_arrays(pages) if pages else pa.array([], pa.large_binary())
        if len(ids) != self._documents:
            raise NegmineError(
                f"Lucene gave {len(ids):,} ids for {self._documents:,} documents",
                where=str(self._folder),
            )
        return ids.cast(pa.large_string())


def _pairs_among(among: Among, queries: int) -> Iterator[tuple[npt.NDArray[np.int32], pa.Array]]:
    """The (query number, docid) pairs that may be found, about :data:`_TASK_PAIRS` at a time."""
    numbers: list[npt.NDArray[np.int32]] = []
    docids: list[pa.Array] = []
    held = 0
    for first, ids in among.parts():
        at_once = max(1, _TASK_MASK // max(1, len(ids)))
        for low in range(0, queries, at_once):
            high = min(low + at_once, queries)
            query, place = np.nonzero(among.mask(low, high, first, first + len(ids)))
            for start in range(0, len(query), _TASK_PAIRS):
                some = slice(start, start + _TASK_PAIRS)
                numbers.append((query[some] + low).astype(np.int32))
                docids.append(ids.take(pa.array(place[some])))
                held += len(numbers[-1])
                if held >= _TASK_PAIRS:
                    yield np.concatenate(numbers), pa.concat_arrays(docids)
                    numbers, docids, held = [], [], 0
    if held:
        yield np.concatenate(numbers), pa.concat_arrays(docids)


def _best(known: Hits, more: Hits, k: int) -> Hits:
    """The best k of each query by (-score, docid), in order."""
    query = np.concatenate([known.query, more.query])
    docid = pa.concat_arrays([known.docid, more.docid])
    score = np.concatenate([known.score, more.score])
    order = ranking.rank_order(query, score, ranking.Codes(docid))
    order = order[ranking.positions_in_group(query[order]) <= k]
    return Hits(query[order], docid.take(pa.array(order)), score[order])


def _ids_query(mapper: Any) -> Callable[[Iterable[str]], Any]:
    """A function that makes a query for documents by their ids.

    The ids of a query enter Java as one JSON text and one call, as the documents of an index do.
    """
    import orjson

    stream, function = "java.util.stream.Stream", "java.util.function.Function"
    read = jvm.method(
        *("com.fasterxml.jackson.databind.ObjectMapper", "readValue", "java.lang.Object"),
        *("java.lang.String", "java.lang.Class"),
        of=mapper,
    )
    term = jvm.constructor("org.apache.lucene.util.BytesRef", "java.lang.CharSequence")
    in_set = "org.apache.lucene.search.TermInSetQuery"
    made = jvm.as_interface(
        function,
        jvm.chained(
            jvm.given(read, 1, jvm.class_object("java.util.List")),
            jvm.method("java.util.Collection", "stream", stream),
            jvm.given(
                jvm.method(stream, "map", stream, function), 1, jvm.as_interface(function, term)
            ),
            jvm.method(stream, "toList", "java.util.List"),
            jvm.given(jvm.constructor(in_set, "java.lang.String", "java.util.Collection"), 0, ID),
        ),
    )

    def query(ids: Iterable[str]) -> Any:
        from jnius import cast

        return cast("org.apache.lucene.search.Query", made.apply(orjson.dumps(list(ids)).decode()))

    return query


def _ties_by_docid(
    query: npt.NDArray[np.int32], score: npt.NDArray[np.float32], docid: pa.Array
) -> npt.NDArray[np.int64] | None:
    """The order that sorts tied neighbours by docid; None where nothing is tied."""
    same = (query[1:] == query[:-1]) & (score[1:] == score[:-1])
    if not same.any():
        return None
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    # Tied rows keep their places as a set, so sorting them alone is enough.
    rows = pa.table(
        {
            "group": np.cumsum(np.append(True, ~same))[tied],
            "docid": docid.take(pa.array(tied)),
        }
    )
    by_docid = pc.sort_indices(rows, sort_keys=[("group", "ascending"), ("docid", "ascending")])
    order = np.arange(len(query))
    order[tied] = tied[by_docid.to_numpy()]
    return order
