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

import errno
import mmap
import os
import threading
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from negmine import jvm
from negmine.errors import InvalidDataError, MachineError, MissingInputError, NegmineError
from negmine.sources import languages
from negmine.sources.base import Hits
from negmine.table import schema as schemas

#: Lucene's limit on a term, and an id is one term.
MAX_ID_BYTES = 32766

_CONTENTS = "contents"
_ID = "id"
_IDS_FILE = "docids.arrow"
# What Java's String.trim() takes off, by which Anserini tells an empty document.
_JAVA_SPACE = "".join(map(chr, range(33)))
_EMPTY = "."

_TASK_DOCUMENTS = 500
_TASK_QUERIES = 64
_TASK_HITS = 50_000
_IDS_PER_PAGE = 50_000
#: Hits fetched beyond ``k`` at least, so that few ties at the cut reach past them.
_SPARE_HITS = 16
_MAX_CLAUSES = 1 << 20

#: What the operating system refuses, in the words that Java passes on.
_REFUSALS = (
    *map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)),
    *("java.lang.OutOfMemoryError", "Java heap space"),
)

#: Address space of a new thread: its stack, and what it allocates to begin with.
_THREAD_BYTES = 10 << 20

_HITS_SCHEMA = pa.schema(
    [("scoreDocs", pa.list_(pa.struct([("doc", pa.int32()), ("score", pa.float64())])))]
)

