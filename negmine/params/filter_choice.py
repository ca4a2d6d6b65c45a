"""The options of ``filter`` that say which survivors are taken, and what they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from negmine.params.option import opt


# A group of fields: FilterParams makes the methods.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class ChoiceOptions:
    """The sampler, what comes first, what fills up, and what is written of the chosen."""

    headings: ClassVar[Mapping[str, str]] = {
        "max_reuse": "Sampling",
        "difficulty": "Order and weights",
        "seed": "Sampling",
    }

    max_reuse: int | None = opt(
        None, "A document serves at most N queries as a negative.", metavar="N", minimum=1
    )
    num_negatives: int = opt(8, "Negatives chosen per query, at most.", metavar="N", minimum=1)
    quota: tuple[str, ...] = opt(
        (),
        "So many of a query's negatives come from the source NAME, or have the value VALUE in a "
        "column kept of the corpus (index --keep); together they are --num-negatives (repeatable).",
        metavar="NAME=N|COLUMN:VALUE=N",
        minimum=1,
        later=True,
    )
    quota_fill: bool = opt(
        False,
        "What a --quota is short of is filled from the other survivors.",
        flags=("--quota-fill/--no-quota-fill",),
        later=True,
    )
    sampler: Literal[
        "top",
        "random",
        "rank",
        "bottom",
        "simans",
        "simans-code",
        "simans-abs",
        "stratified",
        "diverse",
        "stride",
    ] = opt(
        "top",
        "How negatives are chosen among the survivors: best score first, at random, best retrieval "
        "rank first, worst score first (surest within a rank window), near the positive's score "
        "(SimANS: the paper's formula, its code's, or its code's for MS MARCO), evenly over "
        "the scores, some that differ from each other (--diverse-by), or every N-th by score "
        "(--stride).",
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
    stride: int = opt(
        5,
        "Of the survivors by falling score the sampler stride takes the first, the N-th after it, "
        "and so on, then begins again at the second (UniME-V2).",
        metavar="N",
        minimum=1,
        later=True,
    )
    diverse_by: str | None = opt(
        None,
        "What negatives of the sampler diverse differ in: cluster:NAME takes at most one of a "
        "cluster (retrieve --source NAME=clusters:ENCODER), NAME balances the score and the "
        "cosines of the index's vectors NAME (maximal marginal relevance).",
        metavar="NAME|cluster:NAME",
        later=True,
    )
    mmr_lambda: float = opt(
        0.5,
        "How much the score counts beside the difference: 1 = by score alone, 0 = by difference "
        "alone (--sampler diverse with vectors).",
        metavar="SHARE",
        minimum=0,
        maximum=1,
        later=True,
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
    replace_solved: str | None = opt(
        None,
        "Negatives of an earlier round, which the source NAME (previous:LEDGER) brought, keep "
        "their places; those that the scores of now call solved give theirs to the next candidates "
        "(Conan).",
        metavar="NAME",
        later=True,
    )
    solved_factor: float = opt(
        1.15,
        "--replace-solved: an earlier negative is solved when FACTOR times its score is below the "
        "one that it was first chosen with, and ...",
        metavar="FACTOR",
        above=0,
        later=True,
    )
    solved_below: float = opt(
        0.8,
        "--replace-solved: ... when its score without its sign is below this.",
        metavar="SCORE",
        above=0,
        later=True,
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
