"""Stanford ColBERT's training lines: JSON arrays of numbers that name lines of two TSV files.

Read off ``Examples``, ``Queries`` and ``Collection`` of colbert-ai 0.2: a passage's id is its line
in ``collection.tsv``, a query's id an integer of ``queries.tsv``, and an example is
``[qid, positive, negative, ...]``, where a document may be ``[pid, score]`` for distillation. A
folder gets both files; ``_queries`` and ``_documents`` tell which line is which of our ids.
"""

from __future__ import annotations

import numpy as np

from negmine.formats.base import Chosen, Column, Examples, Format, Options, struct
from negmine.formats.rows import counts, left_out
from negmine.formats.sentence_transformers import cross


def triples(chosen: Chosen, options: Options) -> Examples:
    """``[qid, positive, negative]``: every positive with every negative of its query."""
    positive, negative = cross(chosen)
    return _lines(chosen, options, positive, negative[:, None])


def n_way(chosen: Chosen, options: Options) -> Examples:
    """``[qid, positive, negative_1, ..., negative_n]``, for queries with all n negatives.

    ``scores`` puts ``[pid, score]`` in the place of every ``pid``.
    """
    n = options.num_negatives
    enough = counts(chosen, chosen.negative_query) == n
    positive = np.flatnonzero(enough[chosen.positive_query])
    first = np.searchsorted(chosen.negative_query, chosen.positive_query[positive])
    return _lines(chosen, options, positive, first[:, None] + np.arange(n))


def _lines(
    chosen: Chosen, options: Options, positive: np.ndarray, negative: np.ndarray
) -> Examples:
    """Lines of rows ``positive`` [e] and ``negative`` [e, n]."""
    query = chosen.positive_query[positive]
    documents = [(chosen.positive_doc[positive], chosen.positive_score[positive])]
    documents += [
        (chosen.negative_doc[column], chosen.negative_score[column]) for column in negative.T
    ]
    columns = [Column("qid", "query_number", query)]
    for number, (document, score) in enumerate(documents):
        name = f"negative_{number}" if number else "positive"
        pid = Column(name, "doc_number", document)
        columns.append(
            struct(name, [pid, Column("score", "score", score)]) if options.scores else pid
        )
    return Examples(columns, len(positive), left_out(chosen, query))


#: The suffix tells the writer that a line is an array.
_SUFFIXES = (".colbert.jsonl",)
TRIPLES = Format(triples, suffixes=_SUFFIXES, numbered=True, closed=True)
N_WAY = Format(
    n_way,
    needs="a positive and all {n} negatives",
    any_number="colbert-triples",
    suffixes=_SUFFIXES,
    numbered=True,
    closed=True,
)
