"""NeMo AutoModel's inline retrieval lines: a query, its positive, its negatives, as texts.

Read off ``retrieval_dataset_inline`` of nemo-automodel 0.7: it trains on the first positive of a
line, so there is a line per positive; negatives are taken in their order, and from the front again
where ``n_passages`` wants more. Keys of other names are dropped.
"""

from __future__ import annotations

from negmine.formats.base import Chosen, Column, Examples, Format, Options
from negmine.formats.rows import identified, left_out, measured, per_positive


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
    columns += measured(chosen, options, rows)
    columns += identified(chosen, options, rows, "question_id")
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


NEMO = Format(nemo, suffixes=(".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"))
