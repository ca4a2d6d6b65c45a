"""What must add up in a part of a ledger, and in the examples made of one.

Counted anew from what goes out, not from what the code that made it says about itself, so that a
mistake in a rule, a sampler or a layout stops the run instead of spoiling a training set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvariantError
from negmine.formats.base import Chosen, Column, Examples
from negmine.stages.outcome import REPORT_IT, conserve
from negmine.table import schema as schemas


def check_ledger(part: pa.Table, ledger: pa.Table, asked: int, stats: Mapping[str, int]) -> None:
    """Check a part of a ledger against the part of the scored table that it was made from.

    Every candidate is there, in its place; survived or was dropped, as counted; a query has at
    most ``asked`` negatives, numbered 1, 2, ...; and none of them is a positive, or was dropped.

    Args:
        part: what went in.
        ledger: what goes out.
        asked: ``--num-negatives``.
        stats: the counts that are recorded with the part.

    Raises:
        InvariantError: something does not hold, which is a bug.
    """
    conserve("candidate rows of a part", part.num_rows, decided=ledger.num_rows)
    for name in ("qid", "docid"):
        if not ledger.column(name).equals(part.column(name)):
            _violated(f"the {name}s of a part's candidate rows changed while they were filtered")
    dropped = ledger.column("dropped_by")
    conserve("survivors of a part", dropped.null_count, counted=stats["survivors"])
    found = {entry["values"]: entry["counts"] for entry in dropped.value_counts().to_pylist()}
    for name, count in found.items():
        if name is not None:
            conserve(f"rows dropped by {name}", count, counted=stats.get(f"dropped.{name}", 0))
    selected = ledger.column("selected")
    conserve("negatives of a part", len(selected) - selected.null_count, counted=stats["selected"])
    chosen = ledger.filter(pc.is_valid(selected))
    if pc.any(pc.equal(chosen.column("label"), 1)).as_py():
        _violated("a known positive was selected as a negative")
    if pc.any(pc.is_valid(chosen.column("dropped_by"))).as_py():
        _violated("a dropped candidate was selected as a negative")
    query, _ = schemas.query_numbers(chosen.column("qid"))
    number = np.asarray(chosen.column("selected"), dtype=np.int64)
    per_query = np.bincount(query)
    if per_query.max(initial=0) > asked:
        _violated(f"{per_query.max()} negatives of a query are more than the {asked} asked for")
    order = np.lexsort((number, query))
    if not np.array_equal(number[order], schemas.positions_in_group(query[order])):
        _violated("the negatives of a query are not numbered 1, 2, 3, ...")


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
        _violated(f"{strange} documents of the examples are neither positive nor selected")
    if missing and not selective:
        _violated(f"{missing} selected negatives are missing in the examples of their queries")
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


def _violated(what: str) -> NoReturn:
    raise InvariantError(what, hint=REPORT_IT)
