"""Records whose positives and negatives are columns of texts, rewritten: triplets, n-tuples, lists.

A list holds any number of passages. A column that holds one text holds exactly one: a record of
such columns stays as it is or goes, and what becomes a positive gets records of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from negmine.inputs.sets.base import Edited, Fates, Lying, Passage
from negmine.inputs.sets.edits import Item, Side, fit, of_lists, only
from negmine.inputs.values import BadValueError

#: Columns that hold a record's joint scores, and the union of several systems' lists, meanwhile.
_POSITIVE_SCORES, _NEGATIVE_SCORES, _UNION = "\0positive", "\0negative", "\0union"


@dataclass(frozen=True)
class Standing:
    """How the positives or the negatives of one record stand in it.

    Attributes:
        kind: in lists, in an object of lists by system, each in a column of its own, or not at all.
        side: the columns.
        slots: the ids' columns beside columns of one text each.
        by_id: whether the columns hold ids.
    """

    kind: Literal["lists", "systems", "slots", "none"]
    side: Side
    slots: tuple[str, ...] = ()
    by_id: bool = False


def standing(
    lying: Lying, texts: Sequence[str], ids: Sequence[str], scores: str, only_ids: bool
) -> Standing:
    """How the passages of some fields stand in a record.

    Args:
        lying: the record.
        texts, ids: the fields of the passages, and of ids beside them or alone.
        scores: the field of their scores.
        only_ids: whether what stands for texts is ids.

    Raises:
        BadValueError: in lists and in columns of one text at once.
    """
    record, raw = lying.record, lying.raw

    def there(fields: Sequence[str]) -> tuple[str, ...]:
        return tuple(record.name(field) for field in fields if record.get(field) is not None)

    columns, beside = there(texts), there(ids)
    by_id = not columns
    if by_id:
        columns, beside = beside, ()
    by_id = by_id or only_ids
    if not columns:
        return Standing("none", Side())
    values = [raw.get(name) for name in columns]
    side = Side(columns, beside[0] if len(beside) == 1 else None, next(iter(there([scores])), None))
    lists = [isinstance(value, list) for value in values]
    if len(values) == 1 and is_by_system(values[0]):
        return Standing("systems", side, by_id=by_id)
    if all(lists):
        return Standing("lists", side, by_id=by_id)
    if any(lists):
        raise BadValueError(
            f"fields '{columns[0]}' and '{columns[-1]}': a list beside single texts"
        )
    return Standing("slots", side, beside, by_id)


def is_by_system(value: Any) -> bool:
    """Whether a value is an object of the lists of several systems."""
    return isinstance(value, Mapping) and all(
        items is None or isinstance(items, list) for items in value.values()
    )


def by_system(value: Mapping[str, Any]) -> list[Any]:
    """The documents that several systems found, each once: all first ones, then all second ones.

    An object with a text is a document itself.
    """
    if not is_by_system(value):
        return [value]
    placed = [
        (place, number, item)
        for number, items in enumerate(value.values())
        for place, item in enumerate(items or [])
    ]
    placed.sort(key=lambda entry: entry[:2])
    first: dict[str, Any] = {}
    for _, _, item in placed:
        first.setdefault(str(item), item)
    return list(first.values())


def rewrite(
    lying: Lying, fates: Fates, positive: Standing, negative: Standing, scores: str
) -> Edited:
    """What stands in the place of a record.

    Args:
        lying: the record.
        fates: what becomes of its passages.
        positive, negative: how they stand in it.
        scores: the field of one list of scores, of the positives and then of the negatives.
    """
    if positive.kind != "slots" and negative.kind not in ("slots", "systems"):
        return _joined(lying, fates, positive.side, negative.side, scores)
    if negative.kind == "systems":
        return _of_systems(lying, fates, positive, negative)
    if negative.kind == "none":
        stays = all(fates.positives)
        return Edited([lying.raw] if stays else [], stays)
    if positive.kind != "slots":
        return _one_text_each(lying, fates, positive)
    if negative.kind == "lists":
        return _for_each_positive(lying, fates, positive, negative)
    return _rows_of_texts(lying, fates, positive, negative, scores)


def _joined(lying: Lying, fates: Fates, positive: Side, negative: Side, scores: str) -> Edited:
    """Lists; with one list of scores of both sides, or without."""
    raw = dict(lying.raw)
    name = lying.record.name(scores)
    both = raw.get(name) if lying.record.get(scores) is not None else None
    if not isinstance(both, list):
        return of_lists(raw, positive, negative, fates)
    count = len(positive.items(raw))
    raw |= {_POSITIVE_SCORES: both[:count], _NEGATIVE_SCORES: both[count:]}
    sides = (
        Side(positive.columns, positive.ids, _POSITIVE_SCORES),
        Side(negative.columns, negative.ids, _NEGATIVE_SCORES),
    )
    edited = of_lists(raw, *sides, fates)
    records = []
    for record in map(dict, edited.records):
        joint = [*record.pop(_POSITIVE_SCORES), *record.pop(_NEGATIVE_SCORES)]
        records.append({**record, name: joint})
    return Edited(records, edited.stays, edited.homeless)


def _of_systems(lying: Lying, fates: Fates, positive: Standing, negative: Standing) -> Edited:
    """Lists of several systems: what goes, goes out of each."""
    (name,) = negative.side.columns
    systems = lying.raw[name]
    order = by_system(systems)
    staying = {str(value) for value in only(order, fates.of("stays"))}
    raw = {**lying.raw, _UNION: order}
    edited = of_lists(raw, positive.side, Side((_UNION,)), fates)
    left = {
        system: None if items is None else [item for item in items if str(item) in staying]
        for system, items in systems.items()
    }
    records = [
        {key: left if key == name else value for key, value in record.items() if key != _UNION}
        for record in edited.records
    ]
    return Edited(records, edited.stays, edited.homeless)


def _one_text_each(lying: Lying, fates: Fates, positive: Standing) -> Edited:
    """Positives in a list, negatives in columns of one text: with one of these the record goes."""
    promoted = frozenset(fates.of("promoted"))
    items = positive.side.items(lying.raw)
    kept = [item for item, stays in zip(items, fates.positives, strict=True) if stays]
    if len(fates.of("stays")) < len(fates.negatives) or not kept:
        return Edited(homeless=promoted)
    return Edited([positive.side.filled(lying.raw, kept)], stays=True)


def _for_each_positive(
    lying: Lying, fates: Fates, positive: Standing, negative: Standing
) -> Edited:
    """A positive in a column of one text, negatives in a list: a record for each positive."""
    items = negative.side.items(lying.raw)
    stay = only(items, fates.of("stays"))
    promoted = fates.of("promoted")
    if not stay and items:
        return Edited(homeless=frozenset(promoted))
    raw = negative.side.filled(lying.raw, stay)
    records: list[Mapping[str, Any]] = [raw] if all(fates.positives) else []
    own = [number for number in promoted if _moves(items[number], lying, positive)]
    records += [{**raw, **_as_positive(items[number], positive)} for number in own]
    homeless = frozenset(promoted) - frozenset(own)
    return Edited(records, bool(records), homeless, frozenset(own))


def _rows_of_texts(
    lying: Lying, fates: Fates, positive: Standing, negative: Standing, scores: str
) -> Edited:
    """A positive and negatives in columns of one text each.

    What becomes a positive gets a row with each of the query's other negatives, or where a row
    holds several, one with the first of them.
    """
    items = negative.side.items(lying.raw)
    stays = all(fates.positives) and len(fates.of("stays")) == len(items)
    records: list[Mapping[str, Any]] = [lying.raw] if stays else []
    width, others = len(items), fates.others() if fates.of("promoted") else []
    sets = [[one] for one in others] if width == 1 else [others[:width]] * (len(others) >= width)
    own, homeless = set(), set()
    for number in fates.of("promoted"):
        if number in fates.elsewhere:
            continue
        item = items[number]
        if not sets or not _moves(item, lying, positive) or not isinstance(item.value, str | int):
            homeless.add(number)
            continue
        own.add(number)
        for passages in sets:
            row = {**lying.raw, **_as_positive(item, positive)}
            row |= _as_negatives(passages, negative, lying)
            if lying.record.get(scores) is not None:
                row[lying.record.name(scores)] = [item.score, *[None] * width]
            records.append(row)
    return Edited(records, stays, frozenset(homeless), frozenset(own))


def _moves(item: Item, lying: Lying, positive: Standing) -> bool:
    """Whether a negative can stand where the record's only positive stands."""
    places = positive.side.items(lying.raw)
    return len(places) == 1 and fit(item, places)


def _as_positive(item: Item, positive: Standing) -> dict[str, Any]:
    """What the columns of the positive say of a passage."""
    side = positive.side
    changed = {side.columns[0]: item.value}
    changed |= {name: item.docid for name in (side.ids,) if name is not None}
    return changed | {name: item.score for name in (side.scores,) if name is not None}


def _as_negatives(passages: Sequence[Passage], negative: Standing, lying: Lying) -> dict[str, Any]:
    """What the columns of the negatives say of some passages."""
    changed: dict[str, Any] = {}
    for name, one in zip(negative.side.columns, passages, strict=True):
        whole = isinstance(lying.raw[name], int)
        told = one.docid if negative.by_id else one.text
        changed[name] = int(told) if whole and told is not None else told
    for name, one in zip(negative.slots, passages, strict=False):
        changed[name] = one.docid
    return changed | {name: None for name in (negative.side.scores,) if name is not None}
