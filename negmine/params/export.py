"""The options of ``export``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.llm import CallOptions
from negmine.params.option import (
    DEVICE_HELP,
    ELSEWHERE_HELP,
    MEMORY_HELP,
    THREADS_HELP,
    TRUST_HELP,
    Device,
    opt,
)

#: When the options of models are read.
_BATCHER = "Only --batcher runs a model."


# A group of fields: ExportParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class ExportOptions:
    """Which examples, how they are laid out, and where they go."""

    headings: ClassVar[Mapping[str, str]] = {
        "format": "Examples",
        "split": "Files",
        "batcher": "Batches",
        "trust_remote_code": "Running",
        "limit": "Files",
    }

    format: str = opt(
        "triplet",
        "Layout of the examples: triplet, n-tuple, labeled-pair or labeled-list "
        "(sentence-transformers), flagembedding, tevatron, pylate-kd, colbert, colbert-triples, "
        "swift-embedding, swift-reranker, nemo, msmarco, rerank-eval (samples of an evaluator), "
        "trec-run, trec-qrels, a plug-in's, or as-input (the training set that was read, "
        "without what the filter dropped).",
        metavar="NAME",
    )
    scores: bool = opt(
        False, "Add the scores of positives and negatives.", flags=("--scores/--no-scores",)
    )
    score_by: str | None = opt(
        None, "Score column to export; default: the one the ledger was filtered by.", metavar="NAME"
    )
    extra: tuple[str, ...] = opt(
        (),
        "Add this column of the ledger for every document of an example, as --scores does: "
        "weight, difficulty, filled, tau_plus, grade, a rank_ or score_ column; or promoted, "
        "which is true for positives that the filter made itself; or synthetic, which is true for "
        "documents that were written (repeatable).",
        metavar="COLUMN",
    )
    promoted: Literal["use", "leave-out", "only"] = opt(
        "use",
        "Positives that the filter made itself (--promote, --pseudo-positive): positives like "
        "others, none at all, or the only ones that go out.",
    )
    unjudged: Literal["keep", "leave-out"] = opt(
        "keep",
        "Given negatives of as-input that nothing was said of (no score, not in the table): they "
        "stay as they were, or go.",
        later=True,
    )
    max_positives: int | None = opt(
        None,
        "At most N positives of a query go out; the others stay known, so that they are nobody's "
        "negatives (--max-positives-by says which).",
        metavar="N",
        minimum=1,
        later=True,
    )
    max_positives_by: Literal["random", "score"] = opt(
        "random",
        "Which positives --max-positives takes: drawn by --seed, or the best-scoring (--score-by).",
        later=True,
    )
    negatives: Literal["chosen", "survivors"] = opt(
        "chosen",
        "Negatives of rerank-eval: those that the filter chose, or all candidates that its rules "
        "let pass.",
        later=True,
    )
    ids: bool = opt(False, "Add qid and docid columns.", flags=("--ids/--no-ids",))
    texts: bool = opt(
        True,
        "Write the texts; without them the examples are told by ids alone.",
        flags=("--texts/--no-texts",),
    )
    prompt: str | None = opt(
        None, "Instruction that goes out with every query (flagembedding).", metavar="TEXT"
    )
    split: float | None = opt(
        None,
        "Hold out this share of the queries, by a hash of their ids, in FILE.heldout.SUFFIX or "
        "FOLDER/_heldout.",
        metavar="SHARE",
        above=0,
        below=1,
    )
    beir: str | None = opt(
        None,
        "Write the queries that --split holds out into this folder too, as an evaluation set in "
        "BEIR's layout: corpus, queries, and qrels with the judged grades. Without -o that is all "
        "that is written, of all queries where there is no --split.",
        metavar="OUT",
        written=True,
    )
    beir_corpus: Literal["whole", "pool", "survivors", "chosen"] = opt(
        "whole",
        "Corpus of --beir: all documents, or what is judged for its queries and, besides, all "
        "their candidates (pool), those that the filter's rules let pass, or the chosen negatives.",
        affects_output=False,
    )
    shuffle: int | None = opt(
        None,
        "Put the examples in a random order, the same for the same SEED.",
        metavar="SEED",
        minimum=0,
    )
    order_by: str | None = opt(
        None,
        "Put the examples in rising order of this column of the ledger (-COLUMN: falling), by the "
        "mean over an example's negatives: difficulty gives easy ones first.",
        metavar="COLUMN",
    )
    max_shard_size: str | None = opt(
        None,
        "Cut a folder into parts of about this much text, such as 500MB.",
        metavar="SIZE",
    )
    card: bool = opt(
        False,
        "Put a data set card into a folder: _README.md, so that whoever reads the folder as one "
        "table passes over it; rename it README.md for the hub.",
        flags=("--card/--no-card",),
    )
    push: str | None = opt(
        None,
        "Push the folder to the Hugging Face hub as the data set OWNER/NAME, with its card; the "
        "token is that of hf auth login or HF_TOKEN.",
        metavar="OWNER/NAME",
        affects_output=False,
    )
    public: bool = opt(
        False,
        "With --push: for all to see.",
        flags=("--public/--private",),
        affects_output=False,
    )
    batcher: Literal["tas-balanced", "ngame", "b3"] | None = opt(
        None,
        "Order the examples into batches of queries that are hard for each other, numbered in the "
        "column batch; no document of an example is a positive of another query of its batch.",
    )
    batch_size: int = opt(32, "Examples of a batch.", metavar="N", minimum=2)
    batch_by: str | None = opt(
        None,
        "Encoder of the index whose vectors the batcher compares; default: the first.",
        metavar="NAME",
    )
    encoder: tuple[str, ...] = opt(
        (),
        f"{ELSEWHERE_HELP} {_BATCHER}",
        metavar="NAME=MODEL@URL",
        later=True,
        affects_output=False,
    )
    group_by: str | None = opt(
        None,
        "A batch holds examples of one value of this column of the corpus (index --keep), such as "
        "the data set or the language, by the document of an example's positive; without --batcher "
        "a group's examples come in random order.",
        metavar="COLUMN",
    )
    clusters: int | None = opt(
        None,
        "Clusters of queries (tas-balanced); default: one per 200 queries, as in the paper.",
        metavar="N",
        minimum=1,
    )
    cluster_size: int = opt(
        32, "Queries of a cluster, of which batches are made (ngame, b3).", metavar="N", minimum=1
    )
    rounds: int = opt(
        1, "Times that every query is drawn, an example each (tas-balanced).", minimum=1
    )
    seed: int = opt(42, "Seed of the batches, and of --max-positives.", minimum=0)
    trust_remote_code: bool = opt(
        False,
        f"{TRUST_HELP} {_BATCHER}",
        flags=("--trust-remote-code/--no-trust-remote-code",),
    )
    device: Device = opt("auto", f"{DEVICE_HELP} {_BATCHER}", affects_output=False)
    memory: str | None = opt(None, MEMORY_HELP, metavar="SIZE", affects_output=False)
    threads: int | None = opt(
        None, f"{THREADS_HELP} {_BATCHER}", metavar="N", minimum=1, affects_output=False
    )
    limit: int | None = opt(None, "Export only the first N queries.", metavar="N", minimum=1)
    allow_empty: bool = opt(
        False,
        "Write a training set without examples too; by default nothing is written and the exit "
        "code is 8.",
        flags=("--allow-empty/--no-allow-empty",),
        affects_output=False,
    )


# A dataclass has the fields of its last base first.
@dataclass(frozen=True)
class ExportParams(CallOptions, ExportOptions):
    """``negmine export``: the chosen negatives with their texts, in a trainer's own format."""
