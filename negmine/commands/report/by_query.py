"""Queries to look up in the page: some of them with their candidates, as data for its script.

A page cannot hold a large ledger, so at most ``--queries`` queries are in it, each with at most
:data:`ROWS` candidates whose texts are cut. The queries of the examples and the shortest ones come
first; the others are drawn by hashing their ids, so the same ledger shows the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from negmine.commands.report import words
from negmine.commands.report.examples import Group, query_texts
from negmine.commands.report.slices import FATES, POSITIVE, SELECTED, Reader, Slice
from negmine.commands.report.verdict import command
from negmine.commands.shortened import short_id
from negmine.table import draws
from negmine.table.names import rank_column, score_column

#: Most candidates of a query, and most letters of a document and of a query.
ROWS, TEXT, QUERY_TEXT = 40, 160, 600
#: Added to the seed, so that the draw is not the sample of candidates.
_DRAW = 11_000_027
#: Scores are told with so many significant digits.
_DIGITS = 4


@dataclass(frozen=True)
class Row:
    """A candidate of a query.

    Attributes:
        docid: the document's id.
        fate: what became of it, an index into ``FATES``.
        dropped_by: the rule that dropped it.
        scores: by score, in the reader's order; None = unknown.
        ranks: by source, likewise; None = not found.
    """

    docid: str
    fate: int
    dropped_by: str | None
    scores: list[float | None]
    ranks: list[int | None]


@dataclass(frozen=True)
class Query:
    """A query with its candidates.

    Attributes:
        qid: its id.
        part: where it lies.
        chosen: negatives it has.
        candidates: rows it has in the ledger.
        rows: those that are shown, the best-scoring first.
    """

    qid: str
    part: str
    chosen: int
    candidates: int
    rows: list[Row]


@dataclass
class Lookup:
    """Queries with their candidates, and what they say.

    Attributes:
        queries: in the ledger's order.
        query_texts: by qid; empty where no texts are shown.
        texts: beginnings of the documents by docid, likewise.
    """

    queries: list[Query] = field(default_factory=list)
    query_texts: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def numbers(self) -> dict[str, int]:
        """Place of each query by qid."""
        return {query.qid: number for number, query in enumerate(self.queries)}


class Draw:
    """Some queries of a ledger, drawn while it is read."""

    def __init__(self, wanted: int, seed: int) -> None:
        self._wanted, self._seed = wanted, seed + _DRAW
        self._drawn: list[tuple[int, str, str]] = []

    def add(self, part: Slice) -> None:
        """Let a part's queries into the draw."""
        if not self._wanted:
            return
        qids = part.table.column("qid").take(pa.array(part.view.starts)).combine_chunks()
        drawn = draws.digests(qids, self._seed)
        for number in np.argsort(drawn, kind="stable")[: self._wanted].tolist():
            self._drawn.append((int(drawn[number]), part.name, qids[number].as_py()))
        self._drawn = sorted(self._drawn)[: self._wanted]

    def queries(self) -> list[tuple[str, str]]:
        """(part, qid) in the order drawn."""
        return [(part, qid) for _, part, qid in self._drawn]


def collect(
    reader: Reader,
    drawn: Sequence[tuple[str, str]],
    first: Iterable[tuple[str, str]],
    wanted: int,
    *,
    texts: bool,
) -> Lookup:
    """At most ``wanted`` queries with their candidates.

    Args:
        reader: the ledger.
        drawn: (part, qid) of queries drawn from all.
        first: (part, qid) of those that come before them.
        wanted: how many queries.
        texts: whether texts may be shown.
    """
    by_part: dict[str, list[str]] = {}
    for part, qid in list(dict.fromkeys([*first, *drawn]))[:wanted]:
        by_part.setdefault(part, []).append(qid)
    lookup = Lookup()
    for name in reader.ledger.parts:
        if name not in by_part:
            continue
        table = reader.ledger.read(name)
        mine = pc.is_in(table.column("qid"), value_set=pa.array(by_part[name]))
        lookup.queries += _queries(reader, reader.slice(name, table.filter(mine)))
    if texts:
        docids = {row.docid for query in lookup.queries for row in query.rows}
        lookup.texts = reader.ledger.documents.texts_by_id(docids, TEXT + 1)
        lookup.query_texts = query_texts(reader.ledger, [(q.part, q.qid) for q in lookup.queries])
    return lookup


