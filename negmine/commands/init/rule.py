"""Which rule a first recipe has: what ``docs/denoising.md`` recommends for what is there.

====================================  ======================================================
known positives                       rule
====================================  ======================================================
50 or more, of 25 queries or more,    the recommended one: ``p_relevant``, a model over all
or not counted                        scores, with two limits (``configs/default.toml``)
of 10 queries or more                 a bound: one limit on one score, above which at most a
                                      tenth of the positives pass
fewer                                 a margin to the query's own positive: nothing is learned
====================================  ======================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from negmine.commands.init.models import Models
from negmine.inputs.trial import Counted

#: The source that needs no model.
_LEXICAL = "bm25"
#: What ``p_relevant`` is fitted to: it needs 20 positives outside each of its five folds of
#: queries, which are dealt unevenly, and those that no source finds do not count.
FIT_POSITIVES, FIT_QUERIES = 50, 25
#: Queries that bound a tenth: a limit that 1 in n + 1 passes is the least that n can tell.
BOUND_QUERIES = 10
#: ``configs/default.toml``: measured with one known positive per query.
MAX_SCORE, MAX_FN_RATE = 0.035, 0.25
#: A probability above which a candidate is rather a positive than not.
_RATHER = 0.5


@dataclass(frozen=True)
class Rule:
    """The rule of a recipe.

    Attributes:
        name: what it is called, for the user.
        why: the reason, for the user.
        lines: its keys in TOML, with comments.
    """

    name: str
    why: str
    lines: tuple[str, ...]


def recommended(counted: Counted | None, models: Models) -> Rule:
    """The rule for so many positives and these models."""
    judge = models.scorer.name or models.encoder.name or _LEXICAL
    if counted is None:
        return _learned(1.0, "the positives were not counted, and 50 are enough", models)
    told = (
        f"{counted.queries:,} queries have {counted.positives:,} known positives"
        f"{'' if counted.whole else ' in the beginning that was read'}"
    )
    if counted.positives >= FIT_POSITIVES and counted.queries >= FIT_QUERIES:
        each = counted.positives / counted.queries
        return _learned(each, f"{told}: enough to learn from", models)
    why = f"{told}: too few to learn from, which takes {FIT_POSITIVES} of {FIT_QUERIES} queries"
    if counted.queries >= BOUND_QUERIES:
        return _bound(judge, why, models)
    return _margin(judge, f"{why}, or to bound, which takes {BOUND_QUERIES} queries", models)


def _learned(each: float, why: str, models: Models) -> Rule:
    limit, more = MAX_SCORE, ""
    if each >= 2:
        limit = min(_RATHER, float(f"{MAX_SCORE * each:.2g}"))
        more = f", times {each:.2g} positives per query"
    return Rule(
        "p_relevant",
        why,
        (
            'by = "p_relevant"  # how probable a positive is: learned from all scores and ranks',
            f"max-score = {limit:g}  # drop what is more probable ({MAX_SCORE}{more})",
            f"max-fn-rate = {MAX_FN_RATE}  # and what is above a limit that so many positives pass",
            *_hardest(models),
        ),
    )


def _bound(judge: str, why: str, models: Models) -> Rule:
    return Rule(
        "max-fn-rate",
        why,
        (
            f'by = "{judge}"',
            "max-fn-rate = 0.1  # drop what is above a limit that at most a tenth of the "
            "positives pass",
            *_hardest(models),
            *_later(),
        ),
    )


def _margin(judge: str, why: str, models: Models) -> Rule:
    return Rule(
        "relative-margin",
        why,
        (
            f'by = "{judge}"  # the score that the margin reads',
            "relative-margin = 0.05  # drop what scores above 95% of the positive's score",
            *_hardest(models),
            *_later(),
        ),
    )


def _hardest(models: Models) -> list[str]:
    """Who is taken of what is left: what the encoder ranks best is hard for it."""
    lines = ['sampler = "rank"  # of what is left, take what is ranked best: it is the hardest']
    if models.encoder.name is not None:
        lines.append(f'rank-by = "{models.encoder.name}"')
    return lines


def _later() -> list[str]:
    return [
        f"# With {FIT_POSITIVES} positives of {FIT_QUERIES} queries or more, in the place of by and"
        " the limit:",
        f'# by = "p_relevant", max-score = {MAX_SCORE}, max-fn-rate = {MAX_FN_RATE}',
    ]