T = TypeVar("T")
R = TypeVar("R")
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
    with _lucene_errors(folder), _directory(folder) as directory:
        writer = _writer(directory, language)
        add = _adder(writer)
        try:
            for added in _in_threads(add, _documents(batches), threads):
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
        with _lucene_errors(folder), _directory(folder, must_exist=True) as directory:
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
        by_id = fields(_ID, types.STRING_VAL)
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

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The ``k`` best documents of each query that share a term with it, or fewer."""
        keep = min(k, self._documents)
        per_task = max(1, min(_TASK_QUERIES, _TASK_HITS // (keep + 1)))
        query, doc, score = self._gather(
            lambda start: self._search_some(start, queries[start : start + per_task], keep),
            range(0, len(queries) if keep > 0 else 0, per_task),
        )
        docid = self._docids(doc)
        order = _ties_by_docid(query, score, docid)
        inside = schemas.positions_in_group(query) <= keep
        if order is not None:
            docid = docid.take(pa.array(order[inside]))
        elif not inside.all():
            docid = docid.filter(pa.array(inside))
        return Hits(query[inside], docid, score[inside])

    def score(
        self, queries: Sequence[str], query: npt.NDArray[np.int32], docids: pa.Array
    ) -> npt.NDArray[np.float32]:
        """The BM25 score of each (query index, docid) pair.

        0.0 where the two share no term, NaN where the index does not hold the document.
        """
        if len(query) != len(docids):
            raise ValueError(f"{len(query)} queries for {len(docids)} docids")
        encoded = _plain_strings(docids).dictionary_encode()
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
            return self._score_some(queries, groups)

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
        return self._generator.buildQuery(_CONTENTS, self._analyzer, text)

    def _search_some(self, start: int, queries: Sequence[str], k: int) -> _Found:
        """The hits of some queries, numbered from ``start``, in index order where they tie.

        A query has more than ``k`` of them where the ones at the cut tie.
        """
        fetched = k + max(_SPARE_HITS, k // 8)
        texts = []
        for text in queries:
            query = self._query(text)
            texts.append(self._mapper.writeValueAsString(self._searcher.search(query, fetched)))
        counts, doc, score = _read_hits(texts)
        ends = np.cumsum(counts)
        full = np.flatnonzero(counts == fetched)
        tied = full[score[ends[full] - 1] == score[ends[full] - fetched + k - 1]]
        if len(tied):
            for number in tied.tolist():
                top = self._searcher.search(
                    self._query(queries[number]), k, self._by_score_then_id, True
                )
                texts[number] = self._mapper.writeValueAsString(top)
            counts, doc, score = _read_hits(texts)
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
        counts, doc, score = _read_hits(texts)
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
        with _lucene_errors(self._folder):
            for start in range(0, len(codes), _IDS_PER_PAGE):
                page = codes[start : start + _IDS_PER_PAGE]
                asked = names.take(pa.array(page))
                query = self._ids_query(asked.to_pylist())
                if self._searcher.count(query) == len(page):
                    continue
                text = self._mapper.writeValueAsString(self._searcher.search(query, len(page)))
                there = pc.is_in(asked, value_set=self._docids(_read_hits([text])[1]))
                missing.append(page[~there.to_numpy(zero_copy_only=False)])
        return np.concatenate(missing)

    def _gather(self, task: Callable[[int], _Found], starts: Iterable[int]) -> _Found:
        with _lucene_errors(self._folder):
            parts = list(_in_threads(task, starts, self._threads))
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
        with _lucene_errors(self._folder):
            while last + 1 < self._documents:
                # With its id, or the last document of a page may come again on the next.
                after = place(last, 0.0, [first_field(last), self._bytes(docid)])
                top = self._searcher.searchAfter(
                    after, everything, _IDS_PER_PAGE, self._in_index_order
                )
                hits = orjson.loads(self._mapper.writeValueAsString(top))["scoreDocs"]
                found = [_term(hit["fields"][1]) for hit in hits]
                pages.append(pa.array(found, pa.large_binary()))
                last, docid = hits[-1]["doc"], found[-1]
        ids = pa.concat_arrays(pages) if pages else pa.array([], pa.large_binary())
        if len(ids) != self._documents:
            raise NegmineError(
                f"Lucene gave {len(ids):,} ids for {self._documents:,} documents",
                where=str(self._folder),
            )
        return ids.cast(pa.large_string())


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
            jvm.given(jvm.constructor(in_set, "java.lang.String", "java.util.Collection"), 0, _ID),
        ),
    )

    def query(ids: Iterable[str]) -> Any:
        from jnius import cast

        return cast("org.apache.lucene.search.Query", made.apply(orjson.dumps(list(ids)).decode()))

    return query


def _term(value: dict[str, Any]) -> bytes:
    """The bytes of a Lucene ``BytesRef`` as Jackson writes it."""
    start = int(value["offset"])
    return b64decode(value["bytes"])[start : start + int(value["length"])]


def _read_hits(
    texts: Sequence[str],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Hits per query, documents and scores out of the JSON of Lucene's ``TopDocs``."""
    from pyarrow import json

    data = "\n".join(texts).encode()
    table = json.read_json(
        pa.BufferReader(data),
        # One block: the work is spread over queries already.
        read_options=json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=json.ParseOptions(
            explicit_schema=_HITS_SCHEMA, unexpected_field_behavior="ignore"
        ),
    )
    lists = table.column("scoreDocs").combine_chunks()
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    hits = lists.flatten()
    doc = hits.field("doc").to_numpy(zero_copy_only=False)
    score = hits.field("score").to_numpy(zero_copy_only=False)
    # Java writes the shortest decimal that reads back as the same 32-bit number.
    return counts, doc.astype(np.int32), score.astype(np.float32)


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


def _documents(batches: Iterable[pa.RecordBatch]) -> Iterator[list[dict[str, str]]]:
    """Ids and contents, by Anserini's names, in tasks of at most ``_TASK_DOCUMENTS``."""
    for batch in batches:
        docids = _plain_strings(batch.column("docid"))
        if docids.null_count:
            raise InvalidDataError("a document has no docid")
        longest = pc.max(pc.binary_length(docids)).as_py() or 0
        if longest > MAX_ID_BYTES:
            raise InvalidDataError(
                f"a docid takes {longest:,} bytes; Lucene allows {MAX_ID_BYTES:,}"
            )
        titles = _plain_strings(batch.column("title")).fill_null("")
        texts = _plain_strings(batch.column("text")).fill_null("")
        for start in range(0, len(batch), _TASK_DOCUMENTS):
            columns = (
                column.slice(start, _TASK_DOCUMENTS).to_pylist()
                for column in (docids, titles, texts)
            )
            yield [
                {"id": docid, "contents": _contents(title, text)}
                for docid, title, text in zip(*columns, strict=True)
            ]


