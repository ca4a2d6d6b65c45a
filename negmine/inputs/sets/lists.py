"""A query with its positives and negatives in columns: texts, lists of texts, or ids.

FlagEmbedding (``pos``, ``neg``), NeMo (``pos_doc``, ``neg_doc``), triplets and n-tuples of
sentence-transformers (``negative``, ``negative_1``, ...), ``msmarco-hard-negatives`` (ids, the
negatives by the system that found them) and MS MARCO's triples, by text and by id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from negmine.inputs.kinds import PAIRS, Target
from negmine.inputs.sets import slots
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
    with_ids,
    with_scores,
)
from negmine.inputs.values import BadValueError

POSITIVE = Target(
    "positive",
    "raw",
    (*PAIRS.targets[1].aliases, "pos_doc", "pos_docs", "positive_doc", "positive_docs"),
)
NEGATIVE = Target(
    "negative",
    "raw",
    (
        *("negative", "negatives", "neg", "neg_doc", "neg_docs", "negative_doc", "negative_docs"),
        *("hard_negative", "hard_negatives", "rejected_response"),
    ),
)
_POSITIVE_ID = Target(
    "positive_id",
    "raw",
    (
        *("pos_id", "pos_ids", "positive_docid", "positive_id", "positive_document_ids"),
        *("positive_docids", "positive_pids", "gold_ids", "gold_docids", "answer_pids"),
    ),
)
_NEGATIVE_ID = Target(
    "negative_id",
    "raw",
    ("neg_id", "neg_ids", "negative_docid", "negative_id", "negative_document_ids"),
)
_POSITIVE_SCORES = Target(
    "positive_scores",
    "raw",
    ("pos_scores", "pos_score", "positive_scores", "positive_score", "document_score"),
)
_NEGATIVE_SCORES = Target("negative_scores", "raw", ("neg_scores", "neg_score", "negative_scores"))
#: Of the positive and then of the negatives.
_SCORES = Target("scores", "raw", ("scores", "score", "labels", "label"))
_FIXED = (
    *(QUERY, QID, POSITIVE, NEGATIVE, _POSITIVE_ID, _NEGATIVE_ID),
    *(_POSITIVE_SCORES, _NEGATIVE_SCORES, _SCORES),
)
_NUMBERED = re.compile("(?:hard_)?neg(?:ative)?_?([0-9]{1,4})")
_NUMBERED_POSITIVE = re.compile("pos(?:itive)?_?([0-9]{1,4})")
_NUMBERED_ID = re.compile("neg(?:ative)?_?([0-9]{1,4})_(?:doc)?id")
_INTEGER = re.compile("[0-9]+")


def has_negatives(beginning: Beginning) -> bool:
    """Whether there is a column of negatives."""
    return beginning.has(NEGATIVE, _NEGATIVE_ID) or bool(_numbered(beginning, _NUMBERED))


def _fits(beginning: Beginning) -> bool:
    several = bool(_numbered(beginning, _NUMBERED_POSITIVE))
    if not beginning.has(QUERY, QID) or not (several or beginning.has(POSITIVE, _POSITIVE_ID)):
        return False
    more = (QID, _POSITIVE_ID, _POSITIVE_SCORES)
    # Numbered columns are negatives: of what is looked for here there are none.
    return several or has_negatives(beginning) or beginning.has(*more) or _integers(beginning, [])


def _open(beginning: Beginning) -> Opened:
    numbered = _numbered(beginning, _NUMBERED)
    numbered_ids = _numbered(beginning, _NUMBERED_ID)
    further = [
        Target(f"positive_{n}", "raw", (name,))
        for n, name in _numbered(beginning, _NUMBERED_POSITIVE).items()
    ]
    texts = [Target(f"negative_{n}", "raw", (name,)) for n, name in numbered.items()]
    ids = [Target(f"negative_{n}_id", "raw", (name,)) for n, name in numbered_ids.items()]
    # Texts of their own are not to be looked for under the ids of a set without texts.
    positive = [POSITIVE.name, *(target.name for target in further)]
    negatives = [NEGATIVE.name, *(target.name for target in texts)]
    negative_ids = [_NEGATIVE_ID.name, *(target.name for target in ids)]
    only_ids = _integers(beginning, [*further, *texts]) or not beginning.has(QUERY)

    def read(record: Record, reading: Reading) -> Example:
        qid, query = record.query(ids=only_ids)
        positives = _documents(record, positive, [_POSITIVE_ID.name], only_ids)
        found = _documents(record, negatives, negative_ids, only_ids, blank="")
        positives, found = _scored(record, positives, found)
        return Example(qid, query, positives, found)

    def rewrite(lying: Lying, fates: Fates) -> Edited:
        positives = slots.standing(
            lying, positive, [_POSITIVE_ID.name], _POSITIVE_SCORES.name, only_ids
        )
        found = slots.standing(lying, negatives, negative_ids, _NEGATIVE_SCORES.name, only_ids)
        return slots.rewrite(lying, fates, positives, found, _SCORES.name)

    flat = () if only_ids or further else (POSITIVE.name, *negatives)
    return Opened((*_FIXED, *further, *texts, *ids), read, rewrite, flat)


def _numbered(beginning: Beginning, pattern: re.Pattern[str]) -> dict[int, str]:
    """Columns of the form ``negative_N`` by their numbers, in that order."""
    found = {
        int(match[1]): name
        for name in beginning.columns
        if (match := pattern.fullmatch(name)) is not None
    }
    return dict(sorted(found.items()))


def _integers(beginning: Beginning, numbered: Iterable[Target]) -> bool:
    """Whether what stands for texts are integers throughout, ``negative_N`` too: ids."""
    columns = [beginning.values(target) for target in (QUERY, POSITIVE, NEGATIVE, *numbered)]
    flat = [value for values in columns for item in values for value in _flat(item)]
    return bool(flat) and all(
        (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, str) and _INTEGER.fullmatch(value) is not None)
        for value in flat
    )


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [item for inner in value.values() for item in _flat(inner)]
    return value if isinstance(value, list) else [value]


def _documents(
    record: Record, texts: list[str], ids: list[str], only_ids: bool, blank: str | None = None
) -> list[Passage]:
    """The documents of some columns, with the ids that stand beside them.

    Args:
        record: what holds them.
        texts, ids: the columns.
        only_ids: what stands for texts is ids.
        blank: what stands for a null in a list, which fills up lists of different lengths.
    """
    found: list[Passage] = []
    for target in texts:
        value = record.get(target)
        values = slots.by_system(value) if isinstance(value, Mapping) else record.listed(target)
        read = by_id if only_ids else passage
        name = record.name(target)
        values = [blank if value is None else value for value in values]
        found += [read(value, f"{name}[{at}]") for at, value in enumerate(values)]
    known = [value for target in ids for value in record.listed(target)]
    if not found:
        return [by_id(value, record.name(ids[0])) for value in known]
    if not known:
        return found
    if len(known) != len(found):
        raise BadValueError(
            f"field '{record.name(ids[0])}' has {len(known)} ids for the {len(found)} texts "
            f"of '{record.name(texts[0])}'"
        )
    return with_ids(found, known, record.name(ids[0]))


def _scored(
    record: Record, positives: list[Passage], negatives: list[Passage]
) -> tuple[list[Passage], list[Passage]]:
    """The documents with their scores."""
    names = (record.name(_POSITIVE_SCORES.name), record.name(_NEGATIVE_SCORES.name))
    scores = (
        beside(record, _POSITIVE_SCORES.name, len(positives), record.name(POSITIVE.name)),
        beside(record, _NEGATIVE_SCORES.name, len(negatives), record.name(NEGATIVE.name)),
    )
    both = record.get(_SCORES.name)
    if both is not None:
        if not isinstance(both, list) or len(both) != len(positives) + len(negatives):
            name = record.name(_SCORES.name)
            raise BadValueError(
                f"field '{name}' must hold a score of every positive and negative, in this order "
                f"({len(positives) + len(negatives)}); --ignore {name} leaves it out"
            )
        names = (record.name(_SCORES.name), record.name(_SCORES.name))
        scores = both[: len(positives)], both[len(positives) :]
    return (
        with_scores(positives, scores[0], names[0]),
        with_scores(negatives, scores[1], names[1]),
    )


LISTS = Layout(
    "positives and negatives",
    _fits,
    _open,
    unread={"prompt": "an instruction is put before every query by retrieve --query-prompt"},
)
