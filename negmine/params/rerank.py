"""The options of ``rerank``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.judge import JudgeOptions
from negmine.params.llm import EndpointOptions
from negmine.params.option import (
    DEVICE_HELP,
    INT8_HELP,
    MEMORY_HELP,
    RUNTIME_HELP,
    THREADS_HELP,
    TRUNCATE_HELP,
    TRUST_HELP,
    Device,
    DtypeOrInt8,
    Pooling,
    Runtime,
    opt,
)
from negmine.params.per_model import Each


# A group of fields: RerankParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class ScoringOptions:
    """Which models score which rows, and how they run."""

    headings: ClassVar[Mapping[str, str]] = {
        "scorer": "Scorers",
        "query_prompt": "Models",
        "batch_size": "Running",
        "limit": "Scorers",
    }

    scorer: tuple[str, ...] = opt(
        (),
        "Score (query, document) pairs with MODEL into column score_NAME (repeatable). MODEL is "
        "a cross-encoder, a bi-encoder or a model of late interaction (ColBERT, by MaxSim), told "
        "by its files: a hub id, a folder, or pkg:PACKAGE/PATH; llm:MODEL@URL or causal:MODEL, a "
        "judge (docs/language-models.md); cohere:, vllm: or tei:MODEL@URL, a reranker behind HTTP "
        "(docs/endpoints.md); or plugin:SCORER of another package (entry point negmine.scorers).",
        metavar="NAME=MODEL",
    )
    top: int | None = opt(
        None,
        "Score only the best N candidates of each query (positives always); the others stay "
        "unscored.",
        metavar="N",
        minimum=1,
    )
    top_by: str | None = opt(
        None, "Column that says which candidates are best; default: best rank over the sources."
    )
    only_if: tuple[str, ...] = opt(
        (),
        "Score only candidates of which CONDITION holds, such as 'judge > 0.3': a column of the "
        "table, or the score of another --scorer, which then goes first (known positives always). "
        "Without NAME for every scorer that it does not read (repeatable).",
        metavar="[SCORER=]CONDITION",
        later=True,
    )
    only_if_positives: bool = opt(
        False,
        "With --only-if: ask the condition of known positives, too.",
        flags=("--only-if-positives/--no-only-if-positives",),
        later=True,
    )
    enough: int | None = opt(
        None,
        "Score a query's candidates in the order in which filter takes them, some at a time, only "
        "until N survive its rules (--until): the same negatives, for fewer pairs. What was never "
        "scored stays unscored.",
        metavar="N",
        minimum=1,
        later=True,
    )
    until: tuple[str, ...] = opt(
        (),
        "With --enough: a setting of filter, such as by=ce or max-score=-4 (repeatable); run takes "
        "those of the recipe's [filter].",
        metavar="KEY=VALUE",
        later=True,
    )
    enough_block: int = opt(
        4,
        "With --enough: candidates of a query that are scored at a time, after the first N of it.",
        minimum=1,
        later=True,
    )
    query_prompt: tuple[str, ...] = opt(
        (), "Text before every query, for all scorers or for one.", metavar="[NAME=]PROMPT"
    )
    doc_prompt: tuple[str, ...] = opt(
        (), "Text before every document, for all scorers or for one.", metavar="[NAME=]PROMPT"
    )
    pooling: Each[Pooling] = opt(
        "auto",
        "How a bi-encoder's token vectors become one; auto is the model's own.",
        per_model=True,
    )
    truncate_dim: Each[int | None] = opt(
        None,
        TRUNCATE_HELP.format(what="a bi-encoder"),
        minimum=1,
        later=True,
        per_model=True,
    )
    activation: Each[Literal["auto", "none", "sigmoid"]] = opt(
        "auto",
        "Applied to a cross-encoder's logit; auto does what the model's config says.",
        per_model=True,
    )
    max_length: Each[int | None] = opt(
        None,
        "Cut pairs after this many tokens, of late interaction documents (queries keep the "
        "model's own length); default: the model's own limit.",
        minimum=4,
        per_model=True,
    )
    batch_size: Each[int] = opt(64, "Most pairs in one model call.", minimum=1, per_model=True)
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
    limit: int | None = opt(None, "Score only the first N queries.", metavar="N", minimum=1)


# A dataclass has the fields of its last base first.
@dataclass(frozen=True)
class RerankParams(EndpointOptions, JudgeOptions, ScoringOptions):
    """``negmine rerank``: one score column per model, for every row or for the best ones."""
