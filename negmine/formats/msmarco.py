"""The lines of sentence-transformers' ``msmarco-hard-negatives``: ids, negatives by source.

The scripts that read that data set look ids up as integers, so they go out as integers where every
id of the ledger is one.
"""

from __future__ import annotations

import numpy as np

from negmine.formats.base import Chosen, Column, Examples, Format, Options, struct
from negmine.formats.rows import left_out, offsets, per_query
from negmine.table import ranking


def msmarco(chosen: Chosen, options: Options) -> Examples:
    """(qid, [pos], {source: [neg]}) per query that has both.

    A negative stands under every source that found it, in that source's order.
    """
    rows = per_query(chosen)
    example = np.repeat(np.arange(len(rows.query)), np.diff(rows.negative_offsets))
    by_source = []
    for source, ranks in chosen.negative_ranks.items():
        rank = ranks[rows.negative]
        found = np.flatnonzero(rank > 0)
        order = found[ranking.rank_order(example[found], -rank[found].astype(np.float64), found)]
        by_source.append(
            Column(
                source,
                "doc_number" if options.integer_ids else "doc_id",
                chosen.negative_doc[rows.negative[order]],
                offsets(np.bincount(example[order], minlength=len(rows.query))),
            )
        )
    columns = [
        Column("qid", "query_number" if options.integer_ids else "query_id", rows.query),
        Column(
            "pos",
            "doc_number" if options.integer_ids else "doc_id",
            chosen.positive_doc[rows.positive],
            rows.positive_offsets,
        ),
        struct("neg", by_source),
    ]
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


MSMARCO = Format(
    msmarco,
    suffixes=(".jsonl.gz", ".jsonl", ".jsonl.zst", ".parquet"),
    ranks=True,
    closed=True,
    scores="never",
)
