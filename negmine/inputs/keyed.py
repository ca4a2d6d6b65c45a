"""Collections as one object of JSON: ``{id: text}``, ``{id: {"title": ..., "text": ...}}``.

Python's libraries write them so (BEIR's ``corpus`` and ``queries``, sentence-transformers' and
LlamaIndex's sets for evaluation, where one object holds ``queries``, ``corpus`` and
``relevant_docs``). A key is an id; which object is a record of its own is told by its fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from negmine.inputs.columns import shell_word
from negmine.inputs.kinds import CORPUS, QRELS, QUERIES, Input

#: The field of ours that a key is.
_IDS = {CORPUS.name: "docid", QUERIES.name: "qid"}
#: The fields of an object that holds all three inputs.
_BUNDLE = {CORPUS.name: "corpus", QUERIES.name: "queries", QRELS.name: "relevant_docs"}
#: From so many on, fields of unknown names are no record's.
_MANY = 50

#: A record, and the key that it stands under.
Keyed = tuple[dict[str, Any], str]


def is_bundle(fields: Collection[str]) -> bool:
    """Whether an object of these fields holds a corpus, queries and judgements."""
    return set(_BUNDLE.values()) <= set(fields)


def records(kind: Input, row: dict[str, Any], known: Collection[str]) -> list[Keyed] | None:
    """The records of a file's only object; None where it is a record itself.

    Args:
        kind: what is read.
        row: the object.
        known: names that a column may have, those that the user names included.
    """
    if is_bundle(row):
        row = row[_BUNDLE[kind.name]] if kind.name in _BUNDLE else {}
        return list(_of(kind, row)) if isinstance(row, dict) and row else None
    if not row or not set(known).isdisjoint(row):
        return None
    values = row.values()
    if kind.name == QRELS.name:
        documents = all(isinstance(value, list) and value for value in values)
        return list(_of(kind, row)) if documents and not _are_objects(values) else None
    if kind.name not in _IDS:
        return None
    if all(isinstance(value, str) for value in values):
        return list(_of(kind, row)) if _are_ids(row) else None
    texts = {alias for target in kind.targets if target.name == "text" for alias in target.aliases}
    texts |= set(known)
    objects = all(isinstance(value, dict) and not texts.isdisjoint(value) for value in values)
    return list(_of(kind, row)) if objects else None


def _are_objects(values: Collection[Any]) -> bool:
    return any(isinstance(item, dict | list) for value in values for item in value)


def _are_ids(row: Mapping[str, Any]) -> bool:
    """Whether fields are ids: all have digits, or they are more than any record has."""
    return len(row) >= _MANY or all(any(map(str.isdecimal, key)) for key in row)


def _of(kind: Input, row: Mapping[str, Any]) -> Iterator[Keyed]:
    """One record for each key; of judgements for each document."""
    if kind.name == QRELS.name:
        for key, value in row.items():
            graded = value.items() if isinstance(value, dict) else [(each, 1) for each in value]
            for document, grade in graded:
                yield {"qid": key, "docid": document, "grade": grade}, key
        return
    field = _IDS[kind.name]
    own = next(target.aliases for target in kind.targets if target.name == field)
    for key, value in row.items():
        if not isinstance(value, dict):
            yield {field: key, "text": value}, key
        else:
            yield (value if set(own) & value.keys() else {field: key, **value}), key


def told(kind: Input, row: Mapping[str, Any], name: str) -> str:
    """What to do about a record whose fields may be ids; nothing where they are not."""
    if kind.name not in _IDS or not row or not all(isinstance(v, str) for v in row.values()):
        return ""
    return (
        " If its fields are ids, each with a text: "
        f"jq -c 'to_entries[] | {{_id: .key, text: .value}}' {shell_word(name)} > records.jsonl"
    )
