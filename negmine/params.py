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
Runtime = Literal["auto", "torch", "openvino"]
OnError = Literal["fail", "skip"]


def opt(
    default: Any,
    help: str,
    *,
    flags: tuple[str, ...] = (),
    metavar: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    instead: str = "",
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
        maximum: largest value allowed.
        above: every value allowed is greater than this.
        below: every value allowed is less than this.
        instead: what to use where a value outside of the range is wanted, as a sentence.
        affects_output: False keeps the field out of the fingerprint (where the work runs, not
            what comes out).
        path: an input file or folder: fingerprinted by its content, not by its name.
    """
    metadata = {
        "help": help,
        "flags": flags,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "instead": instead,
        "affects_output": affects_output and not path,
        "path": path,
    }
    return field(default=default, metadata=metadata)


_COLUMN_HELP = (
    "Read field TARGET from column SOURCE of the input, or from #N, the N-th field of a file "
    "without a header line (repeatable)."
)
_IGNORE_HELP = (
    "A column of the input that does not matter, though it looks like labels, negatives, scores, "
    "... (repeatable; docs/inputs.md)."
)
_ON_ERROR_HELP = "A bad record stops the run (fail) or is skipped, counted and listed (skip)."
_DEVICE_HELP = "Where models run: auto, cpu, cuda (every GPU), cuda:1, ..."
_MEMORY_HELP = (
    "Most memory of the process, such as 2GB: decides how much is held at a time, not what comes "
    "out; default: half of what is free."
)
_DTYPE_HELP = (
    "Arithmetic of the models; auto takes bfloat16 where the hardware has it, else float32."
)
_RUNTIME_HELP = (
    "What runs PyTorch models; auto takes OpenVINO for bfloat16 on a CPU where it is installed "
    "(pip install 'negmine[openvino]') and can run the model."
)


_TRUST_HELP = (
    "Run the Python code that models bring (nomic, gte, jina and others need it): read it first, "
    "for it may do whatever you may."
)


@dataclass(frozen=True)
class IndexParams:
    """``negmine index``: a corpus becomes documents, a Lucene BM25 index and vectors."""

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
    column: tuple[str, ...] = opt((), _COLUMN_HELP, metavar="TARGET=SOURCE")
    ignore: tuple[str, ...] = opt((), _IGNORE_HELP, metavar="COLUMN", affects_output=False)
    keep: tuple[str, ...] = opt(
        (),
        "Keep this column of the corpus (strings, numbers or booleans; repeatable), for filter's "
        "--sibling-by and --calibrate-by.",
        metavar="COLUMN",
    )
    encoder: tuple[str, ...] = opt(
        (),
        "Encode the documents with MODEL and call the vectors NAME (repeatable). MODEL is a hub "
        "id, a folder, or pkg:PACKAGE/PATH.",
        metavar="NAME=MODEL",
    )
    bm25: bool = opt(True, "Build the Lucene BM25 index.", flags=("--bm25/--no-bm25",))
    language: str = opt(
        "auto",
        "Language whose Lucene analyser BM25 reads texts with: en, de, zh, ... (docs/inputs.md "
        "lists them), ngram (sequences of characters, for any script), pretokenized (words between "
        "blanks), or auto, which goes by a sample of the corpus.",
        metavar="LANG",
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
    memory: str | None = opt(None, _MEMORY_HELP, metavar="SIZE", affects_output=False)
    dtype: Dtype = opt("auto", _DTYPE_HELP)
    runtime: Runtime = opt("auto", _RUNTIME_HELP)
    trust_remote_code: bool = opt(
        False,
        _TRUST_HELP,
        flags=("--trust-remote-code/--no-trust-remote-code",),
    )
    vectors: Literal["auto", "float16", "float32"] = opt(
        "auto",
        "How vectors are stored; auto takes float16 where a sample of the corpus finds the same "
        "neighbours with it.",
    )
    ann: str | None = opt(
        None,
        "Build also an approximate FAISS index of every encoder's vectors, by its factory string "
        "such as IVF4096,Flat or HNSW32, for corpora where exact search is too slow. IVF indexes "
        "may be larger than the memory, others may not.",
        metavar="FACTORY",
    )
    limit: int | None = opt(None, "Read only the first N documents.", metavar="N", minimum=1)
    on_error: OnError = opt("fail", _ON_ERROR_HELP)


@dataclass(frozen=True)
class RetrieveParams:
    """``negmine retrieve``: candidates for every query from every source, positives scored."""

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
    column: tuple[str, ...] = opt((), _COLUMN_HELP, metavar="TARGET=SOURCE")
    ignore: tuple[str, ...] = opt((), _IGNORE_HELP, metavar="COLUMN", affects_output=False)
    source: tuple[str, ...] = opt(
        (),
        "Where candidates come from: bm25 or an encoder's NAME (repeatable); default: all that "
        "the index has. NAME=plugin:SOURCE is another package's (entry point negmine.sources).",
        metavar="NAME",
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
    batch_size: int = opt(128, "Most queries in one model call.", minimum=1)
    trust_remote_code: bool = opt(
        False,
        _TRUST_HELP,
        flags=("--trust-remote-code/--no-trust-remote-code",),
    )
    device: Device = opt("auto", _DEVICE_HELP, affects_output=False)
    memory: str | None = opt(None, _MEMORY_HELP, metavar="SIZE", affects_output=False)
    ann: str | None = opt(
        None,
        "Search the approximate indexes that index --ann built, with these FAISS settings such as "
        "nprobe=32 or efSearch=128, instead of exactly; the recall on a sample is told.",
        metavar="SETTINGS",
    )
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
        "a cross-encoder or a bi-encoder: a hub id, a folder, or pkg:PACKAGE/PATH; or "
        "plugin:SCORER of another package (entry point negmine.scorers).",
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
    memory: str | None = opt(None, _MEMORY_HELP, metavar="SIZE", affects_output=False)
    dtype: Dtype = opt("auto", _DTYPE_HELP)
    runtime: Runtime = opt("auto", _RUNTIME_HELP)
    trust_remote_code: bool = opt(
        False,
        _TRUST_HELP,
        flags=("--trust-remote-code/--no-trust-remote-code",),
    )
    limit: int | None = opt(None, "Score only the first N queries.", metavar="N", minimum=1)


@dataclass(frozen=True)
class FilterParams:
    """``negmine filter``: rules drop false negatives, a sampler picks among the survivors."""

    by: str | None = opt(
        None,
        "Score column that the rules read: the NAME of a scorer or source, or p_relevant (learned "
        "from all of them); default: the last scorer, else the first source.",
        metavar="NAME",
    )
    similar_to_positives: bool = opt(
        False,
        "p_relevant learns also from how like the query's known positives a candidate is (stored "
        "vectors, MinHash); for queries with two or more.",
        flags=("--similar-to-positives/--no-similar-to-positives",),
    )
    transform: Literal["none", "sigmoid"] = opt(
        "none", "Applied to the score of --by before the rules read it; sigmoid is for logits."
    )
    rank_by: str | None = opt(
        None,
        "Source whose retrieval rank --range-min/--range-max, --shift and the like read; default: "
        "the best rank over the sources.",
        metavar="NAME",
    )
    range_min: int | None = opt(
        None, "Drop candidates retrieved above this rank (ranks start at 1).", minimum=1
    )
    range_max: int | None = opt(None, "Drop candidates retrieved below this rank.", minimum=1)
    shift: int | None = opt(
        None,
        "Drop the first N non-positives of the retrieval ranking (NV-Retriever's shifted top-k); "
        "see also --skip-survivors.",
        metavar="N",
        minimum=1,
    )
    skip_survivors: int | None = opt(
        None,
        "Drop the N best-scoring of those that survive all other rules, by --sample-by "
        "(sentence-transformers' range_min).",
        metavar="N",
        minimum=1,
    )
    query_min_rank: int | None = opt(
        None,
        "Drop all candidates of a query whose best positive scores below the candidate at rank N "
        "of --rank-by (KaLM-Embedding).",
        metavar="N",
        minimum=1,
    )
    min_score: float | None = opt(None, "Drop candidates that score below this.")
    max_score: float | None = opt(None, "Drop candidates that score above this.")
    absolute_margin: float | None = opt(
        None,
        "Drop candidates that score above positive - MARGIN; a negative MARGIN drops only what "
        "beats the positive by that much.",
        metavar="MARGIN",
    )
    relative_margin: float | None = opt(
        None,
        "Drop candidates that score above positive - MARGIN * |positive|; a negative MARGIN drops "
        "only what beats the positive by that share.",
        metavar="MARGIN",
        maximum=1,
        instead="A margin in units of the score is --absolute-margin.",
    )
    margin_pos: float | None = opt(
        None,
        "Keep only candidates that score strictly below positive - MARGIN (NV-Retriever "
        "TopK-MarginPos).",
        metavar="MARGIN",
    )
    perc_pos: float | None = opt(
        None,
        "Keep only candidates that score strictly below this share of the positive's score "
        "(NV-Retriever TopK-PercPos, 0.95); refuses logits.",
        metavar="SHARE",
        above=0,
        maximum=1,
        instead="To keep also what scores up to 5% above the positive: --relative-margin -0.05.",
    )
    percentile: float | None = opt(
        None,
        "Keep only candidates whose quantile among all positives' scores is at most this share of "
        "their positive's quantile, or at most --percentile-floor.",
        metavar="SHARE",
        minimum=0,
        maximum=1,
    )
    percentile_floor: float = opt(
        0.005,
        "Quantile that --percentile always allows.",
        metavar="QUANTILE",
        minimum=0,
        maximum=1,
    )
    guide: str | None = opt(
        None,
        "Drop candidates that this other score puts above the query's positive (GISTEmbed).",
        metavar="NAME",
    )
    guide_margin: float = opt(
        0.0, "With --guide: drop already above positive - MARGIN (see --guide-margin-form)."
    )
    guide_margin_form: Literal["absolute", "relative"] = opt(
        "absolute", "--guide-margin is a difference, or a share of the positive's guide score."
    )
    closer_than_positive: tuple[str, ...] = opt(
        (),
        "Keep only candidates nearer to the query than the positive is, and nearer to it than to "
        "the positive, by the index's vectors NAME; several NAMEs are averaged.",
        metavar="NAME",
    )
    max_fn_rate: float | None = opt(
        None,
        "Share of positives that may pass as negatives: a threshold on --by is calibrated on the "
        "known positives so that the bound holds (conformal).",
        metavar="ALPHA",
        above=0,
        below=1,
    )
    fn_form: Literal["auto", "score", "margin"] = opt(
        "auto",
        "--max-fn-rate bounds the score, or its margin to the query's positive (needs queries "
        "with two), or whichever keeps more candidates.",
    )
    calibrate_by: str | None = opt(
        None,
        "--max-fn-rate holds within each value of COLUMN, of the table or kept of the corpus "
        "(index --keep); a rank_ column counts in powers of ten.",
        metavar="COLUMN",
    )
    against: Literal["min", "mean", "max"] = opt(
        "min", "Which of a query's positive scores the margins use."
    )
    own_document: Literal["auto", "id", "text", "off"] = opt(
        "auto",
        "Drop the document that a query was made of: by its id, or its text without the title; "
        "auto believes equal ids where texts agree, too.",
    )
    same_text: bool = opt(
        True,
        "Drop candidates whose text is a positive's of the query but for case, spacing and "
        "punctuation.",
        flags=("--same-text/--no-same-text",),
    )
    between_grades: bool = opt(
        True,
        "Drop candidates whose grade lies between retrieve's --negative-grade and --min-grade: "
        "judged neither relevant nor not.",
        flags=("--between-grades/--no-between-grades",),
    )
    query_text: bool = opt(
        True,
        "Drop candidates whose text, title included, is the query's own.",
        flags=("--query-text/--no-query-text",),
    )
    near_duplicates: bool = opt(
        True,
        "Drop near-duplicates of the query's positives (MinHash).",
        flags=("--near-duplicates/--no-near-duplicates",),
    )
    near_duplicate_at: float = opt(
        0.8,
        "Share of common word triples (without spaces, and in code, of runs of characters) that "
        "makes a near-duplicate.",
        metavar="JACCARD",
        above=0,
        maximum=1,
        instead="--no-near-duplicates switches the rule off.",
    )
    empty_texts: bool = opt(
        True,
        "Drop candidates without a letter, a digit or a symbol: empty ones, dots and dashes.",
        flags=("--empty-texts/--no-empty-texts",),
    )
    repeated_texts: bool = opt(
        True,
        "Of a query's candidates that are copies or near-copies of each other "
        "(--near-duplicate-at) take only the one that the sampler prefers.",
        flags=("--repeated-texts/--no-repeated-texts",),
    )
    near_duplicate_cosine: tuple[str, ...] = opt(
        (),
        "Drop candidates whose cosine with a positive of the query reaches this, by the index's "
        "vectors NAME (repeatable).",
        metavar="NAME=COSINE",
        minimum=-1,
        maximum=1,
    )
    chunk_suffix: str | None = opt(
        None,
        "Drop chunks of a positive's document: what is left of a docid without this ending (a "
        "regular expression such as '#[0-9]+') names the document.",
        metavar="REGEX",
    )
    sibling_by: str | None = opt(
        None,
        "Drop candidates that share this column of the corpus (index --keep) with a positive of "
        "the query, such as the document that both are chunks of.",
        metavar="COLUMN",
    )
    duplicate_queries: bool = opt(
        True,
        "Drop the positives of near-duplicate queries (MinHash over words; without spaces, and in "
        "code, over runs of characters).",
        flags=("--duplicate-queries/--no-duplicate-queries",),
    )
    duplicate_query_at: float = opt(
        0.9,
        "Share of common words, or runs of characters, that makes two queries near-duplicates.",
        metavar="JACCARD",
        above=0,
        maximum=1,
        instead="--no-duplicate-queries switches the rule off.",
    )
    exclude: str | None = opt(
        None,
        "Never take these documents: a file with a docid per line, or qrels of an evaluation set.",
        metavar="PATH",
        path=True,
    )
    rule: tuple[str, ...] = opt(
        (),
        "Ask also a rule of another package (entry point negmine.rules), after all others "
        "(repeatable).",
        metavar="NAME[=VALUE]",
    )
    max_reuse: int | None = opt(
        None, "A document serves at most N queries as a negative.", metavar="N", minimum=1
    )
    num_negatives: int = opt(8, "Negatives chosen per query, at most.", metavar="N", minimum=1)
    sampler: Literal[
        "top", "random", "rank", "bottom", "simans", "simans-code", "simans-abs", "stratified"
    ] = opt(
        "top",
        "How negatives are chosen among the survivors: best score first, at random, best retrieval "
        "rank first, worst score first (surest within a rank window), near the positive's score "
        "(SimANS: the paper's formula, its code's, or its code's for MS MARCO), or evenly over "
        "the scores.",
    )
    sample_by: str | None = opt(
        None, "Score column that orders the survivors; default: the one of --by.", metavar="NAME"
    )
    simans_a: float = opt(
        0.5, "SimANS: how fast the weight falls with distance; simans-abs has 3.", minimum=0
    )
    simans_b: float = opt(0.0, "SimANS: where the weight peaks, relative to the positive.")
    simans_scale: Literal["spread", "none"] = opt(
        "spread",
        "SimANS: what distances to the positive are measured in: the standard deviation of the "
        "scores of the query's own survivors, or the score itself (the paper's, for inner products "
        "of unscaled vectors).",
    )
    prefer_judged: bool = opt(
        False,
        "Take candidates judged not relevant (retrieve's --negative-grade or below) first.",
        flags=("--prefer-judged/--no-prefer-judged",),
    )
    prefer_given: bool = opt(
        False,
        "Take the negatives that a training set brought along (the source given) first, wherever "
        "the search ranks them: --range-min, --range-max and --shift are for what is mined.",
        flags=("--prefer-given/--no-prefer-given",),
    )
    fill_beyond: int | None = opt(
        None,
        "Where too few survive, fill at random from ranks beyond N, whatever their score; marked "
        "in the column filled (RocketQA).",
        metavar="N",
        minimum=1,
    )
    pseudo_positive: float | None = opt(
        None,
        "A query without positives takes its best candidate as one if it scores above this; "
        "marked (RocketQA).",
        metavar="SCORE",
    )
    difficulty: bool = opt(
        False,
        "Add a column: the quantile of the margin to the positive among all candidates, 1 = "
        "hardest.",
        flags=("--difficulty/--no-difficulty",),
    )
    order: Literal["hard-first", "easy-first"] = opt(
        "hard-first", "How the chosen of a query are numbered."
    )
    weight: Literal["none", "dclr", "gcse", "p-relevant", "cet"] = opt(
        "none",
        "Add a weight column: how much each row should count as a negative. Rows of weight 0, "
        "or of none, are no negatives: others take their place.",
    )
    weight_by: str | None = opt(
        None, "Score of the second model that dclr and gcse ask.", metavar="NAME"
    )
    weight_student: str | None = opt(
        None, "gcse: the trained model's own cosines; default: --sample-by.", metavar="NAME"
    )
    weight_above: float = opt(
        0.9, "dclr: cosines above this weigh nothing.", metavar="COSINE", minimum=-1, maximum=1
    )
    weight_sigma: float = opt(0.17, "gcse: width of the Gaussian.", above=0)
    weight_temperature: float = opt(0.05, "gcse: both cosines are divided by this.", above=0)
    tau_plus: float | None = opt(
        None,
        "Add a constant column tau_plus: the share of false negatives that a debiased "
        "contrastive loss corrects for (0.1 in the paper).",
        metavar="SHARE",
        minimum=0,
        below=1,
    )
    seed: int = opt(42, "Seed of all random choices.", minimum=0)
    memory: str | None = opt(None, _MEMORY_HELP, metavar="SIZE", affects_output=False)


@dataclass(frozen=True)
class ExportParams:
    """``negmine export``: the chosen negatives with their texts, in a trainer's own format."""

    format: str = opt(
        "triplet",
        "Layout of the examples: triplet, n-tuple, labeled-pair or labeled-list "
        "(sentence-transformers), flagembedding, tevatron, pylate-kd, colbert, colbert-triples, "
        "swift-embedding, swift-reranker, nemo, msmarco, trec-run, trec-qrels, or a plug-in's.",
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
        "which is true for positives that --pseudo-positive chose (repeatable).",
        metavar="COLUMN",
    )
    promoted: Literal["use", "leave-out"] = opt(
        "use",
        "Positives that the filter chose itself (--pseudo-positive): positives like others, or "
        "none at all.",
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
    group_by: str | None = opt(
        None,
        "With --batcher: a batch holds examples of one value of this column of the corpus (index "
        "--keep), such as the data set or the language, by the document of an example's positive.",
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
    seed: int = opt(42, "Seed of the batcher.", minimum=0)
    trust_remote_code: bool = opt(
        False,
        _TRUST_HELP,
        flags=("--trust-remote-code/--no-trust-remote-code",),
    )
    device: Device = opt("auto", _DEVICE_HELP, affects_output=False)
    memory: str | None = opt(None, _MEMORY_HELP, metavar="SIZE", affects_output=False)
    limit: int | None = opt(None, "Export only the first N queries.", metavar="N", minimum=1)
    allow_empty: bool = opt(
        False,
        "Write a training set without examples too; by default nothing is written and the exit "
        "code is 8.",
        flags=("--allow-empty/--no-allow-empty",),
        affects_output=False,
    )


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


@dataclass(frozen=True)
class ReportParams:
    """``negmine report``: a ledger, or two, as one page."""

    audit: str | None = opt(
        None,
        "Show this audit; default: those beside the ledger that audited the same scores.",
        metavar="PATH",
        path=True,
    )
    examples: int = opt(
        3, "Examples to read of every kind; 0 leaves all texts out.", metavar="N", minimum=0
    )
    seed: int = opt(42, "Seed of the random sample of candidates.", minimum=0)


Params = (
    IndexParams
    | RetrieveParams
    | RerankParams
    | FilterParams
    | ExportParams
    | AuditParams
    | ReportParams
)

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