def of_examples(groups: Iterable[Group]) -> list[tuple[str, str]]:
    """(part, qid) of the queries of examples."""
    return [(example.part, example.qid) for group in groups for example in group.examples]


def _queries(reader: Reader, part: Slice) -> list[Query]:
    starts = part.view.starts
    ends = np.append(starts[1:], len(part.fate))
    score = part.measure(reader.rule_measure)
    return [
        _query(reader, part, score, int(start), int(end))
        for start, end in zip(starts, ends, strict=True)
    ]


def _query(reader: Reader, part: Slice, score: np.ndarray, start: int, end: int) -> Query:
    fate = part.fate[start:end]
    # Chosen and positives are never left out; the rest are those of the best scores.
    told = (fate == SELECTED) | (fate == POSITIVE)
    value = np.nan_to_num(-score[start:end], nan=np.inf)
    kept = np.lexsort((value, ~told))[:ROWS]
    kept = np.sort(kept)
    kept = kept[np.argsort(value[kept], kind="stable")]
    table = part.table.slice(start, end - start).take(pa.array(kept))
    scores = [table.column(score_column(name)).to_pylist() for name in reader.scores]
    ranks = [table.column(rank_column(name)).to_pylist() for name in reader.sources]
    rows = [
        Row(docid, int(fate[row]), reason, [s[at] for s in scores], [r[at] for r in ranks])
        for at, (row, docid, reason) in enumerate(
            zip(
                kept.tolist(),
                table.column("docid").to_pylist(),
                table.column("dropped_by").to_pylist(),
                strict=True,
            )
        )
    ]
    qid = part.table.column("qid")[start].as_py()
    return Query(qid, part.name, int((fate == SELECTED).sum()), end - start, rows)


# --- as data of the page ----------------------------------------------------------------------


def data(lookup: Lookup, reader: Reader, name: str) -> str:
    """The queries as JSON that may stand inside a ``script`` element.

    Documents stand once and are named by their place; nothing in the text can end the element.

    Args:
        lookup: the queries.
        reader: the ledger.
        name: what a user calls it, for the commands to type.
    """
    places: dict[str, int] = {}
    queries = [
        [
            *_id(query.qid),
            words.safe(lookup.query_texts.get(query.qid, ""), QUERY_TEXT),
            command(name, query.qid),
            query.chosen,
            query.candidates,
            [
                [
                    places.setdefault(row.docid, len(places)),
                    row.fate,
                    "" if row.fate == POSITIVE else row.dropped_by or "",
                    [_short(score) for score in row.scores],
                    row.ranks,
                ]
                for row in query.rows
            ],
        ]
        for query in lookup.queries
    ]
    documents = [[*_id(docid), words.safe(lookup.texts.get(docid, ""), TEXT)] for docid in places]
    told: Mapping[str, Any] = {
        "fates": FATES,
        "wanted": reader.params.num_negatives,
        "by": reader.scores.index(reader.by) if reader.by in reader.scores else -1,
        "scores": reader.scores,
        "sources": reader.sources,
        "documents": documents,
        "queries": queries,
    }
    text = orjson.dumps(told).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _id(identifier: str) -> tuple[str, str]:
    """An id as shown, and whole where that is not all of it."""
    whole = words.safe(identifier)
    shown = words.safe(short_id(identifier))
    return shown, "" if shown == whole else whole


def _short(score: float | None) -> float | None:
    return None if score is None else float(f"{score:.{_DIGITS}g}")
