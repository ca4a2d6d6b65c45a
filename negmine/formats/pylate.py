"""PyLate's knowledge-distillation rows: a query, some documents, a teacher's score of each.

Read off ``KDProcessing`` and ``ColBERTCollator`` of PyLate 1.6. With texts the rows are what
``KDProcessing`` makes; without, they hold ids, and a folder has the queries and the documents
beside them. The collator stacks the scores, so every row has the same number of documents.
"""

from __future__ import annotations

import numpy as np

from negmine.formats.base import Chosen, Column, Examples, Format, Options
from negmine.formats.rows import counts, left_out


def pylate_kd(chosen: Chosen, options: Options) -> Examples:
    """(query, [documents], [scores]): per positive, that positive and then all n negatives."""
    n = options.num_negatives
    enough = counts(chosen, chosen.negative_query) >= n
    positive = np.flatnonzero(enough[chosen.positive_query])
    query = chosen.positive_query[positive]
    first = np.searchsorted(chosen.negative_query, query)
    negative = first[:, None] + np.arange(n)
    document = np.column_stack([chosen.positive_doc[positive], chosen.negative_doc[negative]])
    offsets = np.arange(len(positive) + 1) * (n + 1)
    columns = [
        Column("query", "query_text", query),
        Column("documents", "doc_text", document.ravel(), offsets),
    ]
    columns += [
        Column(
            m.name,
            m.kind,
            np.column_stack([m.positive[positive], m.negative[negative]]).ravel(),
            offsets,
        )
        for m in chosen.measures("scores")
    ]
    if options.ids:
        columns += [
            Column("query_id", "query_id", query),
            Column("document_ids", "doc_id", document.ravel(), offsets),
        ]
    return Examples(columns, len(positive), left_out(chosen, query))


PYLATE_KD = Format(
    pylate_kd, needs="a positive and all {n} negatives", sidecars=True, scores="always"
)
