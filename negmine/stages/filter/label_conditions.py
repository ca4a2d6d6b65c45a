"""The conditions of ``--promote``, ``--demote`` and ``--drop-query``, read and checked."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import pyarrow as pa

from negmine.errors import UsageError
from negmine.params.filter import FilterParams
from negmine.table import conditions
from negmine.table.conditions import Comparison, Condition
from negmine.table.names import LEARNED, score_column
from negmine.table.schemas import score_names

#: A condition of ``--drop-query`` names a query's counts, and so the scores of its positives.
OF_POSITIVES = "positive_"
#: As users may write the latter: ``positive NAME`` in front of a sign.
_OF_POSITIVES = re.compile(r"\bpositive\s+([A-Za-z]\w*)(?=\s*(?:>|<|=|!=))")
#: The count of a query's known positives that are left.
LEFT = "positives"
_COUNTS = ("promoted", "demoted", LEFT)


def active(params: FilterParams) -> bool:
    """Whether a condition may change labels."""
    return bool(params.promote or params.demote or params.drop_query)


def options_of(params: FilterParams) -> list[str]:
    """The options that change labels, as the ledger tells them."""
    given = [
        *(f"--promote {conditions.told(one)}" for one in promote(params)),
        *(f"--demote {conditions.told(one)}" for one in demote(params)),
        *(f"--drop-query {conditions.told(one)}" for one in drop_query(params)),
    ]
    if params.pseudo_positive is not None:
        given.append(f"--pseudo-positive {params.pseudo_positive:g}")
    return given


@functools.cache
def _parsed(texts: tuple[str, ...], option: str) -> tuple[Condition, ...]:
    # One that is given twice would take nothing the second time, and be told so.
    return tuple(dict.fromkeys(conditions.parse(text, option) for text in texts))


def promote(params: FilterParams) -> tuple[Condition, ...]:
    """When a candidate becomes a positive: where any of them holds."""
    return _parsed(params.promote, "--promote")


def demote(params: FilterParams) -> tuple[Condition, ...]:
    """When a known positive is none any more: where any of them holds."""
    return _parsed(params.demote, "--demote")


def drop_query(params: FilterParams) -> tuple[Condition, ...]:
    """When a query is given up: where any of them holds of what is counted of it."""
    texts = tuple(_OF_POSITIVES.sub(rf"{OF_POSITIVES}\1", text) for text in params.drop_query)
    return _parsed(texts, "--drop-query")


def check(params: FilterParams, schema: pa.Schema) -> None:
    """See that the table has what the conditions read.

    Args:
        params: settings.
        schema: the table's, with the scores that the filter learns.

    Raises:
        UsageError: a condition that cannot be read or asked of it.
    """
    for option, some in (("--promote", promote(params)), ("--demote", demote(params))):
        for condition in some:
            conditions.check(condition, schema, option)
    for condition in drop_query(params):
        conditions.check(condition, _query_schema(schema), "--drop-query")
        for one in condition:
            for count, option in (("promoted", "promote"), ("demoted", "demote")):
                if one.column == count and not getattr(params, option):
                    raise UsageError(
                        f"--drop-query '{one}': nothing is {count} without --{option}",
                        hint=f"Add --{option} with a condition.",
                    )


def learned(params: FilterParams) -> set[str]:
    """The scores that the conditions read and the filter has to learn first."""
    every = (*promote(params), *demote(params), *drop_query(params))
    named = {one.column.removeprefix(OF_POSITIVES) for condition in every for one in condition}
    return {name.removeprefix(score_column("")) for name in named} & set(LEARNED)


def limits(params: FilterParams) -> Iterator[tuple[str, Comparison]]:
    """(option, comparison) of the conditions on candidates and positives that name a number."""
    for option, some in (("promote", promote(params)), ("demote", demote(params))):
        for condition in some:
            yield from ((option, one) for one in condition if not one.of_positive)


def compares_with_positives(params: FilterParams) -> bool:
    """Whether a condition reads the scores of a query's positives."""
    every = (*promote(params), *demote(params))
    return any(one.of_positive for condition in every for one in condition) or any(
        one.column.startswith(OF_POSITIVES) for condition in drop_query(params) for one in condition
    )


def _query_schema(schema: pa.Schema) -> pa.Schema:
    """What ``--drop-query`` may ask of a query."""
    counts = [pa.field(name, pa.int64()) for name in _COUNTS]
    scores = [pa.field(f"{OF_POSITIVES}{name}", pa.float64()) for name in score_names(schema)]
    return pa.schema([pa.field("qid", pa.string()), *counts, *scores])
