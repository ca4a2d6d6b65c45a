"""Rules whose answer does not come from the part alone: texts, vectors, other queries, limits.

The stage fetches what they need and :mod:`negmine.dedup.minhash` compares; here they only get their
names and their order. Each is its own reason in ``dropped_by``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View

#: What is no rule's mask: numbers of the groups of copies among a query's candidates, -1 = alone.
#: Which of them is dropped depends on the sampler's order.
COPIES = "copies"
#: Judged, but neither positive nor not relevant; ``--prefer-judged`` looks at it, too.
BETWEEN = "between_grades"
#: What no ``--pseudo-positive`` may choose.
BARRED = "no_pseudo_positive"


def _flag(name: str, active: Callable[[FilterParams], bool], *, hard: bool = True) -> Rule:
    def drop(view: View, params: FilterParams) -> np.ndarray:
        return view.flags.get(name, np.zeros(len(view.query), dtype=bool))

    return Rule(name, active, drop, hard=hard)


IDENTITIES = (
    _flag(BETWEEN, lambda p: p.between_grades),
    _flag("empty_text", lambda p: p.empty_texts),
    _flag("own_document", lambda p: p.own_document != "off"),
    _flag("same_text", lambda p: p.same_text),
    _flag("query_text", lambda p: p.query_text),
    _flag("near_duplicate", lambda p: p.near_duplicates),
    _flag("near_duplicate_cosine", lambda p: bool(p.near_duplicate_cosine)),
    _flag("sibling", lambda p: p.chunk_suffix is not None or p.sibling_by is not None),
    _flag("duplicate_query", lambda p: p.duplicate_queries),
    _flag("excluded", lambda p: p.exclude is not None),
)
VECTORS = (_flag("closer_than_positive", lambda p: bool(p.closer_than_positive), hard=False),)
