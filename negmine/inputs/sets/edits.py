"""Records of training sets with passages taken out or moved from the negatives to the positives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negmine.inputs.sets.base import Edited, Fates


@dataclass(frozen=True)
class Side:
    """Where the positives or the negatives of a record stand, in lists.

    Attributes:
        columns: the lists, read one after another.
        ids, scores: what stands beside each passage.
    """

    columns: tuple[str, ...] = ()
    ids: str | None = None
    scores: str | None = None

    def items(self, raw: Mapping[str, Any]) -> list[Item]:
        """The passages of a record, in their order."""
        found = [(name, value) for name in self.columns for value in listed(raw.get(name))]
        ids, scores = (listed(raw.get(name)) if name else [] for name in (self.ids, self.scores))
        return [
            Item(
                value,
                name,
                ids[at] if at < len(ids) else None,
                scores[at] if at < len(scores) else None,
            )
            for at, (name, value) in enumerate(found)
        ]

    def filled(self, raw: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Any]:
        """The record with these passages and no others; new ones stand at the end of the first."""
        record = dict(raw)
        for number, name in enumerate(self.columns):
            own = [one.value for one in items if one.column == name]
            new = [one.value for one in items if one.column not in self.columns]
            if raw.get(name) is not None or own or (new and number == 0):
                record[name] = own + (new if number == 0 else [])
        # What stands beside them has the order of the lists.
        place = {name: number for number, name in enumerate(self.columns)}
        if len(self.columns) > 1:
            items = sorted(items, key=lambda one: place.get(one.column, 0))
        for beside, values in (
            (self.ids, [one.docid for one in items]),
            (self.scores, [one.score for one in items]),
        ):
            if beside is not None and raw.get(beside) is not None:
                record[beside] = values
        return record


@dataclass(frozen=True)
class Item:
    """A passage as it stands in a record.

    Attributes:
        value: a text, an object, a conversation, or an id.
        column: the column that it stands in.
        docid, score: what stands beside it, if anything.
    """

    value: Any
    column: str
    docid: Any = None
    score: Any = None


def listed(value: Any) -> list[Any]:
    """A list as it is, one value alone as a list of one, nothing as an empty one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def only(values: Sequence[Any], kept: Collection[int]) -> list[Any]:
    """Those of some values whose numbers are named."""
    return [value for number, value in enumerate(values) if number in kept]


def fit(item: Item, others: Sequence[Item]) -> bool:
    """Whether a passage is written as others are: as texts, or as objects."""
    return all(type(item.value) is type(other.value) for other in others)


def of_lists(raw: Mapping[str, Any], positive: Side, negative: Side, fates: Fates) -> Edited:
    """A record whose positives and negatives stand in lists.

    It goes where it had negatives, or positives, and none is left.
    """
    positives, negatives = positive.items(raw), negative.items(raw)
    kept = [item for item, stays in zip(positives, fates.positives, strict=True) if stays]
    promoted = fates.of("promoted")
    homeless = frozenset(
        number
        for number in promoted
        if not positive.columns or not fit(negatives[number], positives)
    )
    moved = [negatives[number] for number in promoted if number not in homeless]
    stay = only(negatives, fates.of("stays"))
    if (positives and not [*kept, *moved]) or (negatives and not stay):
        return Edited(homeless=homeless.union(promoted))
    record = positive.filled(raw, [*kept, *moved])
    return Edited([negative.filled(record, stay)], stays=True, homeless=homeless)
