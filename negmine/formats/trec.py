"""TREC's run and qrels: fields between spaces, for trec_eval and whatever reads the same."""

from __future__ import annotations

import numpy as np

from negmine.formats.base import Chosen, Column, Examples, Format, Options
from negmine.formats.rows import left_out
from negmine.table import ranking


def trec_run(chosen: Chosen, options: Options) -> Examples:
    """``qid Q0 docid rank score negmine``: positives and chosen negatives, ranked by score.

    Rows without a score have no rank and stay out.
    """
    query, document, score, _ = _rows(chosen)
    known = np.flatnonzero(~np.isnan(score))
    tie_break = ranking.string_codes(chosen.docids)[0][document]
    order = known[ranking.rank_order(query[known], score[known], tie_break[known])]
    query = query[order]
    columns = [
        Column("qid", "query_id", query),
        Column("iteration", "constant", query, constant="Q0"),
        Column("docid", "doc_id", document[order]),
        Column("rank", "label", ranking.positions_in_group(query)),
        Column("score", "score", score[order]),
        Column("tag", "constant", query, constant="negmine"),
    ]
    return Examples(columns, len(order), left_out(chosen, query))


def trec_qrels(chosen: Chosen, options: Options) -> Examples:
    """``qid 0 docid grade``: 1 for a positive, 0 for a chosen negative."""
    query, document, _, label = _rows(chosen)
    columns = [
        Column("qid", "query_id", query),
        Column("iteration", "constant", query, constant="0"),
        Column("docid", "doc_id", document),
        Column("grade", "label", label),
    ]
    return Examples(columns, len(query), left_out(chosen, query))


def _rows(chosen: Chosen) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Query, document, score and label of every positive and chosen negative, by query."""
    query = np.concatenate([chosen.positive_query, chosen.negative_query])
    document = np.concatenate([chosen.positive_doc, chosen.negative_doc])
    score = np.concatenate([chosen.positive_score, chosen.negative_score])
    label = np.repeat([1, 0], [len(chosen.positive_query), len(chosen.negative_query)])
    order = np.argsort(query, kind="stable")
    return query[order], document[order], score[order], label[order]


RUN = Format(
    trec_run,
    needs="a scored row",
    suffixes=(".trec", ".run", ".txt"),
    trains=False,
    closed=True,
    selective=True,
    scores="always",
)
QRELS = Format(
    trec_qrels,
    needs="a positive or a negative",
    suffixes=(".qrels", ".trec", ".txt"),
    trains=False,
    closed=True,
    scores="never",
)
