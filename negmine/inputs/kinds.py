"""The kinds of input: their schemas, and the names under which their columns are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from negmine.table.names import meta_column

CORPUS_SCHEMA = pa.schema([("docid", pa.string()), ("title", pa.string()), ("text", pa.string())])
QUERIES_SCHEMA = pa.schema([("qid", pa.string()), ("text", pa.string())])
QRELS_SCHEMA = pa.schema([("qid", pa.string()), ("docid", pa.string()), ("grade", pa.float64())])
#: A run has a score or a rank or both; what it lacks is null, and so is a rank that is no number.
RUN_SCHEMA = pa.schema(
    [
        ("qid", pa.string()),
        ("docid", pa.string()),
        ("score", pa.float32()),
        ("rank", pa.float64()),
    ]
)
PAIRS_SCHEMA = pa.schema([("query", pa.string()), ("positive", pa.string())])
#: A row per (query, passage) of a training set; see :func:`negmine.inputs.read_examples`.
EXAMPLES_SCHEMA = pa.schema(
    [
        ("qid", pa.string()),
        ("query", pa.string()),
        ("docid", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("grade", pa.int32()),
        ("given", pa.int32()),
        ("score", pa.float32()),
    ]
)
#: The column that a line of JSON is read as which is an array, where an input may have such lines.
ARRAY = "[...]"
#: ``raw`` is whatever stands there, for a layout to make sense of.
ValueKind = Literal["id", "text", "title", "grade", "passages", "score", "rank", "kept", "raw"]


@dataclass(frozen=True)
class Target:
    """A column to produce, and the source columns it is looked for in, in this order."""

    name: str
    kind: ValueKind
    aliases: tuple[str, ...]
    #: Whether a file may lack it although others of its kind must have it.
    may_lack: bool = False
    #: An id that is made from the contents where a file has no column of ids.
    made: bool = False
    #: Whether a kept value may be a list of texts, which is told as JSON.
    lists: bool = False

    @property
    def optional(self) -> bool:
        """Whether a file may lack it."""
        return self.may_lack or self.kind in ("title", "grade", "rank", "raw")


@dataclass(frozen=True)
class Input:
    """One kind of input."""

    name: str
    schema: pa.Schema
    targets: tuple[Target, ...]


CORPUS = Input(
    "corpus",
    CORPUS_SCHEMA,
    (
        # Beside a passage's own id, docid is its document's (MS MARCO 2).
        Target("docid", "id", ("_id", "id", "pid", "docid", "doc_id"), made=True),
        Target("title", "title", ("title",)),
        Target("text", "text", ("text", "contents", "body", "passage", "document")),
    ),
)


QUERIES = Input(
    "queries",
    QUERIES_SCHEMA,
    (
        Target("qid", "id", ("_id", "id", "qid", "query_id")),
        Target("text", "text", ("text", "query", "question")),
    ),
)
QRELS = Input(
    "qrels",
    QRELS_SCHEMA,
    (
        Target("qid", "id", ("query-id", "qid", "query_id", "queryid", "topic", "topic_id")),
        Target(
            "docid",
            "id",
            (
                *("corpus-id", "corpus_id", "docid", "doc_id", "pid"),
                *("docno", "doc_no", "document_id", "passage_id", "corpusid"),
            ),
        ),
        Target(
            "grade",
            "grade",
            (
                *("score", "grade", "relevance", "label", "rel", "judgement", "judgment"),
                *("relevant", "is_relevant", "rating", "relevance_grade", "relevance_label"),
            ),
        ),
    ),
)
RUN = Input(
    "run",
    RUN_SCHEMA,
    (
        Target("qid", "id", ("qid", "query-id", "query_id", "queryid", "topic", "topic_id")),
        Target(
            "docid",
            "id",
            (
                # PyTerrier's docid is a number of its index; docno is the collection's.
                *("docno", "docid", "corpus-id", "corpus_id", "doc_id", "pid"),
                *("doc_no", "document_id", "passage_id"),
            ),
        ),
        Target("score", "score", ("score", "sim", "similarity"), may_lack=True),
        Target("rank", "rank", ("rank", "ranking", "position")),
    ),
)
PAIRS = Input(
    "pairs",
    PAIRS_SCHEMA,
    (
        Target("query", "text", ("query", "anchor", "question")),
        Target(
            "positive",
            "passages",
            ("positive", "positives", "pos", "answer", "passage", "document", "response"),
        ),
    ),
)


def keeping(kind: Input, keep: Sequence[str]) -> Input:
    """An input with further columns, each as ``meta_COLUMN``."""
    if not keep:
        return kind
    # Of a document one value is kept, by which it is told; a query may have several answers.
    lists = kind.name != CORPUS.name
    kept = tuple(Target(meta_column(name), "kept", (name,), lists=lists) for name in keep)
    schema = pa.schema([*kind.schema, *((target.name, pa.string()) for target in kept)])
    return Input(kind.name, schema, (*kind.targets, *kept))


#: Every kind of input by its name.
KINDS = {kind.name: kind for kind in (CORPUS, QUERIES, QRELS, RUN, PAIRS)}


def asked_for(kind: Input, target: str) -> str:
    """A field as ``--column`` names it: with its input where others of the stage have it, too."""
    several = (QUERIES.name, QRELS.name, RUN.name)
    return f"{kind.name}.{target}" if kind.name in several else target


def known_names() -> set[str]:
    """Every name that a column of some input is found under."""
    return {alias for kind in KINDS.values() for target in kind.targets for alias in target.aliases}
