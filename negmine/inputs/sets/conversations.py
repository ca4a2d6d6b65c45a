"""ms-swift's lines: the query and every document are conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from negmine.inputs.kinds import Target
from negmine.inputs.sets.base import (
    QID,
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
    beside,
    with_ids,
    with_scores,
)
from negmine.inputs.sets.edits import Side, of_lists
from negmine.inputs.values import BadValueError, id_value, text_value, type_name

_MESSAGES = Target("messages", "raw", ("messages",))
_SIDES = {
    "positive": Target("positive_messages", "raw", ("positive_messages",)),
    "negative": Target("negative_messages", "raw", ("negative_messages",)),
}
_BESIDE = (
    Target("positive_scores", "raw", ("pos_scores",)),
    Target("negative_scores", "raw", ("neg_scores",)),
    Target("positive_id", "raw", ("pos_id",)),
    Target("negative_id", "raw", ("neg_id",)),
)


def _fits(beginning: Beginning) -> bool:
    return beginning.has(_MESSAGES) and beginning.has(*_SIDES.values())


def _open(beginning: Beginning) -> Opened:
    return Opened((_MESSAGES, QID, *_SIDES.values(), *_BESIDE), _read, _rewrite)


def _read(record: Record, reading: Reading) -> Example:
    qid = record.get(QID.name)
    return Example(
        None if qid is None else id_value(qid, record.name(QID.name)),
        _said(record.get(_MESSAGES.name), record.name(_MESSAGES.name)),
        _documents(record, "positive"),
        _documents(record, "negative"),
    )


def _rewrite(lying: Lying, fates: Fates) -> Edited:
    name = lying.record.name
    positive, negative = (
        Side((name(_SIDES[side].name),), name(f"{side}_id"), name(f"{side}_scores"))
        for side in ("positive", "negative")
    )
    return of_lists(lying.raw, positive, negative, fates)


def _documents(record: Record, side: str) -> list[Passage]:
    name = record.name(_SIDES[side].name)
    found = [
        Passage(None, "", _said(item, f"{name}[{at}]"))
        for at, item in enumerate(record.listed(_SIDES[side].name))
    ]
    ids = beside(record, f"{side}_id", len(found), name)
    scores = beside(record, f"{side}_scores", len(found), name)
    found = with_ids(found, ids, record.name(f"{side}_id"))
    return with_scores(found, scores, record.name(f"{side}_scores"))


def _said(value: Any, where: str) -> str:
    """The text of a conversation of one message, but for a system's.

    Raises:
        BadValueError: it is no conversation, or one of several turns.
    """
    messages = [value] if isinstance(value, Mapping) else value
    if not isinstance(messages, list) or not all(isinstance(item, Mapping) for item in messages):
        raise BadValueError(f"field '{where}' must be a list of messages, found {type_name(value)}")
    said = [message for message in messages if message.get("role") != "system"]
    if len(said) != 1:
        raise BadValueError(
            f"field '{where}' has {len(said)} messages: a text is one message (a system's aside)"
        )
    return text_value(said[0].get("content"), f"{where}.content")


CONVERSATIONS = Layout("conversations", _fits, _open)
