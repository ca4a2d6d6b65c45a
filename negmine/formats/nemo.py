"""NeMo AutoModel's inline retrieval lines: a query, its positive, its negatives, as texts.

Read off ``retrieval_dataset_inline`` of nemo-automodel 0.7: it trains on the first positive of a
line, so there is a line per positive; negatives are taken in their order, and from the front again
where ``n_passages`` wants more. Keys of other names are dropped.
"""

from __future__ import annotations

from negmine.formats.base import Chosen, Column, Examples, Format, Options
from negmine.formats.rows import left_out, per_positive


def nemo(chosen: Chosen, options: Options) -> Examples:
    """(query, [pos_doc], [neg_doc]) per positive of a query that has negatives."""
    rows = per_positive(chosen)
    first, second = rows.positive_offsets, rows.negative_offsets
    positive, negative = chosen.positive_doc[rows.positive], chosen.negative_doc[rows.negative]
    columns = [
        Column("query", "query_text", rows.query),
        Column("pos_doc", "doc_text", positive, first),
        Column("neg_doc", "doc_text", negative, second),
    ]
    for m in chosen.measures("scores" if options.scores else None):
        columns += [
            Column(f"pos_{m.name}", m.kind, m.positive[rows.positive], first),
            Column(f"neg_{m.name}", m.kind, m.negative[rows.negative], second),
        ]
    if options.ids:
        columns += [
            Column("question_id", "query_id", rows.query),
            Column("pos_id", "doc_id", positive, first),
            Column("neg_id", "doc_id", negative, second),
        ]
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


NEMO = Format(nemo, suffixes=(".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"))
