"""The options of ``index``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.llm import CallOptions
from negmine.params.option import (
    COLUMN_HELP,
    DEVICE_HELP,
    IGNORE_HELP,
    INT8_HELP,
    MEMORY_HELP,
    ON_ERROR_HELP,
    RUNTIME_HELP,
    THREADS_HELP,
    TRUNCATE_HELP,
    TRUST_HELP,
    Device,
    DtypeOrInt8,
    OnError,
    Pooling,
    Runtime,
    opt,
)
from negmine.params.per_model import Each


# A group of fields: IndexParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class IndexOptions:
    """What is read, what is made of it, and how models run."""

    headings: ClassVar[Mapping[str, str]] = {
        "corpus": "Inputs",
        "encoder": "What is made",
        "doc_prompt": "Models",
        "batch_size": "Running",
        "vectors": "What is made",
        "limit": "Inputs",
    }

    corpus: tuple[str, ...] = opt(
        (),
        "Corpus: JSONL, CSV, TSV, Parquet, Arrow (.gz, .zst), a BEIR folder, a data set saved by "
        "datasets, a URL, ir_datasets:ID, or - for stdin (docs/inputs.md); repeatable.",
        metavar="PATH",
        path=True,
    )
    pairs: tuple[str, ...] = opt(
        (),
        "A training set in any layout (docs/inputs.md), such as (query, positive) texts; its "
        "passages join (or become) the corpus (repeatable).",
        metavar="PATH",
        path=True,
    )
    column: tuple[str, ...] = opt((), COLUMN_HELP, metavar="TARGET=SOURCE")
    ignore: tuple[str, ...] = opt((), IGNORE_HELP, metavar="COLUMN", affects_output=False)
    keep: tuple[str, ...] = opt(
        (),
        "Keep this column of the corpus (strings, numbers, booleans or dates; repeatable), for "
        "sources that go by it (retrieve --source NAME=metadata:COLUMN), and for filter's "
        "--sibling-by and --calibrate-by.",
        metavar="COLUMN",
    )
    encoder: tuple[str, ...] = opt(
        (),
        "Encode the documents with MODEL and call the vectors NAME (repeatable). MODEL is a hub "
        "id, a folder, pkg:PACKAGE/PATH; or openai:MODEL@URL or tei:MODEL@URL, an encoder behind "
        "HTTP (docs/endpoints.md).",
        metavar="NAME=MODEL",
    )
    encoder_kind: Each[Literal["auto", "dense", "sparse"]] = opt(
        "auto",
        "What an encoder gives: a vector for each text (dense), or weights of terms (sparse: "
        "SPLADE and its like, which are searched exactly); auto goes by its files. A masked "
        "language model without modules.json is SPLADE where this says so.",
        later=True,
        per_model=True,
    )
    bm25: bool = opt(True, "Build the Lucene BM25 index.", flags=("--bm25/--no-bm25",))
    language: str = opt(
        "auto",
        "Language whose Lucene analyser BM25 reads texts with: en, de, zh, ... (docs/inputs.md "
        "lists them), ngram (sequences of characters, for any script), pretokenized (words between "
        "blanks), or auto, which goes by a sample of the corpus.",
        metavar="LANG",
    )
    base: str | None = opt(
        None,
        "Another index: what it holds of the same documents, models and settings is named there "
        "and not made again, nor copied. For an index with another checkpoint of one encoder.",
        metavar="INDEX",
        path=True,
        later=True,
    )
    signatures: bool = opt(
        True,
        "Store what the filter's guard compares of each text (276 bytes a document); without it "
        "every filter reads the texts.",
        flags=("--signatures/--no-signatures",),
    )
    doc_prompt: tuple[str, ...] = opt(
        (),
        "Text put before every document, for all encoders or for one (NAME=PROMPT); default: the "
        "model's own.",
        metavar="[NAME=]PROMPT",
    )
    pooling: Each[Pooling] = opt(
        "auto",
        "How an encoder's token vectors become one; auto is the model's own.",
        per_model=True,
    )
    truncate_dim: Each[int | None] = opt(
        None,
        TRUNCATE_HELP.format(what="documents and queries"),
        minimum=1,
        later=True,
        per_model=True,
    )
    normalize: Each[bool] = opt(
        True,
        "Scale vectors to length 1, so that scores are cosines.",
        flags=("--normalize/--no-normalize",),
        per_model=True,
    )
    max_length: Each[int | None] = opt(
        None,
        "Cut texts after this many tokens; default: the model's own limit.",
        minimum=2,
        per_model=True,
    )
    batch_size: Each[int] = opt(128, "Most texts in one model call.", minimum=1, per_model=True)
    device: Device = opt("auto", DEVICE_HELP, affects_output=False)
    memory: str | None = opt(None, MEMORY_HELP, metavar="SIZE", affects_output=False)
    threads: int | None = opt(None, THREADS_HELP, metavar="N", minimum=1, affects_output=False)
    dtype: Each[DtypeOrInt8] = opt("auto", INT8_HELP, per_model=True)
    runtime: Each[Runtime] = opt("auto", RUNTIME_HELP, per_model=True)
    trust_remote_code: Each[bool] = opt(
        False,
        TRUST_HELP,
        flags=("--trust-remote-code/--no-trust-remote-code",),
        per_model=True,
    )
    vectors: Each[Literal["auto", "float16", "float32"]] = opt(
        "auto",
        "How vectors are stored; auto takes float16 where a sample of the corpus finds the same "
        "neighbours with it.",
        per_model=True,
    )
    ann: str | None = opt(
        None,
        "Build also an approximate FAISS index of every encoder's vectors, by its factory string "
        "such as IVF4096,Flat or HNSW32, for corpora where exact search is too slow. IVF indexes "
        "may be larger than the memory, others may not.",
        metavar="FACTORY",
    )
    clusters: Each[int | None] = opt(
        None,
        "Cluster every encoder's vectors, or those of one, into N clusters (k-means), for retrieve "
        "--source NAME=clusters:ENCODER; 0 takes the square root of the number of documents.",
        metavar="[NAME=]N",
        minimum=0,
        later=True,
        per_model=True,
    )
    trust_anyway: bool = opt(
        False,
        "Believe an encoder behind HTTP that fails its probe.",
        flags=("--trust-anyway/--no-trust-anyway",),
        later=True,
        affects_output=False,
    )
    limit: int | None = opt(None, "Read only the first N documents.", metavar="N", minimum=1)
    on_error: OnError = opt("fail", ON_ERROR_HELP)


# A dataclass has the fields of its last base first.
@dataclass(frozen=True)
class IndexParams(CallOptions, IndexOptions):
    """``negmine index``: a corpus becomes documents, a Lucene BM25 index and vectors."""
