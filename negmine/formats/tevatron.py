"""Tevatron's training lines with the passages in them.

Read off ``TrainDataset`` of Tevatron 2 (and the preprocessor of 0.1 on PyPI): a passage is an
object with ``docid``, ``text`` and perhaps ``title``, which is put before the text. Ours has no
``title``, because the text carries it already, joined in the same way.
"""

from __future__ import annotations

from negmine.formats.base import Chosen, Column, Examples, Format, Options, struct
from negmine.formats.rows import left_out, per_query


def tevatron(chosen: Chosen, options: Options) -> Examples:
    """(query_id, query, [positive_passages], [negative_passages]) per query that has both.

    ``scores`` adds a ``score`` to every passage. Ids always go out.
    """
    rows = per_query(chosen)
    positive = [
        Column("docid", "doc_id", chosen.positive_doc[rows.positive]),
        Column("text", "doc_text", chosen.positive_doc[rows.positive]),
    ]
    negative = [
        Column("docid", "doc_id", chosen.negative_doc[rows.negative]),
        Column("text", "doc_text", chosen.negative_doc[rows.negative]),
    ]
    for m in chosen.measures("score" if options.scores else None):
        positive.append(Column(m.name, m.kind, m.positive[rows.positive]))
        negative.append(Column(m.name, m.kind, m.negative[rows.negative]))
    columns = [
        Column("query_id", "query_id", rows.query),
        Column("query", "query_text", rows.query),
        struct("positive_passages", positive, rows.positive_offsets),
        struct("negative_passages", negative, rows.negative_offsets),
    ]
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


TEVATRON = Format(tevatron, suffixes=(".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"))
