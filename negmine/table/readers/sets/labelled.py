"""A query with documents that a label or a score tells apart, one a record or a list of them."""

from __future__ import annotations

from typing import Any

from negmine.table.readers.grades import LEFT_OUT, hint
from negmine.table.readers.kinds import Target
from negmine.table.readers.label_words import label_number
from negmine.table.readers.sets.base import (
    QID,
    QUERY,
    Beginning,
    Example,
    Layout,
    Opened,
    Passage,
    Reading,
    Record,
    beside,
    by_id,
    passage,
    score,
)
from negmine.table.readers.sets.lists import POSITIVE, has_negatives
from negmine.table.readers.values import BadValueError, id_value

_QUERY = Target("query", "raw", (*QUERY.aliases, "sentence1", "text1", "question1"))
_DOCUMENT = Target(
    "document",
    "raw",
    (
        *("document", "documents", "docs", "passages", "sentence2", "text2", "question2"),
        *POSITIVE.aliases,
    ),
)
_DOCID = Target("docid", "raw", ("docid", "docids", "doc_id", "doc_ids", "document_ids"))
_LABEL = Target(
    "label",
    "raw",
    (
        *("label", "labels", "relevant", "is_relevant", "is_duplicate", "relevance"),
        *("is_selected", "is_supporting", "is_positive"),
    ),
)
_SCORE = Target("score", "raw", ("score", "scores", "similarity_score", "similarity"))


#: Of these a 0 says that nobody chose the document, not that somebody looked and said no.
_CHOSEN = frozenset(("is_selected", "is_supporting", "is_positive", "has_answer"))


class UnclearLabelError(BadValueError):
    """A label that is neither 0 nor 1, and nothing that says what it means."""


def _fits(beginning: Beginning) -> bool:
    return (
        beginning.has(_QUERY, QID)
        and beginning.has(_DOCUMENT, _DOCID)
        and beginning.has(_LABEL, _SCORE)
        and not has_negatives(beginning)
    )


def _open(beginning: Beginning) -> Opened:
    return Opened((_QUERY, QID, _DOCUMENT, _DOCID, _LABEL, _SCORE), _read)


def _read(record: Record, reading: Reading) -> Example:
    qid, query = record.query()
    name = record.name(_DOCUMENT.name)
    found = [passage(value, name) for value in record.listed(_DOCUMENT.name)]
    if found:
        ids = beside(record, _DOCID.name, len(found), name)
        found = [
            document if docid is None else document._replace(docid=id_value(docid, _DOCID.name))
            for document, docid in zip(found, ids, strict=True)
        ]
    else:
        name = record.name(_DOCID.name)
        found = [by_id(value, name) for value in record.listed(_DOCID.name)]
    if not found:
        raise BadValueError(f"field '{name}' is missing or empty")
    if reading.passages_only:
        return Example(qid, query, found)
    scores = beside(record, _SCORE.name, len(found), name)
    found = [
        document if value is None else document._replace(score=score(value, _SCORE.name))
        for document, value in zip(found, scores, strict=True)
    ]
    if reading.positive_first and record.get(_LABEL.name) is None:
        return Example(qid, query, found[:1], found[1:])
    by = _LABEL if record.get(_LABEL.name) is not None else _SCORE
    told = beside(record, by.name, len(found), name)
    if by is _LABEL:
        told = [reading.grades.of(value) for value in told]
    kept = [at for at, value in enumerate(told) if value is not LEFT_OUT]
    found = [found[at] for at in kept]
    marks = [_mark(told[at], record.name(by.name)) for at in kept]
    return _told_apart(qid, query, found, marks, by, record, reading)


def _told_apart(
    qid: str | None,
    query: str | None,
    found: list[Passage],
    marks: list[float],
    by: Target,
    record: Record,
    reading: Reading,
) -> Example:
    """The documents by their labels: 1 is a positive, 0 was judged not to be one."""
    above = reading.positive_above
    if above is None:
        unclear = next((mark for mark in marks if mark not in (0.0, 1.0)), None)
        if unclear is not None:
            first = " or, if the first document of each is the positive, --positive-first"
            raise UnclearLabelError(
                f"field '{record.name(by.name)}' is {unclear:g}, neither 0 nor 1: say from where "
                "on a document is a positive with --positive-above X"
                + (first if isinstance(record.get(by.name), list) else "")
            )
        above = 1.0
    elif by is _LABEL:
        found = [
            document if document.score is not None else document._replace(score=mark)
            for document, mark in zip(found, marks, strict=True)
        ]
    chosen = record.name(by.name).casefold() in _CHOSEN
    rows = list(zip(found, marks, strict=True))
    return Example(
        qid,
        query,
        positives=[document for document, mark in rows if mark >= above],
        negatives=[document for document, mark in rows if mark < above and (mark or chosen)],
        judged=[document for document, mark in rows if mark < above and not (mark or chosen)],
    )


def _mark(value: Any, name: str) -> float:
    """A label as a number."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (said := label_number(value)) is not None:
        return said
    try:
        number = score(value, name)
    except BadValueError as error:
        if not isinstance(value, str) or not any(map(str.isalpha, value)):
            raise
        raise BadValueError(str(error), hint(value), unclear=True) from None
    if number is None:
        raise BadValueError(f"field '{name}' is empty: a label is needed")
    return number


LABELLED = Layout("labelled documents", _fits, _open)
