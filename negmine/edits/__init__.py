"""Minimal pairs by rule: a text changed in one place, so that it says something else. English.

After NevIR (arXiv 2305.07614), whose pairs of documents differ in a negation, and ScoNe (arXiv
2305.19426), whose sentences do; numbers and names are those that TripletCLIP (arXiv 2411.02545) and
others swap. Pure functions over texts; nothing here knows a query's answer, so what comes out is to
be checked by a scorer where it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from negmine.edits import names, negation, numbers
from negmine.edits.base import Edit, Passage
from negmine.edits.choosing import variants
from negmine.edits.names import NameCounts, Names

#: By type, what finds the edits of one sentence of a passage: (passage, sentence, names) -> edits.
KINDS: Mapping[str, Callable[[Passage, slice, Names], list[Edit]]] = {
    "negation": negation.edits,
    "number": numbers.edits,
    "entity": names.edits,
}

__all__ = ["KINDS", "Edit", "NameCounts", "Names", "Passage", "variants"]
