"""The samples of sentence-transformers' ``CrossEncoderRerankingEvaluator``.

Read off that class of sentence-transformers 6.2: a sample is an object with ``query``, ``positive``
(texts) and ``negative`` (texts); all of them are scored and ranked, and MRR, NDCG and average
precision say where the positives come. It passes over keys of other names.
"""

from __future__ import annotations

from negmine.formats.base import Chosen, Column, Examples, Format, Options
from negmine.formats.rows import identified, left_out, measured, per_query


def rerank_eval(chosen: Chosen, options: Options) -> Examples:
    """(query, [positive], [negative]) per query that has both."""
    rows = per_query(chosen)
    positive, negative = chosen.positive_doc[rows.positive], chosen.negative_doc[rows.negative]
    columns = [
        Column("query", "query_text", rows.query),
        Column("positive", "doc_text", positive, rows.positive_offsets),
        Column("negative", "doc_text", negative, rows.negative_offsets),
        *measured(chosen, options, rows),
        *identified(chosen, options, rows),
    ]
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


RERANK_EVAL = Format(
    rerank_eval,
    suffixes=(".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"),
    trains=False,
    survivors=True,
)
