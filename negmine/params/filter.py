"""The options of ``filter``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from negmine.params.option import MEMORY_HELP, opt


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
    memory: str | None = opt(None, MEMORY_HELP, metavar="SIZE", affects_output=False)
