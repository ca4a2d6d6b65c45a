"""The options of ``write``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.judge import PROMPT_FILE, JudgeOptions
from negmine.params.llm import EndpointOptions
from negmine.params.option import (
    COLUMN_HELP,
    DEVICE_HELP,
    IGNORE_HELP,
    MEMORY_HELP,
    ON_ERROR_HELP,
    THREADS_HELP,
    Device,
    OnError,
    opt,
)
from negmine.params.per_model import Each

#: What is written.
WrittenKind = Literal["negative", "minimal-pair", "query", "instruction"]
#: Kinds that belong to no table of documents: what comes out is a training set.
TRAINING_SETS: tuple[WrittenKind, ...] = ("query", "instruction")
#: Options that say which queries there are and what is judged, as those of ``retrieve`` do.
OF_THE_TASK = (
    *("queries", "qrels", "pairs", "column", "ignore", "min_grade", "grade", "positive_above"),
    *("positive_first", "keep_unlabelled", "limit", "on_error"),
)


@dataclass(frozen=True)
class WriteParams(JudgeOptions, EndpointOptions):
    """``negmine write``: texts that no corpus holds, as documents or queries of their own."""

    headings: ClassVar[Mapping[str, str]] = {
        "kind": "Texts",
        "verify": "Checks",
        "queries": "Inputs",
        "device": "Running",
    }

    kind: WrittenKind | None = opt(
        None,
        "What is written: minimal-pair, positives changed in one place, by rule and without a "
        "model (English); negative, documents that a model writes from the query alone; query, "
        "queries that a positive does not answer, and instruction, under which a chosen negative "
        "is right and the positive wrong: these two make a training set, -o FILE.",
    )
    writer: tuple[str, ...] = opt(
        (),
        "The model that writes: a server of OpenAI's chat protocol.",
        metavar="NAME=llm:MODEL[@URL]",
    )
    prompt_file: Each[str | None] = opt(
        None,
        "How a model is asked, as TOML: the writer, or by the name of a scorer a judge (as with "
        "rerank); without a writer all judges. Default: the kind's own prompt, of a judge en.",
        metavar=PROMPT_FILE,
        affects_output=False,
        per_model=True,
    )
    variants: int = opt(
        12,
        "Texts that a call asks the writer for; the first --each that pass all checks stay.",
        minimum=1,
    )
    answer_tokens: int = opt(2048, "Most tokens of a writer's answer.", minimum=16)
    check: bool = opt(
        True,
        "Ask the writer two questions about each text: both must say that the passage does not "
        "hold what the query asks for; of an instruction, that it turns the two passages round.",
        flags=("--check/--no-check",),
    )
    type: tuple[str, ...] = opt(
        (),
        "Of minimal pairs: negation, number or entity (repeatable); default: all three, in turn.",
        metavar="TYPE",
    )
    each: int = opt(
        2,
        "Texts of a query and positive, at most; of instructions, its first N chosen negatives, "
        "with a text each.",
        metavar="N",
        minimum=1,
    )
    seed: int = opt(42, "Seed of what is drawn: another number, another name.", minimum=0)
    verify: str | None = opt(
        None,
        "Keep only texts for which this holds, by the scorers of --scorer: 'ce < -4', "
        "'ce < positive - 2'.",
        metavar="CONDITION",
    )
    scorer: tuple[str, ...] = opt(
        (),
        "Scores what was written, and the positives, for --verify (repeatable).",
        metavar="NAME=MODEL",
    )
    near_duplicate_at: float = opt(
        0.9,
        "Estimated Jaccard similarity from which a text counts as a copy of another one of its "
        "query or of a positive; minimal pairs are near their positive on purpose.",
        above=0,
        maximum=1,
    )
    queries: tuple[str, ...] = opt(
        (), "With an index: the queries (repeatable).", metavar="PATH", path=True
    )
    qrels: tuple[str, ...] = opt(
        (), "With an index: the known positives (repeatable).", metavar="PATH", path=True
    )
    pairs: tuple[str, ...] = opt(
        (),
        "With an index: a training set, instead of queries and qrels (repeatable).",
        metavar="PATH",
        path=True,
    )
    column: tuple[str, ...] = opt((), COLUMN_HELP, metavar="TARGET=SOURCE")
    ignore: tuple[str, ...] = opt((), IGNORE_HELP, metavar="COLUMN", affects_output=False)
    min_grade: float = opt(1.0, "A judgement of this grade or above makes a positive.")
    grade: tuple[str, ...] = opt(
        (), "What a label or grade means, as of retrieve (repeatable).", metavar="VALUE=GRADE"
    )
    positive_above: float | None = opt(
        None, "Of --pairs with labels or scores: so much or more makes a positive.", metavar="X"
    )
    positive_first: bool = opt(
        False,
        "Of --pairs with lists of documents without labels: the first is the positive.",
        flags=("--positive-first/--no-positive-first",),
    )
    keep_unlabelled: bool = opt(
        False,
        "Write for queries without a positive, too.",
        flags=("--keep-unlabelled/--no-keep-unlabelled",),
    )
    limit: int | None = opt(None, "Write for the first N queries only.", metavar="N", minimum=1)
    on_error: OnError = opt("fail", ON_ERROR_HELP)
    device: Device = opt("auto", DEVICE_HELP, affects_output=False)
    memory: str | None = opt(None, MEMORY_HELP, metavar="SIZE", affects_output=False)
    threads: int | None = opt(None, THREADS_HELP, metavar="N", minimum=1, affects_output=False)
