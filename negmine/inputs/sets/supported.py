"""A query with titled paragraphs, those that support the answer named: HotpotQA, 2WikiMultihopQA.

As they are published (lists of a title and its sentences) and as ``datasets`` has them (an object
of lists). The other paragraphs were retrieved to distract: they are given negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
)
from negmine.inputs.sets.edits import only
from negmine.inputs.sets.labelled import lasting
from negmine.inputs.values import BadValueError, text_value

_CONTEXT = Target("candidates", "raw", ("context",))
_FACTS = Target("supporting_facts", "raw", ("supporting_facts",))
_SENTENCES = ("sentences", "content")
_PAIR = 2


def _fits(beginning: Beginning) -> bool:
    values = beginning.values(_CONTEXT)
    return (
        beginning.has(QUERY)
        and beginning.has(_FACTS)
        and bool(values)
        and all(_paragraphs(value) is not None for value in values)
    )


def _paragraphs(value: Any) -> list[tuple[Any, Any]] | None:
    """Title and sentences of each paragraph; None where these are none."""
    if isinstance(value, Mapping):
        titles = value.get("title")
        sentences = next((value[name] for name in _SENTENCES if name in value), None)
        if not isinstance(titles, list) or not isinstance(sentences, list):
            return None
        if len(titles) != len(sentences):
            return None
        return list(zip(titles, sentences, strict=True))
    if not isinstance(value, list) or not all(
        isinstance(item, list) and len(item) == _PAIR and isinstance(item[1], list)
        for item in value
    ):
        return None
    return [(title, sentences) for title, sentences in value]


def _open(beginning: Beginning) -> Opened:
    return Opened((QUERY, QID, _CONTEXT, _FACTS), _read, _rewrite)


def _read(record: Record, reading: Reading) -> Example:
    qid, query = record.query()
    name = record.name(_CONTEXT.name)
    paragraphs = _paragraphs(record.get(_CONTEXT.name))
    if paragraphs is None:
        raise BadValueError(f"field '{name}' must hold titles, each with a list of sentences")
    found = [
        Passage(
            None, text_value(title, f"{name}[{at}].title"), _joined(said, f"{name}[{at}]"), at=at
        )
        for at, (title, said) in enumerate(paragraphs)
    ]
    titles = _supporting(record.get(_FACTS.name), record.name(_FACTS.name))
    return Example(
        qid,
        query,
        [passage for passage in found if passage.title in titles],
        [passage for passage in found if passage.title not in titles],
    )


def _supporting(value: Any, name: str) -> set[Any]:
    """The titles of the paragraphs that hold a supporting sentence."""
    if value is None:
        return set()
    if isinstance(value, Mapping) and isinstance(value.get("title"), list):
        return set(value["title"])
    if isinstance(value, list) and all(isinstance(item, list) and item for item in value):
        return {item[0] for item in value}
    raise BadValueError(f"field '{name}' must hold titles, each with the number of a sentence")


def _joined(sentences: Any, where: str) -> str:
    """Sentences as a text; most bring the blank before them along."""
    given = sentences if isinstance(sentences, list) else [sentences]
    text = ""
    for at, sentence in enumerate(given):
        said = text_value(sentence, f"{where}[{at}]")
        apart = not text or text[-1].isspace() or said[:1].isspace()
        text += said if apart else f" {said}"
    return text.strip()


def _rewrite(lying: Lying, fates: Fates) -> Edited:
    """The record without the paragraphs that go; no new one is told to support."""
    held = lasting(lying, fates, lambda at: None)
    if not held.stays:
        return Edited(homeless=held.homeless)
    raw = dict(lying.raw)
    context, facts = (lying.record.name(target.name) for target in (_CONTEXT, _FACTS))
    value, told = raw[context], raw.get(facts)
    titles = {title for title, _ in held.left(_paragraphs(value) or [])}
    raw[context] = (
        {field: held.left(values) for field, values in value.items()}
        if isinstance(value, Mapping)
        else held.left(value)
    )
    if isinstance(told, Mapping):
        kept = [at for at, title in enumerate(told["title"]) if title in titles]
        raw[facts] = {field: only(values, kept) for field, values in told.items()}
    elif told is not None:
        raw[facts] = [fact for fact in told if fact[0] in titles]
    return Edited([raw], True, held.homeless)


SUPPORTED = Layout(
    "paragraphs with supporting facts",
    _fits,
    _open,
    unread=dict.fromkeys(
        ("answer", "answers", "answer_id", "evidences", "evidences_id"),
        "the paragraphs that support it are named by 'supporting_facts'",
    ),
)
