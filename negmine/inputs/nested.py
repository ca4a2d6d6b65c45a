"""Runs and judgements as Python's tools write them: ``{query: {document: number}}``.

BEIR's ``results``, pytrec_eval, ranx, retriv and ir_measures hold them so; one object for all
queries, or a line for some of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from negmine.inputs.kinds import QRELS, RUN, Input, known_names

#: The field that the inner numbers are, by the kind of input.
_NUMBER = {RUN.name: "score", QRELS.name: "grade"}


def may_nest(kind: Input) -> bool:
    """Whether an input of this kind may be written so."""
    return kind.name in _NUMBER


def is_nested(row: Any, named: Collection[str]) -> bool:
    """Whether an object maps queries to documents to numbers, and names no column.

    Args:
        row: the object.
        named: columns that the user named.
    """
    if not row or not all(type(value) is dict for value in row.values()):
        return False
    if not {*known_names(), *named}.isdisjoint(row):
        return False
    inner = [number for value in row.values() for number in value.values()]
    return bool(inner) and set(map(type, inner)) <= {int, float}


def records(
    kind: Input, rows: Sequence[dict[str, Any]], places: Sequence[Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """One record for each query and document, and where it stands.

    Args:
        kind: the kind of input.
        rows: objects of which :func:`is_nested` is true.
        places: the place of each.
    """
    number = _NUMBER[kind.name]
    found = [
        ({"qid": query, "docid": document, number: value}, f"{place} ('{query}')")
        for row, place in zip(rows, places, strict=True)
        for query, documents in row.items()
        for document, value in documents.items()
    ]
    return [record for record, _ in found], [place for _, place in found]


def told_lists(kind: Input, row: dict[str, Any]) -> str:
    """What to do about a record that holds a list of documents, where one document is wanted."""
    lists = [name for name, value in row.items() if isinstance(value, (list, dict)) and value]
    if not may_nest(kind) or not lists:
        return ""
    return (
        f" '{lists[0]}' holds several things: write one record for each query and document, such "
        f'as {{"qid": ..., "docid": ..., "{_NUMBER[kind.name]}": ...}}, or '
        f'{{"QUERY": {{"DOCUMENT": {_NUMBER[kind.name].upper()}}}}}.'
    )
