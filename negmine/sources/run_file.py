"""Candidates that another engine found: a TREC run, or a table of qid, docid and score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError
from negmine.sources.base import AskedBy, Hits
from negmine.table.documents import Documents
from negmine.table.readers import RUN_SCHEMA, Problems, read_run
from negmine.table.schema import group_starts, positions_in_group, rank_order, string_codes


class RunFile:
    """A run as a source; asked by query *id*, where the other sources are asked by text.

    Ranks are made anew from the scores, by the same rule as every source's; the file's own rank
    column is not read. A pair that the run does not hold has no score.

    Attributes:
        counts: what was read and what was left out.
        warnings: the losses in words.
    """

    asked_by: ClassVar[AskedBy] = "qid"

    def __init__(
        self,
        qids: pa.Array,
        docids: pa.Array,
        hits: tuple[np.ndarray, np.ndarray, np.ndarray],
        counts: dict[str, int],
    ) -> None:
        self._qids = qids
        self._docids = docids
        self._query, self._doc, self._score = hits
        self.counts = counts
        self.warnings = [
            f"{counts[name]} {told}"
            for name, told in (
                ("documents_unknown", "rows name a document that is not in the corpus: left out"),
                ("rows_duplicate", "rows repeat a pair: the best score counts"),
                ("queries_missing", "of the mined queries are not in the run"),
            )
            if counts[name]
        ]

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best documents of each query id, by (-score, docid)."""
        codes = self._codes(queries)
        starts, stops = (
            np.searchsorted(self._query, codes),
            np.searchsorted(self._query, codes, side="right"),
        )
        lengths = np.minimum(stops - starts, k)
        query = np.repeat(np.arange(len(queries), dtype=np.int32), lengths)
        rows = np.repeat(starts, lengths) + positions_in_group(query) - 1
        return Hits(
            query=query,
            docid=self._docids.take(pa.array(self._doc[rows])),
            score=self._score[rows],
        )

    def score(self, queries: Sequence[str], query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair; NaN where the run does not hold it."""
        doc = pc.fill_null(pc.index_in(docids, value_set=self._docids), -1).to_numpy()
        width = len(self._docids) + 1
        held = self._query * width + self._doc
        order = np.argsort(held)
        wanted = self._codes(queries)[query] * width + doc
        at = np.minimum(np.searchsorted(held[order], wanted), max(0, len(held) - 1))
        result = np.full(len(query), np.nan, dtype=np.float32)
        if len(held):
            found = (held[order[at]] == wanted) & (doc >= 0)
            result[found] = self._score[order[at[found]]]
        return result

    def _codes(self, queries: Sequence[str]) -> np.ndarray:
        """Number of each query id; one that the run does not know gets a number without rows."""
        asked = pa.array(queries, pa.string())
        found = pc.index_in(asked, value_set=self._qids)
        return pc.fill_null(found, len(self._qids)).to_numpy().astype(np.int64)

    def close(self) -> None:
        """Nothing is held open."""


def open_run(path: str, qids: pa.Array, corpus: Documents) -> RunFile:
    """Read a run's rows of the queries ``qids`` and the documents of the corpus.

    Raises:
        InvalidDataError: a bad record, or no row of it concerns these queries and documents.
    """
    kept: list[pa.Table] = []
    read = 0
    for batch in read_run(path, {}, Problems("fail")):
        read += batch.num_rows
        wanted = pc.is_in(batch.column("qid"), value_set=qids)
        kept.append(pa.Table.from_batches([batch]).filter(wanted))
    table = pa.concat_tables([pa.table(RUN_SCHEMA.empty_table().columns, RUN_SCHEMA), *kept])
    docids = table.column("docid").combine_chunks()
    known = corpus.rows(docids) >= 0
    unknown = int(len(known) - known.sum())
    table = table.filter(pa.array(known, pa.bool_()))
    if table.num_rows == 0:
        raise InvalidDataError(
            f"none of its {read} rows has a mined query and a document of the corpus",
            where=path,
            hint="Check that the ids of the run, the queries and the corpus agree.",
        )
    query = pc.index_in(table.column("qid"), value_set=qids).to_numpy().astype(np.int64)
    doc, distinct = string_codes(table.column("docid"))
    score = table.column("score").to_numpy()
    order = rank_order(query, score.astype(np.float64), doc)
    pair = query * len(distinct) + doc
    best = np.zeros(len(order), dtype=bool)
    best[np.unique(pair[order], return_index=True)[1]] = True
    order = order[best]
    query = query[order]
    counts = {
        "rows_read": read,
        "rows_of_other_queries": read - unknown - len(best),
        "documents_unknown": unknown,
        "rows_duplicate": int(len(best) - best.sum()),
        "queries_missing": len(qids) - len(group_starts(query)),
    }
    return RunFile(qids, distinct, (query, doc[order], score[order]), counts)
