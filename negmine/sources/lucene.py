"""Lucene as it is asked from here: documents in, hits out, its errors in words."""

from __future__ import annotations

import errno
import mmap
import os
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

from negmine.errors import InvalidDataError, MachineError, MissingInputError, NegmineError
from negmine.sources import jvm, languages

#: Lucene's limit on a term, and an id is one term.
MAX_ID_BYTES = 32766

CONTENTS = "contents"
ID = "id"
# What Java's String.trim() takes off, by which Anserini tells an empty document.
_JAVA_SPACE = "".join(map(chr, range(33)))
_EMPTY = "."

_TASK_DOCUMENTS = 500

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


def lucene_term(value: dict[str, Any]) -> bytes:
    """The bytes of a Lucene ``BytesRef`` as Jackson writes it."""
    start = int(value["offset"])
    return b64decode(value["bytes"])[start : start + int(value["length"])]


def read_hits(
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


def lucene_documents(batches: Iterable[pa.RecordBatch]) -> Iterator[list[dict[str, str]]]:
    """Ids and contents, by Anserini's names, in tasks of at most ``_TASK_DOCUMENTS``."""
    for batch in batches:
        docids = plain_strings(batch.column("docid"))
        if docids.null_count:
            raise InvalidDataError("a document has no docid")
        longest = pc.max(pc.binary_length(docids)).as_py() or 0
        if longest > MAX_ID_BYTES:
            raise InvalidDataError(
                f"a docid takes {longest:,} bytes; Lucene allows {MAX_ID_BYTES:,}"
            )
        titles = plain_strings(batch.column("title")).fill_null("")
        texts = plain_strings(batch.column("text")).fill_null("")
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


def plain_strings(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array of strings, whatever its encoding."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string())


def lucene_writer(directory: Any, language: str) -> Any:
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


def adder(writer: Any) -> Callable[[list[dict[str, str]]], int]:
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


def in_threads(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
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
def lucene_directory(folder: Path, *, must_exist: bool = False) -> Iterator[Any]:
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
def lucene_errors(folder: Path) -> Iterator[None]:
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
