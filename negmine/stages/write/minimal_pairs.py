"""Minimal pairs: positives changed in one place, by rule."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from negmine import edits, log
from negmine.edits import NameCounts, Names, Passage
from negmine.errors import UsageError, did_you_mean
from negmine.params.write import WriteParams
from negmine.stages.write.cases import Group
from negmine.stages.write.drafts import Draft
from negmine.table.documents import Documents, full_text

#: Parts of the corpus, at even distances, whose names stand for those of all.
_PARTS_READ = 4


def types(params: WriteParams) -> list[str]:
    """The types that are asked for, in turn.

    Raises:
        UsageError: there is no such type, or one is named twice.
    """
    asked = list(params.type or edits.KINDS)
    for one in asked:
        if one not in edits.KINDS:
            raise UsageError(f"--type: no type '{one}'", hint=did_you_mean(one, edits.KINDS))
    if len(set(asked)) != len(asked):
        raise UsageError("--type names one type twice", hint="Name it once.")
    return asked


def names_of(documents: Documents) -> Names:
    """Names that a corpus holds, of a few of its parts."""
    counts = NameCounts()
    every = documents.names
    with log.waiting("reading names in the corpus"):
        for name in every[:: max(1, -(-len(every) // _PARTS_READ))]:
            texts: pa.Array = full_text(documents.artifact.read(name))
            counts.add(texts.to_pylist())
    return counts.names()


def write(group: Group, asked: Sequence[str], names: Names, params: WriteParams) -> list[Draft]:
    """The edits of a group's positives."""
    drafts = []
    for case in group.cases:
        passage = Passage(case.text, case.query, params.seed)
        for edit in edits.variants(passage, edits.KINDS, asked, names, params.each):
            edited = (case.title, edit.of(case.text), edit.before, edit.after)
            drafts.append(Draft(case, edit.type, *edited))
    return drafts
