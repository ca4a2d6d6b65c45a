"""What an export wrote, against what the ledger chose."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from negmine.formats.base import Chosen, Column, Examples
from negmine.table.conservation import conserve, violated


def account(examples: Examples, chosen: Chosen, *, selective: bool) -> dict[str, int]:
    """Where the chosen negatives went: into examples, or with a query that gave none.

    Args:
        examples: what a layout made.
        chosen: what it was made of.
        selective: the layout leaves rows out on purpose, which are counted.

    Returns:
        ``negatives_exported``, ``negatives_of_queries_left_out`` and ``negatives_left_out``, which
        add up to all of them.

    Raises:
        InvariantError: a query's row is missing in its examples, or is none of the chosen ones.
    """
    width = max(1, len(chosen.docids))
    query = examples.queries()
    pairs = [
        query[owner] * width + documents
        for column in examples.columns
        for owner, documents in _documents(column, np.arange(examples.count))
    ]
    used = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *pairs]))
    negative = np.unique(chosen.negative_query * width + chosen.negative_doc)
    positive = np.unique(chosen.positive_query * width + chosen.positive_doc)
    conserve("chosen negatives", len(chosen.negative_query), distinct=len(negative))
    given = np.zeros(max(1, len(chosen.qids)), dtype=bool)
    given[query] = True
    exported = np.isin(negative, used, assume_unique=True)
    of_given = given[negative // width]
    missing = int((of_given & ~exported).sum())
    strange = int((~np.isin(used, np.concatenate([negative, positive]))).sum())
    if strange:
        violated(f"{strange} documents of the examples are neither positive nor selected")
    if missing and not selective:
        violated(f"{missing} selected negatives are missing in the examples of their queries")
    counts = {
        "negatives_exported": int(exported.sum()),
        "negatives_of_queries_left_out": int((~of_given).sum()),
        "negatives_left_out": missing,
    }
    conserve("negatives selected", len(negative), **counts)
    return counts


def _documents(column: Column, owner: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(example, document) of every document in a column, whatever lists it lies in."""
    if column.offsets is not None:
        owner = np.repeat(owner, np.diff(column.offsets))
    if column.fields:
        for field in column.fields:
            yield from _documents(field, owner)
    elif column.kind in ("doc_text", "doc_id", "doc_number"):
        yield owner, column.values
