"""A query with documents that a label or a score tells apart, one a record or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from negmine.inputs.grades import LEFT_OUT, hint
from negmine.inputs.kinds import Target
from negmine.inputs.label_words import label_number
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
    beside,
    by_id,
    passage,
    score,
    with_ids,
    with_scores,
)
from negmine.inputs.sets.edits import only
from negmine.inputs.sets.lists import POSITIVE, has_negatives
from negmine.inputs.values import BadValueError

_QUERY = Target("query", "raw", (*QUERY.aliases, "sentence1", "text1", "question1"))
_DOCUMENT = Target(
    "document",
    "raw",
    (
        *(
            "document",
            "documents",
            "docs",
            "passages",
            "candidates",
            "sentence2",
            "text2",
            "question2",
        ),
        *POSITIVE.aliases,
    ),
)
_NAMED = Target("positive", "raw", ("positive",))
_DOCID = Target("docid", "raw", ("docid", "docids", "doc_id", "doc_ids", "document_ids"))
LABEL = Target(
    "label",
    "raw",
    (
        *("label", "labels", "relevant", "is_relevant", "is_duplicate", "relevance"),
        *("is_selected", "is_supporting", "is_positive"),
    ),
)
SCORE = Target("score", "raw", ("score", "scores", "similarity_score", "similarity"))


#: The two labels as texts.
_WRITTEN = (("1", "0"), ("1.0", "0.0"), ("true", "false"), ("True", "False"), ("TRUE", "FALSE"))

#: Of these a 0 says that nobody chose the document, not that somebody looked and said no.
CHOSEN = frozenset(("is_selected", "is_supporting", "is_positive", "has_answer"))


class UnclearLabelError(BadValueError):
    """A label that is neither 0 nor 1, and nothing that says what it means."""


def _fits(beginning: Beginning) -> bool:
    return (
        beginning.has(_QUERY, QID)
        and beginning.has(_document(beginning), _DOCID)
        and beginning.has(LABEL, SCORE)
        and not has_negatives(beginning)
    )


def _document(beginning: Beginning) -> Target:
    """The documents; a positive that the user names is one, as its label tells."""
    return _NAMED if _NAMED.name in beginning.asked else _DOCUMENT


def _open(beginning: Beginning) -> Opened:
    document = _document(beginning)
    values = [item for value in beginning.values(LABEL) for item in _listed(value)]
    if values and all(str(value) in ("0", "1") for value in values):
        beginning.asked.account.note(
            f"'{beginning.source(LABEL)}': 1 is a positive, 0 was judged not to be one (where it "
            "is the other way round: --grade 0=1 --grade 1=0)"
        )

    def read(record: Record, reading: Reading) -> Example:
        return _read(record, reading, document.name)

    def rewrite(lying: Lying, fates: Fates) -> Edited:
        return _rewrite(lying, fates, document.name)

    return Opened((_QUERY, QID, document, _DOCID, LABEL, SCORE), read, rewrite)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _read(record: Record, reading: Reading, documents: str) -> Example:
    qid, query = record.query()
    name = record.name(documents)
    found = [passage(value, name) for value in record.listed(documents)]
    if found:
        ids = beside(record, _DOCID.name, len(found), name)
        found = with_ids(found, ids, record.name(_DOCID.name))
    else:
        name = record.name(_DOCID.name)
        found = [by_id(value, name) for value in record.listed(_DOCID.name)]
    if not found:
        raise BadValueError(f"field '{name}' is missing or empty")
    found = [one._replace(at=at) for at, one in enumerate(found)]
    if reading.passages_only:
        return Example(qid, query, found)
    scores = beside(record, SCORE.name, len(found), name)
    found = with_scores(found, scores, record.name(SCORE.name))
    if reading.positive_first and record.get(LABEL.name) is None:
        return Example(qid, query, found[:1], found[1:])
    by = LABEL if record.get(LABEL.name) is not None else SCORE
    marks = Marks(
        beside(record, by.name, len(found), name),
        record.name(by.name),
        labels=by is LABEL,
        listed=isinstance(record.get(by.name), list),
    )
    read = told_apart(found, marks, reading)
    return Example(qid, query, read.positives, read.negatives, read.judged)


def _rewrite(lying: Lying, fates: Fates, documents: str) -> Edited:
    """The record without what goes, and with the labels of what is promoted."""
    record, raw = lying.record, dict(lying.raw)
    names = [record.name(n) for n in (documents, _DOCID.name, LABEL.name, SCORE.name)]
    held = lasting(lying, fates, lambda at: _flipped(lying, at))
    if not held.stays:
        return Edited(homeless=held.homeless)
    label = record.name(LABEL.name)
    for at, value in held.labels.items():
        raw[label] = _with(raw[label], at, value)
    for name in names:
        if isinstance(raw.get(name), list):
            raw[name] = held.left(raw[name])
    return Edited([raw], True, held.homeless)


def _flipped(lying: Lying, at: int) -> Any:
    """What a label says of a positive, in the words of the label at a place; None if not known."""
    values, told = lying.raw.get(lying.record.name(LABEL.name)), lying.record.get(LABEL.name)
    if told is None or values != told:
        return None
    return positive_like(values[at] if isinstance(values, list) else values, lying.reading)


def _with(values: Any, at: int, value: Any) -> Any:
    return [*values[:at], value, *values[at + 1 :]] if isinstance(values, list) else value


class Lasting(NamedTuple):
    """What is left of a list of documents that labels tell apart.

    Attributes:
        gone: the places of those that go.
        labels: new labels by place.
        homeless: promoted negatives, by their numbers, whose label cannot be written.
        stays: whether the record does: it goes where it had positives or others, and none is left.
    """

    gone: frozenset[int | None]
    labels: Mapping[int, Any]
    homeless: frozenset[int]
    stays: bool

    def left(self, values: Sequence[Any]) -> list[Any]:
        """What is left of values that stand beside the documents."""
        return [value for at, value in enumerate(values) if at not in self.gone]


def lasting(lying: Lying, fates: Fates, flipped: Callable[[int], Any]) -> Lasting:
    """What is left of the documents of a record; of those that are in its list.

    Args:
        lying: the record.
        fates: what becomes of its passages.
        flipped: the label of a positive for the document at a place; None where it has none.
    """
    example = lying.example
    negatives = [*example.negatives, *example.judged]
    kept = zip(example.positives, fates.positives, strict=True)
    positives = [one for one, stays in kept if stays]
    others = only(negatives, fates.of("stays"))
    promoted = fates.of("promoted")
    labels: dict[int, Any] = {}
    homeless = []
    for number in promoted:
        at = negatives[number].at
        label = None if at is None else flipped(at)
        if at is None or label is None:
            homeless.append(number)
        else:
            labels[at] = label
    gone = {one.at for one in (*example.positives, *negatives)}
    gone -= {one.at for one in (*positives, *others)} | labels.keys()
    stays = bool(positives or labels or not example.positives)
    stays = stays and bool(others or not negatives)
    if len(example.positives) + len(negatives) == 1:
        stays = bool(positives or labels or others)
    return Lasting(
        frozenset(gone - {None}), labels, frozenset(homeless if stays else promoted), stays
    )


def positive_like(value: Any, reading: Reading) -> Any:
    """What says of a positive what a label of 0 or 1 says of another; None where it is no such."""
    likely: Sequence[Any] = ()
    if isinstance(value, bool):
        likely = (True, False)
    elif isinstance(value, int | float):
        likely = (type(value)(1), type(value)(0))
    elif isinstance(value, str):
        likely = next((pair for pair in _WRITTEN if value in pair), ())
    if reading.positive_above is not None:
        return None
    for one in likely:
        grade = reading.grades.of(one)
        if grade is not LEFT_OUT and _mark(grade, "label") == 1.0:
            return one
    return None


class Marks(NamedTuple):
    """What stands beside the documents of a record and tells them apart.

    Attributes:
        values: one for each.
        name: what it is called.
        labels: whether they are labels; else they are scores.
        listed: whether they stand in lists, so that the first of each may be the positive.
    """

    values: Sequence[Any]
    name: str
    labels: bool
    listed: bool = True


def told_apart(found: Sequence[Passage], by: Marks, reading: Reading) -> Example:
    """The documents by their labels: 1 is a positive, 0 was judged not to be one.

    Raises:
        UnclearLabelError: a label that is neither, and nothing that says what it means.
        BadValueError: a label that is none.
    """
    told = [reading.grades.of(value) if by.labels else value for value in by.values]
    kept = [at for at, value in enumerate(told) if value is not LEFT_OUT]
    found = [found[at] for at in kept]
    marks = [_mark(told[at], by.name) for at in kept]
    above = reading.positive_above
    if above is None:
        unclear = next((mark for mark in marks if mark not in (0.0, 1.0)), None)
        if unclear is not None:
            means = f", what it means with --grade {unclear:g}=GRADE" if by.labels else ""
            first = " or, if the first document of each is the positive, --positive-first"
            raise UnclearLabelError(
                f"field '{by.name}' is {unclear:g}, neither 0 nor 1: say from where "
                f"on a document is a positive with --positive-above X{means}"
                + (first if by.listed else "")
            )
        above = 1.0
    elif by.labels:
        found = [
            document if document.score is not None else document._replace(score=mark)
            for document, mark in zip(found, marks, strict=True)
        ]
    chosen = by.name.rpartition(".")[2].casefold() in CHOSEN
    rows = list(zip(found, marks, strict=True))
    return Example(
        None,
        None,
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
