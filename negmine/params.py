"""The parameters of every stage: one frozen dataclass each, the only place an option is declared.

The command line, the recipe reader, the fingerprints and the generated reference all read these
fields, so adding an option is adding a field. This module imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Device = str
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
OnError = Literal["fail", "skip"]


def opt(
    default: Any,
    help: str,
    *,
    flags: tuple[str, ...] = (),
    metavar: str | None = None,
    minimum: float | None = None,
    affects_output: bool = True,
    path: bool = False,
) -> Any:
    """A stage parameter.

    Args:
        default: the value when neither flag nor recipe gives one.
        help: one sentence for ``--help`` and the reference.
        flags: command-line names; ``--field-name`` when empty.
        metavar: what the value is called in the help.
        minimum: smallest value allowed.
        affects_output: False keeps the field out of the fingerprint (where the work runs, not
            what comes out).
        path: an input file or folder: fingerprinted by its content, not by its name.
    """
    metadata = {
        "help": help,
        "flags": flags,
        "metavar": metavar,
        "minimum": minimum,
        "affects_output": affects_output and not path,
        "path": path,
    }
    return field(default=default, metadata=metadata)


_COLUMN_HELP = "Read field TARGET from column SOURCE of the input (repeatable)."
_ON_ERROR_HELP = "A bad record stops the run (fail) or is skipped, counted and listed (skip)."
_DEVICE_HELP = "Where models run: auto, cpu, cuda, cuda:1, ..."
_DTYPE_HELP = (
    "Arithmetic of the models; auto takes bfloat16 where the hardware has it, else float32."
)


@dataclass(frozen=True)
class IndexParams:
    """``negmine index``: a corpus becomes documents, a Lucene BM25 index and vectors."""

    corpus: str | None = opt(
        None,
        "Corpus: a BEIR folder, or JSONL / CSV / TSV / Parquet (.gz, .zst), or - for stdin.",
        metavar="PATH",
        path=True,
    )
    pairs: str | None = opt(
        None,
        "(query, positive) texts without ids; the positives join (or become) the corpus.",
        metavar="PATH",
        path=True,
    )
    column: tuple[str, ...] = opt((), _COLUMN_HELP, metavar="TARGET=SOURCE")
    encoder: tuple[str, ...] = opt(
        (),
        "Encode the documents with MODEL and call the vectors NAME (repeatable). MODEL is a hub "
        "id, a folder, or pkg:PACKAGE/PATH.",
        metavar="NAME=MODEL",
    )
    bm25: bool = opt(True, "Build the Lucene BM25 index.", flags=("--bm25/--no-bm25",))
    doc_prompt: tuple[str, ...] = opt(
        (),
        "Text put before every document, for all encoders or for one (NAME=PROMPT); default: the "
        "model's own.",
        metavar="[NAME=]PROMPT",
    )
    pooling: Literal["auto", "cls", "mean", "last"] = opt(
        "auto", "How an ONNX encoder's token vectors become one; auto reads the model's folder."
    )
    normalize: bool = opt(
        True,
        "Scale vectors to length 1, so that scores are cosines.",
        flags=("--normalize/--no-normalize",),
    )
    max_length: int | None = opt(
        None, "Cut texts after this many tokens; default: the model's own limit.", minimum=2
    )
    batch_size: int = opt(128, "Most texts in one model call.", minimum=1)
    device: Device = opt("auto", _DEVICE_HELP, affects_output=False)
    dtype: Dtype = opt("auto", _DTYPE_HELP)
    limit: int | None = opt(None, "Read only the first N documents.", metavar="N", minimum=1)
    on_error: OnError = opt("fail", _ON_ERROR_HELP)


@dataclass(frozen=True)
class RetrieveParams:
    """``negmine retrieve``: candidates for every query from every source, positives scored."""

    queries: str | None = opt(
        None,
        "Queries: a BEIR folder, or JSONL / CSV / TSV / Parquet (.gz, .zst), or - for stdin.",
        metavar="PATH",
        path=True,
    )
    qrels: str | None = opt(
        None,
        "Known positives: BEIR or TREC qrels, or any table with qid, docid and grade.",
        metavar="PATH",
        path=True,
    )
    pairs: str | None = opt(
        None,
        "(query, positive) texts without ids, instead of queries and qrels.",
        metavar="PATH",
        path=True,
    )
    column: tuple[str, ...] = opt((), _COLUMN_HELP, metavar="TARGET=SOURCE")
    source: tuple[str, ...] = opt(
        (),
        "Where candidates come from: bm25 or an encoder's NAME (repeatable); default: all that "
        "the index has.",
        metavar="NAME",
    )
    k: int = opt(
        100, "Candidates per query and source.", flags=("-k", "--k"), metavar="K", minimum=1
    )
    min_grade: int = opt(1, "A judgement of this grade or above makes a positive.")
    k1: float = opt(0.9, "BM25 term saturation (Anserini's default).", minimum=0)
    b: float = opt(0.4, "BM25 length normalisation (Anserini's default).", minimum=0)
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
    batch_size: int = opt(128, "Most queries in one model call.", minimum=1)
    device: Device = opt("auto", _DEVICE_HELP, affects_output=False)
    limit: int | None = opt(
        None, "Mine only the first N queries that can be mined.", metavar="N", minimum=1
    )
    on_error: OnError = opt("fail", _ON_ERROR_HELP)


@dataclass(frozen=True)
class RerankParams:
    """``negmine rerank``: one score column per model, for every row or for the best ones."""

    scorer: tuple[str, ...] = opt(
        (),
        "Score (query, document) pairs with MODEL into column score_NAME (repeatable). MODEL is "
        "a cross-encoder or a bi-encoder: a hub id, a folder, or pkg:PACKAGE/PATH.",
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
    query_prompt: tuple[str, ...] = opt(
        (), "Text before every query, for all scorers or for one.", metavar="[NAME=]PROMPT"
    )
    doc_prompt: tuple[str, ...] = opt(
        (), "Text before every document, for all scorers or for one.", metavar="[NAME=]PROMPT"
    )
    pooling: Literal["auto", "cls", "mean", "last"] = opt(
        "auto", "How an ONNX bi-encoder's token vectors become one; auto reads the model's folder."
    )
    activation: Literal["auto", "none", "sigmoid"] = opt(
        "auto", "Applied to a cross-encoder's logit; auto does what the model's config says."
    )
    max_length: int | None = opt(
        None, "Cut pairs after this many tokens; default: the model's own limit.", minimum=4
    )
    batch_size: int = opt(64, "Most pairs in one model call.", minimum=1)
    device: Device = opt("auto", _DEVICE_HELP, affects_output=False)
    dtype: Dtype = opt("auto", _DTYPE_HELP)
    limit: int | None = opt(None, "Score only the first N queries.", metavar="N", minimum=1)


@dataclass(frozen=True)
class FilterParams:
    """``negmine filter``: rules drop false negatives, a sampler picks among the survivors."""

    by: str | None = opt(
        None,
        "Score column that the rules read: the NAME of a scorer or source; default: the last "
        "scorer, else the first source.",
        metavar="NAME",
    )
    rank_by: str | None = opt(
        None,
        "Source whose retrieval rank --range-min/--range-max read; default: the best rank over "
        "the sources.",
        metavar="NAME",
    )
    range_min: int | None = opt(
        None, "Drop candidates retrieved above this rank (ranks start at 1).", minimum=1
    )
    range_max: int | None = opt(None, "Drop candidates retrieved below this rank.", minimum=1)
    min_score: float | None = opt(None, "Drop candidates that score below this.")
    max_score: float | None = opt(None, "Drop candidates that score above this.")
    absolute_margin: float | None = opt(
        None, "Drop candidates that score above positive - MARGIN.", metavar="MARGIN"
    )
    relative_margin: float | None = opt(
        None,
        "Drop candidates that score above positive - MARGIN * |positive|.",
        metavar="MARGIN",
    )
    against: Literal["min", "mean", "max"] = opt(
        "min", "Which of a query's positive scores the margins use."
    )
    num_negatives: int = opt(8, "Negatives chosen per query, at most.", metavar="N", minimum=1)
    sampler: Literal["top", "random"] = opt(
        "top", "How negatives are chosen among the survivors: best score first, or at random."
    )
    sample_by: str | None = opt(
        None, "Score column that orders the survivors; default: the one of --by.", metavar="NAME"
    )
    seed: int = opt(42, "Seed of the random sampler.")


@dataclass(frozen=True)
class ExportParams:
    """``negmine export``: the chosen negatives with their texts, in a trainer's own format."""

    format: Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"] = opt(
        "triplet", "Layout of the training examples, as sentence-transformers defines it."
    )
    scores: bool = opt(
        False, "Add the scores of positives and negatives.", flags=("--scores/--no-scores",)
    )
    score_by: str | None = opt(
        None, "Score column to export; default: the one the ledger was filtered by.", metavar="NAME"
    )
    ids: bool = opt(False, "Add qid and docid columns.", flags=("--ids/--no-ids",))
    limit: int | None = opt(None, "Export only the first N queries.", metavar="N", minimum=1)


