"""A query with its passages as objects in one column: chosen, judged, or found by a retriever.

MS MARCO (``is_selected``), MuSiQue (``is_supporting``), what DPR's retriever writes (``ctxs`` with
``score`` and ``has_answer``) and other lists of ``{"text": ..., "score": ...}``. A list of objects
may be an object of lists, as ``datasets`` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from negmine.inputs.kinds import Target
from negmine.inputs.sets.base import (
    QID,
    QUERY,
    TEXT_FIELDS,
    Beginning,
    Edited,
    Example,
    Fates,
    Layout,
    Lying,
    Opened,
    Reading,
    Record,
    passage,
    passages,
)
from negmine.inputs.sets.edits import listed
from negmine.inputs.sets.labelled import (
    CHOSEN,
    LABEL,
    SCORE,
    Marks,
    lasting,
    positive_like,
    told_apart,
)
from negmine.inputs.sets.lists import has_negatives
from negmine.inputs.values import BadValueError, type_name

_CANDIDATES = Target(
    "candidates",
    "raw",
    (
        *("passages", "paragraphs", "ctxs", "contexts", "context", "documents", "docs"),
        *("candidates", "hits", "results", "retrieved", "retrieved_passages", "retrieved_docs"),
    ),
)
#: Positives beside them; an answer beside passages is a short one.
_POSITIVE = Target("positive", "raw", ("positive", "positives", "pos"))
#: Fields of a passage that tell whether it answers.
_LABELS = (
    *("label", "relevance", "relevant", "is_relevant", "grade", "judgement"),
    *("is_selected", "is_supporting", "is_positive"),
)
#: Says that a string occurs, so it needs to be asked for.
_HAS_ANSWER = "has_answer"
_ANSWERS = "passages stand beside it, and what they are is told by them"


def _fits(beginning: Beginning) -> bool:
    values = beginning.values(_CANDIDATES)
    fields = _fields(values)
    return (
        beginning.has(QUERY)
        and not has_negatives(beginning)
        and all(_holds_objects(value) for value in values)
        and any(name in fields for name in TEXT_FIELDS)
        and not ("positive" in beginning.asked and _label(beginning, fields) is not None)
        # What stands beside the list tells its documents apart.
        and beginning.source(SCORE) not in beginning.columns
        and beginning.source(LABEL) not in beginning.columns
        and beginning.asked.get(LABEL.name) in (None, *fields)
    )


def _holds_objects(value: Any) -> bool:
    """Whether a value is a list of objects, or an object of lists of one length."""
    if isinstance(value, Mapping):
        lists = [items for items in value.values() if isinstance(items, list)]
        return bool(lists) and len(lists) == len(value) and len(set(map(len, lists))) == 1
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _fields(values: Sequence[Any]) -> list[str]:
    """The fields of the passages in the first records."""
    objects = [item for value in values if _holds_objects(value) for item in _objects(value)]
    return list(dict.fromkeys(name for item in objects for name in item))


def _objects(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return list(value)


def _label(beginning: Beginning, fields: Sequence[str]) -> str | None:
    """The field of a passage that tells what it is: asked for, or known by its name."""
    asked = beginning.asked.get(LABEL.name)
    if asked is not None:
        return asked
    return next((name for name in _LABELS if name in fields), None)


def _open(beginning: Beginning) -> Opened:
    column = beginning.source(_CANDIDATES)
    fields = _fields(beginning.values(_CANDIDATES)) if column else []
    label = _label(beginning, fields)
    if column:
        beginning.asked.account.note(_told(column, fields, label))

    def read(record: Record, reading: Reading) -> Example:
        return _read(record, reading, label)

    def rewrite(lying: Lying, fates: Fates) -> Edited:
        return _rewrite(lying, fates, label)

    return Opened((QUERY, QID, _POSITIVE, _CANDIDATES), read, rewrite)


def _told(column: str, fields: Sequence[str], label: str | None) -> str:
    if label is not None:
        other = "given negatives, not judged" if label in CHOSEN else "judged not relevant"
        return f"'{column}' holds passages: '{label}' 1 is a positive, 0 is {other}"
    told = f"'{column}' holds passages that a retriever found: candidates in their order"
    if _HAS_ANSWER in fields:
        told += (
            f"; '{_HAS_ANSWER}' is no judgement of them (--column {LABEL.name}={_HAS_ANSWER} takes "
            "it for one)"
        )
    return told


def _read(record: Record, reading: Reading, label: str | None) -> Example:
    qid, query = record.query()
    name = record.name(_CANDIDATES.name)
    value = record.get(_CANDIDATES.name)
    if value is not None and not _holds_objects(value):
        raise BadValueError(f"field '{name}' must be a list of objects, found {type_name(value)}")
    objects = [] if value is None else _objects(value)
    positives = passages(record, _POSITIVE.name)
    found = [passage(item, f"{name}[{at}]")._replace(at=at) for at, item in enumerate(objects)]
    if reading.passages_only:
        return Example(qid, query, [*positives, *found])
    if label is not None:
        marks = [item.get(label) for item in objects]
        read = told_apart(found, Marks(marks, f"{name}.{label}", labels=True), reading)
    elif reading.positive_first:
        read = Example(None, None, found[:1], found[1:])
    elif reading.positive_above is not None:
        marks = [item.score for item in found]
        read = told_apart(found, Marks(marks, f"{name}.score", labels=False), reading)
    else:
        read = Example(None, None, negatives=found)
    return Example(qid, query, [*positives, *read.positives], read.negatives, read.judged)


def _rewrite(lying: Lying, fates: Fates, label: str | None) -> Edited:
    """The record without the passages that go, and with the labels of those that are promoted."""
    name, beside = (lying.record.name(target.name) for target in (_CANDIDATES, _POSITIVE))
    value = lying.raw.get(name)
    objects = [] if value is None else _objects(value)

    def flipped(at: int) -> Any:
        told = None if label is None else objects[at].get(label)
        return None if told is None else positive_like(told, lying.reading)

    held = lasting(lying, fates, flipped)
    if not held.stays:
        return Edited(homeless=held.homeless)
    raw = dict(lying.raw)
    changed = [
        {**item, label: held.labels[at]} if label is not None and at in held.labels else item
        for at, item in enumerate(objects)
    ]
    left = held.left(changed)
    if isinstance(value, Mapping):
        raw[name] = {field: [item[field] for item in left] for field in value}
    elif value is not None:
        raw[name] = left
    positives = listed(raw.get(beside))
    if isinstance(raw.get(beside), list):
        stay = fates.positives[: len(positives)]
        raw[beside] = [one for one, stays in zip(positives, stay, strict=True) if stays]
    elif positives and not fates.positives[0]:
        return Edited(homeless=frozenset(fates.of("promoted")))
    return Edited([raw], True, held.homeless)


CANDIDATES = Layout(
    "passages of a query",
    _fits,
    _open,
    unread=dict.fromkeys(
        (
            *("answer", "answers", "wellFormedAnswers", "well_formed_answers"),
            *("answer_aliases", "answerable", "question_decomposition"),
        ),
        _ANSWERS,
    ),
    inner=frozenset((LABEL.name,)),
)
