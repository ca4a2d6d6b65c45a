"""What a layout of training sets is: the columns it takes, and what a record of it says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from negmine.inputs.chunks import find_column
from negmine.inputs.columns import Columns
from negmine.inputs.grades import Grades
from negmine.inputs.kinds import Target
from negmine.inputs.values import BadValueError, id_value, text_value, type_name

QUERY = Target("query", "raw", ("query", "anchor", "question", "query_text"))
QID = Target("qid", "raw", ("query_id", "qid", "question_id", "query-id"))
#: Names of an object's fields, where a passage is one.
TEXT_FIELDS = (
    *("text", "contents", "content", "body", "passage"),
    *("passage_text", "paragraph_text", "document"),
)
#: Scores are kept as float32.
_LARGEST = 3.4028234e38
_DOCID = ("docid", "_id", "id", "doc_id", "passage_id", "psg_id", "pid", "paragraph_id")


class Passage(NamedTuple):
    """A document of an example.

    Attributes:
        docid: its id, where the set tells one.
        title: its title, or nothing.
        text: its text; None where the set holds only ids.
        score: its score, where the set tells one.
        at: its number among the passages of a record that holds positives and others in one list.
    """

    docid: str | None
    title: str
    text: str | None
    score: float | None = None
    at: int | None = None


@dataclass(frozen=True)
class Example:
    """What one record says.

    Attributes:
        qid: the query's id, where the set tells one.
        query: its text; None where the set holds only ids.
        positives: what answers it.
        negatives: what was mined for it, best first.
        judged: what somebody judged not to answer it.
    """

    qid: str | None
    query: str | None
    positives: Sequence[Passage] = ()
    negatives: Sequence[Passage] = ()
    judged: Sequence[Passage] = ()


@dataclass(frozen=True)
class Reading:
    """How what a layout leaves open is read.

    Attributes:
        positive_above: a document labelled or scored so or above is a positive.
        positive_first: of documents without labels the first is the positive.
        passages_only: only texts are wanted: whether they are positives does not matter.
        grades: what labels mean.
    """

    positive_above: float | None = None
    positive_first: bool = False
    passages_only: bool = False
    grades: Grades = field(default_factory=Grades)


@dataclass(frozen=True)
class Beginning:
    """What a layout is recognised by.

    Attributes:
        columns: names of the columns, of the first records together.
        asked: what the user says of them.
        records: the first records, by column.
    """

    columns: tuple[str, ...]
    asked: Columns = field(default_factory=Columns)
    records: Sequence[Mapping[str, Any]] = ()

    def has(self, *targets: Target) -> bool:
        """Whether there is a column for one of the targets."""
        return any(self.source(target) is not None for target in targets)

    def source(self, target: Target) -> str | None:
        """The column that a target is read from."""
        taken = {*self.asked.ignored, *self.asked.values()}
        free = [name for name in self.columns if name not in taken]
        return self.asked.get(target.name) or find_column(target, free)

    def values(self, target: Target) -> list[Any]:
        """What the first records have for a target, where they have something."""
        source = self.source(target)
        found = [record.get(source) for record in self.records] if source else []
        return [value for value in found if value is not None]


class Record:
    """A record: its values by target, and the names of their columns for messages."""

    __slots__ = ("_sources", "_values")

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
        self._values, self._sources = values, sources

    def get(self, target: str) -> Any:
        """The target's value; None where there is none."""
        return self._values.get(target)

    @property
    def columns(self) -> Collection[str]:
        """The columns that are read."""
        return self._sources.values()

    def name(self, target: str) -> str:
        """The column of a target."""
        return self._sources.get(target, target)

    def query(self, ids: bool = False) -> tuple[str | None, str | None]:
        """The query's id and text; with ``ids`` what stands for the text is the id.

        Raises:
            BadValueError: there is neither.
        """
        qid, text = self.get("qid"), self.get("query")
        if ids and text is not None:
            qid, text = text, None
        if text is None and qid is None:
            raise BadValueError(f"field '{self.name('query')}' is missing")
        if _is_instructed(text):
            name, column = self.name("query"), json.dumps(self.name("query"))
            raise BadValueError(
                f"field '{name}' is a list of two texts: an instruction and the query?",
                "Take the texts alone, of the query and in the same way of its documents: "
                f"jq -c '.[{column}] |= .[1]' FILE; an instruction is retrieve --query-prompt's.",
            )
        return (
            None if qid is None else id_value(qid, self.name("qid")),
            None if text is None else text_value(text, self.name("query")),
        )

    def listed(self, target: str) -> list[Any]:
        """The target's values: a list as it is, one value alone as a list of one."""
        value = self.get(target)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]


#: What becomes of a negative.
Fate = Literal["stays", "goes", "promoted"]


@dataclass(frozen=True)
class Fates:
    """What becomes of the passages of a record.

    Attributes:
        positives: whether each stays one.
        negatives: of each, the judged ones last.
        others: gives the query's negatives that stay, in whatever record they stand.
        elsewhere: promoted ones, by their numbers, that an earlier record has rows of.
    """

    positives: Sequence[bool]
    negatives: Sequence[Fate]
    others: Callable[[], Sequence[Passage]] = list
    elsewhere: frozenset[int] = frozenset()

    def of(self, fate: Fate) -> list[int]:
        """The numbers of the negatives of a fate."""
        return [number for number, one in enumerate(self.negatives) if one == fate]


