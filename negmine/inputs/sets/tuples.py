"""Lines that are arrays, or hold nothing but one.

embedding-training-data's (a text and its positive, perhaps a negative; a set of texts that mean the
same) and ColBERT's (numbers of a query and of documents, the first of them the positive).
"""

from __future__ import annotations

from typing import Any

from negmine.inputs.kinds import ARRAY, Target
from negmine.inputs.sets.base import (
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
    by_id,
    score,
)
from negmine.inputs.sets.edits import only
from negmine.inputs.values import BadValueError, id_value, text_value, type_name

#: A text, what answers it, perhaps what does not.
_TUPLE = Target("tuple", "raw", (ARRAY, "texts"))
#: Texts of one meaning.
_SET = Target("set", "raw", ("set",))
_PAIR, _TRIPLE = 2, 3


def _fits(beginning: Beginning) -> bool:
    return beginning.has(_TUPLE, _SET) and bool(
        [value for value in beginning.values(_TUPLE) if isinstance(value, list)]
        or [value for value in beginning.values(_SET) if isinstance(value, list)]
    )


def _open(beginning: Beginning) -> Opened:
    return Opened((_TUPLE, _SET), _read, _rewrite)


def _read(record: Record, reading: Reading) -> Example:
    target = _TUPLE if record.get(_TUPLE.name) is not None else _SET
    name, values = record.name(target.name), record.get(target.name)
    if not isinstance(values, list):
        raise BadValueError(f"field '{name}' must be a list, found {type_name(values)}")
    if len(values) < _PAIR:
        raise BadValueError(f"field '{name}' has {len(values)} values: a pair needs two")
    if target is _SET:
        query, *others = (text_value(value, f"{name}[{at}]") for at, value in enumerate(values))
        return Example(None, query, [Passage(None, "", text) for text in others])
    if isinstance(values[0], int):
        query_id, *documents = values
        found = [_numbered(value, f"{name}[{at}]") for at, value in enumerate(documents, 1)]
        return Example(id_value(query_id, f"{name}[0]"), None, found[:1], found[1:])
    if len(values) > _TRIPLE:
        raise BadValueError(
            f"field '{name}' has {len(values)} texts: a query, a positive and a negative are "
            "three; a list of texts that mean the same is named by --column set="
            f"{'COLUMN' if name == ARRAY else name}"
        )
    query, *others = (text_value(value, f"{name}[{at}]") for at, value in enumerate(values))
    found = [Passage(None, "", text) for text in others]
    return Example(None, query, found[:1], found[1:])


def _rewrite(lying: Lying, fates: Fates) -> Edited:
    """An array without what goes; what is promoted gets arrays of its own."""
    target = _TUPLE if lying.record.get(_TUPLE.name) is not None else _SET
    name = lying.record.name(target.name)
    query, *documents = lying.raw[name]
    if target is _SET:
        left = [one for one, stays in zip(documents, fates.positives, strict=True) if stays]
        return Edited([{**lying.raw, name: [query, *left]}] if left else [], bool(left))
    positive, *negatives = documents
    stay = only(negatives, fates.of("stays"))
    if isinstance(query, int):
        if negatives and not stay:
            return Edited(homeless=frozenset(fates.of("promoted")))
        own = fates.of("promoted")
        firsts = [positive] * all(fates.positives) + only(negatives, own)
        rows = [[query, first, *stay] for first in firsts]
    else:
        others = fates.others() if fates.of("promoted") else []
        own = [one for one in fates.of("promoted") if one not in fates.elsewhere and others]
        rows = [[query, *documents]] if all(fates.positives) and len(stay) == len(negatives) else []
        rows += [[query, negatives[at], one.text] for at in own for one in others]
    promoted = frozenset(fates.of("promoted")) - fates.elsewhere
    stays = bool(rows) if isinstance(query, int) else rows[:1] == [[query, *documents]]
    records = [{**lying.raw, name: row} for row in rows]
    return Edited(records, stays, promoted - frozenset(own), frozenset(own))


def _numbered(value: Any, where: str) -> Passage:
    """A document by its number, or by its number and score."""
    if isinstance(value, list) and len(value) == _PAIR:
        return by_id(value[0], where)._replace(score=score(value[1], where))
    return by_id(value, where)


TUPLES = Layout("arrays", _fits, _open)
