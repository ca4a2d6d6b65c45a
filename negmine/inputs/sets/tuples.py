"""Lines that are arrays, or hold nothing but one.

embedding-training-data's (a text and its positive, perhaps a negative; a set of texts that mean the
same) and ColBERT's (numbers of a query and of documents, the first of them the positive).
"""

from __future__ import annotations

from typing import Any

from negmine.inputs.kinds import ARRAY, Target
from negmine.inputs.sets.base import (
    Beginning,
    Example,
    Layout,
    Opened,
    Passage,
    Reading,
    Record,
    by_id,
    score,
)
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
    return Opened((_TUPLE, _SET), _read)


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


def _numbered(value: Any, where: str) -> Passage:
    """A document by its number, or by its number and score."""
    if isinstance(value, list) and len(value) == _PAIR:
        return by_id(value[0], where)._replace(score=score(value[1], where))
    return by_id(value, where)


TUPLES = Layout("arrays", _fits, _open)