@dataclass(frozen=True)
class AuditParams:
    """``negmine audit``: known positives are hidden and the filter is run as if unlabelled.

    Its other options are :class:`FilterParams`'s: the settings under audit.
    """

    keep: int = opt(
        1, "Positives left revealed per query; queries with more are audited.", minimum=1
    )
    seeds: int = opt(5, "Random choices of the hidden positives.", minimum=1)
    bias: tuple[str, ...] = opt(
        (),
        "Hide also, in a row of its own, the positives that SOURCE ranks lowest (repeatable); "
        "default: every source.",
        metavar="SOURCE",
    )
    teacher: str | None = opt(
        None,
        "Score in which hardness (negative minus positive) is told; default: the last scorer's.",
        metavar="NAME",
    )
    sweep: tuple[str, ...] = opt(
        (),
        "Try a rule at several values: RULE=FROM:TO:STEP or RULE=V1,V2,... (repeatable), the "
        "other settings as given; 'auto' tries every rule alone.",
        metavar="RULE=VALUES",
    )


Params = IndexParams | RetrieveParams | RerankParams | FilterParams | ExportParams | AuditParams

STAGES: dict[str, type[Params]] = {
    "index": IndexParams,
    "retrieve": RetrieveParams,
    "rerank": RerankParams,
    "filter": FilterParams,
    "export": ExportParams,
}


def output_affecting(params: Params) -> dict[str, Any]:
    """The parameters that decide what comes out, for the fingerprint and the manifest."""
    return {
        field.name: _plain(getattr(params, field.name))
        for field in dataclasses.fields(params)
        if field.metadata["affects_output"]
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
