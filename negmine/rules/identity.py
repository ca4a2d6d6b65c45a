"""Rules whose answer does not come from the part alone: texts, vectors, judgements, other queries.

The stage fetches what they need and :mod:`negmine.dedup` compares; what it found stands in
:attr:`View.flags` under the rule's name. Each is its own reason in ``dropped_by``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from negmine.errors import UsageError
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import Condition, Rule, View, Way, given, leaving_out

#: What is no rule's mask: numbers of the groups of copies among a query's candidates, -1 = alone.
#: Which of them is dropped depends on the sampler's order.
COPIES = "copies"
#: Judged, but neither positive nor not relevant; ``--prefer-judged`` looks at it, too.
BETWEEN = "between_grades"
#: What may become no positive: the query's own document or text, what has no text, or is excluded.
BARRED = "no_pseudo_positive"
#: Candidates whose text is a known positive's, or nearly: no further positives.
KNOWN_COPIES = "copies_of_known"
#: What is no rule's mask: the digest of each row's text, equal where texts are the same.
CONTENT = "content"


def flagged(name: str, active: Condition, words: str, **about: Any) -> Rule:
    """A rule that drops the rows of :attr:`View.flags` under its name; hard by default.

    Args:
        name: see :class:`Rule`.
        active: see :class:`Rule`.
        words: see :class:`Rule`.
        about: the other fields of :class:`Rule`.
    """

    def drop(view: View, params: FilterParams) -> np.ndarray:
        return view.flags.get(name, np.zeros(len(view.query), dtype=bool))

    return Rule(name, active, drop, words=words, **{"hard": True, **about})


def _off(option: str) -> dict[str, Any]:
    """A rule that a switch turns off, where that is a matter of taste."""

    def ways(params: FilterParams, fit: Fit) -> list[Way]:
        return [(f"--no-{option.replace('_', '-')}", {option: False})]

    return {"switch": f"--{option.replace('_', '-')}", "ways": ways}


RULES = (
    flagged(
        BETWEEN,
        lambda p: p.between_grades,
        "judged neither relevant nor not relevant",
        **_off("between_grades"),
    ),
    flagged(
        "empty_text",
        lambda p: p.empty_texts,
        "no letter, digit or symbol in it",
        switch="--empty-texts",
    ),
    flagged("own_document", lambda p: p.own_document != "off", "the query's own document"),
    flagged(
        "same_text",
        lambda p: p.same_text,
        "same text as a positive, but for case, spacing, punctuation",
    ),
    flagged("query_text", lambda p: p.query_text, "the query's own text"),
    flagged(
        "near_duplicate",
        lambda p: p.near_duplicates,
        "near-duplicate of a positive",
        options=("near_duplicate_at",),
        **_off("near_duplicates"),
    ),
    flagged(
        "near_duplicate_cosine",
        lambda p: bool(p.near_duplicate_cosine),
        "vector close to a positive's",
        ways=leaving_out("near_duplicate_cosine", ()),
    ),
    flagged(
        "same_cluster",
        lambda p: bool(p.same_cluster),
        "in a cluster with a positive",
        ways=leaving_out("same_cluster", ()),
    ),
    flagged(
        "sibling",
        lambda p: p.chunk_suffix is not None or p.sibling_by is not None,
        "chunk of a positive's document",
        switch="--chunk-suffix",
    ),
    flagged(
        "duplicate_query",
        lambda p: p.duplicate_queries,
        "positive of a near-duplicate query",
        options=("duplicate_query_at",),
        **_off("duplicate_queries"),
    ),
    flagged("excluded", given("exclude"), "on the list of excluded documents", switch="--exclude"),
)


def closer_than_positive(comparing: Sequence[Rule]) -> Rule:
    """Candidates that are not nearer to the query than the positive is, by stored vectors.

    Args:
        comparing: the rules that may keep only what scores below the positive: they contradict it.
    """

    def check(params: FilterParams) -> None:
        for rule in comparing if params.closer_than_positive else ():
            if rule.below_positive(params):
                raise UsageError(
                    f"--closer-than-positive keeps what {rule.option} drops: candidates nearer "
                    "than the positive",
                    hint="Give one or the other.",
                )

    return flagged(
        "closer_than_positive",
        lambda p: bool(p.closer_than_positive),
        "not nearer to the query than the positive",
        hard=False,
        check=check,
        ways=leaving_out("closer_than_positive", ()),
    )
