"""Layouts of training sets, each told by its columns and its first records.

A layout says which columns it takes and what a record means: a query, its positives, the negatives
that somebody gave it, the documents that were judged not to be positives. Plain pairs of texts are
no layout here: they are read as whole columns.
"""

from __future__ import annotations

from negmine.inputs.kinds import PAIRS, Target
from negmine.inputs.sets.base import Beginning, Layout
from negmine.inputs.sets.candidates import CANDIDATES
from negmine.inputs.sets.conversations import CONVERSATIONS
from negmine.inputs.sets.labelled import LABELLED
from negmine.inputs.sets.lists import LISTS
from negmine.inputs.sets.passages import PASSAGES
from negmine.inputs.sets.supported import SUPPORTED
from negmine.inputs.sets.tuples import TUPLES

#: The first one that fits is taken.
LAYOUTS = (TUPLES, CONVERSATIONS, PASSAGES, SUPPORTED, CANDIDATES, LABELLED, LISTS)


def recognised(beginning: Beginning) -> Layout | None:
    """The layout of a file that begins so; None for plain pairs, or what is nothing of ours."""
    return next((layout for layout in LAYOUTS if layout.fits(beginning)), None)


def fields() -> list[str]:
    """What ``--column`` can name of a training set, plain pairs included."""
    return list(dict.fromkeys(target.name for target in _targets()))


def names_known() -> list[str]:
    """Every name that a column of a training set is known by."""
    return list(dict.fromkeys(name for target in _targets() for name in target.aliases))


def _targets() -> list[Target]:
    opened = [layout.open(Beginning(())).targets for layout in LAYOUTS]
    return [target for targets in (PAIRS.targets, *opened) for target in targets]


__all__ = ["LAYOUTS", "Beginning", "Layout", "fields", "names_known", "recognised"]
