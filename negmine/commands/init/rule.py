"""Which rule a first recipe has: what ``docs/denoising.md`` recommends (``configs/default.toml``).

It is one for all: ``p_prior`` was fitted to judged collections and takes of the user's own labels
only where they stand on average and how many a query has, so it asks for no number of them
(``filter`` says where the average is of fewer than ten) and holds whichever are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from negmine.commands.init.models import Models
from negmine.commands.shortened import counted as counted_of
from negmine.inputs.trial import Counted

#: ``configs/default.toml``: measured with one known positive per query, and with a pool's.
MAX_SCORE = 0.15


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
    told = "the positives were not counted"
    if counted is not None:
        told = (
            f"{_known(counted.queries, counted.positives)}"
            f"{'' if counted.whole else ' in the beginning that was read'}"
        )
    return Rule(
        "p_prior",
        f"{told}: this rule asks for no number of them, and it hardly matters which are missing",
        (
            'by = "p_prior"  # how probable relevance is: by a model of judged collections',
            f"max-score = {MAX_SCORE:g}  # drop what is more probable; less is cleaner, and easier",
            *_hardest(models),
        ),
    )


def _known(queries: int, positives: int) -> str:
    have = "has" if queries == 1 else "have"
    return f"{counted_of(queries, 'query')} {have} {counted_of(positives, 'known positive')}"


def _hardest(models: Models) -> list[str]:
    """Who is taken of what is left: what the encoder ranks best is hard for it."""
    lines = ['sampler = "rank"  # of what is left, take what is ranked best: it is the hardest']
    if models.encoder.name is not None:
        lines.append(f'rank-by = "{models.encoder.name}"')
    return lines
