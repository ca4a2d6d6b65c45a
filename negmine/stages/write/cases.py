"""For what is written: queries with their positives, a group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.sources.union import Judgements
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents
from negmine.table.part import Part

#: Queries of a group, which is a part of what comes out.
QUERIES = 512


@dataclass(frozen=True)
class Case:
    """A query, and one of its positives.

    Attributes:
        qid: the query's id.
        query: its text.
        docid: the positive's id; empty where the query has none.
        title: its title.
        text: its text without the title.
    """

    qid: str
    query: str
    docid: str = ""
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Group:
    """Some queries, in order.

    Attributes:
        name: of the part that is written for them.
        qids: their ids.
        cases: each with each of its positives; a query without any is there once.
    """

    name: str
    qids: Sequence[str]
    cases: Sequence[Case]


class Task(Protocol):
    """Queries and what is judged of them, as ``retrieve`` reads them."""

    @property
    def qids(self) -> pa.Array:
        """Their ids, string [n]."""

    @property
    def texts(self) -> pa.Array:
        """Their texts, string [n]."""

    @property
    def judgements(self) -> Judgements:
        """All judged pairs, sorted by query."""


def of_task(task: Task, documents: Documents) -> Iterator[Group]:
    """The queries of a task and the positives that they are judged to have."""
    judged = task.judgements
    rows = np.flatnonzero(judged.positive)
    query, docids = judged.query[rows].astype(np.int64), judged.docid.take(pa.array(rows))
    for number, start in enumerate(range(0, len(task.qids), QUERIES)):
        end = min(start + QUERIES, len(task.qids))
        low, high = np.searchsorted(query, [start, end])
        yield _group(
            number,
            task.qids.slice(start, end - start),
            task.texts.slice(start, end - start),
            query[low:high] - start,
            docids.slice(low, high - low),
            documents,
        )


def of_table(table: Candidates, limit: int | None) -> Iterator[Group]:
    """The queries of a candidates table, or ledger, and their known positives."""
    number, left = 0, limit
    for name in table.parts:
        part = Part(table.read(name, ["qid", "docid", "label"]))
        asked = table.queries(name)
        rows = np.flatnonzero(part.positive)
        docids = part.table.column("docid").combine_chunks().take(pa.array(rows))
        texts = asked.column("text").combine_chunks()
        known = asked.column("qid").combine_chunks()
        texts = texts.take(pc.index_in(part.qids, value_set=known))
        for start in range(0, part.queries, QUERIES):
            size = min(QUERIES, part.queries - start)
            size = size if left is None else min(size, left)
            if size <= 0:
                return
            low, high = np.searchsorted(part.query[rows], [start, start + size])
            mine = part.query[rows[low:high]] - start
            some = (part.qids.slice(start, size), texts.slice(start, size))
            yield _group(number, *some, mine, docids.slice(low, high - low), table.documents)
            number += 1
            left = None if left is None else left - size


def _group(
    number: int,
    qids: pa.Array,
    texts: pa.Array,
    query: np.ndarray,
    docids: pa.Array,
    documents: Documents,
) -> Group:
    """The cases of some queries.

    Args:
        number: of the group.
        qids: ids of the queries.
        texts: their texts.
        query: of each positive its query's place, ascending.
        docids: the positives.
        documents: where their texts are.
    """
    distinct = docids.unique()
    titles, passages = (one.to_pylist() for one in documents.passages(distinct))
    place = pc.index_in(docids, value_set=distinct).to_pylist()
    asked = [Case(*one) for one in zip(qids.to_pylist(), texts.to_pylist(), strict=True)]
    mine: dict[int, list[Case]] = {}
    for one, docid, at in zip(query.tolist(), docids.to_pylist(), place, strict=True):
        case = replace(asked[one], docid=docid, title=titles[at], text=passages[at])
        mine.setdefault(one, []).append(case)
    cases = [case for one, alone in enumerate(asked) for case in mine.get(one, [alone])]
    return Group(f"part-{number:05d}.parquet", [one.qid for one in asked], cases)
