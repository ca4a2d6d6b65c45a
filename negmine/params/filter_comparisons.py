"""The options of ``filter``'s rules that compare scores and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.option import opt


# A group of fields: FilterParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class ReadOptions:
    """Which score and which ranks the rules read."""

    headings: ClassVar[Mapping[str, str]] = {
        "by": "What the rules read",
    }

    by: str | None = opt(
        None,
        "Score column that the rules read: the NAME of a scorer or source, p_relevant (learned "
        "from all of them and your labels) or p_prior (by judged collections, whatever your labels "
        "miss); default: the last scorer, else the first source.",
        metavar="NAME",
    )
    similar_to_positives: bool = opt(
        False,
        "p_relevant learns also from how like the query's known positives a candidate is (stored "
        "vectors, MinHash); for queries with two or more.",
        flags=("--similar-to-positives/--no-similar-to-positives",),
    )
    prior_pool: int | None = opt(
        None,
        "p_prior tells where a candidate stands by the scores of N of its query's candidates, "
        "drawn by --seed, not of all: so rerank --enough may stop.",
        metavar="N",
        minimum=8,
        instead="Fewer tell little of a query's scores.",
        later=True,
    )
    transform: Literal["none", "sigmoid"] = opt(
        "none", "Applied to the score of --by before the rules read it; sigmoid is for logits."
    )
    fit_sample: int | None = opt(
        None,
        "What is learned from the whole table (the limits of --percentile and --max-fn-rate, "
        "p_relevant, p_prior) is learned from N queries, drawn by --seed, alone; so rerank "
        "--enough may stop where a limit has to be learned.",
        metavar="N",
        minimum=1,
        later=True,
    )
    keep_unscored: str | None = opt(
        None,
        "Keep candidates without the score of --by of which CONDITION holds, such as those that a "
        "cheap model screened out ('judge <= 0.3'); all others without it are dropped as unscored.",
        metavar="CONDITION",
        later=True,
    )
    rank_by: str | None = opt(
        None,
        "Source whose retrieval rank --range-min/--range-max, --shift and the like read; default: "
        "the best rank over the sources.",
        metavar="NAME",
    )


# A group of fields: FilterParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class RankOptions:
    """Rules over the retrieval ranking."""

    headings: ClassVar[Mapping[str, str]] = {
        "range_min": "Rules over ranks",
    }

    range_min: int | None = opt(
        None, "Drop candidates retrieved above this rank (ranks start at 1).", minimum=1
    )
    range_max: int | None = opt(None, "Drop candidates retrieved below this rank.", minimum=1)
    window: tuple[str, ...] = opt(
        (),
        "Of what the source NAME ranks take only the slice A:B, counted from 0 as in Python "
        "(bm25=30:50 are the ranks 31 to 50); what another source found too is that one's "
        "(repeatable).",
        metavar="NAME=A:B",
        later=True,
    )
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


# A group of fields: FilterParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class ScoreOptions:
    """Rules that compare a score: with a number, or with the query's positives."""

    headings: ClassVar[Mapping[str, str]] = {
        "min_score": "Rules over scores",
        "max_fn_rate": "A bound on the positives that pass",
        "against": "Rules over scores",
    }

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
    consensus: tuple[str, ...] = opt(
        (),
        "Keep only candidates that each of these scores puts below the query's positive; all "
        "stands for every scorer and every source that searches (repeatable).",
        metavar="NAME",
        later=True,
    )
    adaptive_threshold: float | None = opt(
        None,
        "Drop candidates that score above the mean of their query's own candidates + K standard "
        "deviations; asks nothing of the positives (ATSS, with 1).",
        metavar="K",
        later=True,
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
    bias_from: tuple[str, ...] = opt(
        (),
        "Labels are believed to have been given down the ranking of SOURCE: --max-fn-rate is "
        "corrected for the positives that it ranks below them (repeatable: a pool of several).",
        metavar="SOURCE",
        later=True,
    )
    against: Literal["min", "mean", "max"] = opt(
        "min", "Which of a query's positive scores the margins use."
    )
