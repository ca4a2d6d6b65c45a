"""The four layouts of sentence-transformers' ``mine_hard_negatives``.

Trainers read the columns by position and only know ``label``, ``labels``, ``score`` and
``scores`` by name, so ids, when asked for, come last and must be removed before training.
"""

from __future__ import annotations

import numpy as np

from negmine.formats.base import Chosen, Column, Examples, Format, Measure, Options
from negmine.formats.rows import counts, left_out


def triplet(chosen: Chosen, options: Options) -> Examples:
    """(anchor, positive, negative): every positive with every negative of its query.

    ``scores`` adds ``scores`` = [positive score, negative score].
    """
    positive, negative = cross(chosen)
    query = chosen.positive_query[positive]
    columns = [
        Column("anchor", "query_text", query),
        Column("positive", "doc_text", chosen.positive_doc[positive]),
        Column("negative", "doc_text", chosen.negative_doc[negative]),
    ]
    columns += [
        _fixed_lists(m, np.stack([m.positive[positive], m.negative[negative]], axis=1))
        for m in chosen.measures("scores" if options.scores else None)
    ]
    if options.ids:
        columns += [
            Column("qid", "query_id", query),
            Column("positive_docid", "doc_id", chosen.positive_doc[positive]),
            Column("negative_docid", "doc_id", chosen.negative_doc[negative]),
        ]
    return Examples(columns, len(positive), left_out(chosen, query))


def n_tuple(chosen: Chosen, options: Options) -> Examples:
    """(anchor, positive, negative_1, ..., negative_n), for queries with all n negatives.

    ``scores`` adds ``scores`` = [positive score, negative_1's, ..., negative_n's].
    """
    n = options.num_negatives
    available = counts(chosen, chosen.negative_query)
    positive = np.flatnonzero(available[chosen.positive_query] == n)
    query = chosen.positive_query[positive]
    first = np.searchsorted(chosen.negative_query, query)
    negative = first[:, None] + np.arange(n)
    columns = [
        Column("anchor", "query_text", query),
        Column("positive", "doc_text", chosen.positive_doc[positive]),
    ]
    columns += [
        Column(f"negative_{i + 1}", "doc_text", chosen.negative_doc[negative[:, i]])
        for i in range(n)
    ]
    columns += [
        _fixed_lists(m, np.column_stack([m.positive[positive], m.negative[negative]]))
        for m in chosen.measures("scores" if options.scores else None)
    ]
    if options.ids:
        columns += [
            Column("qid", "query_id", query),
            Column("positive_docid", "doc_id", chosen.positive_doc[positive]),
        ]
        columns += [
            Column(f"negative_{i + 1}_docid", "doc_id", chosen.negative_doc[negative[:, i]])
            for i in range(n)
        ]
    return Examples(columns, len(positive), left_out(chosen, query))


def labeled_pair(chosen: Chosen, options: Options) -> Examples:
    """(anchor, document, label): each positive (1) and each chosen negative (0) of a query once.

    ``scores`` puts ``score`` in the place of ``label``.
    """
    query = np.concatenate([chosen.positive_query, chosen.negative_query])
    document = np.concatenate([chosen.positive_doc, chosen.negative_doc])
    label = np.repeat([1, 0], [len(chosen.positive_query), len(chosen.negative_query)])
    # A query that has only negatives, or only positives, teaches nothing as labelled pairs of it.
    complete = (counts(chosen, chosen.positive_query) > 0) & (
        counts(chosen, chosen.negative_query) > 0
    )
    order = np.argsort(query, kind="stable")
    order = order[complete[query[order]]]
    columns = [
        Column("anchor", "query_text", query[order]),
        Column("document", "doc_text", document[order]),
    ]
    if not options.scores:
        columns.append(Column("label", "label", label[order]))
    columns += [
        Column(m.name, m.kind, np.concatenate([m.positive, m.negative])[order])
        for m in chosen.measures("score" if options.scores else None)
    ]
    if options.ids:
        columns += [
            Column("qid", "query_id", query[order]),
            Column("docid", "doc_id", document[order]),
        ]
    return Examples(columns, len(order), left_out(chosen, query[order]))


def labeled_list(chosen: Chosen, options: Options) -> Examples:
    """(anchor, [documents], [labels]): per positive, that positive and then the negatives.

    ``scores`` puts ``scores`` in the place of ``labels``.
    """
    available = counts(chosen, chosen.negative_query)
    positive = np.flatnonzero(available[chosen.positive_query] > 0)
    query = chosen.positive_query[positive]
    length = available[query] + 1
    offsets = np.concatenate(([0], np.cumsum(length)))
    example = np.repeat(np.arange(len(positive)), length)
    within = np.arange(offsets[-1]) - offsets[:-1][example]
    is_positive = within == 0
    negative = np.searchsorted(chosen.negative_query, query)[example] + within - 1
    negative[is_positive] = 0

    def listed(of_positives: np.ndarray, of_negatives: np.ndarray) -> np.ndarray:
        if not len(negative):
            return of_negatives[:0]
        return np.where(is_positive, of_positives[positive][example], of_negatives[negative])

    document = listed(chosen.positive_doc, chosen.negative_doc)
    columns = [
        Column("anchor", "query_text", query),
        Column("documents", "doc_text", document, offsets),
    ]
    if not options.scores:
        columns.append(Column("labels", "label", is_positive.astype(np.int64), offsets))
    columns += [
        Column(m.name, m.kind, listed(m.positive, m.negative), offsets)
        for m in chosen.measures("scores" if options.scores else None)
    ]
    if options.ids:
        columns += [
            Column("qid", "query_id", query),
            Column("docids", "doc_id", document, offsets),
        ]
    return Examples(columns, len(positive), left_out(chosen, query))


def cross(chosen: Chosen) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs of every positive with every negative of its query, in order."""
    available = counts(chosen, chosen.negative_query)
    repeat = available[chosen.positive_query]
    positive = np.repeat(np.arange(len(chosen.positive_query)), repeat)
    within = np.arange(len(positive)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    first = np.searchsorted(chosen.negative_query, chosen.positive_query)
    return positive, first[positive] + within


def _fixed_lists(measure: Measure, matrix: np.ndarray) -> Column:
    rows, width = matrix.shape
    return Column(measure.name, measure.kind, matrix.ravel(), np.arange(rows + 1) * width)


TRIPLET = Format(triplet)
N_TUPLE = Format(
    n_tuple, needs="a positive and all {n} negatives", any_number="triplet or labeled-list"
)
LABELED_PAIR = Format(labeled_pair)
LABELED_LIST = Format(labeled_list)