def _contents(title: str, text: str) -> str:
    contents = f"{title} {text}" if title else text
    return contents if contents.strip(_JAVA_SPACE) else _EMPTY


def _plain_strings(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array of strings, whatever its encoding."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string())


def _writer(directory: Any, language: str) -> Any:
    """An index writer with Anserini's settings and a buffer that fits the Java heap."""
    settings = jvm.java_class("org.apache.lucene.index.IndexWriterConfig")(
        languages.analyzer(language)
    )
    modes = jvm.java_class("org.apache.lucene.index.IndexWriterConfig$OpenMode")
    heap = jvm.java_class("java.lang.Runtime").getRuntime().maxMemory() / (1 << 20)
    settings.setOpenMode(modes.CREATE)
    settings.setUseCompoundFile(False)
    # Anserini's own indexers take 2 GB, which a smaller heap does not survive.
    settings.setRAMBufferSizeMB(float(min(512.0, heap / 4)))
    return jvm.java_class("org.apache.lucene.index.IndexWriter")(directory, settings)


def _adder(writer: Any) -> Callable[[list[dict[str, str]]], int]:
    """A function that adds documents through Anserini's own document generator.

    The documents of a task enter Java as one JSON text and one call: with three calls per document
    the threads waited for Python's lock, and an index took twice as long.
    """
    import orjson

    source = "io.anserini.collection.SourceDocument"
    document = "org.apache.lucene.document.Document"
    node = "com.fasterxml.jackson.databind.JsonNode"
    generator = "io.anserini.index.generator.DefaultLuceneDocumentGenerator"
    writing = "org.apache.lucene.index.IndexWriter"
    mapper = "com.fasterxml.jackson.databind.ObjectMapper"
    add_one = jvm.chained(
        jvm.constructor("io.anserini.collection.JsonCollection$Document", node),
        jvm.method(generator, "createDocument", document, source, of=jvm.java_class(generator)()),
        jvm.method(writing, "addDocument", "long", "java.lang.Iterable", of=writer),
    )
    consumer = "java.util.function.Consumer"
    read = jvm.method(mapper, "readTree", node, "java.lang.String", of=jvm.java_class(mapper)())
    for_each = jvm.method("java.lang.Iterable", "forEach", "void", consumer)
    add_each = jvm.given(for_each, 1, jvm.as_interface(consumer, add_one))
    add_all = jvm.as_interface(consumer, jvm.chained(read, add_each))

    def add(documents: list[dict[str, str]]) -> int:
        add_all.accept(orjson.dumps(documents).decode())
        return len(documents)

    return add


def _in_threads(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """``map`` over threads, in order, with a bounded number of items under way.

    pyjnius lets go of Python's lock during a Java call, so the calls run side by side, and the
    main thread, which only waits, hears Ctrl-C.
    """

    def attached(item: T) -> R:
        try:
            return work(item)
        finally:
            jvm.detach()

    pending: deque[Future[R]] = deque()
    # Python waits for ever for a new thread that finds no memory for its first step.
    mmap.mmap(-1, max(1, threads) * _THREAD_BYTES).close()
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="lucene")
    try:
        for item in items:
            pending.append(pool.submit(attached, item))
            if len(pending) >= 2 * max(1, threads):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _directory(folder: Path, *, must_exist: bool = False) -> Iterator[Any]:
    """Lucene's view of a folder."""
    if must_exist and not folder.is_dir():
        raise MissingInputError("there is no such index folder", where=str(folder))
    path = jvm.java_class("java.nio.file.Paths").get(str(folder.resolve()))
    directory = jvm.java_class("org.apache.lucene.store.FSDirectory").open(path)
    try:
        yield directory
    finally:
        directory.close()


@contextmanager
def _lucene_errors(folder: Path) -> Iterator[None]:
    """Turn a Java exception into one message that names the folder."""
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        text = jvm.message(error)
        refused = next((reason for reason in _REFUSALS if reason in text), None)
        if refused is not None:
            raise MachineError(
                f"Lucene failed: {refused}",
                where=str(folder),
                hint="Mend the cause, then run the same command again: it continues.",
            ) from error
        raise NegmineError(f"Lucene failed: {text}", where=str(folder)) from error
