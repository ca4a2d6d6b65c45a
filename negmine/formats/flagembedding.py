"""FlagEmbedding's training lines, as its ``hn_mine`` writes and its trainers read them.

Read off ``AbsEmbedderTrainDataset`` of FlagEmbedding 1.4: one line per query; a positive and
``train_group_size - 1`` negatives are drawn from its lists at each visit; knowledge distillation
needs a score beside every text; ``prompt`` takes the place of the trainer's query instruction.
"""

from __future__ import annotations

from negmine.formats.base import Chosen, Column, Examples, Format, Options
from negmine.formats.rows import identified, left_out, measured, per_query


def flagembedding(chosen: Chosen, options: Options) -> Examples:
    """(query, [pos], [neg]) per query that has both; scores, ids and the prompt on request."""
    rows = per_query(chosen)
    first, second = rows.positive_offsets, rows.negative_offsets
    positive, negative = chosen.positive_doc[rows.positive], chosen.negative_doc[rows.negative]
    columns = [
        Column("query", "query_text", rows.query),
        Column("pos", "doc_text", positive, first),
        Column("neg", "doc_text", negative, second),
    ]
    columns += measured(chosen, options, rows)
    if options.prompt is not None:
        columns.append(Column("prompt", "constant", rows.query, constant=options.prompt))
    columns += identified(chosen, options, rows)
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


FLAGEMBEDDING = Format(
    flagembedding, suffixes=(".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"), prompts=True
)
