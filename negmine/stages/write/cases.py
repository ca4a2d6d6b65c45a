"""For what is written: queries with their positives, a group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.sources.union import Judgements
from negmine.table.candidates import Candidates
from negmine.table.documents import Documents, joined
from negmine.table.names import INSTRUCTION, meta_column
from negmine.table.part import Part

#: Queries of a group, which is a part of what comes out.
QUERIES = 512
#: The column of a ledger that says which candidates were chosen, and in which order.
_CHOSEN = "selected"


@dataclass(frozen=True)
class Case:
    """A query, and one of its positives.

    Attributes:
        qid: the query's id.
        query: its text.
        docid: the positive's id; empty where the query has none.
        title: its title.
        text: its text without the title.
        instruction: what was kept with the query as its instruction; empty where nothing was.
        negative: the query with one of its chosen negatives, where it is about that, too.
    """

    qid: str
    query: str
    docid: str = ""
    title: str = ""
    text: str = ""
    instruction: str = ""
    negative: Case | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others: query, positive, negative."""
        return self.qid, self.docid, "" if self.negative is None else self.negative.docid

    @property
    def passage(self) -> str:
        """The document as models read it."""
        return joined(self.title, self.text)


@dataclass(frozen=True)
class Group:
    """Some queries, in order.

    Attributes:
        name: of the part that is written for them.
        asked: each alone.
        cases: each with each of its positives; a query without any is there once.
        chosen: each with each of its chosen negatives, in the order of the choice; of a ledger.
    """

    name: str
    asked: Sequence[Case]
    cases: Sequence[Case]
    chosen: Sequence[Case] = ()

    @property
    def qids(self) -> list[str]:
        """Their ids."""
        return [one.qid for one in self.asked]

    def with_negatives(self, each: int) -> Iterator[Case]:
        """Each query with an instruction, each of its positives, and its first negatives."""
        mine: dict[str, list[Case]] = {}
        for one in self.chosen:
            mine.setdefault(one.qid, []).append(one)
        for case in self.cases:
            if case.docid and case.instruction:
                for one in islice(mine.get(case.qid, ()), each):
                    yield replace(case, negative=one)


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
    """The queries of a candidates table, or ledger, their known positives, its chosen negatives."""
    number, left = 0, limit
    chosen = [_CHOSEN] if _CHOSEN in table.schema().names else []
    for name in table.parts:
        part = Part(table.read(name, ["qid", "docid", "label", *chosen]))
        asked = table.queries(name)
        every = part.table.column("docid").combine_chunks()
        rows = np.flatnonzero(part.positive)
        docids = every.take(pa.array(rows))
        taken = _taken(part) if chosen else rows[:0]
        known = pc.index_in(part.qids, value_set=asked.column("qid").combine_chunks())
        texts = asked.column("text").combine_chunks().take(known)
        instructions = _instructions(asked).take(known)
        for start in range(0, part.queries, QUERIES):
            size = min(QUERIES, part.queries - start)
            size = size if left is None else min(size, left)
            if size <= 0:
                return
            low, high = np.searchsorted(part.query[rows], [start, start + size])
            mine = part.query[rows[low:high]] - start
            some = (part.qids.slice(start, size), texts.slice(start, size))
            group = _group(
                *(number, *some, mine, docids.slice(low, high - low), table.documents),
                instructions.slice(start, size),
            )
            low, high = np.searchsorted(part.query[taken], [start, start + size])
            others = taken[low:high]
            found = (part.query[others] - start, every.take(pa.array(others)))
            yield replace(group, chosen=_beside(group.asked, *found, table.documents))
            number += 1
            left = None if left is None else left - size


def _taken(part: Part) -> np.ndarray:
    """Rows of the chosen negatives, query by query in the order of the choice."""
    number = part.table.column(_CHOSEN)
    rows = np.flatnonzero(number.is_valid().to_numpy())
    order = number.combine_chunks().take(pa.array(rows)).to_numpy()
    taken: np.ndarray = rows[np.lexsort((order, part.query[rows]))]
    return taken


def _instructions(asked: pa.Table) -> pa.Array:
    """The instructions that were kept with queries; empty where none was."""
    name = meta_column(INSTRUCTION)
    if name not in asked.column_names:
        return pa.array([""] * asked.num_rows, pa.string())
    return pc.fill_null(asked.column(name).combine_chunks(), "")


def _group(
    number: int,
    qids: pa.Array,
    texts: pa.Array,
    query: np.ndarray,
    docids: pa.Array,
    documents: Documents,
    instructions: pa.Array | None = None,
) -> Group:
    """The cases of some queries.

    Args:
        number: of the group.
        qids: ids of the queries.
        texts: their texts.
        query: of each positive its query's place, ascending.
        docids: the positives.
        documents: where their texts are.
        instructions: what was kept with the queries.
    """
    asked = [Case(*one) for one in zip(qids.to_pylist(), texts.to_pylist(), strict=True)]
    if instructions is not None:
        told = zip(asked, instructions.to_pylist(), strict=True)
        asked = [replace(one, instruction=text.strip()) for one, text in told]
    mine: dict[str, list[Case]] = {}
    for case in _beside(asked, query, docids, documents):
        mine.setdefault(case.qid, []).append(case)
    cases = [case for alone in asked for case in mine.get(alone.qid, [alone])]
    return Group(f"part-{number:05d}.parquet", asked, cases)


def _beside(
    asked: Sequence[Case], query: np.ndarray, docids: pa.Array, documents: Documents
) -> list[Case]:
    """Queries with documents: of each pair the query's place and the document."""
    distinct = docids.unique()
    titles, passages = (one.to_pylist() for one in documents.passages(distinct))
    place = pc.index_in(docids, value_set=distinct).to_pylist()
    pairs = zip(query.tolist(), docids.to_pylist(), place, strict=True)
    return [
        replace(asked[one], docid=docid, title=titles[at], text=passages[at])
        for one, docid, at in pairs
    ]
