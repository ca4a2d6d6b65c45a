"""The options of ``retrieve``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from negmine.params.llm import CallOptions
from negmine.params.option import (
    COLUMN_HELP,
    DEVICE_HELP,
    DTYPE_HELP,
    ELSEWHERE_HELP,
    IGNORE_HELP,
    MEMORY_HELP,
    ON_ERROR_HELP,
    THREADS_HELP,
    TRUST_HELP,
    Device,
    Dtype,
    OnError,
    opt,
)
from negmine.params.per_model import Each

#: What a source is called in the help.
SOURCE = "NAME[=KIND:...]"
#: Kinds of source that are written with a place (NAME=KIND:PLACE), which in a recipe is relative to
#: it: True where that is a path, False where it is a model, which may be no folder.
KINDS_WITH_PLACES: Mapping[str, bool] = {"previous": True, "written": True, "cur": False}


# A group of fields: RetrieveParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class RetrieveOptions:
    """What is read, and how it is searched."""

    headings: ClassVar[Mapping[str, str]] = {
        "queries": "Inputs",
        "source": "Search",
        "min_grade": "Judgements",
        "k1": "Search",
        "keep_unlabelled": "Judgements",
        "encoder": "Search",
        "batch_size": "Running",
        "ann": "Search",
        "seed": "Search",
        "limit": "Inputs",
    }

    queries: tuple[str, ...] = opt(
        (),
        "Queries: as the corpus, or TREC topics (repeatable).",
        metavar="PATH",
        path=True,
    )
    qrels: tuple[str, ...] = opt(
        (),
        "Known positives: BEIR or TREC qrels, or any table with qid, docid and grade (repeatable).",
        metavar="PATH",
        path=True,
    )
    pairs: tuple[str, ...] = opt(
        (),
        "A training set in any layout (docs/inputs.md), such as (query, positive) texts, instead "
        "of queries and qrels; what holds ids wants --queries too (repeatable).",
        metavar="PATH",
        path=True,
    )
    column: tuple[str, ...] = opt((), COLUMN_HELP, metavar="TARGET=SOURCE")
    ignore: tuple[str, ...] = opt((), IGNORE_HELP, metavar="COLUMN", affects_output=False)
    keep: tuple[str, ...] = opt(
        (),
        "Keep this column of the queries, or of --pairs (strings, lists of them, numbers, booleans "
        "or dates; repeatable), for sources that go by it and for filter's --answers.",
        metavar="COLUMN",
        later=True,
    )
    source: tuple[str, ...] = opt(
        (),
        "Where candidates come from: bm25 or an encoder's NAME (repeatable); default: all that "
        "the index has. NAME=KIND:... brings another kind of source along (docs/sources.md): "
        "neighbours:ENCODER is what is near the positives, plugin:SOURCE another package's "
        "(entry point negmine.sources).",
        metavar=SOURCE,
    )
    run: tuple[str, ...] = opt(
        (),
        "Candidates and scores that another engine found, as the source NAME: a TREC run, or a "
        "table with qid, docid and score or rank (repeatable).",
        metavar="NAME=FILE",
        path=True,
    )
    distance: tuple[str, ...] = opt(
        (),
        "The scores of the run NAME are distances: lower is better (repeatable).",
        metavar="NAME",
    )
    k: int = opt(
        100,
        "Candidates per query and source, besides the query's known positives.",
        flags=("-k", "--k"),
        metavar="K",
        minimum=1,
    )
    band: tuple[str, ...] = opt(
        (),
        "Of the source NAME not the first k but this slice of each query's ranking, counted from 0 "
        "and without B among the documents that are no known positives; -k does not cut it, and "
        "ranks in the table stay what they are (repeatable).",
        metavar="NAME=A:B",
        later=True,
    )
    score_union: bool = opt(
        True,
        "Every source scores what the others found; without it only what it found itself, and the "
        "known positives.",
        flags=("--score-union/--no-score-union",),
    )
    min_grade: float = opt(1.0, "A judgement of this grade or above makes a positive.")
    negative_grade: float = opt(
        0.0,
        "A judgement of this grade or below says that a document is not relevant: it becomes a "
        "candidate of the source judged even where no search finds it. Grades between this and "
        "--min-grade are neither, and filter drops them (--between-grades).",
    )
    grade: tuple[str, ...] = opt(
        (),
        "What a label or grade of --pairs or --qrels means: a word or a number as a grade (E=1, "
        "neutral=0), or none to leave such documents out (repeatable).",
        metavar="VALUE=GRADE",
    )
    positive_above: float | None = opt(
        None,
        "Of --pairs with labels or scores other than 0 and 1: so much or more makes a positive, "
        "less a given negative.",
        metavar="X",
    )
    positive_first: bool = opt(
        False,
        "Of --pairs with lists of documents without labels: the first is the positive, the others "
        "are given negatives.",
        flags=("--positive-first/--no-positive-first",),
    )
    given: bool = opt(
        True,
        "Take the negatives that --pairs brings along as candidates: the source given, with their "
        "place as rank and their score.",
        flags=("--given/--no-given",),
    )
    k1: float = opt(0.9, "BM25 term saturation (Anserini's default).", minimum=0)
    b: float = opt(0.4, "BM25 length normalisation (Anserini's default).", minimum=0, maximum=1)
    query_prompt: tuple[str, ...] = opt(
        (),
        "Text put before every query, for all encoders or for one (NAME=PROMPT); default: the "
        "model's own.",
        metavar="[NAME=]PROMPT",
    )
    keep_unlabelled: bool = opt(
        False,
        "Keep queries that have no positive; by default they are dropped and counted.",
        flags=("--keep-unlabelled/--drop-unlabelled",),
    )
    encoder: tuple[str, ...] = opt(
        (),
        ELSEWHERE_HELP,
        metavar="NAME=MODEL@URL",
        later=True,
        affects_output=False,
    )
    batch_size: Each[int] = opt(128, "Most queries in one model call.", minimum=1, per_model=True)
    max_length: Each[int | None] = opt(
        None,
        "Of sources NAME=cur:MODEL: cut pairs after this many tokens; default: the model's own "
        "limit. Encoders keep what index was told.",
        minimum=4,
        later=True,
        per_model=True,
    )
    dtype: Each[Dtype] = opt(
        "auto",
        "Of sources NAME=cur:MODEL: " + DTYPE_HELP[0].lower() + DTYPE_HELP[1:],
        later=True,
        per_model=True,
    )
    trust_remote_code: Each[bool] = opt(
        False,
        TRUST_HELP,
        flags=("--trust-remote-code/--no-trust-remote-code",),
        per_model=True,
    )
    device: Device = opt("auto", DEVICE_HELP, affects_output=False)
    memory: str | None = opt(None, MEMORY_HELP, metavar="SIZE", affects_output=False)
    threads: int | None = opt(None, THREADS_HELP, metavar="N", minimum=1, affects_output=False)
    ann: str | None = opt(
        None,
        "Search the approximate indexes that index --ann built, with these FAISS settings such as "
        "nprobe=32 or efSearch=128, instead of exactly; the recall on a sample is told.",
        metavar="SETTINGS",
    )
    anchors: str | None = opt(
        None,
        "Of sources NAME=cur:MODEL: how many queries have all documents scored beforehand, and how "
        "many documents each query is scored with to find its best ones; default: 200:100.",
        metavar="QUERIES[:DOCUMENTS]",
        later=True,
    )
    seed: int = opt(42, "Seed of what sources draw at random.", minimum=0, later=True)
    limit: int | None = opt(
        None, "Mine only the first N queries that can be mined.", metavar="N", minimum=1
    )
    on_error: OnError = opt("fail", ON_ERROR_HELP)


# A dataclass has the fields of its last base first.
@dataclass(frozen=True)
class RetrieveParams(CallOptions, RetrieveOptions):
    """``negmine retrieve``: candidates for every query from every source, positives scored."""
