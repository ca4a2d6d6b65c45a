"""The order of examples at export: by a number that the ledger has for every negative."""

from __future__ import annotations

import numpy as np

from negmine.formats.base import Chosen, Examples
from negmine.table import ranking


def by_negatives(examples: Examples, chosen: Chosen, *, falling: bool) -> tuple[np.ndarray, int]:
    """Example numbers in the order of the mean of ``chosen.negative_order`` over their negatives.

    An example that is a positive alone (``labeled-pair``) goes by all negatives of its query. Equal
    ones stay as they are; those without a known value come last.

    Args:
        examples: what a layout made.
        chosen: what it was made of.
        falling: the greatest first.

    Returns:
        (example numbers, how many have no value).
    """
    width = max(1, len(chosen.docids))
    key = chosen.negative_query * width + chosen.negative_doc
    by_key = np.argsort(key)
    query = examples.queries()
    count, total = _sums(np.arange(0), np.arange(0.0), examples.count)
    alone = np.ones(examples.count, dtype=bool)
    for documents, offsets in examples.document_lists():
        example = np.repeat(np.arange(examples.count), np.diff(offsets))
        at, negative = ranking.find(key[by_key], query[example] * width + documents)
        value = chosen.negative_order[by_key[at[negative]]]
        alone[example[negative]] = False
        more = _sums(example[negative], value, examples.count)
        count, total = count + more[0], total + more[1]
    of_query = _sums(chosen.negative_query, chosen.negative_order, len(chosen.qids))
    count = np.where(alone, of_query[0][query], count)
    total = np.where(alone, of_query[1][query], total)
    with np.errstate(invalid="ignore"):
        mean = total / count
    order = np.argsort(-mean if falling else mean, kind="stable")
    return order, int((count == 0).sum())


def _sums(group: np.ndarray, values: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """(how many of a group's values are known, their sum), per group."""
    known = ~np.isnan(values)
    return (
        np.bincount(group[known], minlength=groups),
        np.bincount(group[known], values[known], minlength=groups),
    )
