"""ms-swift's lines for embedders and rerankers: conversations in the place of texts.

Read off ``_embedding_encode``, ``_reranker_encode`` and ``TemplateInputs`` of ms-swift 4.6: the
query is a conversation, every document one of its own. An embedder is trained on the first positive
alone, so there is a line per positive; a reranker draws among all of a line's positives, and reads
a document as the assistant's answer. Columns of other names are dropped by its preprocessor.
"""

from __future__ import annotations

import numpy as np

from negmine.formats.base import Chosen, Column, Examples, Format, Options, struct, wrapped
from negmine.formats.rows import (
    PerQuery,
    identified,
    left_out,
    measured,
    offsets,
    per_positive,
    per_query,
)


def embedding(chosen: Chosen, options: Options) -> Examples:
    """A line per positive: that positive, and the negatives of its query."""
    return _lines(chosen, options, per_positive(chosen), "user")


def reranker(chosen: Chosen, options: Options) -> Examples:
    """A line per query: all its positives and negatives."""
    return _lines(chosen, options, per_query(chosen), "assistant")


def _lines(chosen: Chosen, options: Options, rows: PerQuery, role: str) -> Examples:
    positive, negative = chosen.positive_doc[rows.positive], chosen.negative_doc[rows.negative]
    one_each = offsets(np.ones(len(rows.query), dtype=np.int64))
    columns = [
        _messages("messages", "query_text", rows.query, "user", one_each),
        wrapped(
            "positive_messages",
            _messages("positive", "doc_text", positive, role),
            rows.positive_offsets,
        ),
        wrapped(
            "negative_messages",
            _messages("negative", "doc_text", negative, role),
            rows.negative_offsets,
        ),
    ]
    columns += measured(chosen, options, rows)
    columns += identified(chosen, options, rows)
    return Examples(columns, len(rows.query), left_out(chosen, rows.query))


def _messages(
    name: str, kind: str, values: np.ndarray, role: str, offsets: np.ndarray | None = None
) -> Column:
    """Messages of one role."""
    content = Column("content", "query_text" if kind == "query_text" else "doc_text", values)
    return struct(name, [Column("role", "constant", values, constant=role), content], offsets)


_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
EMBEDDING = Format(embedding, suffixes=_SUFFIXES)
RERANKER = Format(reranker, suffixes=_SUFFIXES)