@dataclass(frozen=True)
class Edited:
    """What stands in the place of a record.

    Attributes:
        records: by column, as the file has them; none where it goes.
        stays: whether the passages that stay stand in them.
        homeless: promoted ones, by their numbers, for which the layout has no place.
        own: promoted ones that have records of their own among these.
    """

    records: Sequence[Mapping[str, Any]] = ()
    stays: bool = False
    homeless: frozenset[int] = frozenset()
    own: frozenset[int] = frozenset()


class Lying(NamedTuple):
    """A record as it lies in the file.

    Attributes:
        record: what is read of it.
        raw: all of it, by column.
        reading: how it was read.
        example: what it says.
    """

    record: Record
    raw: Mapping[str, Any]
    reading: Reading
    example: Example


class Opened(NamedTuple):
    """A layout, seen the beginning of a file.

    Attributes:
        targets: the columns that are taken.
        read: a record's meaning.
        rewrite: what stands in the place of a record, some passages of which go or change sides.
        flat: targets that hold a text each, where a record may be no more than a query and these:
            the positive first, then the negatives.
    """

    targets: tuple[Target, ...]
    read: Callable[[Record, Reading], Example]
    rewrite: Callable[[Lying, Fates], Edited]
    flat: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A way to write training sets.

    Attributes:
        name: what it is called in messages.
        fits: whether a file that begins so is one.
        open: which of its columns are taken, and how they are read.
        unread: columns that belong to it and say nothing that is asked here, each with what to
            tell about it; they are told as ignored and never asked about.
        inner: what a user may name that is no column but a field of the passages.
    """

    name: str
    fits: Callable[[Beginning], bool]
    open: Callable[[Beginning], Opened]
    unread: Mapping[str, str] = field(default_factory=dict)
    inner: frozenset[str] = frozenset()


def _is_instructed(value: Any) -> bool:
    """Whether a query is two texts, as INSTRUCTOR's training data have them."""
    two = isinstance(value, list) and len(value) == len(("instruction", "text"))
    return two and all(isinstance(item, str) for item in value)


def passage(value: Any, where: str) -> Passage:
    """A passage that is a text, an object with one, or (of an object) an id alone.

    Raises:
        BadValueError: it is nothing of the kind.
    """
    if isinstance(value, str):
        return Passage(None, "", text_value(value, where))
    if not isinstance(value, Mapping):
        ids = isinstance(value, int) and not isinstance(value, bool)
        raise BadValueError(
            f"field '{where}' must be a text, found {type_name(value)}",
            "Ids of documents are named by --column positive_id=COLUMN and negative_id=COLUMN."
            if ids
            else None,
        )
    docid = next((value[name] for name in _DOCID if value.get(name) not in (None, "")), None)
    text = next((value[name] for name in TEXT_FIELDS if value.get(name) is not None), None)
    title = value.get("title")
    if docid is None and text is None:
        raise BadValueError(f"field '{where}' has neither a text nor an id")
    return Passage(
        None if docid is None else id_value(docid, f"{where}.docid"),
        "" if title is None else text_value(title, f"{where}.title"),
        None if text is None else text_value(text, f"{where}.text"),
        score(value.get("score"), f"{where}.score"),
    )


def passages(record: Record, target: str) -> list[Passage]:
    """The passages of a column that holds one or a list of them."""
    name = record.name(target)
    return [passage(value, f"{name}[{at}]") for at, value in enumerate(record.listed(target))]


def by_id(value: Any, where: str) -> Passage:
    """A passage that is told by its id alone."""
    return Passage(id_value(value, where), "", None)


def score(value: Any, where: str) -> float | None:
    """A score as a number; None where there is none (null, NaN, an empty field).

    Raises:
        BadValueError: it is no finite number.
    """
    number = float("nan") if value is None or value == "" else _number(value)
    if number is None or abs(number) > _LARGEST:
        raise BadValueError(f"field '{where}' must be a finite number, found {value!r}")
    return None if math.isnan(number) else number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def beside(record: Record, target: str, count: int, documents: str) -> list[Any]:
    """The values of a column that stand beside ``count`` documents; Nones without one.

    Raises:
        BadValueError: there are more or fewer.
    """
    values = record.listed(target)
    if not values:
        return [None] * count
    if len(values) != count:
        raise BadValueError(
            f"field '{record.name(target)}' has {len(values)} values for the "
            f"{count} of '{documents}'"
        )
    return values


def with_ids(documents: Iterable[Passage], ids: Sequence[Any], name: str) -> list[Passage]:
    """The passages with the ids that stand beside them in the column ``name``; None changes none.

    Raises:
        BadValueError: one is no id.
    """
    return [
        found if docid is None else found._replace(docid=id_value(docid, name))
        for found, docid in zip(documents, ids, strict=True)
    ]


def with_scores(documents: Iterable[Passage], scores: Sequence[Any], name: str) -> list[Passage]:
    """The passages with the scores that stand beside them in the column ``name``.

    Raises:
        BadValueError: one is no finite number.
    """
    return [
        found if value is None else found._replace(score=score(value, name))
        for found, value in zip(documents, scores, strict=True)
    ]
