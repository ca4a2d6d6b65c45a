"""A query with lists of passages as objects: Tevatron, MIRACL, Mr.TyDi and DPR."""

from __future__ import annotations

from negmine.inputs.kinds import Target
from negmine.inputs.sets.base import (
    QID,
    QUERY,
    Beginning,
    Edited,
    Example,
    Fates,
    Layout,
    Lying,
    Opened,
    Passage,
    Reading,
    Record,
    passages,
)
from negmine.inputs.sets.edits import Side, of_lists

_POSITIVE = Target("positive_passages", "raw", ("positive_passages", "positive_ctxs"))
#: DPR draws from the hard ones and falls back on the others, so they come in this order.
_NEGATIVE = Target("negative_passages", "raw", ("negative_passages", "hard_negative_ctxs"))
_MORE = Target("more_negative_passages", "raw", ("negative_ctxs",))


def _fits(beginning: Beginning) -> bool:
    return beginning.has(QUERY) and beginning.has(_POSITIVE, _NEGATIVE, _MORE)


def _open(beginning: Beginning) -> Opened:
    return Opened((QUERY, QID, _POSITIVE, _NEGATIVE, _MORE), _read, _rewrite)


def _read(record: Record, reading: Reading) -> Example:
    qid, query = record.query()
    negatives: list[Passage] = passages(record, _NEGATIVE.name) + passages(record, _MORE.name)
    return Example(qid, query, passages(record, _POSITIVE.name), negatives)


def _rewrite(lying: Lying, fates: Fates) -> Edited:
    name = lying.record.name
    negative = Side((name(_NEGATIVE.name), name(_MORE.name)))
    return of_lists(lying.raw, Side((name(_POSITIVE.name),)), negative, fates)


PASSAGES = Layout(
    "passages",
    _fits,
    _open,
    unread={"answers": "a passage is a positive where it is listed as one, whatever it contains"},
)
